/**
 * Ask your dependencies: retrieval with LlamaIndex.TS over hive-gpu, with a metadata filter.
 *   npm run example:llamaindex -- --package zod "How do I get the type of a schema?"
 */
import { Command } from "commander";
import { parseK, readQuestions, runCommand } from "../common/command.js";
import { dim, progressBar } from "../common/terminal.js";
import { ExtractiveAnswerer } from "../quickstart/answer.js";
import { printAnswer, printOverview } from "../quickstart/output.js";
import { Pipeline } from "./pipeline.js";

interface Options {
  package: string[];
  project?: string;
  dir?: string;
  k: number;
  device?: string;
  cache: boolean;
}

interface Question {
  question: string;
  /** Asks only these packages; none means all. */
  packages: readonly string[];
}

/** The last two ask the same, so that the effect of the filter shows. */
const BUILT_IN: readonly Question[] = [
  { question: "How do I declare a required command line option?", packages: [] },
  { question: "How do I handle errors?", packages: [] },
  { question: "How do I handle errors?", packages: ["zod"] },
];

function questionsOf(words: readonly string[], options: Options): Question[] {
  const given = readQuestions(words);
  if (given.length > 0) return given.map((question) => ({ question, packages: options.package }));
  if (options.package.length === 0 && options.project === undefined) return [...BUILT_IN];
  return [{ question: BUILT_IN[1]!.question, packages: options.package }];
}

async function ask(words: string[], options: Options): Promise<void> {
  const started = performance.now();
  const { package: packages, project, dir, device, cache } = options;
  const bar = progressBar("Embedding passages");
  const onProgress = bar.update;
  const pipeline = await Pipeline.open({
    project,
    dir,
    packages,
    device,
    cache,
    onProgress,
  }).finally(bar.stop);
  try {
    const answerer = new ExtractiveAnswerer(pipeline.reader);
    printOverview(pipeline, (performance.now() - started) / 1000);
    console.log(`${dim("answers  ")}  ${answerer.label}`);
    for (const { question, packages: only } of questionsOf(words, options)) {
      const findings = await pipeline.find(question, options.k, only);
      const shown = only.length === 0 ? question : `${question} (only ${only.join(", ")})`;
      printAnswer(shown, await answerer.answer(question, findings, options.k));
    }
  } finally {
    await pipeline.close();
  }
}

const program = new Command()
  .name("npm run example:llamaindex --")
  .description("Asks questions of the README files of a package's dependencies.")
  .argument("[questions...]", "questions, each in quotes; without any, built-in ones")
  .option(
    "--package <name>",
    "ask only this dependency; may be given several times",
    (name: string, names: string[]) => [...names, name],
    [],
  )
  .option("--project <folder>", "folder of the package whose dependencies are read")
  .option("--dir <folder>", "also read the Markdown and text files of this folder")
  .option("--k <number>", "passages to retrieve for a question", parseK, 5)
  .option("--device <name>", 'force a device, such as "cpu"')
  .option("--no-cache", "encode every passage again, and keep nothing")
  .action(ask);

await runCommand(program);
