/** Operands of a filter's operators: their shapes, and the tests that are made of them. */
import { types } from "node:util";
import { RE2JS } from "re2js";
import { z } from "zod";
import { hiveError } from "./errors.js";
import { type Bound, type RangeType, type Scalar, type Test, valueTypes } from "./filter-ast.js";
import { limits } from "./limits.js";
import { nearest, show } from "./options.js";

const finite = z.number();
const scalar = z.union([z.string(), finite, z.boolean(), z.null(), z.date()]);
export const operands = {
  range: z.union([finite, z.string(), z.date()]),
  list: z.array(z.unknown()),
  exists: z.boolean(),
  regex: z.union([z.string(), z.instanceof(RegExp)]),
  options: z.string().regex(/^[ims]*$/),
  size: z.int().nonnegative(),
  type: z.enum(valueTypes),
  missing: z.enum(["match", "exclude"]),
};

export function wrong(
  where: string,
  problem: string,
  details: Record<string, unknown> = {},
): Error {
  return hiveError("INVALID_FILTER", `${where}: ${problem}`, { details });
}

export function unknownOperator(path: string, key: string, known: readonly string[]): Error {
  const near = nearest(key, known);
  const tail = near === undefined ? `known are ${known.join(", ")}` : `did you mean "${near}"?`;
  return hiveError("INVALID_FILTER", `${path}: unknown operator ${show(key)}; ${tail}`, {
    hint: `Known operators here: ${known.join(", ")}.`,
    details: { operator: key, nearest: near, known },
  });
}

export function check<T>(schema: z.ZodType<T>, at: string, value: unknown, wanted: string): T {
  const result = schema.safeParse(value);
  if (result.success) return result.data;
  throw wrong(at, `expected ${wanted}, got ${show(value)}.`);
}

export function readScalar(at: string, value: unknown): Scalar {
  return check(scalar, at, value, "a string, a finite number, a boolean, null or a valid Date");
}

export function rangeTest(at: string, value: unknown, side: "low" | "high", open: boolean): Test {
  const limit = check(operands.range, at, value, "a finite number, a string or a valid Date");
  const bound: Bound = { value: types.isDate(limit) ? limit.getTime() : limit, open };
  const type: RangeType = types.isDate(limit) ? "date" : (typeof limit as "number" | "string");
  return side === "low" ? { op: "range", type, low: bound } : { op: "range", type, high: bound };
}

const regexFlags: Record<string, number> = {
  i: RE2JS.CASE_INSENSITIVE,
  m: RE2JS.MULTILINE,
  s: RE2JS.DOTALL,
};

export function regexTest(at: string, value: unknown, options: unknown): Test {
  const given = check(operands.regex, at, value, "a string or a RegExp");
  const named = options === undefined ? "" : check(operands.options, at, options, "i, m or s");
  const source = typeof given === "string" ? given : given.source;
  const letters = new Set((typeof given === "string" ? "" : given.flags) + named);
  for (const global of "gyud") letters.delete(global);
  if (source.length > limits.filterRegexMax) {
    throw hiveError("LIMIT_EXCEEDED", `${at}: longer than ${limits.filterRegexMax} characters.`);
  }
  let flags = 0;
  for (const letter of letters) {
    const flag = regexFlags[letter];
    if (flag === undefined) throw wrong(at, `the flag ${show(letter)} is not supported.`);
    flags |= flag;
  }
  try {
    return { op: "regex", regex: RE2JS.compile(source, flags), key: `${flags}:${source}` };
  } catch (cause) {
    throw hiveError("INVALID_FILTER", `${at}: ${(cause as Error).message}`, {
      hint: "Expressions are those of RE2: everything but look-around and back references.",
      cause,
    });
  }
}
