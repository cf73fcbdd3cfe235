/** Reads the options of a search. Runs on every search, so it walks the object once. */
import { hiveError, throwIfAborted } from "./errors.js";
import type { FilterNode } from "./filter-ast.js";
import { readFilter } from "./filter-parse.js";
import { defaultParts, partsOf } from "./hits.js";
import { limits } from "./limits.js";
import { checkInteger, checkOptions, checkSignal, checkWord, show } from "./options.js";

/** Options with defaults filled in. */
export interface SearchPlanOptions {
  k: number;
  offset: number;
  minScore: number;
  parts: number;
  signal: AbortSignal | undefined;
  arrays: boolean;
  /** Undefined when everything passes. */
  filter: FilterNode | undefined;
  /** A filter was given, if only an empty one. */
  hasFilter: boolean;
}

const searchKeys = new Set(["k", "offset", "minScore", "select", "signal", "filter"]);
const manyKeys = new Set([...searchKeys, "output"]);
const defaultK = 10;

/**
 * Reads the options of `search` or `searchMany`; throws for what is wrong, and when the signal has
 * fired already.
 */
export function readSearchOptions(
  where: "search" | "searchMany",
  given: unknown,
): SearchPlanOptions {
  const out: SearchPlanOptions = {
    k: defaultK,
    offset: 0,
    minScore: -Infinity,
    parts: defaultParts,
    signal: undefined,
    arrays: false,
    filter: undefined,
    hasFilter: false,
  };
  if (given === undefined) return out;
  if (typeof given !== "object" || given === null || Array.isArray(given)) {
    checkOptions(where, given, searchKeys);
  }
  const options = given as Record<string, unknown>;
  for (const key in options) {
    const value = options[key];
    if (value !== undefined || !(where === "search" ? searchKeys : manyKeys).has(key)) {
      readOption(where, options, key, value, out);
    }
  }
  if (out.k + out.offset > limits.kMax && !out.arrays) throw tooMany(where, out);
  throwIfAborted(out.signal);
  return out;
}

function readOption(
  where: "search" | "searchMany",
  options: Record<string, unknown>,
  key: string,
  value: unknown,
  out: SearchPlanOptions,
): void {
  switch (key) {
    case "k":
      out.k = checkInteger(where, "k", value, 0, limits.resultEntriesMax);
      return;
    case "offset":
      out.offset = checkInteger(where, "offset", value, 0, limits.resultEntriesMax);
      return;
    case "minScore":
      if (typeof value !== "number" || Number.isNaN(value)) {
        const message = `${where}: minScore must be a number, got ${show(value)}.`;
        throw hiveError("INVALID_ARGUMENT", message);
      }
      out.minScore = value;
      return;
    case "select":
      out.parts = partsOf(where, value);
      return;
    case "signal":
      out.signal = checkSignal(where, value);
      return;
    case "filter":
      out.filter = filterOf(where, value);
      out.hasFilter = value !== null;
      return;
    case "output":
      if (where === "search") checkOptions(where, options, searchKeys);
      out.arrays = checkWord(where, "output", value, ["hits", "arrays"]) === "arrays";
      return;
    default:
      checkOptions(where, options, where === "search" ? searchKeys : manyKeys);
  }
}

/** The tree of a filter; undefined when there is none, or it is empty. */
export function filterOf(where: string, given: unknown): FilterNode | undefined {
  if (given === undefined || given === null) return undefined;
  const node = readFilter(given, `${where}: filter`);
  return node.kind === "true" ? undefined : node;
}

function tooMany(where: string, { k, offset }: SearchPlanOptions): Error {
  const max = limits.kMax;
  const message = `${where}: k + offset is ${k + offset}, the limit is ${max} hits.`;
  return hiveError("LIMIT_EXCEEDED", message, {
    hint: 'Ask searchMany for output: "arrays", which has no such limit, or lower k.',
    details: { k, offset, max },
  });
}
