/** The collections of the stand-in server: what it stores, how it compares, what it does to data. */
import { createHash } from "node:crypto";
import type { FakeQuirks } from "./quirks.js";

export type FakeMetric = "cosine" | "euclidean" | "dot";
export type Payload = unknown;

export interface Point {
  id: string;
  vector: Float32Array;
  payload: Payload;
  /** The point as JSON, written once: serving many pages must cost the client's time, not ours. */
  json?: Buffer;
}

export interface Scored {
  point: Point;
  score: number;
}

/** The provider that a stock server starts with. */
export const provider = { name: "bm25", dimension: 512 };

function dot(a: Float32Array, b: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
  return sum;
}

function unit(vector: Float32Array): Float32Array {
  const norm = Math.sqrt(dot(vector, vector));
  return norm === 0 ? vector : vector.map((value) => value / norm);
}

/** What is left of a vector after it was stored in one byte per element. */
function throughBytes(vector: Float32Array): Float32Array {
  let min = Infinity;
  let max = -Infinity;
  for (const value of vector) {
    if (value < min) min = value;
    if (value > max) max = value;
  }
  const step = (max - min) / 255 || 1;
  return vector.map((value) => min + Math.round((value - min) / step) * step);
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).toSorted(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(entries.map(([key, item]) => [key, sortKeys(item)]));
}

/** What get and search do to the strings of a payload. */
export function changeWhitespace(value: unknown): unknown {
  if (typeof value === "string") {
    const lines = value.replaceAll("\r\n", "\n").split("\n");
    const joined = lines.map((line) => line.replace(/[ \t]+$/, "")).join("\n");
    return joined.replace(/\n{3,}/g, "\n\n").trim();
  }
  if (Array.isArray(value)) return value.map(changeWhitespace);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([k, item]) => [k, changeWhitespace(item)]));
}

/** One collection; points stay where they were first inserted. */
export class FakeCollection {
  readonly points = new Map<string, Point>();
  readonly createdAt = new Date().toISOString();
  updatedAt = this.createdAt;
  /** Answers of earlier searches. */
  readonly cache = new Map<string, unknown>();

  constructor(
    readonly name: string,
    readonly dimension: number,
    readonly metric: FakeMetric,
    public quantization: "none" | "sq8",
    private readonly quirks: FakeQuirks,
  ) {}

  touch(invalidate = true): void {
    // Two writes in one millisecond must still look like a change.
    const next = Math.max(Date.now(), Date.parse(this.updatedAt) + 1);
    this.updatedAt = new Date(next).toISOString();
    if (invalidate || !this.quirks.searchCacheIsStale) this.cache.clear();
  }

  put(id: string, given: readonly number[] | Float32Array, payload: Payload, fresh = true): void {
    let vector = Float32Array.from(given);
    if (this.metric === "cosine") vector = unit(vector) as Float32Array<ArrayBuffer>;
    if (this.quantization === "sq8") vector = throughBytes(vector) as Float32Array<ArrayBuffer>;
    const kept = this.quirks.payloadKeysAreSorted ? sortKeys(payload) : payload;
    this.points.set(id, { id, vector, payload: kept });
    this.touch(fresh);
  }

  delete(id: string, fresh = true): boolean {
    const known = this.points.delete(id);
    if (known) this.touch(fresh);
    return known;
  }

  score(query: Float32Array, vector: Float32Array): number {
    const metric = this.quirks.metricIsIgnored ? "cosine" : this.metric;
    if (metric === "cosine") {
      const norms = Math.sqrt(dot(query, query) * dot(vector, vector));
      return norms === 0 ? 0 : dot(query, vector) / norms;
    }
    if (metric === "dot") {
      const product = dot(query, vector);
      return this.quirks.dotIsSigmoid ? Math.fround(1 / (1 + Math.exp(-product))) : product;
    }
    let sum = 0;
    for (let i = 0; i < query.length; i++) sum += (query[i]! - vector[i]!) ** 2;
    return 1 / (1 + Math.sqrt(sum));
  }

  /** The best by score; equal scores come in an order of the index's own, not of insertion. */
  search(query: readonly number[], limit: number): Scored[] {
    const vector = Float32Array.from(query);
    const scored = [...this.points.values()].map((point) => ({
      point,
      score: this.score(vector, point.vector),
      tie: createHash("md5").update(point.id).digest("hex"),
    }));
    scored.sort((a, b) => b.score - a.score || (a.tie < b.tie ? -1 : 1));
    return scored.slice(0, limit);
  }

  /** A point as an answer of get and search shows it. */
  shown(payload: Payload): unknown {
    return this.quirks.payloadWhitespaceChanges ? changeWhitespace(payload) : payload;
  }
}

/** The tagged filters of the server; throws for every other shape. */
export function matches(filter: unknown, payload: unknown): boolean {
  const { must = [], should = [], must_not: mustNot = [] } = filter as Record<string, unknown[]>;
  if (typeof payload !== "object" || payload === null) return false;
  const one = (condition: unknown): boolean => matchesOne(condition, payload);
  return (
    must.every(one) &&
    (should.length === 0 || should.some(one)) &&
    !mustNot.some((item) => one(item))
  );
}

function matchesOne(given: unknown, payload: object): boolean {
  const condition = given as Record<string, unknown>;
  if (typeof condition["type"] !== "string") throw new SyntaxError("missing field `type`");
  if (condition["type"] === "nested") return matches(condition["filter"], payload);
  const key = String(condition["key"]);
  let value: unknown = payload;
  for (const part of key.split(".")) value = (value as Record<string, unknown> | undefined)?.[part];
  if (value === undefined) return false;
  if (condition["type"] === "match") {
    const wanted = condition["match_value"];
    return wanted === null || wanted === undefined ? value !== null : value === wanted;
  }
  if (condition["type"] === "range") {
    if (typeof value !== "number") return false;
    const { gt, gte, lt, lte } = condition["range"] as Record<string, number | undefined>;
    return (
      (gt === undefined || value > gt) &&
      (gte === undefined || value >= gte) &&
      (lt === undefined || value < lt) &&
      (lte === undefined || value <= lte)
    );
  }
  throw new SyntaxError(`unknown variant \`${condition["type"]}\``);
}
