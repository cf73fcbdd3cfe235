// End-to-end measurements of a GPU backend from JavaScript, as tables in Markdown.
//   node test/bench/gpu/run.mjs [--device cuda] [--only latency,batch,agree,budget,writes,leak]
import { execFileSync } from "node:child_process";
import { parseArgs } from "node:util";
import { openDatabase } from "hive-gpu";

const { values: options } = parseArgs({
  options: {
    device: { type: "string", default: "cuda" },
    only: { type: "string", default: "latency,batch,agree,budget,writes,leak" },
    rows: { type: "string", default: "1000000" },
  },
});
const chosen = new Set(options.only.split(","));
const million = Number(options.rows);

const now = () => performance.now();
const quantile = (values, p) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * p))];
};
const round = (x) => Math.round(x * 100) / 100;

/** Rows around 1000 centres, the same for the same seed. */
function makeRows(n, dim, seed) {
  let state = seed >>> 0;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2147483648 - 1;
  };
  const centres = new Float32Array(1000 * dim);
  let fixed = 12345;
  for (let i = 0; i < centres.length; i++) {
    fixed = (Math.imul(fixed, 1664525) + 1013904223) >>> 0;
    centres[i] = fixed / 2147483648 - 1;
  }
  const rows = new Float32Array(n * dim);
  for (let r = 0; r < n; r++) {
    const centre = Math.floor(((random() + 1) / 2) * 1000) * dim;
    for (let i = 0; i < dim; i++) rows[r * dim + i] = centres[centre + i] + 0.8 * random();
  }
  return rows;
}

function table(title, header, rows) {
  console.log(`\n## ${title}\n\n| ${header.join(" | ")} |\n|${header.map(() => "---|").join("")}`);
  for (const row of rows) console.log(`| ${row.join(" | ")} |`);
}

async function load(db, name, rows, dim, extra = {}) {
  const { named = false, ...rest } = extra;
  const collection = await db.collection(name, { dimensions: dim, ...rest });
  const step = Math.floor((256 << 20) / (dim * 4));
  const n = rows.length / dim;
  for (let first = 0; first < n; first += step) {
    const part = rows.subarray(first * dim, Math.min(n, first + step) * dim);
    const ids = named
      ? { ids: Array.from({ length: part.length / dim }, (_, i) => `r${first + i}`) }
      : {};
    await collection.upsert({ ...ids, vectors: part, dimensions: dim });
  }
  return collection;
}

async function withDevice(device, more, body) {
  const db = await openDatabase({ device, ...more });
  try {
    return await body(db);
  } finally {
    await db.close();
  }
}

async function times(count, warmup, run) {
  const out = [];
  for (let i = 0; i < count + warmup; i++) {
    const start = now();
    await run(i);
    if (i >= warmup) out.push(now() - start);
  }
  return out;
}

async function latency() {
  const dim = 128;
  const lines = [];
  for (const n of [1_000, 10_000, 100_000, 1_000_000]) {
    await withDevice(options.device, {}, async (db) => {
      const rows = makeRows(n, dim, 7);
      const collection = await load(db, "latency", rows, dim);
      const queries = makeRows(64, dim, 99);
      const query = (i) => queries.subarray((i % 64) * dim, ((i % 64) + 1) * dim);
      const t = await times(2000, 500, (i) => collection.search(query(i), { k: 10 }));
      lines.push([n, round(quantile(t, 0.5) * 1000), round(quantile(t, 0.99) * 1000)]);
    });
  }
  table("One query, d = 128, k = 10", ["rows", "p50 µs", "p99 µs"], lines);
}

async function batch() {
  const lines = [];
  const sets = [
    [million, 128, "f32"],
    [million, 768, "f32"],
    [million, 768, "f16"],
  ];
  for (const [n, dim, dtype] of sets) {
    const rows = makeRows(n, dim, 7);
    await withDevice(options.device, {}, async (db) => {
      const start = now();
      const collection = await load(db, "batch", rows, dim, { dtype });
      const loaded = now() - start;
      const queries = makeRows(1000, dim, 99);
      const first = now();
      await collection.search(queries.subarray(0, dim), { k: 10 });
      const line = [`${n} x ${dim} ${dtype}`, round(loaded), round(now() - first)];
      for (const count of [1, 10, 100, 1000]) {
        const many = queries.subarray(0, count * dim);
        const t = await times(count === 1000 ? 10 : 50, 5, () =>
          count === 1 ? collection.search(many, { k: 10 }) : collection.searchMany(many, { k: 10 }),
        );
        line.push(round(quantile(t, 0.5)));
      }
      lines.push(line);
    });
  }
  table(
    "Batches end to end, ms",
    ["data", "load into the store", "first search (upload)", "1", "10", "100", "1000"],
    lines,
  );
}

const sameHits = (a, b) => a.every((hit, i) => hit.id === b[i].id && hit.score === b[i].score);

/** The same records on several devices: ids and scores have to be equal. */
async function agree() {
  const dim = 96;
  const n = 200_000;
  const rows = makeRows(n, dim, 3);
  const ids = Array.from({ length: n }, (_, i) => `r${i}`);
  const queries = makeRows(40, dim, 5);
  const answers = new Map();
  for (const device of ["cpu", options.device]) {
    for (const metric of ["cosine", "dot", "l2", "l1", "linf"]) {
      await withDevice(device, {}, async (db) => {
        const collection = await db.collection("agree", { dimensions: dim, metric });
        await collection.upsert({ ids, vectors: rows, dimensions: dim });
        await collection.delete({ ids: ids.filter((_, i) => i % 7 === 0) });
        const hits = [await collection.search(queries.subarray(0, dim), { k: 20 })];
        hits.push(...(await collection.searchMany(queries, { k: 20 })));
        answers.set(`${device} ${metric}`, hits);
      });
    }
  }
  const lines = ["cosine", "dot", "l2", "l1", "linf"].map((metric) => {
    const want = answers.get(`cpu ${metric}`);
    const got = answers.get(`${options.device} ${metric}`);
    const wrong = want.filter(
      (hits, i) => hits.length !== got[i].length || !sameHits(hits, got[i]),
    );
    return [metric, want.length, wrong.length];
  });
  table(
    `cpu and ${options.device}, 200 000 × 96, a seventh deleted, k = 20`,
    ["metric", "queries", "answers that differ"],
    lines,
  );
}

/** Half the memory that is needed: the same answers, streamed. */
async function budget() {
  const dim = 768;
  const rows = makeRows(million, dim, 11);
  const bytes = rows.byteLength;
  const queries = makeRows(16, dim, 99);
  const lines = [];
  let want;
  for (const share of [2, 0.5]) {
    await withDevice(
      options.device,
      { memoryBudgetBytes: Math.floor(bytes * share) },
      async (db) => {
        const collection = await load(db, "budget", rows, dim, { named: true });
        const hits = await collection.searchMany(queries, { k: 10 });
        want ??= hits;
        const equal = hits.every((list, i) => sameHits(list, want[i]));
        const t = await times(4, 1, () => collection.search(queries.subarray(0, dim), { k: 10 }));
        const ms = quantile(t, 0.5);
        const streamed = share >= 1 ? "-" : round((bytes * (1 - share * 0.75)) / ms / 1e6);
        lines.push([`${share * 100} %`, equal ? "equal" : "DIFFERENT", round(ms), streamed]);
      },
    );
  }
  table(
    `Memory budget of a share of ${round(bytes / 1e9)} GB`,
    ["budget", "answers", "one query, ms", "streamed, GB/s"],
    lines,
  );
}

async function finish(written, state) {
  await written;
  state.writing = false;
}

/** Upserts of 10 000 records while searches run one after another. */
async function writes() {
  const dim = 128;
  await withDevice(options.device, {}, async (db) => {
    const collection = await load(db, "writes", makeRows(million, dim, 7), dim);
    const queries = makeRows(64, dim, 99);
    const query = (i) => queries.subarray((i % 64) * dim, ((i % 64) + 1) * dim);
    const quiet = await times(300, 50, (i) => collection.search(query(i), { k: 10 }));
    const more = makeRows(10_000, dim, 21);
    const ids = Array.from({ length: 10_000 }, (_, i) => `w${i}`);
    const busy = [];
    for (let turn = 0; turn < 5; turn++) {
      const state = { writing: true };
      const search = (i) => collection.search(query(i), { k: 10 });
      const written = collection.upsert({ ids, vectors: more, dimensions: dim });
      const done = finish(written, state);
      for (let i = 0; state.writing; i++) busy.push(...(await times(1, 0, () => search(i))));
      await done;
      busy.push(...(await times(3, 0, search)));
    }
    table(
      "Searches while 10 000 records are upserted, ms",
      ["", "searches", "median", "p99", "worst"],
      [
        ["quiet", quiet.length, ...[0.5, 0.99, 1].map((p) => round(quantile(quiet, p)))],
        ["while writing", busy.length, ...[0.5, 0.99, 1].map((p) => round(quantile(busy, p)))],
      ],
    );
  });
}

function usedMiB() {
  try {
    const text = execFileSync("nvidia-smi", [
      "--query-gpu=memory.used",
      "--format=csv,noheader,nounits",
    ]);
    return Number(String(text).trim().split("\n")[0]);
  } catch {
    return NaN;
  }
}

const settle = () => new Promise((resolve) => setTimeout(resolve, 1500));

/** Memory of the card before, with and after ten databases. */
async function leak() {
  await settle();
  const before = usedMiB();
  let during = 0;
  for (let i = 0; i < 10; i++) {
    await withDevice(options.device, {}, async (db) => {
      const collection = await load(db, "leak", makeRows(200_000, 128, i + 1), 128);
      await collection.search(new Float32Array(128).fill(0.5), { k: 10 });
      during = usedMiB();
    });
  }
  await settle();
  table(
    "Memory of the card, MiB",
    ["before", "with a database open", "after closing ten"],
    [[before, during, usedMiB()]],
  );
}

const all = { latency, batch, agree, budget, writes, leak };
for (const [name, run] of Object.entries(all)) {
  if (!chosen.has(name)) continue;
  try {
    await run();
  } catch (error) {
    console.log(`\n${name} FAILED: ${error.stack}`);
    process.exitCode = 1;
  }
}
