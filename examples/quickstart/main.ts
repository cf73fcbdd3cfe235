/**
 * Ask your dependencies: retrieval-augmented generation with LangChain.js over hive-gpu.
 *   npm run quickstart -- "How do I get the TypeScript type of a zod schema?"
 */
import { Command, InvalidArgumentError } from "commander";
import { ExtractiveAnswerer, type Answerer } from "./answer.js";
import { ChatAnswerer, chooseChat, openChat } from "./chat.js";
import type { Finding } from "./findings.js";
import { cite } from "./passage.js";
import { Pipeline } from "./pipeline.js";
import { BUILT_IN } from "./questions.js";
import { bold, cyan, dim, printError, printNote, progressBar, wrap } from "./terminal.js";

const MAX_K = 20;

interface Options {
  dir?: string;
  k: number;
  device?: string;
  cache: boolean;
  extract?: boolean;
}

function parseK(value: string): number {
  const k = Number(value);
  if (Number.isInteger(k) && k >= 1 && k <= MAX_K) return k;
  throw new InvalidArgumentError(`It must be an integer from 1 to ${MAX_K}.`);
}

/** One question per argument; words without quotes around them are one question. */
function readQuestions(words: readonly string[]): readonly string[] {
  const given = words.map((word) => word.trim()).filter((word) => word !== "");
  if (given.length === 0) return BUILT_IN;
  return given.some((word) => word.includes(" ")) ? given : [given.join(" ")];
}

/** The chat model that the environment configures, opened before any of the slow work. */
async function configuredChat(options: Options): Promise<Answerer | undefined> {
  const choice = options.extract ? undefined : chooseChat(process.env);
  if (choice === undefined) return undefined;
  const model = await openChat(choice, process.env);
  const label = `${choice.provider}, model ${choice.model} (because of ${choice.variable})`;
  return new ChatAnswerer(model, label);
}

function describe(pipeline: Pipeline, seconds: number): void {
  const { corpus, cache, database } = pipeline;
  const total = corpus.passages.length;
  const { hits, wasCorrupt } = cache ?? { hits: 0, wasCorrupt: false };
  const source = hits === total ? "all from the cache" : `${total - hits} encoded, ${hits} cached`;
  for (const note of corpus.notes) printNote(note);
  if (wasCorrupt) printNote("the cache was damaged and has been written anew");
  const { backend, name } = database.device;
  console.log(`${dim("documents")}  ${corpus.files} files of ${corpus.packages} packages`);
  console.log(`${dim("passages ")}  ${total}, ${source}, ready after ${seconds.toFixed(1)} s`);
  console.log(`${dim("device   ")}  ${backend}: ${name}`);
}

function printSources(findings: readonly Finding[]): void {
  for (const [index, { passage, score }] of findings.entries()) {
    const { metadata } = passage;
    const section = metadata.section === "" ? "" : ` › ${metadata.section}`;
    console.log(`  ${cyan(`[${index + 1}]`)} ${metadata.package}${section}`);
    console.log(`      ${dim(`${cite(metadata)}  score ${score.toFixed(3)}`)}`);
  }
}

async function ask(words: string[], options: Options): Promise<void> {
  const started = performance.now();
  const chat = await configuredChat(options);
  const bar = progressBar("Embedding passages");
  const { dir, device, cache } = options;
  const pipeline = await Pipeline.open({ dir, device, cache, onProgress: bar.update }).finally(
    bar.stop,
  );
  try {
    const answerer = chat ?? new ExtractiveAnswerer(pipeline.reader);
    describe(pipeline, (performance.now() - started) / 1000);
    console.log(`${dim("answers  ")}  ${answerer.label}`);
    for (const question of readQuestions(words)) {
      const findings = await pipeline.find(question, options.k);
      const { text, sources } = await answerer.answer(question, findings, options.k);
      console.log(`\n${bold(question)}\n\n${wrap(text)}\n`);
      printSources(sources);
    }
  } finally {
    await pipeline.close();
  }
}

// A reader that has seen enough, such as `head`, is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code !== "EPIPE") throw error;
  process.exit(0);
});

const program = new Command()
  .name("npm run quickstart --")
  .description("Asks questions of the README files of this package's dependencies.")
  .argument("[questions...]", "questions, each in quotes; without any, three built-in ones")
  .option("--dir <folder>", "also read the Markdown and text files of this folder")
  .option("--k <number>", "passages to retrieve for a question", parseK, 5)
  .option("--device <name>", 'force a device, such as "cpu"')
  .option("--no-cache", "encode every passage again, and keep nothing")
  .option("--extract", "answer with quotes even when a chat model is configured")
  .action(ask);

try {
  await program.parseAsync();
} catch (error) {
  const { message, hint } = error as Error & { hint?: string };
  printError(message, hint);
  process.exitCode = 1;
}
