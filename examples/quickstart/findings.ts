import type { Encoder } from "./encoder.js";
import { splitTitle, type Passage } from "./passage.js";
import { unitsOf, wordsOf, type Unit } from "./units.js";

/** A passage with its score, as `similaritySearchWithScore` gives it. */
export type Hit = [passage: Passage, score: number];

/** A part of a passage, and how well it answers the question by itself. */
export interface Quote extends Unit {
  /** Cosine to the question. */
  meaning: number;
  /** Share of the question's words that it has, weighted by how rare they are. */
  words: number;
}

/** A passage that was read closely. */
export interface Finding {
  passage: Passage;
  score: number;
  quotes: Quote[];
}

export interface ReaderOptions {
  encoder: Encoder;
  /** The stems of a text and how much each tells. */
  importance: (text: string) => Map<string, number>;
}

/** What the best sentence and the words in common add to the store's score. */
const BEST_QUOTE = 0.2;
const WORDS = 0.1;

function cosine(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

/** How much of the question's importance is in one of the texts. */
function overlap(asked: ReadonlyMap<string, number>, terms: ReadonlySet<string>): number {
  let shared = 0;
  let total = 0;
  for (const [term, weight] of asked) {
    total += weight;
    if (terms.has(term)) shared += weight;
  }
  return total === 0 ? 0 : shared / total;
}

/**
 * Reads the passages that the store found, sentence by sentence, and sorts them again. The store
 * compares whole passages in microseconds; reading closely is only affordable for a few of them.
 */
export class Reader {
  constructor(private readonly options: ReaderOptions) {}

  /** How much of the question's importance a text has, from 0 to 1. */
  share(question: string, text: string): number {
    const { importance } = this.options;
    return overlap(importance(question), new Set(importance(text).keys()));
  }

  /** All hits as findings, the best answer first. */
  async read(question: string, hits: readonly Hit[]): Promise<Finding[]> {
    const units = hits.map(([passage]) => unitsOf(splitTitle(passage.pageContent).body));
    const distinct = [...new Set(units.flat().map(wordsOf))];
    const [target, ...vectors] = await this.options.encoder.encode([question, ...distinct]);
    const meanings = new Map(distinct.map((text, i) => [text, cosine(target!, vectors[i]!)]));
    const findings = hits.map(([passage, score], i) => {
      const quotes = units[i]!.map((unit) => {
        const text = wordsOf(unit);
        const words = this.share(question, text);
        return Object.assign(unit, { meaning: meanings.get(text)!, words });
      });
      const best = Math.max(0, ...quotes.map((quote) => quote.meaning));
      const words = this.share(question, passage.pageContent);
      return { passage, quotes, score: score + BEST_QUOTE * best + WORDS * words };
    });
    return findings.toSorted((a, b) => b.score - a.score);
  }
}
