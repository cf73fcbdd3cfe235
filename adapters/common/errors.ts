/** The adapter's errors are the engine's own, so that one `catch` serves both. */
import { InputError } from "hive-gpu";

type Details = Record<string, unknown>;

/** The error of an argument that can never be right. */
export function invalidArgument(message: string, hint: string, details: Details = {}): InputError {
  return new InputError("INVALID_ARGUMENT", message, { hint, details });
}

/** The error of options that do not exist. */
export function unknownOption(where: string, names: readonly string[], known: readonly string[]) {
  const message = `${where}: unknown option ${quoteAll(names)}; known are ${known.join(", ")}.`;
  const details = { option: names[0], options: names, known };
  return new InputError("UNKNOWN_OPTION", message, { details });
}

/** `"a", "b"` */
export function quoteAll(names: readonly string[]): string {
  return names.map((name) => JSON.stringify(name)).join(", ");
}
