/**
 * What a filter is once it was read: a tree of tests on paths, joined by and, or, not. All dialects
 * and all missing-key policies are expressed with these few nodes, so that the evaluator and the
 * compiler need to know nothing else.
 */
import type { RE2JS } from "re2js";

/** What a test compares with. */
export type Scalar = string | number | boolean | null | Date;

/** Words of `$type`. */
export const valueTypes = Object.freeze([
  "string",
  "number",
  "boolean",
  "date",
  "null",
  "array",
  "object",
] as const);
export type ValueType = (typeof valueTypes)[number];

/** The types that have an order. */
export type RangeType = "number" | "string" | "date";

/** A bound of a range; dates as milliseconds. */
export interface Bound {
  value: number | string;
  /** The value itself is outside. */
  open: boolean;
}

/**
 * A test on the value at a path. On an array, `in`, `same`, `range` and `regex` pass when they pass
 * for an element (`in` and `same` for the array itself, too).
 */
export type Test =
  /** Equal to one of the scalars, by type and value; null stands for null or missing. */
  | { op: "in"; values: readonly Scalar[] }
  /** Deeply equal; keys in any order. */
  | { op: "same"; value: object }
  | { op: "range"; type: RangeType; low?: Bound; high?: Bound }
  | { op: "exists" }
  /** Substring of a string; member of an array. */
  | { op: "contains"; value: Scalar }
  | { op: "regex"; regex: RE2JS; key: string }
  | { op: "size"; value: number }
  | { op: "type"; type: ValueType };

/** A record as a function filter sees it. */
export interface FilterRecord {
  id: string;
  text?: string;
  metadata?: Record<string, unknown>;
}

/** A test on the value at one path. */
export interface TestNode {
  kind: "test";
  path: string;
  test: Test;
}

/** A function on the whole record. */
export interface FunctionNode {
  kind: "function";
  test: (record: FilterRecord) => boolean;
}

/** A filter. */
export type FilterNode =
  | { kind: "true" }
  | { kind: "false" }
  | { kind: "and"; of: readonly FilterNode[] }
  | { kind: "or"; of: readonly FilterNode[] }
  | { kind: "not"; of: FilterNode }
  | TestNode
  | FunctionNode;

/** Joins; one operand stands for itself. */
export function joined(kind: "and" | "or", of: readonly FilterNode[]): FilterNode {
  if (of.length === 1) return of[0]!;
  if (of.length === 0) return { kind: kind === "and" ? "true" : "false" };
  return { kind, of };
}
