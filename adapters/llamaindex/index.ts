/**
 * `hive-gpu/llamaindex`: LlamaIndex.TS on top of the engine. A translation between LlamaIndex's words
 * and the engine's, with no search, storage or ranking of its own.
 *
 * Everything of the framework is imported from "llamaindex": a second copy of its core would have
 * settings of its own.
 */
export { HiveVectorStore } from "./vector-store.js";
export type {
  HiveQuery,
  HiveQueryParams,
  HiveVectorStoreOptions,
  NestedMetadataFilters,
} from "./options.js";
