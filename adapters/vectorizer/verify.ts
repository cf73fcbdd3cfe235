/** Compares the answers of a server with those of its mirror. */
import { hiveError, kit, type VectorCollection, type VectorInput } from "hive-gpu";
import type { VectorizerClient } from "./client.js";
import { scoreFromServer } from "./quirks.js";
import { recordOfPoint } from "./records.js";

export interface VerifyOptions {
  /** Queries; default: the vectors of `sample` records, evenly spread. */
  queries?: readonly VectorInput[] | undefined;
  /** Records taken as queries when none are given; default 50. */
  sample?: number | undefined;
  /** Hits compared per query, 1 to 100; default 10. */
  k?: number | undefined;
  signal?: AbortSignal | undefined;
}

/** How well the two agree. The server's index is approximate: expect an overlap near 1, not 1. */
export interface VerifyReport {
  queries: number;
  k: number;
  /** Mean and least share of our hits that the server has too, 0 to 1. */
  meanOverlap: number;
  minOverlap: number;
  /** Of hits that both have: the largest difference of scores; undefined when none can be told. */
  maxScoreDifference: number | undefined;
  /** Scores that were compared. */
  scoresCompared: number;
}

const keys = new Set(["queries", "sample", "k", "signal"]);

/** See {@link VerifyReport}. Searches both sides; changes nothing. */
export async function verifyMirror(
  client: VectorizerClient,
  name: string,
  local: VectorCollection,
  textKey: string,
  options: VerifyOptions = {},
): Promise<VerifyReport> {
  kit.checkOptions("verify", options, keys);
  const { signal } = options;
  const k = kit.checkInteger("verify", "k", options.k ?? 10, 1, 100);
  const sample = kit.checkInteger("verify", "sample", options.sample ?? 50, 1, 100_000);
  const queries = options.queries ?? (await sampled(local, sample, signal));
  if (queries.length === 0) {
    throw hiveError("INVALID_ARGUMENT", "verify: there are no queries.", {
      hint: "Sync first, or pass queries.",
    });
  }
  const quirks = await client.probe();
  let sum = 0;
  let least = 1;
  let largest: number | undefined;
  let scoresCompared = 0;
  for (const query of queries) {
    const hits = await local.search(query, { k, select: [], signal });
    const scores = new Map<string, number | undefined>();
    for (const point of await client.search(name, query, k, { signal })) {
      const score = scoreFromServer(point.score!, local.metric, quirks);
      scores.set(recordOfPoint(point, textKey).id, score);
    }
    const common = hits.filter(({ id }) => scores.has(id));
    const overlap = hits.length === 0 ? 1 : common.length / hits.length;
    sum += overlap;
    least = Math.min(least, overlap);
    for (const { id, score } of common) {
      const other = scores.get(id);
      if (other === undefined) continue;
      scoresCompared++;
      largest = Math.max(largest ?? 0, Math.abs(other - score));
    }
  }
  return {
    queries: queries.length,
    k,
    meanOverlap: sum / queries.length,
    minOverlap: least,
    maxScoreDifference: largest,
    scoresCompared,
  };
}

async function sampled(
  local: VectorCollection,
  wanted: number,
  signal: AbortSignal | undefined,
): Promise<VectorInput[]> {
  const step = Math.max(1, Math.floor((await local.count()) / wanted));
  const queries: VectorInput[] = [];
  let i = 0;
  for await (const { vector } of local.scan({ select: ["vector"], signal })) {
    if (i++ % step === 0) queries.push(vector!);
    if (queries.length === wanted) break;
  }
  return queries;
}
