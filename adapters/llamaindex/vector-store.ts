import {
  BaseEmbedding,
  type BaseNode,
  BaseVectorStore,
  getTopKMMREmbeddings,
  Settings,
  type VectorStoreQueryResult,
} from "llamaindex";
import { type Filter, type Hit, InputError, type VectorCollection } from "hive-gpu";
import { invalidArgument } from "../common/errors.js";
import { CollectionHandle } from "../common/handle.js";
import { engineFilter } from "./filters.js";
import { nodeOf, recordOf, vectorOf } from "./nodes.js";
import {
  type HiveQuery,
  type HiveVectorStoreOptions,
  modeRefused,
  readMmr,
  readOptions,
} from "./options.js";

/** Stands for the embedding model while there is none: nodes with embeddings need none. */
class NoEmbedding extends BaseEmbedding {
  /** The base class's is protected. */
  // oxlint-disable-next-line no-useless-constructor
  constructor() {
    super();
  }

  override getTextEmbedding(): Promise<number[]> {
    const message = "HiveVectorStore: there is no embedding model.";
    const hint = "Set Settings.embedModel, or pass { embedModel } to the store.";
    return Promise.reject(new InputError("INVALID_ARGUMENT", message, { hint }));
  }
}

/** What `query` takes beside the query. */
interface CallOptions {
  signal?: AbortSignal | undefined;
}

/**
 * A LlamaIndex.TS vector store whose nodes live in a collection of hive-gpu.
 *
 * Similarities are scores: higher is closer, whatever the metric. Filters are applied before the
 * search, so `similarityTopK` nodes come back whenever as many pass.
 */
export class HiveVectorStore extends BaseVectorStore<Promise<VectorCollection>> {
  override storesText = true;
  override isEmbeddingQuery = true;
  private readonly handle: CollectionHandle;

  /**
   * @param options Where the records live; `{}` is a private in-memory database. Nothing is opened
   * here, and no embedding model needs to be set yet.
   */
  constructor(options: HiveVectorStoreOptions = {}) {
    const { embedModel, store } = readOptions(options);
    const missing = new NoEmbedding();
    super({ embedModel: embedModel ?? missing });
    if (embedModel === undefined) followSettings(this, missing);
    this.handle = new CollectionHandle(store, "llamaindex");
  }

  /** The collection behind the store, opened when it was not yet. */
  override client(): Promise<VectorCollection> {
    return this.handle.open();
  }

  /**
   * Stores nodes with their embeddings; a node whose id is known replaces the stored one.
   * @returns the ids of the nodes, in order
   */
  override async add(nodes: BaseNode[], options?: CallOptions): Promise<string[]> {
    if (!Array.isArray(nodes)) throw invalidArgument("add: nodes must be an array.", "");
    if (nodes.length === 0) return [];
    const records = nodes.map((node) => ({ ...recordOf(node), vector: vectorOf(node) }));
    return (await this.client()).upsert(records, { signal: options?.signal });
  }

  /** Removes the nodes of a source document; an unknown one is fine. */
  override async delete(refDocId: string, options?: CallOptions): Promise<void> {
    const filter = ofDocument(refDocId, "delete");
    await (await this.client()).delete({ filter }, { signal: options?.signal });
  }

  /** Whether there are nodes of a source document. */
  async exists(refDocId: string): Promise<boolean> {
    const filter = ofDocument(refDocId, "exists");
    return (await (await this.client()).count(filter)) > 0;
  }

  /** Removes all nodes. */
  async clear(): Promise<void> {
    await (await this.client()).clear();
  }

  /**
   * The nodes closest to `queryEmbedding`, best first.
   *
   * Modes: `default`, and `mmr`, LlamaIndex's own selection among the closest. `docIds` leaves only
   * nodes of those source documents. Others are refused with NOT_SUPPORTED.
   */
  override async query(query: HiveQuery, options?: CallOptions): Promise<VectorStoreQueryResult> {
    const { queryEmbedding, similarityTopK: k } = query;
    const mode: string = query.mode ?? "default";
    if (mode !== "default" && mode !== "mmr") throw modeRefused(mode);
    if (queryEmbedding === undefined) {
      throw invalidArgument("query: there is no queryEmbedding.", "Embed the query first.");
    }
    const filter = filterOf(query);
    const signal = options?.signal;
    const collection = await this.client();
    if (mode === "default") {
      return resultOf(await collection.search(queryEmbedding, { k, filter, signal }));
    }
    const { threshold, fetchK } = readMmr(query);
    const select = ["text", "metadata", "vector"] as const;
    const hits = await collection.search(queryEmbedding, { k: fetchK, filter, select, signal });
    return diverse(hits, queryEmbedding, k, threshold);
  }

  /** Closes the database when the store opened it itself. What was passed in stays open. */
  async close(): Promise<void> {
    await this.handle.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

/** The store's model is that of `Settings` at the time of use, which may be set later. */
function followSettings(store: HiveVectorStore, missing: BaseEmbedding): void {
  let own: BaseEmbedding | undefined;
  Object.defineProperty(store, "embedModel", {
    configurable: true,
    enumerable: true,
    get() {
      if (own !== undefined) return own;
      try {
        return Settings.embedModel;
      } catch {
        return missing;
      }
    },
    set(model: BaseEmbedding) {
      own = model;
    },
  });
}

function ofDocument(refDocId: unknown, method: string): Filter {
  if (typeof refDocId === "string") return { ref_doc_id: refDocId };
  throw invalidArgument(`${method}: the id of the document must be a string.`, "");
}

function filterOf({ filters, docIds }: HiveQuery): Filter | undefined {
  const own = engineFilter(filters);
  if (docIds === undefined) return own;
  const documents: Filter = { ref_doc_id: { $in: docIds } };
  return own === undefined ? documents : { $and: [documents, own] };
}

function resultOf(hits: readonly Hit[]): VectorStoreQueryResult {
  return {
    nodes: hits.map(nodeOf),
    similarities: hits.map(({ score }) => score),
    ids: hits.map(({ id }) => id),
  };
}

/** LlamaIndex's maximal marginal relevance, by cosine; the similarities are its scores. */
function diverse(
  hits: readonly Hit[],
  query: number[],
  k: number,
  threshold: number,
): VectorStoreQueryResult {
  if (hits.length === 0 || k === 0) return resultOf([]);
  const vectors = hits.map(({ vector }) => [...vector!]);
  // LlamaIndex takes 0 for "not given".
  const positive = Math.max(threshold, Number.MIN_VALUE);
  const [scores, chosen] = getTopKMMREmbeddings(query, vectors, null, k, null, null, positive);
  const result = resultOf((chosen as number[]).map((at) => hits[at]!));
  return { ...result, similarities: scores };
}
