// Figures of durable storage, each beside its bound measured in the same run.
//   node test/bench/storage.mjs [--records 100000] [--dir <folder>] [--quick]
// Records: 1 KB of text and metadata and 768 f32. Prints Markdown tables.
import fs from "node:fs";
import { createRequire } from "node:module";
import os from "node:os";
import path from "node:path";
import { Command } from "commander";
import { openDatabase } from "hive-gpu";
import { markdown } from "./lib/table.mjs";

const options = new Command()
  .option("--records <n>", "records", "100000")
  .option("--dir <folder>", "where the database is made", os.tmpdir())
  .option("--quick", "a tenth of everything")
  .parse()
  .opts();

const scale = options.quick ? 0.1 : 1;
const count = Math.round(Number(options.records) * scale);
const dimensions = 768;
const batch = 1000;
const folder = fs.mkdtempSync(path.join(options.dir, "hive-gpu-storage-"));
const rows = [];
const add = (what, value, bound, share) => rows.push([what, value, bound ?? "-", share ?? "-"]);
const number = (x) => Math.round(x).toLocaleString("en");
const percent = (x) => `${Math.round(x * 100)} %`;

/** Longest time that the event loop did not turn while `work` ran, in ms. */
async function gapDuring(work) {
  let last = performance.now();
  let longest = 0;
  let running = true;
  const tick = () => {
    const now = performance.now();
    longest = Math.max(longest, now - last);
    last = now;
    if (running) setImmediate(tick);
  };
  setImmediate(tick);
  const value = await work();
  running = false;
  longest = Math.max(longest, performance.now() - last);
  return { value, longest };
}

function noise(length, seed) {
  const out = new Float32Array(length);
  let x = seed >>> 0;
  for (let i = 0; i < length; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    out[i] = x / 2_147_483_648 - 1;
  }
  return out;
}

const words = "durable vector store search record index segment metric score filter row ".split(
  " ",
);
function textOf(i) {
  let text = `record ${i} `;
  for (let j = i; text.length < 940; j = (j * 31 + 7) % 10_007)
    text += `${words[j % words.length]} `;
  return text;
}
const metadataOf = (i) => ({ n: i, section: words[i % 11], even: i % 2 === 0 });

/** Appends and syncs blocks of a file: what a disk gives at most. Returns seconds per block. */
function syncedAppends(bytes, times) {
  const file = path.join(folder, "floor");
  const fd = fs.openSync(file, "w");
  const block = Buffer.alloc(bytes, 7);
  const start = performance.now();
  for (let i = 0; i < times; i++) {
    fs.writeSync(fd, block);
    fs.fdatasyncSync(fd);
  }
  const seconds = (performance.now() - start) / 1000 / times;
  fs.closeSync(fd);
  fs.rmSync(file);
  return seconds;
}

/** Seconds of one commit of LMDB alone, as the manifest makes it. */
async function lmdbCommits(times) {
  const require = createRequire(import.meta.url);
  const { open } = require("lmdb");
  const root = open({
    path: path.join(folder, "floor-index"),
    noSubdir: false,
    pageSize: 8192,
    encoding: "binary",
    overlappingSync: false,
  });
  const value = Buffer.alloc(300, 7);
  const start = performance.now();
  for (let i = 0; i < times; i++) {
    value.writeUInt32LE(i);
    void root.put("collection/00000001", value);
    await root.put("database", value);
  }
  const seconds = (performance.now() - start) / 1000 / times;
  await root.close();
  return seconds;
}

const payload = { bytes: 0 };
function columns(from, size, vectors) {
  const ids = [];
  const texts = [];
  const metadatas = [];
  for (let i = from; i < from + size; i++) {
    ids.push(`record-${i}`);
    texts.push(textOf(i));
    metadatas.push(metadataOf(i));
    payload.bytes +=
      ids.at(-1).length +
      texts.at(-1).length +
      JSON.stringify(metadatas.at(-1)).length +
      dimensions * 4;
  }
  return { ids, vectors, texts, metadatas };
}

async function writes(db) {
  const collection = await db.collection("bulk", { dimensions });
  const recordBytes = 4100;
  let seconds = 0;
  const gaps = [];
  const floors = [syncedAppends(recordBytes * batch, 20)];
  for (let from = 0; from < count; from += batch) {
    // Made outside the clock: the caller's work.
    const input = columns(from, batch, noise(batch * dimensions, from));
    const start = performance.now();
    const { longest } = await gapDuring(() => collection.upsert(input));
    seconds += (performance.now() - start) / 1000;
    gaps.push(longest);
  }
  floors.push(syncedAppends(recordBytes * batch, 20));
  const bound = batch / Math.min(...floors);
  const rate = count / seconds;
  add(
    "batches of 1000, records/s",
    number(rate),
    `${number(bound)} (append + sync)`,
    percent(rate / bound),
  );
  gaps.sort((a, b) => a - b);
  add(
    "longest loop gap in these, ms (median of batches, worst)",
    `${gaps[gaps.length >> 1].toFixed(1)}, ${gaps.at(-1).toFixed(1)}`,
  );
  return collection;
}

async function singles(db) {
  const collection = await db.collection("single", { dimensions });
  const times = Math.round(2000 * scale);
  const vectors = noise(dimensions * 64, 1);
  const one = (i) => ({
    id: `single-${i}`,
    vector: vectors.subarray((i % 64) * dimensions, ((i % 64) + 1) * dimensions),
    text: textOf(i),
    metadata: metadataOf(i),
  });
  await collection.upsert([one(0)]);
  const file = syncedAppends(4160, times);
  const index = await lmdbCommits(times);
  const start = performance.now();
  for (let i = 0; i < times; i++) await collection.upsert([one(i)]);
  const rate = times / ((performance.now() - start) / 1000);
  const file2 = syncedAppends(4160, times);
  const index2 = await lmdbCommits(times);
  const bound = 1 / (Math.min(file, file2) + Math.min(index, index2));
  add(
    "one at a time, records/s",
    number(rate),
    `${number(bound)} (its two syncs)`,
    percent(rate / bound),
  );

  const rounds = Math.round(40 * scale) + 2;
  let elapsed = 0;
  let worst = 0;
  for (let round = 0; round < rounds; round++) {
    const inputs = Array.from({ length: 256 }, (_, i) => one(round * 256 + i + times));
    const begin = performance.now();
    const { longest } = await gapDuring(() =>
      Promise.all(inputs.map((input) => collection.upsert([input]))),
    );
    if (round >= 2) {
      elapsed += performance.now() - begin;
      worst = Math.max(worst, longest);
    }
  }
  const together = (256 * (rounds - 2)) / (elapsed / 1000);
  add("256 callers at once, records/s", number(together));
  add("longest loop gap in these, ms", worst.toFixed(1));
}

const median = (values) => values.toSorted((a, b) => a - b)[values.length >> 1];

async function scanTime(collection) {
  const times = [];
  const query = noise(dimensions, 42);
  for (let i = 0; i < 41; i++) {
    const start = performance.now();
    await collection.search(query, { k: 10, select: [] });
    times.push(performance.now() - start);
  }
  return median(times);
}

/** GB/s at which the machine hands out memory that the process did not have before. */
function freshMemory(bytes) {
  const start = performance.now();
  const memory = new Uint8Array(bytes);
  for (let i = 0; i < bytes; i += 4096) memory[i] = 1;
  return bytes / 1e6 / (performance.now() - start);
}

async function reading(at) {
  const fresh = freshMemory(Math.min(count * dimensions * 4, 1 << 29));
  const start = performance.now();
  const opened = await gapDuring(() => openDatabase({ path: at }));
  const openMs = performance.now() - start;
  const db = opened.value;
  const loadStart = performance.now();
  const loaded = await gapDuring(() => db.collection("bulk"));
  const loadMs = performance.now() - loadStart;
  const collection = loaded.value;
  const total = openMs + loadMs;
  add("open and load, ms", `${openMs.toFixed(1)} + ${loadMs.toFixed(0)}`);
  add("the same for a million rows, s", ((total / count) * 1000).toFixed(2));
  const loadRate = (count * dimensions * 4) / 1e6 / loadMs;
  add(
    "vectors to the engine, GB/s",
    loadRate.toFixed(2),
    `${fresh.toFixed(2)} (fresh memory, one thread)`,
    percent(loadRate / fresh),
  );
  add(
    "longest loop gap of open, of load, ms",
    `${opened.longest.toFixed(1)}, ${loaded.longest.toFixed(1)}`,
  );

  const memory = await openDatabase();
  const copy = await memory.collection("bulk", { dimensions });
  for (let from = 0; from < count; from += batch) {
    await copy.upsert({ vectors: noise(batch * dimensions, from) });
  }
  const rounds = [0, 1, 2].map(() => [collection, copy]);
  const best = new Map();
  for (const pair of rounds) {
    for (const one of pair) {
      const ms = await scanTime(one);
      best.set(one, Math.min(ms, best.get(one) ?? Infinity));
    }
  }
  const durableMs = best.get(collection);
  const memoryMs = best.get(copy);
  add(
    "scan, ms",
    durableMs.toFixed(2),
    `${memoryMs.toFixed(2)} (in memory)`,
    percent(memoryMs / durableMs),
  );
  await memory.close();

  const ids = Array.from({ length: 1000 }, (_, i) => `record-${(i * 7919) % count}`);
  const fetches = [];
  for (let i = 0; i < 11; i++) {
    const begin = performance.now();
    await collection.get(ids);
    fetches.push(((performance.now() - begin) * 1000) / ids.length);
  }
  add("text and metadata of a record, µs", median(fetches).toFixed(1));
  await db.close();
}

function sizeOf(at) {
  let bytes = 0;
  for (const entry of fs.readdirSync(at, { withFileTypes: true })) {
    const file = path.join(at, entry.name);
    bytes += entry.isDirectory() ? sizeOf(file) : fs.statSync(file).size;
  }
  return bytes;
}

try {
  const at = path.join(folder, "db");
  const db = await openDatabase({ path: at });
  await writes(db);
  const size = sizeOf(at);
  add("size on disk ÷ payload", (size / payload.bytes).toFixed(3));
  await singles(db);
  await db.drop("single");
  await db.close();
  await reading(at);
  const cpu = os.cpus()[0]?.model ?? "unknown";
  console.log(
    `Machine: ${cpu}, ${os.availableParallelism()} threads, Node ${process.version}, ` +
      `${new Date().toISOString().slice(0, 10)}; ${number(count)} records.\n`,
  );
  console.log(markdown(["figure", "measured", "bound", "reached"], rows));
} finally {
  fs.rmSync(folder, { recursive: true, force: true });
}
