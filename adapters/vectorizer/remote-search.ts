/** Searches of a server collection whose answers are ranked, filtered and scored on our side. */
import { type Hit, hiveError, kit, type Metric, type StoredRecord } from "hive-gpu";
import type { VectorizerClient } from "./client.js";
import { type Point, pointsOf } from "./points.js";
import type { RemotePoint } from "./queries.js";
import { Best, followsMetric, hitOf, valueOf } from "./ranking.js";
import { recordOfPoint, selectParts } from "./records.js";
import { scrollPoints } from "./scroll.js";

/** The collection that is searched. */
export interface SearchTarget {
  client: VectorizerClient;
  name: string;
  dimensions: number;
  metric: Metric;
  count: number;
  textKey: string;
  /** Whether the server may rank: "auto" unless its scores show that it cannot. */
  exact: boolean | "auto";
  pageSize: number;
}

export interface SearchRequest {
  query: Float32Array;
  k: number;
  offset: number;
  minScore: number;
  parts: number;
  signal: AbortSignal | undefined;
  /** Which records may be hits; undefined: all. */
  passes: ((record: StoredRecord) => boolean) | undefined;
}

type FullRecord = StoredRecord & { vector: Float32Array };

type FilterTree = ReturnType<typeof kit.filterOf>;

/** A filter as a function on records; the server has no filters, so it runs here. */
export function passesOf(filter: FilterTree): ((record: StoredRecord) => boolean) | undefined {
  return filter === undefined ? undefined : (record) => kit.matches(filter, record);
}

/** With a filter, this many times the wanted hits are asked for first, and again when too few pass. */
const overfetch = 4;
/** Hits that decide whether the server's scores follow the metric. */
const sampleSize = 16;
const blockSize = 1024;

/** Runs the searches of one collection; remembers whether the server's ranking can be trusted. */
export class RemoteSearch {
  #isTrusted: boolean | undefined;

  async search(target: SearchTarget, request: SearchRequest): Promise<Hit[]> {
    const wanted = request.k + request.offset;
    if (wanted === 0 || target.count === 0) return [];
    const isExact = target.exact === true || !(await this.#trusts(target, request));
    const best = isExact
      ? await rankAll(target, request, wanted)
      : ((await rankByServer(target, request, wanted)) ?? (await rankAll(target, request, wanted)));
    const { metric } = target;
    return best
      .take()
      .slice(request.offset)
      .filter(({ score }) => score >= request.minScore)
      .map(({ item, value }) => hitOf(selectParts(item, request.parts), metric, value));
  }

  /** Old servers rank by cosine whatever the metric: then only a scan finds the nearest. */
  async #trusts(target: SearchTarget, { query, signal }: SearchRequest): Promise<boolean> {
    const { client, name, metric, exact } = target;
    if (metric === "cosine" || exact === false) return true;
    if (this.#isTrusted === undefined) {
      const sample = await client.search(name, query, sampleSize, { signal });
      this.#isTrusted = followsMetric(sample, query, metric);
    }
    return this.#isTrusted ?? !(await client.probe()).metricIsIgnored;
  }
}

/** Scans the whole collection. */
async function rankAll(
  target: SearchTarget,
  request: SearchRequest,
  wanted: number,
): Promise<Best<FullRecord>> {
  const { client, name, dimensions, metric, count, textKey, pageSize } = target;
  const { query, passes, signal } = request;
  const best = new Best<FullRecord>(wanted);
  const options = { dimensions, pageSize, blockSize, expected: count, signal };
  const slices = new kit.Slices(signal);
  for await (const block of scrollPoints(client, name, options)) {
    for (const point of pointsOf(block)) {
      const value = valueOf(metric, query, point.vector);
      const score = kit.scoreOf(metric, value);
      if (!best.wants(score)) continue;
      const record = recordOfPoint(point, textKey);
      if (passes === undefined || passes(record)) best.offer(score, value, copied(record));
    }
    if (slices.due) await slices.turn();
  }
  return best;
}

/** A record that does not keep the block it came in. */
function copied(record: FullRecord): FullRecord {
  return { ...record, vector: record.vector.slice() };
}

/** Asks the server for more and more; undefined when its index does not reach enough records. */
async function rankByServer(
  target: SearchTarget,
  request: SearchRequest,
  wanted: number,
): Promise<Best<FullRecord> | undefined> {
  const { client, name, metric, count, textKey } = target;
  const { query, passes, signal } = request;
  let limit = Math.min(count, passes === undefined ? wanted : wanted * overfetch);
  for (;;) {
    const hits = await client.search(name, query, limit, { signal });
    const resolved = await resolveIds(target, hits, signal);
    const best = new Best<FullRecord>(wanted);
    const seen = new Set<string>();
    let passing = 0;
    for (const hit of resolved) {
      const record = recordOfPoint(hit, textKey);
      if (seen.has(record.id)) continue;
      seen.add(record.id);
      if (passes !== undefined && !passes(record)) continue;
      passing++;
      const value = valueOf(metric, query, hit.vector);
      best.offer(kit.scoreOf(metric, value), value, record);
    }
    if (passing >= wanted) return best;
    // Deleted records leave holes in the graph, behind which others are out of reach.
    if (seen.size < Math.min(limit, count)) return undefined;
    if (limit >= count) return best;
    limit = Math.min(count, limit * overfetch);
  }
}

/**
 * Large searches bring ids of digits back as numbers, from which "7" and "007" cannot be told. The
 * id is the one that has the same vector: the plain one when there is a point of that id, else one
 * that a scan finds.
 */
async function resolveIds(
  target: SearchTarget,
  hits: RemotePoint[],
  signal: AbortSignal | undefined,
): Promise<RemotePoint[]> {
  const { client, name, dimensions } = target;
  const numbers = hits.filter(({ idWasNumber }) => idWasNumber);
  if (numbers.length === 0) return hits;
  const plain = new Map<string, Point>();
  const ids = [...new Set(numbers.map(({ id }) => id))];
  for (const point of await client.retrieve(name, ids, dimensions, { signal })) {
    plain.set(point.id, point);
  }
  const open = numbers.filter((hit) => !sameVector(hit, plain.get(hit.id)));
  if (open.length === 0) return hits;
  const found = await spellings(target, new Set(open.map(({ id }) => id)), signal);
  for (const hit of open) {
    const candidates = found.get(hit.id) ?? [];
    const at = candidates.findIndex((point) => sameVector(hit, point));
    const [point] = candidates.splice(at, at < 0 ? 0 : 1);
    if (point === undefined) {
      throw hiveError("REMOTE_PROTOCOL", `search: no point has the id ${hit.id} or one like it.`, {
        details: { id: hit.id },
      });
    }
    hit.id = point.id;
  }
  return hits;
}

/** All points whose ids are other spellings of these numbers: leading zeros, a plus sign. */
async function spellings(
  { client, name, dimensions, pageSize, count }: SearchTarget,
  numbers: ReadonlySet<string>,
  signal: AbortSignal | undefined,
): Promise<Map<string, Point[]>> {
  const found = new Map<string, Point[]>();
  const options = { dimensions, pageSize, blockSize, expected: count, signal };
  for await (const block of scrollPoints(client, name, options)) {
    for (const point of pointsOf(block)) {
      if (!/^\+?\d+$/.test(point.id)) continue;
      const plain = String(BigInt(point.id.replace("+", "")));
      if (!numbers.has(plain) || plain === point.id) continue;
      const list = found.get(plain) ?? [];
      list.push({ ...point, vector: point.vector.slice() });
      found.set(plain, list);
    }
  }
  return found;
}

function sameVector(a: Point, b: Point | undefined): boolean {
  return b !== undefined && a.vector.every((value, i) => value === b.vector[i]);
}
