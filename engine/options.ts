/** Checks of options that are written by hand, because they run on every search. */
import { hiveError } from "./errors.js";

/** Edits (insert, delete, replace) that turn `a` into `b`. */
function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const replaced = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      current.push(Math.min(replaced, previous[j]! + 1, current[j - 1]! + 1));
    }
    previous = current;
  }
  return previous[b.length]!;
}

/** The known word closest to `word`, or undefined when none is near. */
export function nearest(word: string, known: Iterable<string>): string | undefined {
  if (word.length > 64) return undefined;
  let best: string | undefined;
  let bestEdits = Math.max(2, Math.floor(word.length / 2)) + 1;
  for (const candidate of known) {
    const edits = editDistance(word.toLowerCase(), candidate.toLowerCase());
    if (edits < bestEdits) {
      bestEdits = edits;
      best = candidate;
    }
  }
  return best;
}

/** A value for an error message, short enough to read. */
export function show(value: unknown): string {
  if (typeof value === "string") {
    return JSON.stringify(value.length > 60 ? `${value.slice(0, 60)}…` : value);
  }
  if (typeof value === "bigint") return `${value}n`;
  if (typeof value === "function") return "a function";
  if (typeof value === "symbol") return value.toString();
  if (value === null || typeof value !== "object") return String(value);
  if (Array.isArray(value)) return `an array of ${value.length}`;
  return Object.prototype.toString.call(value).slice(8, -1) === "Object"
    ? "an object"
    : `a ${Object.prototype.toString.call(value).slice(8, -1)}`;
}

/** Objects of any realm whose prototype is Object.prototype, or none. */
export function isPlainObject(value: object): value is Record<string, unknown> {
  const proto: unknown = Object.getPrototypeOf(value);
  if (proto === Object.prototype || proto === null) return true;
  return Object.getPrototypeOf(proto) === null && Object.hasOwn(proto as object, "hasOwnProperty");
}

/** Refuses anything but an object whose keys are all known. `undefined` is allowed. */
export function checkOptions(where: string, options: unknown, known: ReadonlySet<string>): void {
  if (options === undefined) return;
  if (typeof options !== "object" || options === null || Array.isArray(options)) {
    throw hiveError(
      "INVALID_ARGUMENT",
      `${where}: options must be an object, got ${show(options)}.`,
    );
  }
  for (const key in options) if (!known.has(key)) throw unknownOption(where, key, known);
}

function unknownOption(where: string, key: string, known: ReadonlySet<string>): Error {
  const near = nearest(key, known);
  const valid = [...known].join(", ");
  const hint =
    near === undefined ? `Known options: ${valid}.` : `Did you mean "${near}"? Known: ${valid}.`;
  const tail = near === undefined ? `known options are ${valid}` : `did you mean "${near}"?`;
  return hiveError("UNKNOWN_OPTION", `${where}: unknown option ${show(key)}; ${tail}`, {
    hint,
    details: { option: key, nearest: near, known: [...known] },
  });
}

/** An integer from `min` to `max`; the message names the option and the range. */
export function checkInteger(
  where: string,
  name: string,
  value: unknown,
  min: number,
  max: number,
): number {
  if (typeof value !== "number" || !Number.isInteger(value) || value < min) {
    throw hiveError(
      "INVALID_ARGUMENT",
      `${where}: ${name} must be an integer from ${min} to ${max}, got ${show(value)}.`,
      { details: { option: name, value, min, max } },
    );
  }
  if (value > max) {
    throw hiveError("LIMIT_EXCEEDED", `${where}: ${name} is ${value}, the limit is ${max}.`, {
      details: { option: name, value, max },
    });
  }
  return value;
}

/** A member of a list of words; the message names the nearest. */
export function checkWord<T extends string>(
  where: string,
  name: string,
  value: unknown,
  known: readonly T[],
): T {
  if (typeof value === "string" && (known as readonly string[]).includes(value)) return value as T;
  const near = typeof value === "string" ? nearest(value, known) : undefined;
  const tail = near === undefined ? "" : `; did you mean "${near}"?`;
  throw hiveError(
    "INVALID_ARGUMENT",
    `${where}: ${name} must be one of ${known.join(", ")}, got ${show(value)}${tail}`,
    { details: { option: name, value, known, nearest: near } },
  );
}

/** A function, or undefined. */
export function checkFunction(where: string, name: string, value: unknown): void {
  if (value === undefined || typeof value === "function") return;
  throw hiveError("INVALID_ARGUMENT", `${where}: ${name} must be a function, got ${show(value)}.`);
}

/** A boolean, or undefined. */
export function checkBoolean(where: string, name: string, value: unknown): void {
  if (value === undefined || typeof value === "boolean") return;
  throw hiveError(
    "INVALID_ARGUMENT",
    `${where}: ${name} must be true or false, got ${show(value)}.`,
    { details: { option: name } },
  );
}

/** An AbortSignal (of any realm), or undefined. */
export function checkSignal(where: string, signal: unknown): AbortSignal | undefined {
  if (signal === undefined) return undefined;
  const candidate: Partial<AbortSignal> | null = signal;
  if (
    typeof candidate === "object" &&
    candidate !== null &&
    typeof candidate.aborted === "boolean" &&
    typeof candidate.addEventListener === "function"
  ) {
    return candidate as AbortSignal;
  }
  throw hiveError(
    "INVALID_ARGUMENT",
    `${where}: signal must be an AbortSignal, got ${show(signal)}.`,
  );
}
