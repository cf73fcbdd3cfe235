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

/** The operand of an operator that works on values of one kind only. */
type When<T, Kind, Operand> = [Extract<T, Kind>] extends [never] ? never : Operand;

/** Operands that values of the type are ordered against. */
type Ordered<T> = unknown extends T
  ? string | number | Date
  :
      | When<Element<T>, string, string>
      | When<Element<T>, number, number>
      | When<Element<T>, Date, Date>;

/** Parts of strings, elements of arrays. */
type Part<T> = unknown extends T
  ? Scalar
  : When<T, string, string> | (Element<Extract<T, readonly unknown[]>> & Scalar);

/** Conditions on the value at one path, all of which must hold. */
export interface FieldFilter<T = unknown> {
  /** Equal by type and value; of an array: the array itself or one of its elements. */
  $eq?: T | Element<T> | null;
  /** Not `$eq`; passes where the path is missing. */
  $ne?: T | Element<T> | null;
  $gt?: Ordered<T>;
  $gte?: Ordered<T>;
  $lt?: Ordered<T>;
  $lte?: Ordered<T>;
  /** `$eq` to one of them. */
  $in?: readonly (T | Element<T> | null)[];
  /** Not `$in`; passes where the path is missing. */
  $nin?: readonly (T | Element<T> | null)[];
  /** Whether the path is there; null counts as there. */
  $exists?: boolean;
  /** Equal to every one of them; of no values: nothing passes. */
  $all?: readonly Element<T>[];
  /** Substring of a string, case-sensitive; element of an array. */
  $contains?: Part<T>;
  /** RE2 syntax: linear time, no look-around or back references. Matches anywhere in the string. */
  $regex?: unknown extends T ? string | RegExp : When<Element<T>, string, string | RegExp>;
  /** Flags of `$regex`: i, m, s. */
  $options?: string;
  /** Length of an array. */
  $size?: unknown extends T ? number : When<T, readonly unknown[], number>;
  $type?: ValueType;
  $not?: FieldFilter<T>;
  /** What these conditions say where the path is missing; default: each operator's own rule. */
  $missing?: "match" | "exclude";
}

/** A value that must be equal, or conditions. */
export type FieldCondition<T> = T | Element<T> | null | FieldFilter<T>;

/** What paths do not lead into. */
type Leaf = Scalar | undefined | readonly unknown[];

/** The declared keys of a type, without index signatures. */
type Key<T> = keyof { [K in keyof T as string extends K ? never : K]: K } & string;

/** The paths of a type, dotted within nested objects; any path where nothing is known. */
export type FilterPath<T, Depth extends 0[] = []> = unknown extends T
  ? string
  : T extends Leaf
    ? never
    : string extends keyof T
      ? string
      : Depth["length"] extends 6
        ? string
        : { [K in Key<T>]: K | `${K}.${FilterPath<T[K & keyof T], [...Depth, 0]>}` }[Key<T>];

/** The type of the value at a path. */
export type FilterValue<T, P extends string> = unknown extends T
  ? unknown
  : T extends Leaf
    ? never
    : P extends Key<T>
      ? T[P & keyof T]
      : string extends keyof T
        ? T[string & keyof T] extends Leaf
          ? T[string & keyof T]
          : unknown
        : string extends P
          ? unknown
          : {
              [K in Key<T>]: P extends `${K}.${infer Rest}`
                ? FilterValue<T[K & keyof T], Rest>
                : never;
            }[Key<T>];

/** Conditions on the declared paths of a type. */
type Paths<M> = {
  [P in FilterPath<M>]?: FieldCondition<Exclude<FilterValue<M, P>, undefined>>;
};

/** Conditions on metadata with an index signature: any path, declared keys by their type. */
type OpenPaths<M> = {
  [K in Key<M>]?: FieldCondition<Exclude<M[K & keyof M], undefined>>;
} & { [path: string]: unknown };

/**
 * Conditions that must all hold. Dots in keys lead into nested objects. Where M says what the
 * metadata is, other paths and operands of another type do not compile.
 */
export type Filter<M extends object = Record<string, unknown>> = (string extends keyof M
  ? OpenPaths<M>
  : Paths<M>) & {
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
