import { openDatabase, type Database, type DeviceChoice } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/langchain";
import { ROOT } from "../common/root.js";
import { cachedEncoder, type CachedEncoder } from "./cache.js";
import { loadCorpus, type Corpus } from "./corpus.js";
import { HybridEmbeddings } from "./embeddings.js";
import { Reader, type Finding, type Hit } from "./findings.js";
import { SentenceEncoder, type EncodeOptions } from "./encoder.js";

export interface PipelineOptions {
  /** A further folder to read. */
  dir?: string | undefined;
  /** Forces a device, such as "cpu". */
  device?: string | undefined;
  /** False: neither reads nor writes the cache. */
  cache?: boolean | undefined;
  onProgress?: EncodeOptions["onProgress"];
}

/** Passages that are read closely for each question. */
const CANDIDATES = 20;

/** From documents to a searchable store: load, split, embed, index. */
export class Pipeline {
  private constructor(
    readonly corpus: Corpus,
    readonly embeddings: HybridEmbeddings,
    readonly reader: Reader,
    private readonly encoder: SentenceEncoder,
    readonly database: Database,
    readonly store: HiveVectorStore,
    /** Undefined when the cache is switched off. */
    readonly cache: CachedEncoder | undefined,
  ) {}

  static async open(options: PipelineOptions = {}): Promise<Pipeline> {
    const corpus = await loadCorpus({ root: ROOT, dir: options.dir });
    const database = await openDatabase({ device: options.device as DeviceChoice | undefined });
    const encoder = new SentenceEncoder();
    try {
      const cache = options.cache === false ? undefined : cachedEncoder(encoder);
      const embeddings = new HybridEmbeddings({
        corpus: corpus.passages.map((passage) => passage.pageContent),
        documents: cache ?? encoder,
        questions: encoder,
        onProgress: options.onProgress,
      });
      const store = await HiveVectorStore.fromDocuments(corpus.passages, embeddings, {
        database,
        name: "dependencies",
        metric: "cosine",
      });
      const reader = new Reader({ encoder, importance: (text) => embeddings.importance(text) });
      return new Pipeline(corpus, embeddings, reader, encoder, database, store, cache);
    } catch (error) {
      await Promise.all([encoder.close(), database.close()]);
      throw error;
    }
  }

  /** The k passages closest to a question, best first. */
  async search(question: string, k: number): Promise<Hit[]> {
    return (await this.store.similaritySearchWithScore(question, k)) as Hit[];
  }

  /** Searches for at least k candidates and reads them closely. */
  async find(question: string, k: number): Promise<Finding[]> {
    return this.reader.read(question, await this.search(question, Math.max(k, CANDIDATES)));
  }

  async close(): Promise<void> {
    await Promise.all([this.encoder.close(), this.database.close()]);
  }
}
