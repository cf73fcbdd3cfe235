// Drives the addon hard enough for a sanitizer to see its threads: searches while rows come and go,
// aborts, detached and shared buffers, worker_threads that are terminated in mid-search.
// Needs the built package; HIVE_GPU_ADDON names the instrumented addon.
import assert from "node:assert/strict";
import { Worker, isMainThread, parentPort, threadId } from "node:worker_threads";
import { openDatabase } from "hive-gpu";

const DIM = 96;

function rows(count, seed) {
  const out = new Float32Array(count * DIM);
  let x = seed + 1;
  for (let i = 0; i < out.length; i++) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    out[i] = x / 2147483648 - 1;
  }
  return out;
}
const ids = (count, from = 0) => Array.from({ length: count }, (_, i) => `r${from + i}`);

async function searchesWhileWriting(device, dtype) {
  const db = await openDatabase(device ? { device } : {});
  const c = await db.collection("c", { dimensions: DIM, dtype });
  await c.upsert({ ids: ids(4000), vectors: rows(4000, 1), dimensions: DIM });
  const queries = rows(8, 7);
  const query = (i) => queries.subarray((i % 8) * DIM, ((i % 8) + 1) * DIM);
  const readers = Array.from({ length: 6 }, async (_, r) => {
    for (let i = 0; i < 25; i++) {
      const hits = await c.search(query(r + i), { k: 10 });
      assert.equal(hits.length, 10);
      for (let h = 1; h < hits.length; h++) assert.ok(hits[h - 1].score >= hits[h].score);
    }
  });
  const writer = (async () => {
    for (let i = 0; i < 12; i++) {
      await c.upsert({ ids: ids(500, i * 200), vectors: rows(500, 100 + i), dimensions: DIM });
      await c.delete({ ids: ids(100, i * 150) });
    }
  })();
  const many = c.searchMany(rows(200, 9), { k: 20, output: "arrays" });
  await Promise.all([...readers, writer, many]);
  await db.close();
}

async function aborts() {
  const db = await openDatabase();
  const c = await db.collection("c", { dimensions: DIM });
  await c.upsert({ vectors: rows(20000, 3), dimensions: DIM });
  const outcomes = await Promise.allSettled(
    Array.from({ length: 40 }, (_, i) => {
      const controller = new AbortController();
      if (i % 3 === 0) controller.abort();
      else if (i % 3 === 1) setImmediate(() => controller.abort());
      return c.search(rows(1, i), { k: 5, signal: controller.signal });
    }),
  );
  for (const o of outcomes) assert.ok(o.status === "fulfilled" || o.reason.code === "ABORTED");
  await db.close();
}

async function hostileBuffers() {
  const db = await openDatabase();
  const c = await db.collection("c", { dimensions: DIM });
  await c.upsert({ vectors: rows(3000, 5), dimensions: DIM });
  const shared = new Float32Array(new SharedArrayBuffer(DIM * 4));
  shared.set(rows(1, 11));
  const pending = c.search(shared, { k: 3 });
  shared.fill(NaN);
  await pending;
  const big = rows(20000, 12);
  const load = c.upsert({ vectors: big, dimensions: DIM });
  await new Promise((resolve) => setImmediate(resolve));
  structuredClone(big.buffer, { transfer: [big.buffer] });
  await load.catch((error) => assert.equal(error.code, "DETACHED"));
  await db.close();
}

async function terminatedWorkers() {
  for (let i = 0; i < 6; i++) {
    const worker = new Worker(new URL(import.meta.url));
    await new Promise((resolve) => worker.once("message", resolve));
    await new Promise((resolve) => setTimeout(resolve, i * 3));
    await worker.terminate();
  }
}

/** In a worker: searches until it is terminated. */
async function searchForever() {
  const db = await openDatabase();
  const c = await db.collection("w", { dimensions: DIM });
  await c.upsert({ vectors: rows(20000, threadId), dimensions: DIM });
  // A MessagePort, not a window: it has no target origin.
  // oxlint-disable-next-line unicorn/require-post-message-target-origin
  parentPort.postMessage("ready");
  for (;;) {
    const searches = Array.from({ length: 4 }, (_, i) => c.search(rows(1, i), { k: 10 }));
    const load = c.upsert({ vectors: rows(2000, 77), dimensions: DIM });
    await Promise.all([...searches, load]);
  }
}

if (isMainThread) {
  for (const dtype of ["f32", "f16", "bf16", "i8"]) await searchesWhileWriting(undefined, dtype);
  await aborts();
  await hostileBuffers();
  await terminatedWorkers();
  console.log("stress: no findings");
} else {
  await searchForever();
}
