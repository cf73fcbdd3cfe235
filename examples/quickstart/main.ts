/**
 * Ask your dependencies: retrieval-augmented generation with LangChain.js over hive-gpu.
 *   npm run quickstart -- "How do I get the TypeScript type of a zod schema?"
 */
import { Command } from "commander";
import { parseK, readQuestions, runCommand } from "../common/command.js";
import { dim, progressBar } from "../common/terminal.js";
import { ExtractiveAnswerer, type Answerer } from "./answer.js";
import { ChatAnswerer, chooseChat, openChat } from "./chat.js";
import { printAnswer, printOverview } from "./output.js";
import { Pipeline } from "./pipeline.js";
import { BUILT_IN } from "./questions.js";

interface Options {
  dir?: string;
  k: number;
  device?: string;
  cache: boolean;
  extract?: boolean;
}

/** The chat model that the environment configures, opened before any of the slow work. */
async function configuredChat(options: Options): Promise<Answerer | undefined> {
  const choice = options.extract ? undefined : chooseChat(process.env);
  if (choice === undefined) return undefined;
  const model = await openChat(choice, process.env);
  const label = `${choice.provider}, model ${choice.model} (because of ${choice.variable})`;
  return new ChatAnswerer(model, label);
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
    printOverview(pipeline, (performance.now() - started) / 1000);
    console.log(`${dim("answers  ")}  ${answerer.label}`);
    const given = readQuestions(words);
    for (const question of given.length > 0 ? given : BUILT_IN) {
      const findings = await pipeline.find(question, options.k);
      printAnswer(question, await answerer.answer(question, findings, options.k));
    }
  } finally {
    await pipeline.close();
  }
}

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

await runCommand(program);
