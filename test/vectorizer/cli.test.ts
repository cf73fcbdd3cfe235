/** `hive-gpu import vectorizer` and the example, as commands. */
import { execFile } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { openDatabase } from "hive-gpu";
import { importVecdb } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { fake, records, remoteOf } from "./helpers.js";
import { newFolder } from "./mirror-helpers.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const cli = path.join(root, "dist/cjs/engine/cli.js");
const run = promisify(execFile);

/** Output and exit code; what is printed decides, so colours and progress are off. */
async function hive(args: string[], env: Record<string, string> = {}) {
  const options = { env: { ...process.env, NO_COLOR: "1", ...env } };
  return run(process.execPath, [cli, ...args], options).then(
    ({ stdout, stderr }) => ({ stdout, stderr, code: 0 }),
    (error: { stdout: string; stderr: string; code: number }) => error,
  );
}

describe("hive-gpu import vectorizer", () => {
  it("brings a server's collections into a database, and into files", async () => {
    const server = await fake({ apiKey: "secret" });
    const { VectorizerClient } = await import("hive-gpu/vectorizer");
    const client = new VectorizerClient({ url: server.url, apiKey: "secret" });
    await remoteOf(server, { client }).upsert(records(30));
    await remoteOf(server, { client, name: "more", metric: "l2" }).upsert(records(5, 3));
    const folder = await newFolder();
    const data = path.join(folder, "data");
    const files = path.join(folder, "files");
    const args = ["import", "vectorizer", server.url, "--database", data, "--to-files", files];
    const { stdout, stderr, code } = await hive(args, { VECTORIZER_API_KEY: "secret" });
    expect({ stderr, code }).toEqual({ stderr: "", code: 0 });
    expect(stdout).toBe("docs: 30 imported\nmore: 5 imported\n");
    const kept = await openDatabase({ path: data });
    const docs = await kept.collection("docs");
    expect([docs.dimensions, await docs.count()]).toEqual([4, 30]);
    expect(await docs.get("r3")).toEqual({ id: "r3", text: "text 3", metadata: { n: 3 } });
    expect(await (await kept.collection("more")).count()).toBe(5);
    await kept.close();
    const { collections } = await importVecdb(files, { database: await database() });
    expect(collections.map(({ name, imported }) => [name, imported])).toEqual([
      ["docs", 30],
      ["more", 5],
    ]);
    const again = await hive([
      "import",
      "vectorizer",
      files,
      "more",
      "--to-files",
      folder,
      "--json",
    ]);
    expect(JSON.parse(again.stdout)).toMatchObject({
      collections: [{ name: "more", metric: "l2", imported: 5 }],
    });
  });

  it("syncs with --state, without reading everything again", async () => {
    const server = await fake();
    await remoteOf(server).upsert(records(10));
    const folder = await newFolder();
    const args = [
      "import",
      "vectorizer",
      server.url,
      "docs",
      "--database",
      path.join(folder, "data"),
    ];
    const state = ["--state", path.join(folder, "state")];
    expect((await hive([...args, ...state])).stdout).toBe("docs: 10 imported\n");
    server.requests.length = 0;
    expect((await hive([...args, ...state])).stdout).toBe("docs: 0 imported\n");
    expect(server.requests.filter((one) => one.endsWith("/scroll"))).toEqual([]);
    await remoteOf(server).delete({ ids: ["r1"] });
    expect((await hive([...args, ...state])).stdout).toBe("docs: 0 imported, 1 deleted\n");
  });

  it("says what is wrong and what to do", async () => {
    const server = await fake({ apiKey: "secret" });
    const nowhere = await hive(["import", "vectorizer", server.url]);
    expect(nowhere).toMatchObject({
      code: 1,
      stderr: expect.stringMatching(/INVALID_ARGUMENT.*\n.*--database/),
    });
    const to = ["--to-files", await newFolder()];
    const denied = await hive(["import", "vectorizer", server.url, ...to], {
      VECTORIZER_API_KEY: "",
    });
    expect(denied).toMatchObject({ code: 1, stderr: expect.stringMatching(/REMOTE_DENIED/) });
    const missing = await hive(["import", "vectorizer", "/nowhere/at/all", ...to]);
    expect(missing).toMatchObject({ code: 1, stderr: expect.stringMatching(/STORAGE/) });
    expect((await hive(["import", "vectorizer", "--help"])).stdout).toMatch(/--to-files <folder>/);
  });
});

describe("the example", () => {
  it("mirrors a collection and answers from the device", async () => {
    const main = path.join(root, "dist/examples/vectorizer-mirror/main.js");
    const { stdout } = await run(process.execPath, [main, "What is there when the power fails?"]);
    expect(stdout).toMatch(/stand-in server http:\/\/127.0.0.1:\d+, version 3.5.0/);
    expect(stdout).toMatch(/mirrored 7 records, consistent: true/);
    expect(stdout).toMatch(/\n {2}0\.\d{3} {2}store: A commit is synced/);
    expect(stdout).toMatch(/by the device: 1, by the server: 0/);
    expect(stdout).toMatch(/overlap@3 with the server over 7 queries: [01]\.\d{3}/);
  });
});
