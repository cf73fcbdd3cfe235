/** The quickstart: its parts, its command line, and whether its ranking is good enough. */
import { spawn } from "node:child_process";
import fs from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { BaseMessage } from "@langchain/core/messages";
import { FakeListChatModel } from "@langchain/core/utils/testing";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { ExtractiveAnswerer } from "../../dist/examples/quickstart/answer.js";
import { CachedEncoder } from "../../dist/examples/quickstart/cache.js";
import { ChatAnswerer, chooseChat, ollamaUrl } from "../../dist/examples/quickstart/chat.js";
import { cleanMarkdown } from "../../dist/examples/quickstart/clean.js";
import { loadCorpus, passagesOf } from "../../dist/examples/quickstart/corpus.js";
import type { Encoder } from "../../dist/examples/quickstart/encoder.js";
import * as evaluation from "../../dist/examples/quickstart/eval.js";
import { HASHED_DIMENSIONS, HashedTfIdf } from "../../dist/examples/quickstart/hash.js";
import { splitTitle, withTitle } from "../../dist/examples/quickstart/passage.js";
import { Pipeline } from "../../dist/examples/quickstart/pipeline.js";
import { BUILT_IN, HELD_OUT, TUNING } from "../../dist/examples/quickstart/questions.js";
import { splitSections } from "../../dist/examples/quickstart/sections.js";
import { unitsOf } from "../../dist/examples/quickstart/units.js";
import { stem, stems } from "../../dist/examples/quickstart/words.js";

const root = fileURLToPath(new URL("../../", import.meta.url));
const main = path.join(root, "dist/examples/quickstart/main.js");
/** A first run on a slow machine encodes every passage. */
const SLOW = 180_000;

/** A chat model's callback that stands for a server that cannot be reached. */
function failingStart(): void {
  throw new Error("no route");
}

let folder: string;
beforeAll(async () => {
  folder = await fs.mkdtemp(path.join(os.tmpdir(), "quickstart-"));
});
afterAll(() => fs.rm(folder, { recursive: true, force: true }));

describe("cleaning", () => {
  const source = [
    "---",
    "title: hidden",
    "---",
    '<h1 align="center">',
    "  Tool",
    "</h1>",
    "[![badge](https://ci/x.svg)](https://ci) ![logo](logo.png) <b>Bold</b> text",
    'See [the *docs*](https://docs/a_(b) "T") and [more][ref] or <https://auto.link>.',
    "",
    "[ref]: https://hidden",
    "Use `<b>` and Promise<void>, &amp; <file>. <!-- a",
    "comment --> end",
    "```html",
    "<b>[kept](as-is)</b>",
    "```",
  ].join("\n");
  const lines = cleanMarkdown(source).split("\n");

  it("keeps the number of every line", () => {
    expect(lines).toHaveLength(source.split("\n").length);
    expect(lines[13]).toBe("<b>[kept](as-is)</b>");
  });

  it("removes front matter, badges, images, HTML, targets and comments, and keeps text", () => {
    expect(lines.slice(0, 3)).toEqual(["", "", ""]);
    expect(lines[3]).toBe("# Tool");
    expect(lines[6]!.trim()).toBe("Bold text");
    expect(lines[7]).toBe("See the *docs* and more or .");
    expect(lines[9]).toBe("");
    expect(lines[10]).toBe("Use `<b>` and Promise<void>, & <file>.");
    expect(lines[11]!.trim()).toBe("end");
  });

  it("takes any text, also unclosed markup", () => {
    const nasty = ["", "```", "<a ".repeat(2000), "[".repeat(2000), "<!--", "![](", "\u0000"];
    for (const text of nasty) {
      expect(cleanMarkdown(text).split("\n")).toHaveLength(text.split("\n").length);
    }
  });
});

describe("splitting", () => {
  it("follows headings of both kinds, and none inside code", () => {
    const text = "Top\n===\nintro\n\n## Part 🚀\nbody\n```sh\n# no heading\n```\n# Last\nend";
    const sections = splitSections(text);
    expect(sections.map((section) => [section.titles, section.line])).toEqual([
      [["Top"], 3],
      [["Top", "Part"], 6],
      [["Last"], 11],
    ]);
  });

  it("gives passages of at most about 500 characters with the line they start at", async () => {
    const file = path.join(root, "node_modules/commander/Readme.md");
    const text = await fs.readFile(file, "utf8");
    const lines = cleanMarkdown(text).split("\n");
    const passages = await passagesOf(text, { package: "commander", file });
    expect(passages.length).toBeGreaterThan(50);
    for (const { pageContent, metadata } of passages) {
      const { titles, body } = splitTitle(pageContent);
      expect(titles[0]).toBe("commander");
      expect(body.length).toBeLessThan(520);
      // The first line that is not a fence which was opened again must stand where it is cited.
      const first = body.split("\n").find((line) => !line.startsWith("```"))!;
      const near = lines.slice(metadata.line - 1, metadata.line + 3).join("\n");
      expect(near).toContain(first.trim());
    }
  });

  it("leaves no code block open and drops passages of few letters", async () => {
    const code = Array.from({ length: 40 }, (_, i) => `const value${i} = compute(${i});`);
    const text = `# A\n\nshort\n\n# B\n\n\`\`\`js\n${code.join("\n")}\n\`\`\`\n`;
    const passages = await passagesOf(text, { package: "p", file: "f" });
    expect(passages.length).toBeGreaterThan(2);
    for (const { pageContent, metadata } of passages) {
      expect(metadata.section).toBe("B");
      expect(pageContent.match(/^```/gm)).toHaveLength(2);
    }
  });

  it("separates title and body, and leaves a question alone", () => {
    const text = withTitle(["pkg", "Part one"], "Body\n\nmore");
    expect(splitTitle(text)).toEqual({ titles: ["pkg", "Part one"], body: "Body\n\nmore" });
    expect(splitTitle("What is it?")).toEqual({ titles: [], body: "What is it?" });
  });
});

describe("words and hashing", () => {
  it("gives related words one stem", () => {
    for (const [a, b] of [
      ["validate", "validation"],
      ["options", "option"],
      ["formatter", "formatting"],
      ["inferred", "inferring"],
      ["parser", "parse"],
      ["filters", "filtering"],
    ]) {
      expect(stem(a!), `${a} and ${b}`).toBe(stem(b!));
    }
    expect(stem("class")).toBe("class");
    expect(stem("string")).toBe("string");
  });

  it("finds identifiers by name and by part, and drops stop words", () => {
    expect(stems("How do I use safeParse?")).toEqual(["safeparse", stem("safe"), stem("parse")]);
    expect(stems("TypeScript")).toEqual(stems("typescript"));
  });

  it("makes unit vectors that depend on nothing but the text and the corpus", () => {
    const corpus = ["alpha beta", "alpha gamma", "delta"];
    const one = new HashedTfIdf(corpus).vector("beta gamma");
    const two = new HashedTfIdf(corpus).vector("beta gamma");
    expect(one).toEqual(two);
    expect(one).toHaveLength(HASHED_DIMENSIONS);
    expect(Math.hypot(...one)).toBeCloseTo(1, 5);
    expect(new HashedTfIdf(corpus).vector("the of")).toEqual(new Float32Array(HASHED_DIMENSIONS));
  });

  it("values rare terms more", () => {
    const words = new HashedTfIdf(["alpha beta", "alpha gamma", "alpha delta"]);
    expect(words.idf("beta")).toBeGreaterThan(words.idf("alpha"));
  });
});

describe("cache", () => {
  class CountingEncoder implements Encoder {
    texts = 0;
    async encode(texts: readonly string[]): Promise<Float32Array[]> {
      this.texts += texts.length;
      return texts.map((text) => Float32Array.of(text.length, 1, 2));
    }
  }
  const open = (name: string, version = "v1") => {
    const inner = new CountingEncoder();
    const file = path.join(folder, name, "cache.bin");
    return { inner, file, cache: new CachedEncoder(inner, file, version) };
  };

  it("encodes a text once, also across instances, and again for another version", async () => {
    const first = open("once");
    const vectors = await first.cache.encode(["a", "bb", "a"]);
    expect(first.inner.texts).toBe(2);
    const second = open("once");
    expect(await second.cache.encode(["a", "bb", "ccc"])).toEqual([
      vectors[0],
      vectors[1],
      Float32Array.of(3, 1, 2),
    ]);
    expect([second.inner.texts, second.cache.hits]).toEqual([1, 2]);
    const other = open("once", "v2");
    await other.cache.encode(["a"]);
    expect(other.inner.texts).toBe(1);
    expect(await fs.readdir(path.dirname(other.file))).toEqual(["cache.bin"]);
  });

  it("computes again when the file is damaged in any way", async () => {
    const { cache, file } = open("damaged");
    await cache.encode(["a", "bb"]);
    const good = await fs.readFile(file);
    const flipped = Buffer.from(good);
    flipped[good.length - 1]! ^= 1;
    const damages = [Buffer.alloc(0), Buffer.from("text"), good.subarray(0, -4), flipped];
    for (const damage of damages) {
      await fs.writeFile(file, damage);
      const again = open("damaged");
      expect(await again.cache.encode(["a", "bb"])).toEqual(await cache.encode(["a", "bb"]));
      expect([again.cache.wasCorrupt, again.inner.texts]).toEqual([true, 2]);
      expect(await fs.readFile(file)).toEqual(good);
    }
  });
});

describe("corpus", () => {
  it("reads the direct dependencies and a folder, but not what is hidden in it", async () => {
    const docs = path.join(folder, "docs");
    await fs.mkdir(path.join(docs, "node_modules/x"), { recursive: true });
    await fs.mkdir(path.join(docs, "deep"));
    const text = "A sentence about marmots and glaciers that is long enough to be kept.";
    await fs.writeFile(path.join(docs, "deep/notes.txt"), text);
    await fs.writeFile(path.join(docs, "node_modules/x/README.md"), text);
    await fs.writeFile(path.join(docs, "picture.png"), text);
    await fs.symlink(docs, path.join(docs, "deep/loop"));
    const { passages, files } = await loadCorpus({ root, dir: docs });
    const own = passages.filter((passage) => passage.metadata.package === "docs");
    expect(own.map((passage) => path.basename(passage.metadata.file))).toEqual(["notes.txt"]);
    const plain = await loadCorpus({ root });
    expect(files).toBe(plain.files + 1);
    expect(plain.passages.some((passage) => passage.metadata.package === "zod")).toBe(true);
  });
});

describe("units", () => {
  it("cuts sentences and list items, and keeps code with its announcement", () => {
    const body = "It does one thing well. And `that` is all of it.\n- an item of the list\n\n";
    expect(unitsOf(`${body}Install it like this:\n\n\`\`\`sh\nnpm i\n\`\`\``)).toEqual([
      { kind: "sentence", text: "It does one thing well." },
      { kind: "sentence", text: "And `that` is all of it." },
      { kind: "sentence", text: "an item of the list" },
      { kind: "code", text: "npm i", lead: "Install it like this:" },
    ]);
  });
});

describe("chat models", () => {
  it("are chosen by the environment", () => {
    expect(chooseChat({})).toBeUndefined();
    expect(chooseChat({ OPENAI_API_KEY: "k" })?.provider).toBe("openai");
    expect(chooseChat({ OLLAMA_HOST: "h" })?.variable).toBe("OLLAMA_HOST");
    expect(chooseChat({ QUICKSTART_MODEL: "ollama:qwen3:4b", OPENAI_API_KEY: "k" })).toEqual({
      provider: "ollama",
      model: "qwen3:4b",
      variable: "QUICKSTART_MODEL",
    });
    expect(() => chooseChat({ QUICKSTART_MODEL: "nobody:x" })).toThrow(/unknown provider "nobody"/);
    expect(ollamaUrl("127.0.0.1:11434")).toBe("http://127.0.0.1:11434");
  });
});

describe("the pipeline on the real corpus", () => {
  let pipeline: Pipeline;
  beforeAll(async () => {
    pipeline = await Pipeline.open();
  }, SLOW);
  afterAll(() => pipeline?.close());

  it("has the right package in the top 3 for at least 80 % of the questions", async () => {
    const questions = evaluation.answerable(pipeline, [...TUNING, ...HELD_OUT]);
    expect(questions.length).toBeGreaterThanOrEqual(18);
    const rows = await evaluation.evaluate(pipeline, questions);
    const share = evaluation.shareWithin(rows, evaluation.TOP);
    expect(share, evaluation.table(rows)).toBeGreaterThanOrEqual(evaluation.REQUIRED_SHARE);
  });

  it("answers with quotes that stand in the passages they cite", async () => {
    const answerer = new ExtractiveAnswerer(pipeline.reader);
    for (const question of BUILT_IN) {
      const findings = await pipeline.find(question, 5);
      const { text, sources } = await answerer.answer(question, findings, 5);
      const quotes = [...text.matchAll(/^(\S.*) \[(\d+)\]$/gm)];
      expect(quotes.length, text).toBeGreaterThan(0);
      for (const [, quote, number] of quotes) {
        const passage = sources[Number(number) - 1]!.passage.pageContent.replace(/\s+/g, " ");
        expect(passage).toContain(quote!);
      }
    }
  });

  it("asks a chat model with numbered passages", async () => {
    let prompt = "";
    const handleChatModelStart = (_model: unknown, [messages]: BaseMessage[][]): void => {
      prompt = messages!.map((message) => message.text).join("\n");
    };
    const callbacks = [{ handleChatModelStart, awaitHandlers: true }];
    const model = new FakeListChatModel({ responses: ["Use z.infer [1]."], callbacks });
    const question = "How do I get the type of a zod schema?";
    const findings = await pipeline.find(question, 3);
    const answer = await new ChatAnswerer(model, "fake").answer(question, findings, 3);
    expect(answer.text).toBe("Use z.infer [1].");
    expect(answer.sources).toEqual(findings.slice(0, 3));
    const { metadata, pageContent } = findings[1]!.passage;
    expect(prompt).toContain(`[2] ${metadata.file}:${metadata.line}\n${pageContent}`);
    expect(prompt).toContain(question);
  });

  it("explains a chat model's failure", async () => {
    const callbacks = [
      { handleChatModelStart: failingStart, awaitHandlers: true, raiseError: true },
    ];
    const model = new FakeListChatModel({ responses: ["unused"], callbacks });
    const findings = await pipeline.find("zod", 2);
    await expect(new ChatAnswerer(model, "fake").answer("zod", findings, 2)).rejects.toThrow(
      /chat model failed: no route/,
    );
  });
});

describe("the command", () => {
  interface Result {
    code: number | null;
    out: string;
    err: string;
  }
  function run(args: string[], extra: NodeJS.ProcessEnv = {}): Promise<Result> {
    const {
      OPENAI_API_KEY: _key,
      OLLAMA_HOST: _host,
      QUICKSTART_MODEL: _model,
      ...env
    } = process.env;
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, [main, ...args], {
        cwd: root,
        env: { ...env, ...extra },
      });
      const result: Result = { code: null, out: "", err: "" };
      child.stdout.on("data", (data) => (result.out += data));
      child.stderr.on("data", (data) => (result.err += data));
      child.on("error", reject);
      child.on("close", (code) => resolve({ ...result, code }));
    });
  }

  it(
    "answers a question given in words, and names files and device",
    { timeout: SLOW },
    async () => {
      const { code, out, err } = await run(["--k", "2", "declare", "required", "option"]);
      expect([code, err]).toEqual([0, ""]);
      expect(out).toMatch(/^device\s+\w+: \S/m);
      expect(out).toContain("declare required option");
      expect(out).toMatch(/node_modules\/commander\/Readme\.md:\d+ {2}score 0\.\d+/);
      expect(out).not.toContain("\u001B");
    },
  );

  it.each([
    [["--dir", "no/such/folder"], /--dir no\/such\/folder: does not exist/],
    [["--dir", "package.json"], /--dir package\.json: is not a folder/],
    [["--k", "0"], /integer from 1 to 20/],
    [["--k", "many"], /integer from 1 to 20/],
    [["--nonsense"], /unknown option '--nonsense'/],
    [["--device", "abacus"], /abacus/],
  ])("refuses %j with exit code 1 and a reason", { timeout: SLOW }, async (args, reason) => {
    const { code, out, err } = await run(args);
    expect(code).toBe(1);
    expect(out).toBe("");
    expect(err).toMatch(reason);
    expect(err).not.toMatch(/^\s+at /m);
  });

  it("says which package a configured model needs", { timeout: SLOW }, async () => {
    const { code, err } = await run([], { QUICKSTART_MODEL: "mistralai" });
    expect(code).toBe(1);
    expect(err).toContain("npm install --no-save @langchain/mistralai");
  });
});
