/** LangChain's side of the shared table, and the parts that LangChain's own tests need. */
import { Document } from "@langchain/core/documents";
import { RecordManager, type ListKeyOptions, type UpdateOptions } from "@langchain/core/indexing";
import { HiveVectorStore, type HiveVectorStoreOptions } from "hive-gpu/langchain";
import {
  TestEmbeddings,
  type Adapter,
  type Found,
  type Item,
  type Scored,
  type Store,
} from "./harness.js";

/** A store on test embeddings. */
export function newStore(options: HiveVectorStoreOptions = {}): HiveVectorStore {
  return new HiveVectorStore(new TestEmbeddings(), options);
}

export function newDocument({ id, text, metadata }: Item): Document {
  return new Document({
    pageContent: text,
    ...(metadata === undefined ? {} : { metadata }),
    ...(id === undefined ? {} : { id }),
  });
}

export const documentsOf = (...texts: string[]) => texts.map((text) => newDocument({ text }));

function read(document: Document): Found {
  return { id: document.id, text: document.pageContent, metadata: document.metadata };
}

function readScored([document, score]: [Document, number]): Scored {
  return { ...read(document), score };
}

/** A store as the cases see it. */
export function storeOf(store: HiveVectorStore): Store<Document> {
  return {
    add: (documents, ids) => store.addDocuments(documents, ids && { ids }),
    addVectors: (vectors, documents, ids) => store.addVectors(vectors, documents, ids && { ids }),
    search: async (text, k) => (await store.similaritySearchWithScore(text, k)).map(readScored),
    searchVector: async (vector, k) =>
      (await store.similaritySearchVectorWithScore(vector, k)).map(readScored),
    get: async (ids) => (await store.getByIds(ids)).map(read),
    delete: (ids) => store.delete({ ids }),
    close: () => store.close(),
  };
}

export const langchain: Adapter<Document> = {
  name: "LangChain",
  skip: new Map(),
  document: newDocument,
  read,
  create: async () => storeOf(newStore()),
};

/** The bookkeeping of `index()` in memory, with a clock that ticks on every reading. */
export class MemoryRecordManager extends RecordManager {
  override lc_namespace = ["test"];
  private readonly records = new Map<string, { updated: number; group: string | null }>();
  private now = 0;

  async createSchema(): Promise<void> {}

  async getTime(): Promise<number> {
    return ++this.now;
  }

  async update(keys: string[], options: UpdateOptions = {}): Promise<void> {
    for (const [index, key] of keys.entries()) {
      const known = this.records.get(key)?.group ?? null;
      const group = options.groupIds?.[index] ?? known;
      this.records.set(key, { updated: ++this.now, group });
    }
  }

  async exists(keys: string[]): Promise<boolean[]> {
    return keys.map((key) => this.records.has(key));
  }

  async listKeys({ before, after, groupIds, limit }: ListKeyOptions = {}): Promise<string[]> {
    const found = [...this.records].filter(
      ([, { updated, group }]) =>
        (before === undefined || updated < before) &&
        (after === undefined || updated > after) &&
        (groupIds === undefined || groupIds.includes(group)),
    );
    return found.slice(0, limit).map(([key]) => key);
  }

  async deleteKeys(keys: string[]): Promise<void> {
    for (const key of keys) this.records.delete(key);
  }
}
