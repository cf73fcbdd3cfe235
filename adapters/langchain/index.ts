/**
 * `hive-gpu/langchain`: LangChain.js on top of the engine. A translation between LangChain's words
 * and the engine's, with no search, storage or ranking of its own.
 */
export { HiveVectorStore } from "./vector-store.js";
export { HiveTranslator, type HiveFilterType } from "./filter.js";
export type {
  HiveAddOptions,
  HiveDeleteParams,
  HiveMmrOptions,
  HiveSearchOptions,
  HiveVectorStoreOptions,
} from "./options.js";
