/**
 * Which metadata paths have columns. A column is made when a (path, type) is seen for the first
 * time, and then belongs to the collection until it is cleared. What gets none, long strings, arrays
 * of anything but scalars, paths beyond the limit, leaves a mark on its record, so that filters know
 * where they have to look at records.
 */
import { types } from "node:util";
import { Dictionary } from "./dictionary.js";
import type { Scalar } from "./filter-ast.js";
import { limits } from "./limits.js";

/** Columns of one path. `opaque`: the value is only in the record. */
export const columnTypes = Object.freeze([
  "number",
  "string",
  "boolean",
  "date",
  "null",
  "list",
  "object",
  "opaque",
] as const);
export type ColumnType = (typeof columnTypes)[number];

/** How the native side keeps a column: presence, numbers, codes, lists of codes. */
export const nativeKinds: Readonly<Record<ColumnType, 0 | 1 | 2 | 3>> = Object.freeze({
  number: 1,
  string: 2,
  boolean: 1,
  date: 1,
  null: 0,
  list: 3,
  object: 0,
  opaque: 0,
});

/** What is known of a path. */
export class PathColumns {
  readonly ids: Partial<Record<ColumnType, number>> = {};
  readonly strings = new Dictionary();
  /** Elements of arrays, by `elementKey`. */
  readonly elements = new Dictionary();
  /** The last record, counted over all batches, that had a value at this path. */
  seen = -1;
}

/** The paths of one collection. */
export class Columns {
  readonly #paths = new Map<string, PathColumns>();
  #nextId = 1;
  /** Rows whose records could not be read when the columns were restored, and why. */
  readonly unread = new Map<number, Error>();
  /** Marks records with paths that have no columns; undefined while there is none. */
  overflowId: number | undefined;

  /** Paths with columns. */
  get paths(): readonly string[] {
    return [...this.#paths.keys()];
  }

  get count(): number {
    return this.#nextId - 1;
  }

  find(path: string): PathColumns | undefined {
    return this.#paths.get(path);
  }

  /** The columns of a path, made now if there is room; undefined otherwise. */
  of(path: string): PathColumns | undefined {
    const known = this.#paths.get(path);
    if (known !== undefined) return known;
    if (this.#paths.size >= limits.columnPathsMax || path.length > limits.columnPathMax) {
      return undefined;
    }
    const made = new PathColumns();
    this.#paths.set(path, made);
    return made;
  }

  idOf(path: PathColumns, type: ColumnType): number {
    path.ids[type] ??= this.#nextId++;
    return path.ids[type];
  }

  overflow(): number {
    this.overflowId ??= this.#nextId++;
    return this.overflowId;
  }
}

/** Names an element of an array in a dictionary; undefined for what is no scalar, or too long. */
export function elementKey(value: unknown): string | undefined {
  switch (typeof value) {
    case "string":
      return value.length > limits.columnStringMax ? undefined : `s${value}`;
    case "number":
      return `n${value === 0 ? 0 : value}`;
    case "boolean":
      return value ? "b1" : "b0";
    default:
      if (value === null) return "z";
      return types.isDate(value) ? `d${value.getTime()}` : undefined;
  }
}

/** The scalar that an element's key names. */
export function elementOf(key: string): Scalar {
  const rest = key.slice(1);
  switch (key[0]) {
    case "s":
      return rest;
    case "n":
      return Number(rest);
    case "b":
      return rest === "1";
    case "d":
      return new Date(Number(rest));
    default:
      return null;
  }
}
