/**
 * Filter tree -> flat program over columns, in which no path and no string survives. What columns
 * cannot answer has been decided on the records before and comes in as lists of rows.
 */
import { types } from "node:util";
import { type Columns, type PathColumns, elementKey, elementOf } from "./columns.js";
import type { FilterNode, FunctionNode, Scalar, Test, TestNode } from "./filter-ast.js";
import { passes } from "./filter-match.js";
import type { Slices } from "./slices.js";

/** Opcodes of native/core/predicate.h. */
const op = {
  false: 0,
  true: 1,
  present: 2,
  range: 3,
  numbers: 4,
  codes: 5,
  length: 6,
  rows: 7,
  and: 8,
  or: 9,
  not: 10,
} as const;

/** A piece of program that leaves one bitset. */
export type Code = readonly number[];

/** What runs on the native side. */
export interface Program {
  words: Float64Array;
  rows: Float64Array[];
}

/** A leaf that has to be decided on records, and the columns that mark which ones. */
export interface Residual {
  node: TestNode | FunctionNode;
  /** Leaves a bitset of the records to look at. */
  candidates: Code;
}

const none: Code = [op.false];

function any(parts: readonly Code[]): Code {
  if (parts.length === 0) return none;
  return parts.length === 1 ? parts[0]! : [...parts.flat(), op.or, parts.length];
}

function present(id: number | undefined): Code[] {
  return id === undefined ? [] : [[op.present, id]];
}

function codesOf(id: number | undefined, codes: readonly number[]): Code[] {
  return id === undefined || codes.length === 0 ? [] : [[op.codes, id, codes.length, ...codes]];
}

function ascending(numbers: readonly number[]): number[] {
  return [...new Set(numbers)].toSorted((a, b) => a - b);
}

/** Compiles one filter against the columns of one collection. */
export class Compiler {
  readonly #columns: Columns;
  readonly #slices: Slices;
  /** Rows that passed, per residual leaf. */
  readonly decided = new Map<TestNode | FunctionNode, Float64Array>();
  readonly #rows: Float64Array[] = [];

  constructor(columns: Columns, slices: Slices) {
    this.#columns = columns;
    this.#slices = slices;
  }

  /** The leaves of the tree that columns alone cannot decide. */
  residuals(node: FilterNode): Residual[] {
    switch (node.kind) {
      case "true":
      case "false":
        return [];
      case "and":
      case "or":
        return node.of.flatMap((child) => this.residuals(child));
      case "not":
        return this.residuals(node.of);
      case "function":
        return [{ node, candidates: [op.true] }];
      default: {
        const candidates = this.#candidates(node);
        return candidates === undefined ? [] : [{ node, candidates }];
      }
    }
  }

  /** The program of the tree; `decided` holds an entry for each residual. */
  async program(node: FilterNode): Promise<Program> {
    this.#rows.length = 0;
    const code = await this.#node(node);
    return { words: Float64Array.from(code), rows: [...this.#rows] };
  }

  /** The records that may have something else at the path than columns say. */
  #candidates({ path, test }: TestNode): Code | undefined {
    const { overflowId } = this.#columns;
    const columns = this.#columns.find(path);
    if (columns === undefined)
      return overflowId === undefined ? undefined : [op.present, overflowId];
    const { ids } = columns;
    const marks = present(ids.opaque);
    if (test.op === "same") {
      marks.push(...present(Array.isArray(test.value) ? ids.list : ids.object));
    }
    return marks.length === 0 ? undefined : any(marks);
  }

  async #node(node: FilterNode): Promise<Code> {
    switch (node.kind) {
      case "true":
        return [op.true];
      case "false":
        return none;
      case "not":
        return [...(await this.#node(node.of)), op.not];
      case "function":
        return this.#listed(node);
      case "test":
        return this.#leaf(node);
      default: {
        const words: number[] = [];
        for (const child of node.of) for (const word of await this.#node(child)) words.push(word);
        words.push(node.kind === "and" ? op.and : op.or, node.of.length);
        return words;
      }
    }
  }

  #listed(node: TestNode | FunctionNode): Code {
    const rows = this.decided.get(node);
    if (rows === undefined || rows.length === 0) return none;
    this.#rows.push(rows);
    return [op.rows, this.#rows.length - 1];
  }

  async #leaf(node: TestNode): Promise<Code> {
    const columns = this.#columns.find(node.path);
    const held = await this.#held(columns, node.test);
    const candidates = this.#candidates(node);
    if (candidates === undefined) return held;
    return any([[...held, ...candidates, op.not, op.and, 2], this.#listed(node)]);
  }

  /** What columns say, right wherever the candidates are not. */
  async #held(columns: PathColumns | undefined, test: Test): Promise<Code> {
    const ids = columns?.ids ?? {};
    const everything = Object.values(ids).map((id): Code => [op.present, id]);
    switch (test.op) {
      case "exists":
        return any(everything);
      case "in": {
        const parts = columns === undefined ? [] : scalarParts(columns, test.values);
        if (test.values.includes(null))
          parts.push([...any(everything), op.not], ...present(ids.null));
        return any(parts);
      }
      case "same":
        return none;
      case "size":
        return ids.list === undefined ? none : [op.length, ids.list, test.value, test.value];
      case "type":
        return any(present(ids[test.type === "array" ? "list" : test.type]));
      case "contains":
        return columns === undefined ? none : this.#contains(columns, test);
      default:
        return columns === undefined ? none : this.#ordered(columns, test);
    }
  }

  async #contains(columns: PathColumns, test: Test & { op: "contains" }): Promise<Code> {
    const { value } = test;
    const key = elementKey(value);
    const element = key === undefined ? undefined : columns.elements.find(key);
    const parts = codesOf(columns.ids.list, element === undefined ? [] : [element]);
    if (typeof value === "string") {
      const codes = await this.#strings(columns, `contains:${value}`, (s) => s.includes(value));
      parts.push(...codesOf(columns.ids.string, codes));
    }
    return any(parts);
  }

  /** Ranges and regular expressions. */
  async #ordered(columns: PathColumns, test: Test & { op: "range" | "regex" }): Promise<Code> {
    const { ids } = columns;
    const parts: Code[] = [];
    const key = test.op === "regex" ? `regex:${test.key}` : `range:${JSON.stringify(test)}`;
    if (test.op === "range" && test.type !== "string") {
      const id = test.type === "date" ? ids.date : ids.number;
      const { low, high } = test;
      if (id !== undefined) {
        const flags = (low?.open === true ? 1 : 0) + (high?.open === true ? 2 : 0);
        const from = (low?.value as number | undefined) ?? -Infinity;
        const to = (high?.value as number | undefined) ?? Infinity;
        parts.push([op.range, id, from, to, flags]);
      }
    } else if (ids.string !== undefined) {
      const codes = await this.#strings(columns, key, (value) => passes(value, test));
      parts.push(...codesOf(ids.string, codes));
    }
    if (ids.list !== undefined) {
      const codes = await columns.elements.matching(
        key,
        (element) => passes(elementOf(element), test),
        this.#slices,
      );
      parts.push(...codesOf(ids.list, codes));
    }
    return any(parts);
  }

  #strings(
    columns: PathColumns,
    key: string,
    test: (value: string) => boolean,
  ): Promise<readonly number[]> {
    return columns.strings.matching(key, test, this.#slices);
  }
}

/** Equality with scalars. */
function scalarParts(columns: PathColumns, values: readonly Scalar[]): Code[] {
  const { ids } = columns;
  const strings: number[] = [];
  const elements: number[] = [];
  const numbers: number[] = [];
  const dates: number[] = [];
  const booleans: number[] = [];
  for (const value of values) {
    if (typeof value === "string") {
      const code = columns.strings.find(value);
      if (code !== undefined) strings.push(code);
    } else if (typeof value === "number") {
      numbers.push(value === 0 ? 0 : value);
    } else if (typeof value === "boolean") {
      booleans.push(value ? 1 : 0);
    } else if (types.isDate(value)) {
      dates.push(value.getTime());
    }
    const key = elementKey(value);
    const element = key === undefined ? undefined : columns.elements.find(key);
    if (element !== undefined) elements.push(element);
  }
  const listed = (id: number | undefined, list: readonly number[]): Code[] => {
    if (id === undefined || list.length === 0) return [];
    const sorted = ascending(list);
    return [[op.numbers, id, sorted.length, ...sorted]];
  };
  return [
    ...codesOf(ids.string, ascending(strings)),
    ...codesOf(ids.list, ascending(elements)),
    ...listed(ids.number, numbers),
    ...listed(ids.date, dates),
    ...listed(ids.boolean, booleans),
  ];
}
