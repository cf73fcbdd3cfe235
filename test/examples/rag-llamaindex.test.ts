/** The LlamaIndex example: retrieval on the READMEs of a few dependencies, and its command line. */
import { spawn } from "node:child_process";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ExtractiveAnswerer } from "../../dist/examples/quickstart/answer.js";
import { HELD_OUT, TUNING } from "../../dist/examples/quickstart/questions.js";
import { ExampleEmbedding } from "../../dist/examples/rag-llamaindex/embedding.js";
import { nodesOf, sourceOf } from "../../dist/examples/rag-llamaindex/nodes.js";
import { Pipeline } from "../../dist/examples/rag-llamaindex/pipeline.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = path.join(root, "dist/examples/rag-llamaindex/main.js");
const PACKAGES = ["cli-progress", "fast-check", "oxfmt", "oxlint", "publint", "zod"];
/** Every passage is encoded, on a slow machine. */
const SLOW = 180_000;

let project: string;
beforeAll(async () => {
  project = await fs.mkdtemp(path.join(os.tmpdir(), "rag-llamaindex-"));
  await fs.mkdir(path.join(project, "node_modules"));
  for (const name of PACKAGES) {
    const target = path.join(root, "node_modules", name);
    await fs.symlink(target, path.join(project, "node_modules", name));
  }
  const dependencies = Object.fromEntries(PACKAGES.map((name) => [name, "*"]));
  await fs.writeFile(path.join(project, "package.json"), JSON.stringify({ dependencies }));
});
afterAll(() => fs.rm(project, { recursive: true, force: true }));

describe("nodes and embedding", () => {
  const metadata = { package: "p", file: "p/README.md", section: "Use", line: 3 };

  it("have an id of their own, their file as source, and embed the text alone", async () => {
    const passages = ["one", "two"].map((text) => ({
      pageContent: `p › Use\n\n${text}`,
      metadata,
    }));
    const nodes = nodesOf(passages);
    expect(nodes.map((node) => node.id_)).toEqual(["p/README.md:3", "p/README.md:3#1"]);
    expect(nodes.map((node) => node.sourceNode?.nodeId)).toEqual(["p/README.md", "p/README.md"]);
    expect(nodes.map(sourceOf)).toEqual([metadata, metadata]);
    const embedded: string[] = [];
    const model = new ExampleEmbedding({
      embedDocuments: async (texts) => {
        embedded.push(...texts);
        return texts.map((text) => [text.length]);
      },
      embedQuery: async (text) => [-text.length],
    });
    await model(nodes);
    expect(embedded).toEqual(passages.map((passage) => passage.pageContent));
    expect(nodes.map((node) => node.embedding)).toEqual([[12], [12]]);
  });

  it("embed a question by the embedder's own method, and no image", async () => {
    const model = new ExampleEmbedding({
      embedDocuments: async (texts) => texts.map(() => [1]),
      embedQuery: async () => [2],
    });
    expect(await model.getQueryEmbedding({ type: "text", text: "why?" })).toEqual([2]);
    expect(await model.getTextEmbedding("because")).toEqual([1]);
    const image = { type: "image_url" as const, image_url: { url: "http://127.0.0.1/a.png" } };
    expect(await model.getQueryEmbedding(image)).toBeNull();
  });
});

describe("the pipeline", () => {
  let pipeline: Pipeline;
  beforeAll(async () => {
    pipeline = await Pipeline.open({ project, cache: false });
  }, SLOW);
  afterAll(() => pipeline?.close());

  it("stores every passage as a node", async () => {
    const { passages, packages } = pipeline.corpus;
    expect(packages).toBe(PACKAGES.length);
    expect(await (await pipeline.store.client()).count()).toBe(passages.length);
  });

  const questions = [...TUNING, ...HELD_OUT].filter(({ expected }) => PACKAGES.includes(expected));
  it.each(questions)("has $expected in the top 3 for: $question", async (entry) => {
    const found = await pipeline.retrieve(entry.question, 3);
    expect(found.map(({ node }) => sourceOf(node).package)).toContain(entry.expected);
    const scores = found.map(({ score }) => score!);
    expect(scores).toEqual(scores.toSorted((a, b) => b - a));
  });

  it("asks enough questions to tell", () => {
    expect(new Set(questions.map(({ expected }) => expected)).size).toBe(PACKAGES.length);
    expect(questions.length).toBeGreaterThanOrEqual(12);
  });

  it.each([[["zod"]], [["publint"]], [["cli-progress", "publint"]]])(
    "returns the best of %j alone, in the order of the whole ranking",
    async (only) => {
      // Of a third package, so that an ignored filter would show.
      const question = "How do I print a log line and validate a schema?";
      const total = pipeline.corpus.passages.length;
      const all = await pipeline.retrieve(question, total);
      const passing = all.filter(({ node }) => only.includes(sourceOf(node).package));
      const found = await pipeline.retrieve(question, 5, only);
      expect(all).toHaveLength(total);
      expect(found.map(({ node }) => node.id_)).toEqual(
        passing.slice(0, 5).map(({ node }) => node.id_),
      );
      expect(found.length).toBe(Math.min(5, passing.length));
    },
  );

  it("answers with quotes that stand in the passages they cite", async () => {
    const question = "How do I handle errors?";
    const findings = await pipeline.find(question, 3, ["zod"]);
    const { text, sources } = await new ExtractiveAnswerer(pipeline.reader).answer(
      question,
      findings,
      3,
    );
    const quotes = [...text.matchAll(/^(\S.*) \[(\d+)\]$/gm)];
    expect(quotes.length, text).toBeGreaterThan(0);
    for (const [, quote, number] of quotes) {
      const { pageContent, metadata } = sources[Number(number) - 1]!.passage;
      expect(pageContent.replace(/\s+/g, " ")).toContain(quote!);
      expect(metadata.package).toBe("zod");
    }
  });

  it("forgets a file by its name", async () => {
    const { file } = pipeline.corpus.passages.find(
      ({ metadata }) => metadata.package === "publint",
    )!.metadata;
    expect(await pipeline.store.exists(file)).toBe(true);
    await pipeline.store.delete(file);
    expect(await pipeline.store.exists(file)).toBe(false);
    expect(await pipeline.retrieve("publint", 5, ["publint"])).toEqual([]);
  });
});

describe("the command", () => {
  function run(args: string[]): Promise<{ code: number | null; out: string; err: string }> {
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [main, "--no-cache", "--project", project, ...args], {
        cwd: root,
      });
      let out = "";
      let err = "";
      child.stdout.on("data", (data) => (out += data));
      child.stderr.on("data", (data) => (err += data));
      child.on("error", reject);
      child.on("close", (code) => resolve({ code, out, err }));
    });
  }

  it("cites passages of the packages asked", { timeout: SLOW }, async () => {
    const { code, out, err } = await run(["--package", "zod", "--k", "3", "parse", "log", "bar"]);
    expect([code, err]).toEqual([0, ""]);
    expect(out).toContain("parse log bar (only zod)");
    expect(out).toMatch(/^device\s+\w+: \S/m);
    const cited = [...out.matchAll(/node_modules\/(\S+)\/README\.md:\d+ {2}score 0\.\d+/gi)];
    expect(cited.map(([, name]) => name)).toEqual(["zod", "zod", "zod"]);
  });

  it.each([
    [["--package", "zood"], /--package zood: nothing of it has been read\n.*publint, zod/],
    [["--k", "0"], /integer from 1 to 20/],
    [["--dir", "no/such/folder"], /does not exist/],
  ])("refuses %j with exit code 1 and a reason", { timeout: SLOW }, async (args, reason) => {
    const { code, out, err } = await run(args);
    expect([code, out]).toEqual([1, ""]);
    expect(err).toMatch(reason);
    expect(err).not.toMatch(/^\s+at /m);
  });
});
