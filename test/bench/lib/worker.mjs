// Measures one subject on one set in a process of its own; sends one JSON object to the parent.
import { openSet } from "./data.mjs";
import { latencies, longestGap, now, quantile, round } from "./measure.mjs";

const task = JSON.parse(process.argv[2]);
const K = 10;

async function measure() {
  const { default: subject } = await import(`../subjects/${task.subject}.mjs`);
  const set = openSet(task.set, task.data);
  const { n, dim } = set;
  const query = (i) => {
    const q = i % set.queries;
    return set.queryData.subarray(q * dim, (q + 1) * dim);
  };
  const rss = process.memoryUsage().rss;
  const store = await subject.create({ n, dim });
  const rows = set.rows();
  const start = now();
  await store.load(rows, n);
  const loadMs = now() - start;

  const answers = await store.search(query(0), K);
  const correct = (ids, q) => ids.filter((id) => set.right[q].includes(id)).length;
  let hits = 0;
  for (let q = 0; q < set.right.length; q++) hits += correct(await store.search(query(q), K), q);

  const cpu = process.cpuUsage();
  const times = await latencies((i) => store.search(query(i), K), {
    count: task.quick ? 100 : 1000,
    maxMs: task.quick ? 3000 : 12000,
  });
  const used = process.cpuUsage(cpu);
  const gaps = [];
  for (let i = 0; i < 5; i++) gaps.push(await longestGap(async () => store.search(query(i), K)));

  const result = {
    name: subject.name,
    loadSeconds: round(loadMs / 1000),
    loadGBps: round((n * dim * 4) / loadMs / 1e6),
    p50: round(quantile(times, 0.5)),
    p99: round(quantile(times, 0.99)),
    best: round(quantile(times, 0.02)),
    cpuMs: round((used.user + used.system) / 1000 / (times.length + 5)),
    recall: round(hits / (set.right.length * K)),
    gapMs: round(quantile(gaps, 0.5)),
    rssMB: round((process.memoryUsage().rss - rss) / 1e6),
    hits: answers.length,
  };
  if (store.batch) {
    const count = Math.min(set.queries, store.batchMax ?? set.queries);
    const block = set.queryData.subarray(0, count * dim);
    const seconds = [];
    let got;
    for (let i = 0; i < 5; i++) {
      const t = now();
      got = await store.batch(block, count, K);
      seconds.push((now() - t) / 1000);
    }
    let right = 0;
    const checked = Math.min(count, set.right.length);
    for (let q = 0; q < checked; q++) right += correct(got(q), q);
    result.batchQueries = count;
    result.batchQps = round(count / quantile(seconds, 0.5));
    result.batchRecall = round(right / (checked * K));
  }
  await store.close();
  return result;
}

try {
  process.send({ ok: true, ...(await measure()) });
} catch (error) {
  const missing = error.code === "PEER_MISSING";
  process.send({ ok: false, missing, error: String(error?.message ?? error).slice(0, 300) });
}
process.disconnect();
