/**
 * What servers of each version get wrong, in one table. Derived from the server's source (3.5.0 and
 * its unreleased head of July 2026); see docs/vectorizer.md. Versions from 3.6 on have not been read:
 * they are taken to behave like that head, and `isKnown` says so.
 */
import type { Metric } from "hive-gpu";

/** Behaviour of a server that the bridge must know. */
export interface VectorizerQuirks {
  /** As `/health` reports it. */
  version: string;
  /** Whether the source of this version was read. */
  isKnown: boolean;
  /** The index ranks by cosine and scores are cosines, whatever the metric. */
  metricIsIgnored: boolean;
  /** Scores of dot products are sigmoids: 1 / (1 + e^-dot). */
  dotIsSigmoid: boolean;
  /** Most hits of a native search. */
  searchLimitMax: number;
}

interface Row {
  /** First version that the row is about. */
  from: readonly [number, number, number];
  isKnown: boolean;
  metricIsIgnored: boolean;
}

/** Newest first. The head still calls itself 3.5.0, so a 3.5.0 may or may not have the fix. */
const rows: readonly Row[] = [
  { from: [3, 5, 1], isKnown: false, metricIsIgnored: false },
  { from: [3, 5, 0], isKnown: true, metricIsIgnored: true },
  { from: [0, 0, 0], isKnown: false, metricIsIgnored: true },
];

/** The quirks of a version; one that cannot be read counts as the oldest. */
export function quirksOfVersion(version: string): VectorizerQuirks {
  const parts = /^v?(\d+)\.(\d+)(?:\.(\d+))?/.exec(version) ?? [];
  const numbers = [1, 2, 3].map((i) => Number(parts[i] ?? 0));
  const row = rows.find(({ from }) => compare(numbers, from) >= 0) ?? rows.at(-1)!;
  const { isKnown, metricIsIgnored } = row;
  return { version, isKnown, metricIsIgnored, dotIsSigmoid: true, searchLimitMax: 100 };
}

function compare(a: readonly number[], b: readonly number[]): number {
  for (let i = 0; i < 3; i++) if (a[i] !== b[i]) return a[i]! - b[i]!;
  return 0;
}

/** Every spelling of a metric that some part of the server uses. */
const spellings: Record<string, Metric> = {
  cosine: "cosine",
  euclidean: "l2",
  euclid: "l2",
  l2: "l2",
  dot: "dot",
  dotproduct: "dot",
  dot_product: "dot",
};

/** The metric behind the server's word for it, or undefined. */
export function metricOfWord(word: unknown): Metric | undefined {
  return typeof word === "string" ? spellings[word.toLowerCase()] : undefined;
}

/** The server's words for a metric; undefined when it has none. */
export function wordsOfMetric(metric: Metric): { native: string; qdrant: string } | undefined {
  switch (metric) {
    case "cosine":
      return { native: "cosine", qdrant: "Cosine" };
    case "l2":
      return { native: "euclidean", qdrant: "Euclid" };
    case "dot":
      return { native: "dot", qdrant: "Dot" };
    default:
      return undefined;
  }
}

/**
 * A score of the server as a score of ours, where that can be told from the number alone:
 * undefined when it is the cosine of vectors that are compared by another metric, or a sigmoid so
 * close to 1 that the product is lost.
 */
export function scoreFromServer(
  score: number,
  metric: Metric,
  quirks: VectorizerQuirks,
): number | undefined {
  if (metric === "cosine") return Math.max(-1, Math.min(1, score));
  if (quirks.metricIsIgnored) return undefined;
  if (metric === "l2" || !quirks.dotIsSigmoid) return score;
  // f32 has 24 bits: from here on the product has fewer than ten of them left.
  if (score <= 2 ** -60 || score >= 1 - 2 ** -14) return undefined;
  return Math.log(score / (1 - score));
}
