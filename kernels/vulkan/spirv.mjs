// Compiles the GLSL kernels to SPIR-V and writes them as lists of words that C++ includes.
//   node kernels/vulkan/spirv.mjs [--out <folder>]   default: kernels/vulkan/spirv, which is committed
//   node kernels/vulkan/spirv.mjs --check            are the committed files what the pinned compiler
//                                                    makes? Skipped, with the reason, for another one.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const here = path.dirname(fileURLToPath(import.meta.url));
const committed = path.join(here, "spirv");
// First line of `glslc --version` of the compiler that made the committed files (Debian 12).
const pinned = "shaderc 2023.2-1";

const kernels = [
  { name: "scan1", source: "scan.comp", defines: ["QUERIES=1"] },
  { name: "scan4", source: "scan.comp", defines: ["QUERIES=4"] },
  { name: "select", source: "select.comp", defines: [] },
];

const { values } = parseArgs({
  options: { out: { type: "string" }, check: { type: "boolean", default: false } },
});

function compilerVersion() {
  const result = spawnSync("glslc", ["--version"], { encoding: "utf8" });
  return result.error === undefined ? result.stdout.split("\n")[0].trim() : "";
}

function compile(kernel, folder) {
  const file = path.join(folder, `${kernel.name}.spv`);
  const result = spawnSync(
    "glslc",
    [
      "--target-env=vulkan1.2",
      // No -O: the optimiser copies instructions when it unrolls and forgets that copies are
      // `precise` too; drivers optimise anyway.
      "-O0",
      ...kernel.defines.map((define) => `-D${define}`),
      path.join(here, kernel.source),
      "-o",
      file,
    ],
    { encoding: "utf8" },
  );
  if (result.status !== 0) {
    process.stderr.write(result.stderr);
    process.exit(1);
  }
  return readFileSync(file);
}

function asWords(bytes) {
  const lines = [];
  for (let at = 0; at < bytes.length; at += 32) {
    const words = [];
    for (let i = at; i < Math.min(at + 32, bytes.length); i += 4) {
      words.push(`0x${bytes.readUInt32LE(i).toString(16)},`);
    }
    lines.push(words.join(""));
  }
  return `${lines.join("\n")}\n`;
}

function generate(write) {
  const scratch = mkdtempSync(path.join(os.tmpdir(), "hive-spirv-"));
  try {
    for (const kernel of kernels)
      write(`${kernel.name}.spv.inc`, asWords(compile(kernel, scratch)));
  } finally {
    rmSync(scratch, { recursive: true });
  }
}

const version = compilerVersion();
if (values.check) {
  if (version !== pinned) {
    const found = version === "" ? "glslc is not installed" : `glslc is ${version}`;
    console.log(`SPIR-V check: skipped, ${found}; the committed files are from ${pinned}.`);
    process.exit(0);
  }
  let wrong = 0;
  generate((name, text) => {
    if (readFileSync(path.join(committed, name), "utf8") === text) return;
    console.error(`${name} is not what ${pinned} makes of its source.`);
    wrong += 1;
  });
  if (wrong > 0) {
    console.error("Run: node kernels/vulkan/spirv.mjs, and commit kernels/vulkan/spirv.");
    process.exit(1);
  }
  console.log(`SPIR-V check: ${kernels.length} kernels are byte for byte what ${pinned} makes.`);
} else {
  if (version === "") {
    console.error("glslc is not installed. On Debian or Ubuntu: apt-get install -y glslc");
    process.exit(1);
  }
  const out = values.out === undefined ? committed : path.resolve(values.out);
  mkdirSync(out, { recursive: true });
  generate((name, text) => writeFileSync(path.join(out, name), text));
}
