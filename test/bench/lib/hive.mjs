// Measurements of our own collection that have no counterpart in the peers.
import { openDatabase } from "hive-gpu";
import { latencies, longestGaps, now, quantile, round } from "./measure.mjs";

const us = (values, p) => round(quantile(values, p) * 1000);
const mid = (values) => round(quantile(values, 0.5));
const worst = (values) => round(Math.max(...values));

const gapRow = (what, gaps) => {
  const all = gaps.map((gap) => gap.all);
  const own = gaps.map((gap) => gap.own);
  return [`longest loop gap during ${what}, ms`, mid(all), worst(all), mid(own), worst(own)];
};

function rowsOf(n, dim) {
  const rows = new Float32Array(n * dim);
  let x = 1;
  for (let i = 0; i < rows.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    rows[i] = x / 2147483648 - 1;
  }
  return rows;
}

/** Runs `body` with a database of its own (Node 20 does not parse `await using`). */
async function withDatabase(body) {
  const db = await openDatabase();
  try {
    return await body(db);
  } finally {
    await db.close();
  }
}

/** Latency of one awaited search: back to back, and with the thread asleep for 2 ms between. */
export async function latencyTable(quick) {
  const dim = 128;
  const table = [];
  const measure = async (n, db) => {
    const collection = await db.collection("latency", { dimensions: dim });
    const metadatas = Array.from({ length: n }, (_, i) => ({ page: i }));
    await collection.upsert({ vectors: rowsOf(n, dim), dimensions: dim, metadatas });
    const queries = rowsOf(64, dim);
    const query = (i) => queries.subarray((i % 64) * dim, ((i % 64) + 1) * dim);
    const { path } = await collection.explain({ k: 10 });
    const loop = await latencies((i) => collection.search(query(i), { k: 10 }), {
      count: quick ? 2_000 : 20_000,
      maxMs: 5_000,
      warmup: 2_000,
    });
    const apart = await latencies((i) => collection.search(query(i), { k: 10 }), {
      count: quick ? 200 : 1_000,
      maxMs: 5_000,
      pauseMs: 2,
    });
    table.push([n, path, us(loop, 0.5), us(loop, 0.99), us(apart, 0.5), us(apart, 0.99)]);
  };
  for (const n of [1_000, 10_000, 100_000]) await withDatabase((db) => measure(n, db));
  return {
    header: ["rows", "path", "p50 us", "p99 us", "p50 us, 2 ms apart", "p99 us, 2 ms apart"],
    rows: table,
  };
}

export async function loadTable(quick) {
  const dim = 768;
  const n = quick ? 20_000 : 100_000;
  const rows = rowsOf(n, dim);
  const ids = Array.from({ length: n }, (_, i) => `row-${i}`);
  const gbps = [];
  const loadGaps = [];
  const searchGaps = [];
  const batchGaps = [];
  const measure = async (db) => {
    const collection = await db.collection("load", { dimensions: dim });
    const start = now();
    await collection.upsert({ ids, vectors: rows, dimensions: dim });
    gbps.push((n * dim * 4) / (now() - start) / 1e6);
    const other = await db.collection("load-gap", { dimensions: dim });
    loadGaps.push(await longestGaps(() => other.upsert({ ids, vectors: rows, dimensions: dim })));
    const query = rows.subarray(0, dim);
    searchGaps.push(await longestGaps(() => collection.search(query, { k: 10 })));
    const many = rows.subarray(0, 1000 * dim);
    batchGaps.push(await longestGaps(() => collection.searchMany(many, { k: 10 })));
  };
  for (let i = 0; i < (quick ? 2 : 5); i++) await withDatabase(measure);
  return {
    header: ["what", "median", "worst", "median without GC pauses", "worst without"],
    rows: [
      [`load ${n} x ${dim} f32, GB/s`, mid(gbps), round(Math.min(...gbps)), "-", "-"],
      gapRow("that upsert", loadGaps),
      gapRow("one search", searchGaps),
      gapRow("searchMany of 1000, hits", batchGaps),
    ],
  };
}
