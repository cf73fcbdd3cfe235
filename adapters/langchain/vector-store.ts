import { resolve } from "node:path";
import { Document, type DocumentInterface } from "@langchain/core/documents";
import type { EmbeddingsInterface } from "@langchain/core/embeddings";
import { maximalMarginalRelevance } from "@langchain/core/utils/math";
import { VectorStore } from "@langchain/core/vectorstores";
import type { Collection, VectorCollection } from "hive-gpu";
import { toDocument } from "./document.js";
import { invalidArgument } from "../common/errors.js";
import { engineFilter, type HiveFilterType } from "./filter.js";
import { CollectionHandle } from "../common/handle.js";
import { readStoreOptions } from "../common/options.js";
import {
  readAddOptions,
  readDeleteParams,
  readMmrOptions,
  readSearchOptions,
  refuseLengths,
  refuseNoEmbeddings,
  type HiveAddOptions,
  type HiveDeleteParams,
  type HiveMmrOptions,
  type HiveSearchOptions,
  type HiveVectorStoreOptions,
} from "./options.js";
import { saveCollection } from "./save.js";

/**
 * A LangChain.js vector store whose records live in a collection of hive-gpu.
 *
 * Scores are similarities: higher is closer, whatever the metric, and nothing is ever left out for
 * its score. Documents with equal scores come in the order in which they were added.
 *
 * @example
 * ```ts
 * const store = await HiveVectorStore.fromDocuments(documents, embeddings, {});
 * const found = await store.similaritySearchWithScore("How are vectors stored?", 4);
 * await store.close();
 * ```
 */
export class HiveVectorStore extends VectorStore {
  declare FilterType: HiveFilterType;

  private readonly handle: CollectionHandle;

  /**
   * @param embeddings Turns texts into vectors; its vectors all have one length.
   * @param options Where the records live; `{}` is a private in-memory database, opened on first
   * use. Nothing is opened here, so this never waits and fails only for wrong options.
   */
  constructor(embeddings: EmbeddingsInterface, options: HiveVectorStoreOptions = {}) {
    // LangChain keeps this object for as long as the store lives, and may print it.
    super(embeddings, {});
    refuseNoEmbeddings(embeddings);
    this.handle = new CollectionHandle(readStoreOptions(options), "langchain");
  }

  /** Tags traces and retrievers. The base class calls it before any field of this class exists. */
  _vectorstoreType(): string {
    return "hive-gpu";
  }

  /**
   * The collection behind the store, opened when it was not yet: for all that LangChain lacks.
   * @typeParam C what was passed as `collection`; without that it is the engine's own.
   */
  async collection<C extends VectorCollection = Collection>(): Promise<C> {
    return (await this.handle.open()) as C;
  }

  /**
   * Embeds the documents and stores them. A document whose id is known replaces the stored one,
   * with its text, metadata and vector.
   *
   * @param options `{ ids?, signal?, onProgress? }`, or an array of ids.
   * @returns The ids, in the order of the documents: `options.ids[i] ?? document.id ?? a new UUID`.
   */
  override async addDocuments(
    documents: DocumentInterface[],
    options?: HiveAddOptions | readonly string[],
  ): Promise<string[]> {
    const method = "addDocuments";
    const read = readAddOptions(options, documents, method);
    // Some embedding services refuse a call without texts.
    if (documents.length === 0) return [];
    const vectors = await this.embeddings.embedDocuments(documents.map(readText));
    return this.write(vectors, documents, read, method);
  }

  /**
   * Stores documents with vectors that exist already; nothing is embedded.
   *
   * @param options As for {@link addDocuments}.
   * @returns The ids, in the order of the documents.
   */
  override async addVectors(
    vectors: number[][],
    documents: DocumentInterface[],
    options?: HiveAddOptions | readonly string[],
  ): Promise<string[]> {
    const method = "addVectors";
    return this.write(vectors, documents, readAddOptions(options, documents, method), method);
  }

  /**
   * Removes documents: `{ ids }`, of which unknown ones are fine, `{ filter }`, or
   * `{ deleteAll: true }`. Anything else is refused, an empty filter too, so that a mistake cannot
   * empty the store.
   */
  override async delete(params?: HiveDeleteParams): Promise<void> {
    const { ids, filter, signal } = readDeleteParams(params);
    const collection = await this.collection();
    if (ids !== undefined) await collection.delete({ ids }, { signal });
    else if (filter !== undefined) await collection.delete({ filter }, { signal });
    else await collection.clear({ signal });
  }

  /** The stored documents with these ids, in the order of the ids; unknown ids are left out. */
  async getByIds(ids: readonly string[]): Promise<Document[]> {
    if (!Array.isArray(ids)) {
      throw invalidArgument("getByIds: ids must be an array of strings.", 'Pass ["id"].');
    }
    const collection = await this.collection();
    const records = await collection.get(ids);
    return records.filter((record) => record !== undefined).map(toDocument);
  }

  /**
   * The `k` documents closest to a vector, with their scores, best first; all of them when the
   * store holds fewer. With a filter, exactly the `k` closest of those that pass. A store without
   * documents answers `[]`.
   */
  override async similaritySearchVectorWithScore(
    query: number[],
    k: number,
    filter?: HiveFilterType,
    options?: HiveSearchOptions,
  ): Promise<[Document, number][]> {
    const method = "similaritySearchVectorWithScore";
    const { signal } = readSearchOptions(options, method);
    const chosen = engineFilter(filter, method);
    const collection = await this.collection();
    const hits = await collection.search(query, { k, filter: chosen, signal });
    return hits.map((hit) => [toDocument(hit), hit.score]);
  }

  /**
   * Documents that are close to the query and differ from each other: LangChain's own maximal
   * marginal relevance, by cosine, among the `fetchK` closest.
   */
  override async maxMarginalRelevanceSearch(
    query: string,
    options: HiveMmrOptions,
    _callbacks?: unknown,
  ): Promise<Document[]> {
    const { k, fetchK, lambda, filter, signal } = readMmrOptions(options);
    const vector = await this.embeddings.embedQuery(query);
    const collection = await this.collection();
    const select = ["text", "metadata", "vector"] as const;
    const hits = await collection.search(vector, { k: fetchK, filter, select, signal });
    const candidates = hits.map((hit) => [...hit.vector!]);
    const chosen = maximalMarginalRelevance(vector, candidates, lambda, k);
    return chosen.map((index) => toDocument(hits[index]!));
  }

  /**
   * Saves the documents and their vectors into a folder, for {@link load}; repeated, it brings the
   * folder up to date. A store that lives in that folder is saved already.
   */
  async save(directory: string): Promise<void> {
    const collection = await this.collection();
    const own = this.handle.path;
    if (own !== undefined && resolve(own) === resolve(directory)) return;
    await saveCollection(collection, directory, collection.name);
  }

  /**
   * The store that was saved into a folder, or that lives there: what is added to it is stored
   * there at once. Close it.
   * @param options `name` when the collection has another than the default; `readOnly`, `device`
   */
  static async load(
    directory: string,
    embeddings: EmbeddingsInterface,
    options: Omit<HiveVectorStoreOptions & { collection?: undefined }, "path" | "database"> = {},
  ): Promise<HiveVectorStore> {
    return this.fromExistingCollection(embeddings, { ...options, path: directory });
  }

  /** Closes the database when the store opened it itself. What was passed in stays open. */
  async close(): Promise<void> {
    await this.handle.close();
  }

  /** `await using store = …` closes it as {@link close} does. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /**
   * A store filled with texts.
   *
   * @param metadatas One object for all texts, or an array with one for each.
   */
  static override async fromTexts(
    texts: string[],
    metadatas: object[] | object,
    embeddings: EmbeddingsInterface,
    options: HiveVectorStoreOptions = {},
  ): Promise<HiveVectorStore> {
    refuseLengths("fromTexts", Array.isArray(metadatas) ? { texts, metadatas } : { texts });
    const documents = texts.map((pageContent, index) => {
      const metadata = (Array.isArray(metadatas) ? metadatas[index] : metadatas) ?? {};
      return new Document({ pageContent, metadata });
    });
    return this.fromDocuments(documents, embeddings, options);
  }

  /** A store filled with documents, under their ids where they have one. */
  static override async fromDocuments(
    documents: DocumentInterface[],
    embeddings: EmbeddingsInterface,
    options: HiveVectorStoreOptions = {},
  ): Promise<HiveVectorStore> {
    const store = new this(embeddings, options);
    try {
      await store.addDocuments(documents);
    } catch (error) {
      // Nobody else could close a private database: the caller never gets to see this store.
      await store.close();
      throw error;
    }
    return store;
  }

  /** A store on a collection that exists already, opened before this resolves. */
  static async fromExistingCollection(
    embeddings: EmbeddingsInterface,
    options: HiveVectorStoreOptions,
  ): Promise<HiveVectorStore> {
    const store = new this(embeddings, options);
    await store.collection();
    return store;
  }

  /** The same as {@link fromExistingCollection}, under the name that most stores give it. */
  static async fromExistingIndex(
    embeddings: EmbeddingsInterface,
    options: HiveVectorStoreOptions,
  ): Promise<HiveVectorStore> {
    return this.fromExistingCollection(embeddings, options);
  }

  private async write(
    vectors: number[][],
    documents: readonly DocumentInterface[],
    { ids, ...options }: HiveAddOptions,
    method: string,
  ): Promise<string[]> {
    refuseLengths(method, { vectors, documents });
    if (documents.length === 0) return [];
    const records = documents.map((document, index) => ({
      // Without one, the engine makes a random UUID.
      id: ids?.[index] ?? document.id,
      vector: vectors[index]!,
      text: readText(document, index),
      metadata: document.metadata ?? {},
    }));
    const collection = await this.collection();
    return collection.upsert(records, options);
  }
}

/** Checks what TypeScript cannot: plain objects of JavaScript callers arrive here as well. */
function readText(document: DocumentInterface, index: number): string {
  if (typeof document?.pageContent === "string") return document.pageContent;
  throw invalidArgument(
    `documents[${index}].pageContent must be a string.`,
    "Pass Documents, or objects with pageContent and metadata.",
    { index },
  );
}
