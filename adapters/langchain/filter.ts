/** Filters of LangChain callers: the engine's own language, or a function on the document. */
import type { Document } from "@langchain/core/documents";
import { BasicTranslator } from "@langchain/core/structured_query";
import type { VectorStore } from "@langchain/core/vectorstores";
import { InputError, type Filter, type FilterInput } from "hive-gpu";
import { toDocument } from "./document.js";

/**
 * A filter: an object in the engine's language (docs/filters.md), which is fast, or a function that
 * is called for every document. Both are applied before the search, so k documents come back
 * whenever k pass.
 */
export type HiveFilterType = Filter | ((document: Document) => boolean);

/** What the engine takes for a filter; undefined when there is none. */
export function engineFilter(filter: unknown, method: string): FilterInput | undefined {
  if (filter === undefined || filter === null) return undefined;
  if (typeof filter === "function") return onDocuments(filter as (document: Document) => unknown);
  if (typeof filter === "object" && !Array.isArray(filter)) return filter as Filter;
  throw new InputError("INVALID_FILTER", `${method}: the filter must be an object or a function.`, {
    hint: "See docs/filters.md for the language, or pass (document) => boolean.",
    details: { option: "filter" },
  });
}

function onDocuments(test: (document: Document) => unknown): FilterInput {
  return (record) => {
    const passes = test(toDocument(record));
    // A promise is always truthy: everything would pass.
    if (typeof (passes as { then?: unknown } | undefined)?.then === "function") {
      throw new InputError("INVALID_FILTER", "A filter function must not return a promise.");
    }
    return Boolean(passes);
  };
}

/**
 * For `SelfQueryRetriever`: all of LangChain's comparators and operators, `not` included.
 *
 * Where LangChain's own translator drops the caller's filter because the model found none of its
 * own, this one keeps it: a filter that separates tenants must never vanish.
 */
export class HiveTranslator<T extends VectorStore = VectorStore> extends BasicTranslator<T> {
  constructor() {
    super({
      allowedOperators: ["and", "or", "not"],
      allowedComparators: ["eq", "ne", "lt", "gt", "lte", "gte"],
    });
  }

  override mergeFilters(
    ...[own, generated, type = "and", force = false]: Parameters<BasicTranslator<T>["mergeFilters"]>
  ): ReturnType<BasicTranslator<T>["mergeFilters"]> {
    return super.mergeFilters(own, generated, type, force || type === "and");
  }
}
