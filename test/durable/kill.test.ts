/**
 * kill -9 at random moments: nothing acknowledged is lost, nothing else is there, no batch is torn,
 * and the database always opens. HIVE_TEST_KILLS sets how many (500 by hand and before a release).
 */
import { spawn } from "node:child_process";
import path from "node:path";
import { describe, expect, it } from "vitest";
import {
  type Plain,
  contents,
  expectContents,
  folder,
  openAt,
  random,
  report,
  root,
} from "./helpers.js";
import { forced } from "../unit/helpers.js";
import { Model } from "./operations.mjs";

const kills = Number(process.env["HIVE_TEST_KILLS"] ?? 60);
const lanes = 3;
const writer = path.join(root, "test", "durable", "writer.mjs");

/** Runs the writer, kills it after `ms` of writing, and returns the last acknowledged operation. */
function runAndKill(at: string, first: number, ms: number): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [writer, at, String(first), "100000"], { cwd: root });
    let out = "";
    let err = "";
    child.stdout.on("data", (data: Buffer) => {
      if (out === "") setTimeout(() => child.kill("SIGKILL"), ms);
      out += data.toString();
    });
    child.stderr.on("data", (data: Buffer) => {
      err += data.toString();
    });
    child.on("close", (_code, signal) => {
      if (signal !== "SIGKILL") return reject(new Error(`the writer ended by itself: ${err}`));
      // The last line may be cut.
      const acknowledged = out.split("\n").slice(1, -1);
      return resolve(acknowledged.length === 0 ? first - 1 : Number(acknowledged.at(-1)));
    });
  });
}

async function lane(seed: number, count: number): Promise<{ acknowledged: number; more: number }> {
  const at = folder();
  const next = random(seed);
  let model = new Model();
  let more = 0;
  for (let i = 0; i < count; i++) {
    const last = await runAndKill(at, model.count, next() * 60);
    model.advance(last + 1);
    const db = await openAt(at);
    const collection = await db.collection("test", { metric: "dot", dimensions: 8 });
    // The operation under way may have happened as a whole.
    const after = model.clone().step();
    const found = await contents(collection);
    if (JSON.stringify(found) !== JSON.stringify([...model.records].map(shape))) {
      model = after;
      more++;
    }
    await expectContents(collection, model.records);
    await db.close();
  }
  return { acknowledged: model.count, more };
}

const shape = ([id, { vector, text, metadata }]: [string, Plain]) => [
  id,
  { vector, text, metadata },
];

describe.skipIf(forced)("kill -9", () => {
  it(`loses nothing that was acknowledged, ${kills} times`, { timeout: 1_800_000 }, async () => {
    const perLane = Math.ceil(kills / lanes);
    const seeds = Array.from({ length: lanes }, (_, i) => 1000 + i);
    const done = await Promise.all(seeds.map((seed) => lane(seed, perLane)));
    const acknowledged = done.reduce((sum, one) => sum + one.acknowledged, 0);
    const more = done.reduce((sum, one) => sum + one.more, 0);
    report(
      `${perLane * lanes} kills, ${acknowledged} operations, ${more} times the one under way was ` +
        `kept; seeds ${seeds.join(", ")}`,
    );
    expect(acknowledged).toBeGreaterThan(kills);
  });
});
