/** Backup, and the commands verify, inspect and backup. */
import { execFile } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { failure } from "../unit/helpers.js";
import { contents, folder, openAt, root, segmentFiles } from "./helpers.js";
import { apply } from "./operations.mjs";

const cli = path.join(root, "dist", "cjs", "engine", "cli.js");

async function run(...args: string[]): Promise<{ code: number; stdout: string }> {
  try {
    const { stdout } = await promisify(execFile)(process.execPath, [cli, ...args], { cwd: root });
    return { code: 0, stdout };
  } catch (error) {
    return error as { code: number; stdout: string };
  }
}

const options = { metric: "dot", dimensions: 8 } as const;

async function build(at: string, operations = 40): Promise<string> {
  const db = await openAt(at);
  const c = await db.collection("test", options);
  for (let n = 0; n < operations; n++) await apply(c, n);
  await (await db.collection("empty")).count();
  const found = JSON.stringify(await contents(c));
  await db.close();
  return found;
}

async function read(at: string): Promise<string> {
  const db = await openAt(at);
  const found = JSON.stringify(await contents(await db.collection("test", options)));
  await db.close();
  return found;
}

describe("backup", () => {
  it("is a database of one moment, made while writing and compacting go on", async () => {
    const db = await openAt(folder());
    const c = await db.collection("test", { dimensions: 3 });
    const put = (n: number) =>
      c.upsert([
        { id: `a${n % 50}`, vector: [n, 1, 0], metadata: { n } },
        { id: `b${n % 50}`, vector: [n, 0, 1], metadata: { n } },
      ]);
    for (let n = 0; n < 50; n++) await put(n);
    const to = path.join(folder(), "copy");
    const state = { done: false };
    const writing = (async () => {
      for (let n = 50; !state.done; n++) {
        await put(n);
        if (n % 20 === 0) await db.compact();
      }
    })();
    const sequence = await db.backup(to);
    state.done = true;
    await writing;
    expect(sequence).toBeLessThanOrEqual((await db.stats()).sequence!);
    const copy = await openAt(to);
    expect((await copy.stats()).sequence).toBe(sequence);
    const records = new Map(await contents(await copy.collection("test")));
    expect(records.size).toBe(100);
    for (let i = 0; i < 50; i++) {
      // Both records of a batch, or neither.
      expect(records.get(`a${i}`)!.metadata).toEqual(records.get(`b${i}`)!.metadata);
    }
    await failure(() => db.backup(to), "ALREADY_EXISTS", /not empty/);
  });

  it("by command copies and restores", async () => {
    const at = folder();
    const wanted = await build(at);
    const to = path.join(folder(), "copy");
    expect(await run("backup", at, to)).toMatchObject({ code: 0 });
    expect(await read(to)).toBe(wanted);
    expect((await run("backup", at, to)).code).toBe(2);
  });
});

describe("verify", () => {
  it("finds nothing in a sound database, and inspect says what is in it", async () => {
    const at = folder();
    const wanted = await build(at);
    const verified = await run("verify", at);
    expect(verified.stdout).toMatch(/No damage found/);
    expect(verified.code).toBe(0);
    const inspected = await run("inspect", at, "--json");
    const report = JSON.parse(inspected.stdout) as { collections: { records: number }[] };
    expect(report.collections.map((one) => one.records)).toEqual([
      (JSON.parse(wanted) as unknown[]).length,
      0,
    ]);
    expect((await run("verify", path.join(at, "nowhere"))).code).toBe(2);
  });

  it("names file and offset of damage; salvage exports the rest", async () => {
    const at = folder();
    const wanted = JSON.parse(await build(at)) as [string, { text: string }][];
    const [file] = segmentFiles(at);
    const bytes = fs.readFileSync(file!);
    const [id, { text }] = wanted[3]!;
    const where = bytes.lastIndexOf(text.slice(0, text.indexOf(":") + 1));
    bytes[where + 3]! ^= 1;
    fs.writeFileSync(file!, bytes);
    const { code, stdout } = await run("verify", at, "--json");
    expect(code).toBe(1);
    const report = JSON.parse(stdout) as { problems: { file: string; offset: number }[] };
    expect(report.problems).toHaveLength(1);
    expect(report.problems[0]).toMatchObject({ file });
    expect(where - report.problems[0]!.offset).toBeLessThan(200);

    const to = path.join(folder(), "salvaged");
    expect((await run("verify", at, "--salvage", to)).stdout).toMatch(
      new RegExp(`^${wanted.length - 1} undamaged records`),
    );
    const salvaged = JSON.parse(await read(to)) as [string, unknown][];
    expect(salvaged).toEqual(wanted.filter(([one]) => one !== id));
  });

  it("salvages what is behind a damaged frame, and around a damaged index", async () => {
    const at = folder();
    const wanted = JSON.parse(await build(at)) as [string, unknown][];
    const [file] = segmentFiles(at);
    const bytes = fs.readFileSync(file!);
    bytes[512 + 30]! ^= 1;
    fs.writeFileSync(file!, bytes);
    const to = path.join(folder(), "salvaged");
    expect((await run("verify", at, "--salvage", to)).code).toBe(1);
    const salvaged = JSON.parse(await read(to)) as [string, unknown][];
    expect(salvaged.length).toBeGreaterThan(wanted.length / 2);
    for (const one of salvaged) expect(wanted).toContainEqual(one);

    fs.writeFileSync(path.join(at, "index", "data.mdb"), Buffer.alloc(16_384, 3));
    const verified = await run("verify", at);
    expect(verified.code).toBe(1);
    const second = path.join(folder(), "salvaged");
    expect((await run("verify", at, "--salvage", second)).code).toBe(1);
    expect(JSON.parse(await read(second))).toEqual(salvaged);
  });

  it("rebuilds a lost index from the segment files, compacted or not", async () => {
    for (const compacted of [false, true]) {
      const at = folder();
      await build(at, 30);
      const db = await openAt(at);
      const c = await db.collection("test", options);
      if (compacted) await db.compact();
      for (let n = 30; n < 60; n++) await apply(c, n);
      if (compacted) await db.compact();
      const wanted = JSON.stringify(await contents(c));
      const { digest } = await c.stats();
      await db.close();
      fs.rmSync(path.join(at, "index"), { recursive: true });
      const { stdout, code } = await run("verify", at, "--rebuild");
      expect(stdout).toMatch(/A new index was made/);
      expect(code).toBe(0);
      expect(await read(at)).toBe(wanted);
      const again = await openAt(at);
      const reopened = await again.collection("test", options);
      expect((await reopened.stats()).digest).toBe(digest);
      await apply(reopened, 60);
      expect((await run("verify", at, "--rebuild")).stdout).toMatch(/DATABASE_LOCKED/);
    }
  });
});
