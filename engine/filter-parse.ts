/** Reads a filter, which may come from anywhere, into its tree. Refuses what it does not know. */
import { types } from "node:util";
import { hiveError } from "./errors.js";
import {
  type FilterNode,
  type FilterRecord,
  type Scalar,
  type Test,
  joined,
  valueTypes,
} from "./filter-ast.js";
import {
  check,
  operands,
  rangeTest,
  readScalar,
  regexTest,
  unknownOperator,
  wrong,
} from "./filter-operands.js";
import { limits } from "./limits.js";
import { isPlainObject, show } from "./options.js";

const fieldOperators = [
  "$eq",
  "$ne",
  "$gt",
  "$gte",
  "$lt",
  "$lte",
  "$in",
  "$nin",
  "$exists",
  "$all",
  "$contains",
  "$regex",
  "$options",
  "$size",
  "$type",
  "$not",
  "$missing",
] as const;
const joinOperators = ["$and", "$or", "$nor", "$not"] as const;

/** State of one reading: where it is, and how much it has seen. */
class Reader {
  #nodes = 0;
  #values = 0;

  node(path: string, given: unknown, depth: number): FilterNode {
    this.#count(path, depth);
    if (typeof given === "function") {
      return { kind: "function", test: given as (record: FilterRecord) => boolean };
    }
    const object = this.#object(path, given);
    const of: FilterNode[] = [];
    for (const key of Object.keys(object)) {
      const value = object[key];
      if (key.startsWith("$")) of.push(this.#join(path, key, value, depth));
      else of.push(this.#field(`${path}.${key}`, key, value, depth));
    }
    return joined("and", of);
  }

  #count(path: string, depth: number): void {
    if (depth > limits.filterDepthMax) {
      throw hiveError(
        "LIMIT_EXCEEDED",
        `${path}: filters may be nested ${limits.filterDepthMax} deep.`,
      );
    }
    if (++this.#nodes <= limits.filterNodesMax) return;
    throw hiveError("LIMIT_EXCEEDED", `filter: more than ${limits.filterNodesMax} conditions.`, {
      hint: "Use $in for many values of one field.",
    });
  }

  #object(path: string, given: unknown): Record<string, unknown> {
    if (typeof given === "object" && given !== null && isPlainObject(given)) return given;
    throw wrong(path, `expected an object of conditions, got ${show(given)}.`);
  }

  #join(path: string, key: string, value: unknown, depth: number): FilterNode {
    const at = `${path}.${key}`;
    if (!(joinOperators as readonly string[]).includes(key))
      throw unknownOperator(path, key, joinOperators);
    // LangChain's translator writes the operand of not as an array of one.
    if (key === "$not" && !Array.isArray(value)) {
      return { kind: "not", of: this.node(at, value, depth + 1) };
    }
    const list = this.#list(at, value);
    if (list.length === 0) throw wrong(at, "needs at least one condition.");
    if (key === "$not" && list.length !== 1)
      throw wrong(at, "takes one condition; use $nor for more.");
    const of = list.map((item, i) => this.node(`${at}[${i}]`, item, depth + 1));
    if (key === "$and" || key === "$or") return joined(key === "$and" ? "and" : "or", of);
    return { kind: "not", of: joined("or", of) };
  }

  #list(at: string, value: unknown): unknown[] {
    const list = check(operands.list, at, value, "an array");
    this.#values += list.length;
    if (this.#values <= limits.filterValuesMax) return list;
    throw hiveError(
      "LIMIT_EXCEEDED",
      `filter: more than ${limits.filterValuesMax} values in lists.`,
    );
  }

  #field(at: string, path: string, value: unknown, depth: number): FilterNode {
    this.#count(at, depth);
    if (path.length > limits.filterPathMax) {
      throw hiveError("LIMIT_EXCEEDED", `filter: a path is longer than ${limits.filterPathMax}.`);
    }
    if (typeof value !== "object" || value === null || !isPlainObject(value)) {
      return this.#equals(at, path, value);
    }
    const keys = Object.keys(value);
    const operators = keys.filter((key) => key.startsWith("$"));
    if (operators.length === 0) return this.#equals(at, path, value);
    if (operators.length < keys.length) {
      const other = keys.find((key) => !key.startsWith("$"));
      throw wrong(at, `operators and the key ${show(other)} cannot be mixed.`);
    }
    return this.#operators(at, path, value, depth);
  }

  #operators(at: string, path: string, object: Record<string, unknown>, depth: number): FilterNode {
    const of: FilterNode[] = [];
    for (const key of Object.keys(object)) {
      if (key === "$missing" || (key === "$options" && "$regex" in object)) continue;
      of.push(this.#operator(`${at}.${key}`, path, key, object, depth));
    }
    if (of.length === 0) throw wrong(at, "$missing needs a condition beside it.");
    const node = joined("and", of);
    if (!Object.hasOwn(object, "$missing")) return node;
    const words = '"match" or "exclude"';
    const policy = check(operands.missing, `${at}.$missing`, object["$missing"], words);
    const exists: FilterNode = { kind: "test", path, test: { op: "exists" } };
    if (policy === "exclude") return { kind: "and", of: [exists, node] };
    return { kind: "or", of: [{ kind: "not", of: exists }, node] };
  }

  #operator(
    at: string,
    path: string,
    key: string,
    object: Record<string, unknown>,
    depth: number,
  ): FilterNode {
    const value = object[key];
    const test = (made: Test): FilterNode => ({ kind: "test", path, test: made });
    switch (key) {
      case "$eq":
        return this.#equals(at, path, value);
      case "$ne":
        return { kind: "not", of: this.#equals(at, path, value) };
      case "$gt":
      case "$gte":
        return test(rangeTest(at, value, "low", key === "$gt"));
      case "$lt":
      case "$lte":
        return test(rangeTest(at, value, "high", key === "$lt"));
      case "$in":
        return this.#in(at, path, value);
      case "$nin":
        return { kind: "not", of: this.#in(at, path, value) };
      case "$exists": {
        const exists = test({ op: "exists" });
        const wanted = check(operands.exists, at, value, "true or false");
        return wanted ? exists : { kind: "not", of: exists };
      }
      case "$all": {
        const list = this.#list(at, value);
        if (list.length === 0) return { kind: "false" };
        return joined(
          "and",
          list.map((item, i) => this.#equals(`${at}[${i}]`, path, item)),
        );
      }
      case "$contains":
        return test({ op: "contains", value: readScalar(at, value) });
      case "$regex":
        return test(regexTest(at, value, object["$options"]));
      case "$size":
        return test({ op: "size", value: check(operands.size, at, value, "a whole number") });
      case "$type":
        return test({
          op: "type",
          type: check(operands.type, at, value, `one of ${valueTypes.join(", ")}`),
        });
      case "$not": {
        if (typeof value !== "object" || value === null || !isPlainObject(value)) {
          throw wrong(at, `expected an object of operators, got ${show(value)}.`);
        }
        return { kind: "not", of: this.#field(at, path, value, depth + 1) };
      }
      default:
        throw unknownOperator(at.slice(0, -key.length - 1), key, fieldOperators);
    }
  }

  #in(at: string, path: string, value: unknown): FilterNode {
    const list = this.#list(at, value);
    const scalars: Scalar[] = [];
    const of: FilterNode[] = [];
    for (const [i, item] of list.entries()) {
      if (typeof item === "object" && item !== null && !types.isDate(item)) {
        of.push(this.#equals(`${at}[${i}]`, path, item));
      } else {
        scalars.push(readScalar(`${at}[${i}]`, item));
      }
    }
    if (scalars.length > 0) of.push({ kind: "test", path, test: { op: "in", values: scalars } });
    return joined("or", of);
  }

  #equals(at: string, path: string, value: unknown): FilterNode {
    if (typeof value === "object" && value !== null && !types.isDate(value)) {
      this.#plain(at, value, 0);
      return { kind: "test", path, test: { op: "same", value: structuredClone(value) } };
    }
    const values = [readScalar(at, value)];
    return { kind: "test", path, test: { op: "in", values } };
  }

  /** Arrays and objects to compare with: JSON and dates, within the limits. */
  #plain(at: string, value: unknown, depth: number): void {
    if (typeof value !== "object" || value === null || types.isDate(value)) {
      readScalar(at, value);
      return;
    }
    if (depth > limits.filterDepthMax) {
      throw hiveError(
        "LIMIT_EXCEEDED",
        `${at}: values may be nested ${limits.filterDepthMax} deep.`,
      );
    }
    if (!Array.isArray(value) && !isPlainObject(value)) {
      throw wrong(at, `expected JSON or a Date, got ${show(value)}.`);
    }
    this.#list(at, Object.keys(value));
    for (const [key, item] of Object.entries(value)) this.#plain(`${at}.${key}`, item, depth + 1);
  }
}

/** Reads a filter. @throws INVALID_FILTER or LIMIT_EXCEEDED, naming the place */
export function readFilter(given: unknown, where = "filter"): FilterNode {
  return new Reader().node(where, given, 0);
}
