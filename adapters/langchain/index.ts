/**
 * `hive-gpu/langchain`: LangChain.js on top of the engine. A translation between LangChain's words
 * and the engine's, with no search, storage or ranking of its own.
 */
export { HiveVectorStore } from "./vector-store.js";
export type {
  HiveAddOptions,
  HiveDeleteParams,
  HiveFilterType,
  HiveMmrOptions,
  HiveSearchOptions,
  HiveVectorStoreOptions,
} from "./options.js";
