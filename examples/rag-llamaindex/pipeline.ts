import { type Database, type DeviceChoice, openDatabase } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/llamaindex";
import {
  type NodeWithScore,
  Settings,
  storageContextFromDefaults,
  VectorStoreIndex,
} from "llamaindex";
import { ROOT } from "../common/root.js";
import { type CachedEncoder, cachedEncoder } from "../quickstart/cache.js";
import { type Corpus, loadCorpus } from "../quickstart/corpus.js";
import { HybridEmbeddings } from "../quickstart/embeddings.js";
import { type EncodeOptions, SentenceEncoder } from "../quickstart/encoder.js";
import { QuickstartError } from "../quickstart/errors.js";
import { type Finding, Reader } from "../quickstart/findings.js";
import { ExampleEmbedding } from "./embedding.js";
import { hitOf, nodesOf } from "./nodes.js";

export interface PipelineOptions {
  /** The package whose dependencies are read; default this one. */
  project?: string | undefined;
  /** A further folder to read. */
  dir?: string | undefined;
  /** Packages that will be asked for; an unknown one is refused before the slow work. */
  packages?: readonly string[] | undefined;
  /** Forces a device, such as "cpu". */
  device?: string | undefined;
  /** False: neither reads nor writes the cache. */
  cache?: boolean | undefined;
  onProgress?: EncodeOptions["onProgress"];
}

/** Passages that are read closely for each question. */
const CANDIDATES = 20;

function checkPackages(corpus: Corpus, packages: readonly string[]): void {
  const known = new Set(corpus.passages.map(({ metadata }) => metadata.package));
  const unknown = packages.find((name) => !known.has(name));
  if (unknown === undefined) return;
  throw new QuickstartError(
    `--package ${unknown}: nothing of it has been read`,
    `Known: ${[...known].join(", ")}.`,
  );
}

/** From documents to an index: load, split, embed, store, retrieve. */
export class Pipeline {
  private constructor(
    readonly corpus: Corpus,
    readonly cache: CachedEncoder | undefined,
    readonly database: Database,
    readonly store: HiveVectorStore,
    readonly index: VectorStoreIndex,
    readonly reader: Reader,
    private readonly encoder: SentenceEncoder,
  ) {}

  static async open(options: PipelineOptions = {}): Promise<Pipeline> {
    const corpus = await loadCorpus({ root: options.project ?? ROOT, dir: options.dir });
    checkPackages(corpus, options.packages ?? []);
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
      const embedModel = new ExampleEmbedding(embeddings);
      const store = new HiveVectorStore({ database, name: "dependencies", embedModel });
      const storageContext = await storageContextFromDefaults({ vectorStore: store });
      const nodes = nodesOf(corpus.passages);
      // An index embeds questions with the model of the settings it was made under.
      const index = await Settings.withEmbedModel(embedModel, () =>
        VectorStoreIndex.init({ nodes, storageContext }),
      );
      const reader = new Reader({ encoder, importance: (text) => embeddings.importance(text) });
      return new Pipeline(corpus, cache, database, store, index, reader, encoder);
    } catch (error) {
      await Promise.all([encoder.close(), database.close()]);
      throw error;
    }
  }

  /**
   * The k nodes closest to a question, best first.
   * @param packages leaves only nodes of these; the store filters before it searches, so that k
   * nodes come back whenever the packages have as many
   */
  async retrieve(
    question: string,
    k: number,
    packages?: readonly string[],
  ): Promise<NodeWithScore[]> {
    const retriever = this.index.asRetriever({
      similarityTopK: k,
      ...(packages?.length && {
        filters: { filters: [{ key: "package", operator: "in", value: [...packages] }] },
      }),
    });
    return retriever.retrieve(question);
  }

  /** Retrieves at least k candidates and reads them closely, sentence by sentence. */
  async find(question: string, k: number, packages?: readonly string[]): Promise<Finding[]> {
    const found = await this.retrieve(question, Math.max(k, CANDIDATES), packages);
    return this.reader.read(question, found.map(hitOf));
  }

  async close(): Promise<void> {
    await Promise.all([this.encoder.close(), this.database.close()]);
  }
}
