/** LlamaIndex's metadata filters in the engine's language. docs/llamaindex.md has the table. */
import type { MetadataFilter } from "llamaindex";
import { InputError, type Filter } from "hive-gpu";
import type { NestedMetadataFilters } from "./options.js";

type Value = string | number | boolean;

function refuse(message: string, details: Record<string, unknown>): never {
  throw new InputError("INVALID_FILTER", `query: ${message}`, { details });
}

function isScalar(value: unknown): value is Value {
  return ["string", "number", "boolean"].includes(typeof value);
}

function scalar({ key, value, operator }: MetadataFilter): Value {
  if (isScalar(value)) return value;
  return refuse(`the value of ${operator} must be a string, a number or a boolean.`, {
    key,
    value,
  });
}

function ordered(filter: MetadataFilter): string | number {
  const value = scalar(filter);
  if (typeof value !== "boolean") return value;
  return refuse(`${filter.operator} needs a string or a number.`, { key: filter.key });
}

function list({ key, value, operator }: MetadataFilter): Value[] {
  if (Array.isArray(value) && value.every(isScalar)) return value;
  return refuse(`the value of ${operator} must be an array of strings or numbers.`, { key, value });
}

function text({ key, value, operator }: MetadataFilter): string {
  if (typeof value === "string") return value;
  return refuse(`the value of ${operator} must be a string.`, { key, value });
}

/** Conditions of a key; never of the prototype, whatever the key is called. */
function on(key: string, conditions: object): Filter {
  return Object.fromEntries([[key, conditions]]);
}

const noArray = { $not: { $type: "array" } } as const;

function translate(filter: MetadataFilter): Filter {
  const { key, operator } = filter;
  if (typeof key !== "string") refuse("the key of a filter must be a string.", { key });
  const present = on(key, { $exists: true });
  switch (operator) {
    case "==":
      return on(key, { $eq: scalar(filter), ...noArray });
    case "!=":
      return { $and: [present], $nor: [on(key, { $eq: scalar(filter), ...noArray })] };
    case ">":
      return on(key, { $gt: ordered(filter), ...noArray });
    case ">=":
      return on(key, { $gte: ordered(filter), ...noArray });
    case "<":
      return on(key, { $lt: ordered(filter), ...noArray });
    case "<=":
      return on(key, { $lte: ordered(filter), ...noArray });
    case "in":
      return on(key, { $in: list(filter), ...noArray });
    case "nin":
      return { $and: [present], $nor: [on(key, { $in: list(filter), ...noArray })] };
    case "any":
      return on(key, { $in: list(filter), $type: "array" });
    case "all": {
      const wanted = list(filter);
      return on(key, wanted.length === 0 ? { $type: "array" } : { $all: wanted, $type: "array" });
    }
    case "contains":
      return on(key, { $contains: scalar(filter), $type: "array" });
    case "text_match":
      return on(key, { $contains: text(filter) });
    case "is_empty":
      return { $or: [on(key, { $in: [null, ""], ...noArray }), on(key, { $size: 0 })] };
    default:
      return refuse(`there is no operator ${JSON.stringify(operator)}.`, { key, operator });
  }
}

/** A filter of the engine; undefined when everything passes. */
export function engineFilter(given: NestedMetadataFilters | undefined): Filter | undefined {
  if (given === undefined || given === null) return undefined;
  const { filters, condition = "and" } = given;
  if (!Array.isArray(filters)) refuse("filters must be an array.", {});
  if (condition !== "and" && condition !== "or") {
    refuse(`there is no condition ${JSON.stringify(condition)}; use "and" or "or".`, { condition });
  }
  // Of no filters, LlamaIndex's own store lets everything pass for and, nothing for or.
  if (filters.length === 0) return condition === "and" ? undefined : { $nor: [{}] };
  const of = filters.map((one) => ("filters" in one ? (engineFilter(one) ?? {}) : translate(one)));
  return condition === "and" ? { $and: of } : { $or: of };
}
