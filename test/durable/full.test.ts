/** No space: a typed error, earlier data intact, and it works again once there is space. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { folder, openAt, report, root } from "./helpers.js";

const writer = path.join(root, "test", "durable", "full-writer.mjs");

interface Result {
  written: number;
  code: string;
  retryable: boolean;
  readable: boolean;
  count: number;
}

async function check(at: string, { written }: Result): Promise<void> {
  const db = await openAt(at);
  const collection = await db.collection("test");
  expect(await collection.count()).toBe(written);
  const last = await collection.get(`id${written - 1}`);
  expect(last?.text).toMatch(new RegExp(`^text ${written - 1} `));
  await collection.upsert([{ id: "more", vector: new Float32Array(64) }]);
  await db.close();
}

describe("a full disk", () => {
  it.skipIf(process.platform === "win32")("by the limit of a file's size", async () => {
    const at = folder();
    const command = `ulimit -f 1000; exec "${process.execPath}" "${writer}" "${at}"`;
    const out = execFileSync("sh", ["-c", command], { cwd: root, encoding: "utf8" });
    const result = JSON.parse(out) as Result;
    expect(result).toMatchObject({ code: "NO_SPACE", retryable: true, readable: true });
    expect(result.count).toBe(result.written);
    expect(result.written).toBeGreaterThan(50);
    await check(at, result);
  });

  it("by a small file system, where one may be mounted", async (context) => {
    const at = folder();
    try {
      execFileSync("mount", ["-t", "tmpfs", "-o", "size=3m", "tmpfs", at], { stdio: "ignore" });
    } catch {
      report("skipped: no file system may be mounted here");
      context.skip();
    }
    try {
      const ballast = path.join(at, "ballast");
      fs.writeFileSync(ballast, Buffer.alloc(1 << 20, 7));
      const database = path.join(at, "db");
      const args = [writer, database, ballast];
      const out = execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });
      const result = JSON.parse(out) as Result;
      expect(result).toMatchObject({ code: "NO_SPACE", retryable: true, readable: true });
      expect(result.count).toBe(result.written - 1);
      await check(database, result);
    } finally {
      execFileSync("umount", [at]);
    }
  });
});
