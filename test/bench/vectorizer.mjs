// The hive-vectorizer bridge: mirror import, mirrored search, import and export of files.
//   node test/bench/vectorizer.mjs [--points 40000] [--file-points 60000] [--dimensions 512] [--rounds 3]
import { fork } from "node:child_process";
import { mkdtemp, rm, stat } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { parseArgs } from "node:util";
import { openDatabase } from "hive-gpu";
import { exportVecdb, importVecdb, VectorizerClient, VectorizerMirror } from "hive-gpu/vectorizer";
import { quantile } from "./lib/measure.mjs";
import { markdown } from "./lib/table.mjs";

const { values } = parseArgs({
  options: {
    points: { type: "string", default: "40000" },
    "file-points": { type: "string", default: "60000" },
    dimensions: { type: "string", default: "512" },
    rounds: { type: "string", default: "3" },
  },
});
const points = Number(values.points);
const filePoints = Number(values["file-points"]);
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

/** A .vecdb of the wanted size, made by our own export. */
async function makeFiles(folder) {
  const database = await openDatabase();
  const collection = await database.collection("bench", { dimensions });
  const block = 2000;
  let x = 1;
  for (let from = 0; from < filePoints; from += block) {
    const vectors = Float32Array.from({ length: block * dimensions }, () => {
      x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
      return x / 2 ** 31 - 1;
    });
    const ids = Array.from({ length: block }, (_, i) => `passage-${from + i}`);
    const texts = ids.map((id) => `This is the text of ${id}.`);
    const metadatas = ids.map((_, i) => ({ n: from + i }));
    await collection.upsert({ ids, vectors, dimensions, texts, metadatas });
  }
  const run = await watched(() => exportVecdb(folder, { collections: [collection] }));
  const { bytes } = run.result.collections[0];
  const packed = (await stat(run.result.vecdb)).size;
  rows.push([
    `.vecdb export, ${filePoints} points`,
    `${megabytes(bytes / run.seconds)} MB/s of JSON`,
    `${megabytes(bytes)} MB of JSON, ${megabytes(packed)} MB packed`,
    `memory +${megabytes(run.extra)} MB`,
  ]);
  await database.close();
  return bytes;
}

async function vecdbImport(folder, bytes) {
  for (let round = 0; round < rounds; round++) {
    const database = await openDatabase();
    const run = await watched(() => importVecdb(folder, { database }));
    const { vectorBytes, reservedRecordBytes, records } = await (
      await database.collection("bench")
    ).stats();
    if (records !== filePoints) throw new Error(`imported ${records}`);
    const stored = vectorBytes + reservedRecordBytes;
    rows.push([
      `.vecdb import, round ${round + 1}`,
      `${megabytes(bytes / run.seconds)} MB/s of JSON`,
      `${Math.round(filePoints / run.seconds).toLocaleString("en")} vectors/s`,
      `memory +${megabytes(run.extra)} MB, of that ${megabytes(stored)} MB stored`,
    ]);
    await database.close();
  }
}

const folder = await mkdtemp(path.join(os.tmpdir(), "hive-gpu-bench-"));
try {
  await vecdbImport(folder, await makeFiles(folder));
} finally {
  await rm(folder, { recursive: true, force: true });
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
