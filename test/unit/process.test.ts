/** What needs a process of its own: the command line, a missing addon. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { forced } from "./helpers.js";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");
const cli = path.join(root, "dist", "cjs", "engine", "cli.js");

interface Ended {
  code: number;
  stdout: string;
  stderr: string;
}

async function node(args: string[], env: Record<string, string> = {}): Promise<Ended> {
  const options = { cwd: root, env: { ...process.env, ...env } };
  try {
    return { code: 0, ...(await promisify(execFile)(process.execPath, args, options)) };
  } catch (error) {
    return error as Ended;
  }
}

function evaluate(
  code: string,
  env?: Record<string, string>,
  flags: string[] = [],
): Promise<Ended> {
  return node([...flags, "--input-type=module", "--eval", code], env);
}

const tryOpen = `
  import { openDatabase } from "hive-gpu";
  try { await openDatabase(); console.log("opened"); } catch (e) {
    console.log(JSON.stringify({ name: e.name, code: e.code, message: e.message, hint: e.hint }));
  }`;

describe("doctor", () => {
  it("explains every backend", async () => {
    const { code, stdout } = await node([cli, "doctor"]);
    expect(code).toBe(0);
    for (const name of ["metal", "cuda", "rocm", "vulkan", "cpu"]) expect(stdout).toMatch(name);
    expect(stdout).toMatch(/Searches run on: /);
  });

  it("prints JSON", async () => {
    const { code, stdout } = await node([cli, "doctor", "--json"]);
    expect(code).toBe(0);
    const report = JSON.parse(stdout) as {
      ok: boolean;
      chosen: string;
      backends: { name: string }[];
    };
    expect(report.ok).toBe(true);
    expect(report.backends.map((one) => one.name)).toContain("cpu");
    if (!forced) expect(report.chosen).toBe("cpu");
  });

  it("fails when the named backend cannot be used", async () => {
    const { code, stdout } = await node([cli, "doctor"], { HIVE_GPU_BACKEND: "metal" });
    expect(code).toBe(1);
    expect(stdout).toMatch(/problems:/);
    const typo = await node([cli, "doctor"], { HIVE_GPU_BACKEND: "cdua" });
    expect(typo.code).toBe(1);
    expect(typo.stdout).toMatch(/"cuda"/);
  });

  it("says how to build a missing addon", async () => {
    const { code, stdout } = await node([cli, "doctor"], { HIVE_GPU_ADDON: "/nowhere/x.node" });
    expect(code).toBe(1);
    expect(stdout).toMatch(/npm run build/);
  });

  it("names an unknown command", async () => {
    expect((await node([cli, "docter"])).code).not.toBe(0);
  });
});

describe("addon", () => {
  it("missing: the error lists what was tried and says how to build it", async () => {
    const { stdout } = await evaluate(tryOpen, { HIVE_GPU_ADDON: "/nowhere/x.node" });
    const error = JSON.parse(stdout) as {
      name: string;
      code: string;
      message: string;
      hint: string;
    };
    expect(error).toMatchObject({ name: "BindingError", code: "ADDON_MISSING" });
    expect(error.message).toMatch(/\/nowhere\/x\.node.*does not exist/);
    expect(error.message).toMatch(/npm run build/);
    const relative = await evaluate(tryOpen, { HIVE_GPU_ADDON: "x.node" });
    expect(relative.stdout).toMatch(/absolute/);
  });

  it("forbidden by --no-addons: the error says so", async () => {
    const { stdout } = await evaluate(tryOpen, {}, ["--no-addons"]);
    expect(stdout).toMatch(/ADDON_MISSING/);
    expect(stdout).toMatch(/--no-addons/);
  });

  it("is not an addon: the error gives the loader's reason", async () => {
    const file = path.join(root, "package.json");
    const { stdout } = await evaluate(tryOpen, { HIVE_GPU_ADDON: file });
    expect(stdout).toMatch(/ADDON_MISSING/);
  });

  it.each(["scalar", "avx2"])("runs with HIVE_GPU_CPU_ISA=%s, or says why not", async (isa) => {
    const { stdout } = await evaluate(tryOpen, { HIVE_GPU_CPU_ISA: isa });
    expect(stdout).toMatch(
      isa === "scalar" ? /opened/ : /opened|BACKEND_UNAVAILABLE|NOT_SUPPORTED/,
    );
  });

  it("stays in memory when only workers loaded it and all of them ended", async () => {
    // The engine's threads outlive the worker; unloading their code would crash the process.
    const code = `
      const { Worker } = require("node:worker_threads");
      const body = \`
        const { openDatabase } = require("hive-gpu");
        const { parentPort } = require("node:worker_threads");
        (async () => {
          const db = await openDatabase();
          const c = await db.collection("a");
          await c.upsert({ vectors: new Float32Array(400_000).fill(1), dimensions: 100 });
          parentPort.postMessage((await c.search(new Float32Array(100).fill(1))).length);
        })();\`;
      (async () => {
        for (let i = 0; i < 5; i++) {
          const worker = new Worker(body, { eval: true });
          // Before the message is awaited: both can come in one turn of the event loop.
          const exit = new Promise((resolve) => worker.once("exit", resolve));
          console.log(await new Promise((resolve) => worker.once("message", resolve)));
          await exit;
        }
        await new Promise((resolve) => setTimeout(resolve, 100));
      })();`;
    const ended = await node(["--eval", code]);
    expect(ended).toMatchObject({ code: 0, stdout: "10\n".repeat(5) });
  });

  it("does not keep the process alive, closed or not", async () => {
    const code = `
      import { openDatabase } from "hive-gpu";
      const db = await openDatabase();
      const c = await db.collection("a");
      await c.upsert([{ id: "a", vector: [1, 2] }]);
      console.log((await c.search([1, 2])).length);`;
    const ended = await evaluate(code);
    expect(ended).toMatchObject({ code: 0, stdout: "1\n" });
  });
});
