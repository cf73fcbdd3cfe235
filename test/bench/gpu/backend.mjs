// A GPU backend from JavaScript: first that it answers like the CPU, then how long a search takes.
//   node test/bench/gpu/backend.mjs <backend> [--rows 1000000] [--dims 128,768] [--stream]
// Prints one table. --stream: once more with a memory budget of half the rows.
import { createRequire } from "node:module";
import { performance } from "node:perf_hooks";
import { parseArgs } from "node:util";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    rows: { type: "string", default: "1000000" },
    dims: { type: "string", default: "128,768" },
    stream: { type: "boolean", default: false },
    engine: { type: "string", default: "hive-gpu" },
  },
});
const [backend] = positionals;
const rows = Number(values.rows);
const { openDatabase } = createRequire(import.meta.url)(values.engine);
const sliceRows = 20_000;

function fill(out, seed) {
  let state = seed >>> 0 || 1;
  for (let i = 0; i < out.length; i++) {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    out[i] = (state >>> 8) / 2 ** 23 - 1;
  }
  return out;
}

async function load(device, dimensions, memoryBudgetBytes) {
  const db = await openDatabase({ device, ...(memoryBudgetBytes ? { memoryBudgetBytes } : {}) });
  const collection = await db.collection("bench", { dimensions, metric: "cosine" });
  const slice = new Float32Array(sliceRows * dimensions);
  for (let first = 0; first < rows; first += sliceRows) {
    const count = Math.min(sliceRows, rows - first);
    fill(slice, first + 1);
    // eslint-disable-next-line no-await-in-loop -- one slice of memory is reused
    await collection.upsert({
      ids: Array.from({ length: count }, (_, i) => `r${first + i}`),
      vectors: slice.slice(0, count * dimensions),
      dimensions,
    });
  }
  return { db, collection };
}

function median(list) {
  return list.toSorted((a, b) => a - b)[Math.floor(list.length / 2)];
}

async function timed(times, body) {
  const out = [];
  for (let i = 0; i < times; i++) {
    const start = performance.now();
    // eslint-disable-next-line no-await-in-loop -- one after the other is what is measured
    await body(i);
    out.push(performance.now() - start);
  }
  return out;
}

function report(name, times, note = "") {
  const sorted = times.toSorted((a, b) => a - b);
  const at = (share) => sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))];
  console.log(
    `${name.padEnd(44)} p50 ${median(times).toFixed(3)} ms  best ${sorted[0].toFixed(3)}  ` +
      `p99 ${at(0.99).toFixed(3)}  ${note}`,
  );
}

async function check(gpu, cpu, dimensions, name) {
  for (let q = 0; q < 3; q++) {
    const query = fill(new Float32Array(dimensions), 77 + q);
    // eslint-disable-next-line no-await-in-loop
    const [a, b] = [await gpu.search(query, { k: 10 }), await cpu.search(query, { k: 10 })];
    for (let i = 0; i < 10; i++) {
      if (a[i].id !== b[i].id || Math.abs(a[i].score - b[i].score) > 1e-5) {
        throw new Error(
          `${name}: hit ${i} is ${a[i].id} ${a[i].score}, CPU: ${b[i].id} ${b[i].score}`,
        );
      }
    }
  }
}

for (const dimensions of values.dims.split(",").map(Number)) {
  const bytes = rows * dimensions * 4;
  const cpu = await load("cpu", dimensions);
  const gpu = await load(backend, dimensions);
  const name = `${rows} x ${dimensions}`;
  console.log(`${gpu.db.device.name}, ${gpu.db.device.driver}, node ${process.version}`);
  await check(gpu.collection, cpu.collection, dimensions, name);
  const query = fill(new Float32Array(dimensions), 5);
  // Cards need a while to leave their idle clocks.
  for (const until = performance.now() + 800; performance.now() < until;) {
    // eslint-disable-next-line no-await-in-loop
    await gpu.collection.search(query, { k: 10 });
  }
  report(`${name}, one query`, await timed(300, () => gpu.collection.search(query, { k: 10 })));
  const hundred = fill(new Float32Array(100 * dimensions), 6);
  const many = () => gpu.collection.searchMany(hundred, { k: 10 });
  await timed(3, many);
  report(`${name}, 100 queries`, await timed(30, many));
  await gpu.db.close();
  if (values.stream) {
    const half = await load(backend, dimensions, Math.floor(bytes / 2));
    await check(half.collection, cpu.collection, dimensions, `${name}, half the memory`);
    const before = half.db.device.memory();
    const times = await timed(12, () => half.collection.search(query, { k: 10 }));
    const { residentBytes, budgetBytes, evictions } = half.db.device.memory();
    const streamed =
      ((evictions - before.evictions) / 12) * (bytes / rows) * segmentRows(dimensions, budgetBytes);
    const rate = streamed / median(times) / 1e6;
    report(
      `${name}, one query, half the memory`,
      times,
      `budget ${budgetBytes}, resident ${residentBytes}, about ${rate.toFixed(1)} GB/s streamed`,
    );
    await half.db.close();
  }
  await cpu.db.close();
}

// Rows of a segment (native/core/collection.cpp): the greatest power of two that fits.
function segmentRows(dimensions, budget) {
  const most = Math.min(64 * 2 ** 20, budget / 8);
  let capacity = 1024;
  while (capacity < 262144 && capacity * 2 * dimensions * 4 <= most) capacity *= 2;
  return capacity;
}
