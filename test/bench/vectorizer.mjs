// The hive-vectorizer bridge: mirror import, mirrored search, import and export of files.
//   node test/bench/vectorizer.mjs [--points 40000] [--dimensions 512] [--rounds 3]
import { fork } from "node:child_process";
import os from "node:os";
import { parseArgs } from "node:util";
import { openDatabase } from "hive-gpu";
import { VectorizerClient, VectorizerMirror } from "hive-gpu/vectorizer";
import { quantile } from "./lib/measure.mjs";
import { markdown } from "./lib/table.mjs";

const { values } = parseArgs({
  options: {
    points: { type: "string", default: "40000" },
    dimensions: { type: "string", default: "512" },
    rounds: { type: "string", default: "3" },
  },
});
const points = Number(values.points);
const dimensions = Number(values.dimensions);
const rounds = Number(values.rounds);
const rows = [];

function startServer() {
  const file = new URL("./lib/vectorizer-server.mjs", import.meta.url);
  const child = fork(file, [String(points), String(dimensions)], { stdio: "inherit" });
  return new Promise((resolve, reject) => {
    child.once("message", (message) => resolve({ child, ...message }));
    child.once("exit", (code) => reject(new Error(`the server ended with ${code}`)));
  });
}

const megabytes = (bytes) => (bytes / 1e6).toFixed(0);

/** Highest resident memory while `run` runs, above what there was before. */
async function watched(run) {
  global.gc?.();
  const before = process.memoryUsage().rss;
  let peak = before;
  const timer = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 10);
  const start = performance.now();
  const result = await run();
  const seconds = (performance.now() - start) / 1000;
  clearInterval(timer);
  peak = Math.max(peak, process.memoryUsage().rss);
  return { result, seconds, extra: peak - before };
}

async function mirrorImport(server, pageSize) {
  const client = new VectorizerClient({ url: server.url });
  const times = [];
  let extra = 0;
  for (let round = 0; round < rounds; round++) {
    const database = await openDatabase();
    const mirror = await VectorizerMirror.open({
      client,
      name: "bench",
      database,
      pollMs: 0,
      pageSize,
    });
    const run = await watched(() => mirror.sync());
    if (run.result.upserted !== points) throw new Error(`imported ${run.result.upserted}`);
    times.push(run.seconds);
    extra = Math.max(extra, run.extra);
    await mirror.close();
    await database.close();
  }
  const seconds = quantile(times, 0.5);
  rows.push([
    `mirror import, ${pageSize} points a page`,
    `${Math.round(points / seconds).toLocaleString("en")} vectors/s`,
    `${megabytes(server.bytes / seconds)} MB/s of JSON`,
    `memory +${megabytes(extra)} MB for ${megabytes(points * dimensions * 4)} MB of vectors`,
  ]);
}

async function mirroredSearch(server) {
  const client = new VectorizerClient({ url: server.url });
  const database = await openDatabase();
  const mirror = await VectorizerMirror.open({ client, name: "bench", database, pollMs: 1000 });
  await mirror.sync();
  const query = Float32Array.from({ length: dimensions }, (_, i) => Math.sin(i));
  const subjects = { local: mirror.local, mirror };
  const times = { local: [], mirror: [] };
  for (let i = 0; i < 600; i++) {
    // Interleaved, so that whatever else the machine does falls on both.
    for (const name of i % 2 === 0 ? ["local", "mirror"] : ["mirror", "local"]) {
      const start = performance.now();
      await subjects[name].search(query, { k: 10 });
      if (i >= 100) times[name].push(performance.now() - start);
    }
  }
  const [local, mirrored] = [quantile(times.local, 0.5), quantile(times.mirror, 0.5)];
  rows.push([
    "mirrored search, k 10",
    `${(mirrored * 1000).toFixed(0)} µs`,
    `local ${(local * 1000).toFixed(0)} µs`,
    `ratio ${(mirrored / local).toFixed(3)}`,
  ]);
  await mirror.close();
  await database.close();
}

const server = await startServer();
try {
  await mirrorImport(server, 1024);
  await mirrorImport(server, 4096);
  await mirroredSearch(server);
} finally {
  server.child.disconnect();
}
console.log(`${os.cpus()[0].model}, ${os.availableParallelism()} threads, Node ${process.version}`);
console.log(markdown(["what", "measured", "", ""], rows));
