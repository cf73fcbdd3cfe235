import { splitTitle } from "./passage.js";
import { stems } from "./words.js";

/** Length of a hashed vector. */
export const HASHED_DIMENSIONS = 2048;

export interface HashWeights {
  /** A stem of the title counts as often as this many in the body. */
  title: number;
  /** Two stems in a row, relative to a single one; 0 leaves them out. */
  pair: number;
}

export const DEFAULT_WEIGHTS: HashWeights = { title: 2, pair: 0.2 };

/** FNV-1a, then mixed, because its low bits alone are not random enough for a sign and a bucket. */
function hash(text: string): number {
  let value = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  }
  value = Math.imul(value ^ (value >>> 16), 0x45d9f3b);
  return (value ^ (value >>> 16)) >>> 0;
}

/** Scales to length 1; a zero vector stays zero. */
export function normalize(vector: Float32Array): Float32Array {
  let sum = 0;
  for (const value of vector) sum += value * value;
  if (sum === 0) return vector;
  const scale = 1 / Math.sqrt(sum);
  return vector.map((value) => value * scale);
}

function countInto(counts: Map<string, number>, list: readonly string[], weight: number): void {
  for (const term of list) counts.set(term, (counts.get(term) ?? 0) + weight);
}

/**
 * Words as a vector: tf-idf, each term at a bucket and with a sign that its hash decides. Exact
 * words (names of functions, options and packages) are what a sentence encoder blurs.
 */
export class HashedTfIdf {
  private readonly documentFrequency = new Map<string, number>();
  private readonly documents: number;

  constructor(
    corpus: readonly string[],
    private readonly weights: HashWeights = DEFAULT_WEIGHTS,
  ) {
    this.documents = corpus.length;
    for (const text of corpus) countInto(this.documentFrequency, [...this.terms(text).keys()], 1);
  }

  /** How much a term tells: rare terms more, terms that are everywhere next to nothing. */
  idf(term: string): number {
    const frequency = this.documentFrequency.get(term) ?? 0;
    return Math.log(1 + (this.documents - frequency + 0.5) / (frequency + 0.5));
  }

  /**
   * The frequency saturates, as in BM25: a second mention tells less than the first. The root of
   * the idf, because both sides of a dot product bring theirs.
   */
  vector(text: string): Float32Array {
    const vector = new Float32Array(HASHED_DIMENSIONS);
    for (const [term, count] of this.terms(text)) {
      const bits = hash(term);
      const sign = bits & 1 ? 1 : -1;
      const kind = term.includes(" ") ? this.weights.pair : 1;
      const weight = kind * (count / (count + 1)) * Math.sqrt(this.idf(term));
      vector[(bits >>> 1) % HASHED_DIMENSIONS]! += sign * weight;
    }
    return normalize(vector);
  }

  /** The single stems of a text, and how much each tells. */
  importance(text: string): Map<string, number> {
    return new Map(stems(text).map((term) => [term, this.idf(term)]));
  }

  private terms(text: string): Map<string, number> {
    const counts = new Map<string, number>();
    const { titles, body } = splitTitle(text);
    const add = (part: string, weight: number): void => {
      const list = stems(part);
      countInto(counts, list, weight);
      if (this.weights.pair === 0) return;
      countInto(
        counts,
        list.slice(1).map((term, i) => `${list[i]!} ${term}`),
        weight,
      );
    };
    for (const title of titles) add(title, this.weights.title);
    add(body, 1);
    return counts;
  }
}
