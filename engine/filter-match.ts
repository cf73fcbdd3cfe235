/**
 * The meaning of a filter on one record. Columns answer the same questions faster; what has no
 * column, long strings and over-many paths, is answered here.
 */
import { types } from "node:util";
import { hiveError } from "./errors.js";
import type { FilterNode, FilterRecord, Scalar, Test, ValueType } from "./filter-ast.js";
import { isPlainObject, show } from "./options.js";

/** Stands for a path that the metadata does not have. */
export const missing = Symbol("missing");

function own(object: Record<string, unknown>, key: string): unknown {
  if (!Object.hasOwn(object, key)) return missing;
  const value = object[key];
  return value === undefined ? missing : value;
}

/**
 * The value at a dotted path. A key that contains dots is found as well: the longest key that leads
 * somewhere wins. Arrays are not entered.
 */
export function valueAt(object: Record<string, unknown>, path: string): unknown {
  const whole = own(object, path);
  if (whole !== missing) return whole;
  for (let dot = path.lastIndexOf("."); dot > 0; dot = path.lastIndexOf(".", dot - 1)) {
    const inner = own(object, path.slice(0, dot));
    if (typeof inner !== "object" || inner === null || !isPlainObject(inner)) continue;
    const found = valueAt(inner, path.slice(dot + 1));
    if (found !== missing) return found;
  }
  return missing;
}

/** The JSON type of a stored value. */
export function typeOf(value: unknown): ValueType {
  if (value === null) return "null";
  if (Array.isArray(value)) return "array";
  if (types.isDate(value)) return "date";
  const type = typeof value;
  return type === "string" || type === "number" || type === "boolean" ? type : "object";
}

export function equalScalar(value: unknown, wanted: Scalar): boolean {
  if (types.isDate(wanted)) return types.isDate(value) && value.getTime() === wanted.getTime();
  return value === wanted;
}

function sameValue(a: unknown, b: unknown): boolean {
  const type = typeOf(a);
  if (type !== typeOf(b)) return false;
  if (type === "array") {
    const [x, y] = [a as unknown[], b as unknown[]];
    return x.length === y.length && x.every((item, i) => sameValue(item, y[i]));
  }
  if (type !== "object") return equalScalar(a, b as Scalar);
  const [x, y] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(x).filter((key) => x[key] !== undefined);
  const others = Object.keys(y).filter((key) => y[key] !== undefined);
  return (
    keys.length === others.length &&
    keys.every((key) => Object.hasOwn(y, key) && sameValue(x[key], y[key]))
  );
}

function inRange(value: unknown, test: Test & { op: "range" }): boolean {
  if (typeOf(value) !== test.type) return false;
  const x = types.isDate(value) ? value.getTime() : (value as number | string);
  const { low, high } = test;
  if (low !== undefined && (low.open ? !(x > low.value) : !(x >= low.value))) return false;
  return high === undefined || (high.open ? x < high.value : x <= high.value);
}

/** The test on a value that is not entered. */
function passesAlone(value: unknown, test: Test): boolean {
  switch (test.op) {
    case "in":
      return test.values.some((wanted) => equalScalar(value, wanted));
    case "same":
      return sameValue(value, test.value);
    case "range":
      return inRange(value, test);
    case "regex":
      return typeof value === "string" && test.regex.matcher(value).find();
    case "contains":
      return equalScalar(value, test.value);
    default:
      return false;
  }
}

/** The test on the value at its path, or `missing`. */
export function passes(value: unknown, test: Test): boolean {
  if (value === missing) return test.op === "in" && test.values.includes(null);
  switch (test.op) {
    case "exists":
      return true;
    case "type":
      return typeOf(value) === test.type;
    case "size":
      return Array.isArray(value) && value.length === test.value;
    case "contains":
      if (Array.isArray(value)) return value.some((item) => equalScalar(item, test.value));
      return (
        typeof value === "string" && typeof test.value === "string" && value.includes(test.value)
      );
    default:
      if (passesAlone(value, test)) return true;
      return Array.isArray(value) && value.some((item) => passesAlone(item, test));
  }
}

const nothing: Record<string, unknown> = Object.freeze({});

/** A promise, or undefined for a forgotten return, must not count as an answer. */
function decided(answer: unknown): boolean {
  if (typeof answer === "boolean") return answer;
  const message = `A filter function must return true or false, got ${show(answer)}.`;
  throw hiveError("INVALID_FILTER", message);
}

/** Whether a record passes. */
export function matches(node: FilterNode, record: FilterRecord): boolean {
  switch (node.kind) {
    case "true":
      return true;
    case "false":
      return false;
    case "and":
      return node.of.every((child) => matches(child, record));
    case "or":
      return node.of.some((child) => matches(child, record));
    case "not":
      return !matches(node.of, record);
    case "function":
      return decided(node.test(record));
    default:
      return passes(valueAt(record.metadata ?? nothing, node.path), node.test);
  }
}
