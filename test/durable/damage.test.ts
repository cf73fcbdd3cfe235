/**
 * Bit flips and truncations. In segment files: detected, or without any effect on what is read. In
 * LMDB's file: tried in processes of their own, because a damaged page can take a process down
 * before anything of ours runs. HIVE_TEST_FLIPS sets how many (100 000 by hand).
 */
import { spawn } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { HiveGpuError } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { contents, folder, openAt, random, report, root, segmentFiles } from "./helpers.js";
import { forced } from "../unit/helpers.js";
import { apply } from "./operations.mjs";

const flips = Number(process.env["HIVE_TEST_FLIPS"] ?? 300);
const indexFlips = Math.ceil(flips / 15);
const seed = Number(process.env["HIVE_TEST_FLIPS_SEED"] ?? Math.floor(Math.random() * 1e9));

async function build(at: string): Promise<string> {
  const db = await openAt(at);
  const collection = await db.collection("test", { metric: "dot", dimensions: 8 });
  for (let n = 0; n < 40; n++) await apply(collection, n);
  const all = JSON.stringify(await contents(collection));
  await db.close();
  return all;
}

const text = (i: number): string => `the text of record number ${i}`;

/** "same", or the code of the error; anything else is a wrong answer. */
async function readAll(at: string, readOnly: boolean): Promise<string> {
  try {
    const db = await openAt(at, { readOnly });
    try {
      const collection = await db.collection("test", { metric: "dot", dimensions: 8 });
      return JSON.stringify(await contents(collection));
    } finally {
      await db.close();
    }
  } catch (error) {
    if (error instanceof HiveGpuError) return error.code;
    return `untyped: ${String(error)}`;
  }
}

describe.skipIf(forced)("damaged segment files", () => {
  it(`are detected: ${flips} flips and truncations`, { timeout: 7_200_000 }, async () => {
    const at = folder();
    const all = await build(at);
    const [file] = segmentFiles(at);
    const good = fs.readFileSync(file!);
    const next = random(seed);
    const outcomes = new Map<string, number>();
    for (let i = 0; i < flips; i++) {
      let bad = Buffer.from(good);
      const truncated = next() < 0.1;
      const byte = Math.floor(next() * good.length);
      if (truncated) bad = bad.subarray(0, byte);
      else bad[byte]! ^= 1 << Math.floor(next() * 8);
      fs.writeFileSync(file!, bad);
      const found = await readAll(at, true);
      const outcome = found === all ? "no effect" : found;
      if (!truncated || byte < good.length) {
        expect(["no effect", "CORRUPT", "FORMAT_UNSUPPORTED"], `seed ${seed}, flip ${i}`).toContain(
          outcome,
        );
      }
      if (truncated) expect(outcome).toBe("CORRUPT");
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    }
    report(
      `segment files, seed ${seed}: ${JSON.stringify(Object.fromEntries(outcomes))}, undetected 0`,
    );
    // Padding, and records that were replaced, are not read: flips there have no effect.
    expect(outcomes.get("CORRUPT")).toBeGreaterThan(flips * 0.3);
  });

  it("are named with file and offset, by get and by search, and the rest stays readable", async () => {
    const at = folder();
    const db = await openAt(at);
    const collection = await db.collection("test", { dimensions: 2 });
    const records = Array.from({ length: 9 }, (_, i) => ({
      id: `r${i}`,
      vector: [i, 1],
      text: text(i),
    }));
    await collection.upsert(records);
    await db.close();
    const [file] = segmentFiles(at);
    const bytes = fs.readFileSync(file!);
    const where = bytes.indexOf(text(4));
    bytes[where]! ^= 1;
    fs.writeFileSync(file!, bytes);
    const again = await (await openAt(at)).collection("test");
    expect((await again.get("r3"))?.text).toBe(text(3));
    const failed = again.search([4, 1], { k: 9 });
    await expect(failed).rejects.toMatchObject({ code: "CORRUPT", details: { file } });
    const error = (await again.get("r4").catch((cause: unknown) => cause)) as HiveGpuError;
    expect(error.code).toBe("CORRUPT");
    expect(where - Number(error.details["offset"])).toBeLessThan(200);
    expect(await again.search([4, 1], { k: 9, select: [] })).toHaveLength(9);
    // Nobody knows whether the damaged record passes a filter.
    const filter = { missing: null };
    await expect(again.count(filter)).rejects.toMatchObject({ code: "CORRUPT" });
    await expect(again.search([4, 1], { filter })).rejects.toMatchObject({ code: "CORRUPT" });
    await again.delete({ ids: ["r4"] });
    expect(await again.count(filter)).toBe(8);
  });
});

/** Opens copies of a database with a damaged index in a process; prints one outcome a line. */
const prober = `
  import fs from "node:fs";
  import path from "node:path";
  import { openDatabase } from "hive-gpu";
  const [at, seedText, fromText, toText] = process.argv.slice(1);
  const file = path.join(at, "index", "data.mdb");
  const good = fs.readFileSync(path.join(at, "good.mdb"));
  const segments = fs.readdirSync(path.join(at, "segments"));
  const keep = new Map(segments.map((n) => [n, fs.readFileSync(path.join(at, "segments", n))]));
  function random(seed) {
    let x = seed >>> 0;
    return () => {
      x = (x + 0x6d2b79f5) >>> 0;
      let t = Math.imul(x ^ (x >>> 15), 1 | x);
      t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
      return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
    };
  }
  for (let i = Number(fromText); i < Number(toText); i++) {
    const next = random(Number(seedText) + i);
    let bad = Buffer.from(good);
    if (next() < 0.05) bad = bad.subarray(0, Math.floor(next() * good.length));
    else bad[Math.floor(next() * good.length)] ^= 1 << Math.floor(next() * 8);
    fs.rmSync(path.join(at, "index", "lock.mdb"), { force: true });
    fs.writeFileSync(file, bad);
    for (const [n, bytes] of keep) fs.writeFileSync(path.join(at, "segments", n), bytes);
    fs.writeSync(1, "start\\n");
    let outcome;
    try {
      const db = await openDatabase({ path: at });
      try {
        const names = await db.collections();
        if (!names.includes("test")) outcome = "wrong: no collection";
        else {
          const c = await db.collection("test", { metric: "dot", dimensions: 8 });
          const found = [];
          for await (const { id, vector, text, metadata } of c.scan({ select: ["vector", "text", "metadata"] })) {
            found.push([id, { vector: [...vector], text, metadata }]);
          }
          const wanted = fs.readFileSync(path.join(at, "wanted.json"), "utf8");
          outcome = JSON.stringify(found) === wanted ? "no effect" : "wrong: other records";
        }
      } finally {
        await db.close();
      }
    } catch (error) {
      outcome = error.code ?? "untyped: " + error;
    }
    fs.writeSync(1, outcome + "\\n");
  }
  process.exit(0);`;

function probe(at: string, from: number, to: number): Promise<string[]> {
  return new Promise((resolve) => {
    const args = [
      "--input-type=module",
      "--eval",
      prober,
      at,
      String(seed),
      String(from),
      String(to),
    ];
    const child = spawn(process.execPath, args, { cwd: root, stdio: ["ignore", "pipe", "ignore"] });
    let out = "";
    child.stdout.on("data", (data: Buffer) => {
      out += data.toString();
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 120_000);
    child.on("close", () => {
      clearTimeout(timer);
      resolve(out.split("\n").filter((line) => line !== ""));
    });
  });
}

describe.skipIf(forced)("a damaged index", () => {
  const name = `never gives a wrong answer: ${indexFlips} flips and truncations`;
  it(name, { timeout: 7_200_000 }, async () => {
    const at = folder();
    const all = await build(at);
    fs.writeFileSync(path.join(at, "wanted.json"), all);
    fs.copyFileSync(path.join(at, "index", "data.mdb"), path.join(at, "good.mdb"));
    const outcomes = new Map<string, number>();
    const add = (outcome: string): void => {
      outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    };
    let from = 0;
    while (from < indexFlips) {
      const lines = await probe(at, from, indexFlips);
      const finished = lines.filter((line) => line !== "start");
      for (const line of finished) add(line);
      from += finished.length;
      // The process went down, or hung, within LMDB.
      if (lines.at(-1) === "start") {
        add("process ended");
        from++;
      } else if (lines.length === 0) {
        throw new Error("the prober does not start");
      }
    }
    report(`index, seed ${seed}: ${JSON.stringify(Object.fromEntries(outcomes))}`);
    const wrong = [...outcomes.keys()].filter((one) => /^(wrong|untyped)/.test(one));
    expect(wrong, `seed ${seed}`).toEqual([]);
    expect(outcomes.get("no effect") ?? 0).toBeGreaterThan(0);
  });
});
