/** What the command lines of the examples have in common. */
import { type Command, InvalidArgumentError } from "commander";
import { printError } from "./terminal.js";

const MAX_K = 20;

/** The value of --k: how many passages to retrieve. */
export function parseK(value: string): number {
  const k = Number(value);
  if (Number.isInteger(k) && k >= 1 && k <= MAX_K) return k;
  throw new InvalidArgumentError(`It must be an integer from 1 to ${MAX_K}.`);
}

/** One question per argument; words without quotes around them are one question. */
export function readQuestions(words: readonly string[]): readonly string[] {
  const given = words.map((word) => word.trim()).filter((word) => word !== "");
  if (given.length === 0) return [];
  return given.some((word) => word.includes(" ")) ? given : [given.join(" ")];
}

/** Runs a command; an error is printed as its words and its hint, and the exit code is 1. */
export async function runCommand(program: Command): Promise<void> {
  // A reader that has seen enough, such as `head`, is no error.
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    if (error.code !== "EPIPE") throw error;
    process.exit(0);
  });
  try {
    await program.parseAsync();
  } catch (error) {
    const { message, hint } = error as Error & { hint?: string };
    printError(message, hint);
    process.exitCode = 1;
  }
}
