/**
 * What callers may pass to {@link HiveVectorStore}, and the checks of it. LangChain types most of
 * these as `Record<string, any>`, so a misspelled option would otherwise vanish without a word.
 */
import type { MaxMarginalRelevanceSearchOptions } from "@langchain/core/vectorstores";
import type { WriteProgress } from "hive-gpu";
import { invalidArgument } from "../common/errors.js";
import { readBag, type StoreOptions } from "../common/options.js";
import { engineFilter, type HiveFilterType } from "./filter.js";

/** Where the records live; the collection of a database is called "langchain" by default. */
export type HiveVectorStoreOptions = StoreOptions;

/** Options of `addDocuments` and `addVectors`; a plain array of ids is accepted as well. */
export interface HiveAddOptions {
  /** One id per document. A missing entry falls back to `document.id`, then to a new UUID. */
  ids?: readonly (string | undefined)[] | undefined;
  /** Stops the write; then nothing of it is stored. */
  signal?: AbortSignal | undefined;
  /** Called now and then while vectors are taken in, after they have been embedded. */
  onProgress?: ((progress: WriteProgress) => void) | undefined;
}

/** What `delete` takes: one of ids, a filter, or `deleteAll` for every record. */
export interface HiveDeleteParams {
  /** Ids to remove; unknown ones are fine. */
  ids?: readonly string[] | undefined;
  /** Removes what passes; an empty filter is refused. */
  filter?: HiveFilterType | undefined;
  /** Removes every record and keeps the collection. */
  deleteAll?: boolean | undefined;
  signal?: AbortSignal | undefined;
}

/** Extra options of a search by vector. */
export interface HiveSearchOptions {
  signal?: AbortSignal | undefined;
}

/**
 * Options of `maxMarginalRelevanceSearch`: `k` documents are chosen among the `fetchK` (20) closest.
 * `lambda` 1 looks only for relevance, 0 only for diversity; default 0.5.
 */
export interface HiveMmrOptions extends MaxMarginalRelevanceSearchOptions<HiveFilterType> {
  signal?: AbortSignal | undefined;
}

/** Catches forgotten embeddings at once; they would fail on the first search, without a reason. */
export function refuseNoEmbeddings(embeddings: unknown): void {
  const found = embeddings as Record<string, unknown> | null | undefined;
  const methods = ["embedDocuments", "embedQuery"];
  if (methods.every((method) => typeof found?.[method] === "function")) return;
  throw invalidArgument(
    "HiveVectorStore: the first argument must be embeddings.",
    "Pass an Embeddings of LangChain, or any object with embedDocuments and embedQuery.",
  );
}

/** Reads the options of `addDocuments` and `addVectors`, or an array of ids in their place. */
export function readAddOptions(
  options: unknown,
  documents: unknown,
  method: string,
): HiveAddOptions {
  const given = Array.isArray(options) ? { ids: options } : (options ?? {});
  const bag = readBag(given, method, ["ids", "signal", "onProgress"]);
  const ids = bag["ids"] ?? undefined;
  refuseLengths(method, ids === undefined ? { documents } : { documents, ids });
  return { ...bag, ids } as HiveAddOptions;
}

/** Reads the parameters of `delete`; exactly one of `ids`, `filter` and `deleteAll: true`
 * must be there. */
export function readDeleteParams(params: unknown) {
  const known = ["ids", "deleteAll", "filter", "signal"];
  const { ids, deleteAll, filter, signal } = readBag(params ?? {}, "delete", known);
  if (deleteAll !== undefined && typeof deleteAll !== "boolean") {
    throw invalidArgument("delete: deleteAll must be true or false.", "Pass { deleteAll: true }.");
  }
  if (ids !== undefined && !Array.isArray(ids)) throw notAnArrayOfIds("delete");
  const given = [ids !== undefined, filter !== undefined, deleteAll === true].filter(Boolean);
  if (given.length > 1) {
    const message = "delete: ids, filter and deleteAll are mutually exclusive.";
    throw invalidArgument(message, "Pass one of them.");
  }
  if (given.length === 0) {
    throw invalidArgument(
      "delete: neither ids nor filter nor deleteAll was given.",
      "Pass { ids: [...] } or { filter: {...} }, or { deleteAll: true } to remove every record.",
    );
  }
  return {
    ids: ids as string[] | undefined,
    filter: engineFilter(filter, "delete"),
    signal: signal as AbortSignal | undefined,
  };
}

/** Reads the options of `maxMarginalRelevanceSearch` and fills in the defaults. */
export function readMmrOptions(options: unknown) {
  const method = "maxMarginalRelevanceSearch";
  const known = ["k", "fetchK", "lambda", "filter", "signal"];
  const bag = readBag(options ?? {}, method, known);
  const lambda = bag["lambda"] ?? 0.5;
  if (typeof lambda !== "number" || !(lambda >= 0 && lambda <= 1)) {
    throw invalidArgument(
      `${method}: lambda must be a number from 0 to 1.`,
      "1 looks only for relevance, 0 only for diversity.",
      { option: "lambda", value: lambda },
    );
  }
  return {
    k: readCount(bag["k"] ?? 4, method, "k"),
    fetchK: readCount(bag["fetchK"] ?? 20, method, "fetchK"),
    lambda,
    filter: engineFilter(bag["filter"], method),
    signal: bag["signal"] as AbortSignal | undefined,
  };
}

/** The options of a search by vector. */
export function readSearchOptions(options: unknown, method: string): HiveSearchOptions {
  return readBag(options ?? {}, method, ["signal"]);
}

/** A number of documents. LangChain's maximal marginal relevance would round or ignore others. */
function readCount(value: unknown, method: string, option: string): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= 0) return value;
  throw invalidArgument(
    `${method}: ${option} must be a whole number, 0 or more.`,
    "Pass how many documents to return; fewer come back when the collection holds fewer.",
    { option, value },
  );
}

/** Refuses what is not a list, and lists that belong together and differ in length. */
export function refuseLengths(method: string, lists: Readonly<Record<string, unknown>>): void {
  const lengths: Record<string, number> = {};
  for (const [name, list] of Object.entries(lists)) {
    if (!Array.isArray(list)) {
      throw invalidArgument(`${method}: ${name} must be an array.`, "Pass one entry per document.");
    }
    lengths[name] = list.length;
  }
  if (new Set(Object.values(lengths)).size === 1) return;
  const listed = Object.entries(lengths).map(([name, length]) => `${length} ${name}`);
  throw invalidArgument(
    `${method}: got ${listed.join(", but ")}.`,
    `Pass as many ${Object.keys(lengths).join(" as ")}.`,
    lengths,
  );
}

function notAnArrayOfIds(method: string): Error {
  return invalidArgument(`${method}: ids must be an array of strings.`, "Pass { ids: [...] }.");
}
