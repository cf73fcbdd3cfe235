/** Compiled, never run: the types that users of `hive-gpu/langchain` lean on. */
import type { DocumentInterface } from "@langchain/core/documents";
import type { EmbeddingsInterface } from "@langchain/core/embeddings";
import type { RunnableInterface } from "@langchain/core/runnables";
import type {
  VectorStore,
  VectorStoreInterface,
  VectorStoreRetriever,
} from "@langchain/core/vectorstores";
import { index, type RecordManagerInterface } from "@langchain/core/indexing";
import { ScoreThresholdRetriever } from "@langchain/classic/retrievers/score_threshold";
import type { Collection, Database } from "hive-gpu";
import { HiveVectorStore, type HiveVectorStoreOptions } from "hive-gpu/langchain";

declare const embeddings: EmbeddingsInterface;
declare const database: Database;
declare const collection: Collection;
declare const films: Collection<{ year: number }>;
declare const recordManager: RecordManagerInterface;

export const stores: HiveVectorStore[] = [
  new HiveVectorStore(embeddings),
  new HiveVectorStore(embeddings, {}),
  new HiveVectorStore(embeddings, { collection }),
  new HiveVectorStore(embeddings, { collection: films }),
  new HiveVectorStore(embeddings, { database, name: "docs", metric: "dot", dtype: "i8" }),
  new HiveVectorStore(embeddings, { device: "cpu" }),
];

export const refusedByTheCompiler = () => [
  // @ts-expect-error an open collection has its metric already
  new HiveVectorStore(embeddings, { collection, metric: "dot" }),
  // @ts-expect-error no such metric
  new HiveVectorStore(embeddings, { metric: "angular" }),
  // @ts-expect-error no such option
  new HiveVectorStore(embeddings, { metrics: "dot" }),
];

export async function use(store: HiveVectorStore): Promise<void> {
  const base: VectorStore = store;
  const contract: VectorStoreInterface = base;
  const retriever: VectorStoreRetriever<HiveVectorStore> = store.asRetriever({ k: 3 });
  const mmr: VectorStoreRetriever<HiveVectorStore> = store.asRetriever({
    searchType: "mmr",
    searchKwargs: { fetchK: 50, lambda: 0.3 },
  });
  const runnable: RunnableInterface<string, DocumentInterface[]> = mmr;
  const ids: string[] = await store.addDocuments([], { ids: [] });
  const more: string[] = await store.addVectors([], [], ids);
  const found: [DocumentInterface, number][] = await store.similaritySearchWithScore("q", 4);
  await store.delete({ ids: more });
  await store.delete({ deleteAll: true });
  await index({ docsSource: [], recordManager, vectorStore: store });
  ScoreThresholdRetriever.fromVectorStore(store, { minSimilarityScore: 0.5 });
  const again: HiveVectorStore = await HiveVectorStore.fromTexts(["a"], {}, embeddings);
  await using last = await HiveVectorStore.fromDocuments([], embeddings, {});
  await store.similaritySearch("q", 4, { year: 1979 });
  await store.similaritySearch("q", 4, (document) => document.metadata["year"] === 1979);
  store.asRetriever({ filter: { year: { $gte: 1979 } } });
  await store.delete({ filter: { $or: [{ year: 1979 }, { tags: { $in: ["a"] } }] } });
  // @ts-expect-error a filter is no string
  await store.similaritySearch("q", 4, "year = 1979");
  return void [contract, retriever, runnable, found, again, last];
}

export const options: HiveVectorStoreOptions = {};
