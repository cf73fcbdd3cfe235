/** What callers may pass to {@link HiveVectorStore}, and the checks of it. */
import type {
  BaseEmbedding,
  MetadataFilter,
  VectorStoreQuery,
  VectorStoreQueryMode,
} from "llamaindex";
import { InputError } from "hive-gpu";
import { invalidArgument } from "../common/errors.js";
import { readStoreOptions, type StoreOptions } from "../common/options.js";

/**
 * Where the records live, and the embedding model that indexes on this store use; without one, that
 * of `Settings`. The collection of a database is called "llamaindex" by default.
 */
export type HiveVectorStoreOptions = StoreOptions & { embedModel?: BaseEmbedding | undefined };

/** LlamaIndex's filters, which here may also hold further filters. */
export interface NestedMetadataFilters {
  filters: (MetadataFilter | NestedMetadataFilters)[];
  condition?: "and" | "or" | undefined;
}

/** What `customParams` of a query may hold; retrievers pass them on. */
export interface HiveQueryParams {
  /** MMR: 1 looks only for relevance, 0 only for diversity; default 0.5. */
  mmrThreshold?: number | undefined;
  /** MMR: how many of the closest nodes to choose from; default 4 × `similarityTopK`, at least 20. */
  mmrPrefetchK?: number | undefined;
}

/** A query as LlamaIndex writes it; `filters` may be nested, `mode` left out. */
export type HiveQuery = Omit<VectorStoreQuery, "filters" | "mode"> & {
  mode?: VectorStoreQueryMode | `${VectorStoreQueryMode}` | undefined;
  filters?: NestedMetadataFilters | undefined;
};

/** Splits the options of the constructor. */
export function readOptions(options: unknown): {
  embedModel: BaseEmbedding | undefined;
  store: StoreOptions;
} {
  const { embedModel, ...rest } = (options ?? {}) as { embedModel?: BaseEmbedding };
  if (embedModel !== undefined && typeof embedModel?.getTextEmbedding !== "function") {
    throw invalidArgument(
      "HiveVectorStore: embedModel is not an embedding model.",
      "Pass an object with getTextEmbedding, such as a BaseEmbedding of LlamaIndex.",
    );
  }
  return { embedModel, store: readStoreOptions(rest) };
}

/** Options of MMR with defaults filled in. */
export function readMmr({ similarityTopK: k, mmrThreshold, customParams }: HiveQuery): {
  threshold: number;
  fetchK: number;
} {
  const custom = customParams as HiveQueryParams | undefined;
  const threshold = mmrThreshold ?? custom?.mmrThreshold ?? 0.5;
  const fetchK = custom?.mmrPrefetchK ?? Math.max(20, 4 * k);
  if (typeof threshold !== "number" || !(threshold >= 0 && threshold <= 1)) {
    throw invalidArgument("query: mmrThreshold must be a number from 0 to 1.", "Default: 0.5.");
  }
  if (!Number.isInteger(fetchK) || fetchK < k) {
    throw invalidArgument(
      "query: mmrPrefetchK must be a whole number, at least similarityTopK.",
      "",
    );
  }
  return { threshold, fetchK };
}

/** The error of a query mode that there is no search for. */
export function modeRefused(mode: unknown): InputError {
  return new InputError(
    "NOT_SUPPORTED",
    `query: the mode ${JSON.stringify(mode)} is not supported.`,
    {
      hint: 'Use "default" or "mmr"; there is no sparse index yet, and no learner modes.',
      details: { mode },
    },
  );
}
