// Configures and builds the native engine into build/ (cmake, so that only what changed is rebuilt).
//   node native/build.mjs [--tests] [--bench] [--sanitize address|thread] [--out <dir>]
import { spawnSync } from "node:child_process";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..");
const { values } = parseArgs({
  options: {
    tests: { type: "boolean", default: false },
    bench: { type: "boolean", default: false },
    sanitize: { type: "string", default: "" },
    out: { type: "string", default: "build" },
  },
});

function run(command, args) {
  const result = spawnSync(command, args, { cwd: root, stdio: "inherit" });
  if (result.error?.code === "ENOENT") {
    console.error(
      `hive-gpu: "${command}" is not installed; building the native engine needs cmake, make and a ` +
        "C++20 compiler. On Debian or Ubuntu: apt-get install -y cmake make g++",
    );
    process.exit(1);
  }
  if (result.status !== 0) process.exit(result.status ?? 1);
}

const out = path.resolve(root, values.out);
const onOff = (flag) => (flag ? "ON" : "OFF");
run("cmake", [
  "-S",
  path.join(root, "native"),
  "-B",
  out,
  "-DCMAKE_BUILD_TYPE=Release",
  `-DHIVE_SANITIZE=${values.sanitize}`,
  // A plain build must not switch off what an earlier --tests or --bench build in this folder set.
  ...(values.tests ? [`-DHIVE_BUILD_TESTS=${onOff(values.tests)}`] : []),
  ...(values.bench ? [`-DHIVE_BUILD_BENCH=${onOff(values.bench)}`] : []),
]);
run("cmake", [
  "--build",
  out,
  "--config",
  "Release",
  "--parallel",
  String(os.availableParallelism()),
]);
