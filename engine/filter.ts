/**
 * WAIST: metadata filters. One language, MongoDB's, as plain objects: safe to take from JSON, and
 * typed by the shape of the metadata. The functions of this file make the same objects.
 *
 * Semantics: docs/filters.md.
 */
import { z } from "zod";
import { HiveGpuError } from "./errors.js";
import type { FilterRecord, Scalar, ValueType } from "./filter-ast.js";
import { readFilter } from "./filter-parse.js";

export type { FilterRecord, Scalar, ValueType } from "./filter-ast.js";

/** Elements of an array type, or the type itself. */
type Element<T> = T extends readonly (infer E)[] ? E : T;

/** Types that have an order. */
type Ordered<T> = Extract<Element<T>, string | number | Date>;

/** Conditions on the value at one path, all of which must hold. */
export interface FieldFilter<T = unknown> {
  /** Equal by type and value; of an array: the array itself or one of its elements. */
  $eq?: T | Element<T> | null;
  /** Not `$eq`; passes where the path is missing. */
  $ne?: T | Element<T> | null;
  $gt?: unknown extends T ? string | number | Date : Ordered<T>;
  $gte?: unknown extends T ? string | number | Date : Ordered<T>;
  $lt?: unknown extends T ? string | number | Date : Ordered<T>;
  $lte?: unknown extends T ? string | number | Date : Ordered<T>;
  /** `$eq` to one of them. */
  $in?: readonly (T | Element<T> | null)[];
  /** Not `$in`; passes where the path is missing. */
  $nin?: readonly (T | Element<T> | null)[];
  /** Whether the path is there; null counts as there. */
  $exists?: boolean;
  /** Equal to every one of them; of no values: nothing passes. */
  $all?: readonly Element<T>[];
  /** Substring of a string, case-sensitive; element of an array. */
  $contains?: Element<T> & Scalar;
  /** RE2 syntax: linear time, no look-around or back references. Matches anywhere in the string. */
  $regex?: string | RegExp;
  /** Flags of `$regex`: i, m, s. */
  $options?: string;
  /** Length of an array. */
  $size?: number;
  $type?: ValueType;
  $not?: FieldFilter<T>;
  /** What these conditions say where the path is missing; default: each operator's own rule. */
  $missing?: "match" | "exclude";
}

/** A value that must be equal, or conditions. */
export type FieldCondition<T> = T | Element<T> | null | FieldFilter<T>;

/** Conditions that must all hold. Dots in keys lead into nested objects. */
export type Filter<M extends object = Record<string, unknown>> = {
  [K in keyof M & string]?: FieldCondition<Exclude<M[K], undefined>>;
} & {
  [path: `${string}.${string}`]: unknown;
} & {
  $and?: readonly Filter<M>[];
  $or?: readonly Filter<M>[];
  $nor?: readonly Filter<M>[];
  $not?: Filter<M> | readonly [Filter<M>];
};

/** Decides on a whole record. Slow: it is called for every record. Must not change it. */
export type FilterFunction<M extends object = Record<string, unknown>> = (
  record: FilterRecord & { metadata?: M },
) => boolean;

/** What methods take as `filter`. */
export type FilterInput<M extends object = Record<string, unknown>> = Filter<M> | FilterFunction<M>;

type Conditions = Record<string, unknown>;

/** Passes when all do; of none: everything passes. */
export function and(...filters: readonly Filter[]): Filter {
  return filters.length === 0 ? {} : { $and: filters };
}
/** Passes when one does. At least one. */
export function or(...filters: readonly [Filter, ...Filter[]]): Filter {
  return { $or: filters };
}
/** Passes when the filter does not. */
export function not(filter: Filter): Filter {
  return { $not: filter };
}
function on(path: string, conditions: Conditions): Filter {
  // A computed key would set the prototype for "__proto__".
  return Object.fromEntries([[path, conditions]]);
}
/** The value at the path is equal. */
export const eq = (path: string, value: unknown): Filter => on(path, { $eq: value });
/** The value at the path is not equal, or missing. */
export const ne = (path: string, value: unknown): Filter => on(path, { $ne: value });
export const gt = (path: string, value: string | number | Date): Filter => on(path, { $gt: value });
export const gte = (path: string, value: string | number | Date): Filter =>
  on(path, { $gte: value });
export const lt = (path: string, value: string | number | Date): Filter => on(path, { $lt: value });
export const lte = (path: string, value: string | number | Date): Filter =>
  on(path, { $lte: value });
/** The value at the path is one of them. */
export const oneOf = (path: string, values: readonly unknown[]): Filter =>
  on(path, { $in: values });
/** The value at the path is none of them, or missing. */
export const noneOf = (path: string, values: readonly unknown[]): Filter =>
  on(path, { $nin: values });
export const exists = (path: string, wanted = true): Filter => on(path, { $exists: wanted });
export const containsAll = (path: string, values: readonly unknown[]): Filter =>
  on(path, { $all: values });
export const contains = (path: string, value: Scalar): Filter => on(path, { $contains: value });
export const regex = (path: string, pattern: string | RegExp, flags?: string): Filter =>
  on(path, flags === undefined ? { $regex: pattern } : { $regex: pattern, $options: flags });
export const size = (path: string, length: number): Filter => on(path, { $size: length });

/**
 * Checks a filter that came from somewhere else, such as the body of a request, and returns it.
 * @throws INVALID_FILTER or LIMIT_EXCEEDED, naming the place
 */
export function parseFilter(given: unknown): Filter {
  if (typeof given === "function") readFilter({ $expected: "an object" });
  readFilter(given);
  return given as Filter;
}

/** `parseFilter` as a zod schema, for use inside your own schemas. */
export const filterSchema: z.ZodType<Filter> = z.unknown().transform((given, context) => {
  try {
    return parseFilter(given);
  } catch (error) {
    if (!(error instanceof HiveGpuError)) throw error;
    context.addIssue({ code: "custom", message: error.message });
    return z.NEVER;
  }
});
