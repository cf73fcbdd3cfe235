import { Embeddings, type EmbeddingsParams } from "@langchain/core/embeddings";
import type { EncodeOptions, Encoder } from "./encoder.js";
import { HashedTfIdf, normalize } from "./hash.js";
import { splitTitle } from "./passage.js";

/** Halves of equal weight: a dot product is then the mean of the two cosines. */
const HALF = Math.sqrt(1 / 2);

export interface HybridEmbeddingsParams extends EmbeddingsParams {
  /** Every text that will be stored; decides how rare a word is. */
  corpus: readonly string[];
  /** Encodes the texts that are stored, usually with a cache. */
  documents: Encoder;
  /** Encodes questions. */
  questions: Encoder;
  onProgress?: EncodeOptions["onProgress"];
}

/**
 * Meaning and words in one dense vector: a sentence encoder (512) next to hashed tf-idf (2048).
 * The encoder finds what is said in other words, the words find names that it has never seen, and
 * the store needs no second index. The encoder gets the headings of a passage too, but not the
 * name of the package, which means nothing to it.
 */
export class HybridEmbeddings extends Embeddings {
  private readonly words: HashedTfIdf;
  private readonly documents: Encoder;
  private readonly questions: Encoder;
  private readonly onProgress: EncodeOptions["onProgress"];

  constructor(fields: HybridEmbeddingsParams) {
    super({});
    this.words = new HashedTfIdf(fields.corpus);
    this.documents = fields.documents;
    this.questions = fields.questions;
    this.onProgress = fields.onProgress;
  }

  override async embedDocuments(texts: string[]): Promise<number[][]> {
    const readable = texts.map((text) => {
      const { titles, body } = splitTitle(text);
      return [...titles.slice(1), body].join(". ");
    });
    const meanings = await this.documents.encode(readable, { onProgress: this.onProgress });
    return texts.map((text, i) => this.join(meanings[i]!, text));
  }

  override async embedQuery(text: string): Promise<number[]> {
    const [meaning] = await this.questions.encode([text]);
    return this.join(meaning!, text);
  }

  /** The stems of a text with their idf, for the answerer. */
  importance(text: string): Map<string, number> {
    return this.words.importance(text);
  }

  private join(meaning: Float32Array, text: string): number[] {
    const halves = [normalize(meaning), this.words.vector(text)];
    return halves.flatMap((half) => Array.from(half, (value) => value * HALF));
  }
}
