/** Scores of points computed on our side, and the best of many. */
import { type Hit, kit, type Metric, type StoredRecord } from "hive-gpu";
import type { RemotePoint } from "./queries.js";

/** The metric's native value (cosine, dot, squared l2 distance), summed in f64, given in f32. */
export function valueOf(metric: Metric, a: ArrayLike<number>, b: ArrayLike<number>): number {
  let dot = 0;
  let aa = 0;
  let bb = 0;
  for (let i = 0; i < a.length; i++) {
    const x = a[i]!;
    const y = b[i]!;
    if (metric === "l2") {
      dot += (x - y) * (x - y);
    } else {
      dot += x * y;
      aa += x * x;
      bb += y * y;
    }
  }
  if (metric !== "cosine") return Math.fround(dot);
  return aa === 0 || bb === 0 ? 0 : Math.fround(dot / Math.sqrt(aa * bb));
}

/** A record with its score. */
export interface Ranked<T> {
  score: number;
  value: number;
  /** Position in the order of arrival; decides between equal scores. */
  place: number;
  item: T;
}

/** Keeps the best `k` of what is offered. */
export class Best<T> {
  readonly #k: number;
  #kept: Ranked<T>[] = [];
  #offered = 0;
  #worst = -Infinity;

  constructor(k: number) {
    this.#k = k;
  }

  /** Whether a score still has a chance; saves building items that have none. */
  wants(score: number): boolean {
    return this.#kept.length < this.#k || score > this.#worst;
  }

  offer(score: number, value: number, item: T): void {
    this.#kept.push({ score, value, place: this.#offered++, item });
    if (this.#kept.length >= this.#k * 2 + 64) this.#cut();
  }

  /** Best first; equal scores in the order of arrival. */
  take(): Ranked<T>[] {
    this.#cut();
    return this.#kept;
  }

  #cut(): void {
    this.#kept.sort((a, b) => b.score - a.score || a.place - b.place);
    this.#kept.length = Math.min(this.#kept.length, this.#k);
    if (this.#kept.length === this.#k) this.#worst = this.#kept.at(-1)?.score ?? -Infinity;
  }
}

/** Whether the server's scores follow the metric; undefined when its answer cannot tell. */
export function followsMetric(
  hits: readonly RemotePoint[],
  query: Float32Array,
  metric: Metric,
): boolean | undefined {
  if (metric === "cosine") return true;
  let follows = 0;
  let isCosine = 0;
  for (const { vector, score } of hits) {
    const value = valueOf(metric, query, vector);
    const raw = kit.scoreOf(metric, value);
    const isMetric =
      near(score!, raw) || (metric === "dot" && near(score!, 1 / (1 + Math.exp(-value))));
    if (isMetric) follows++;
    if (near(score!, valueOf("cosine", query, vector))) isCosine++;
  }
  if (follows === isCosine) return undefined;
  return follows > isCosine;
}

/** Quantized vectors come back a little different from what was scored. */
function near(a: number, b: number): boolean {
  return Math.abs(a - b) <= 1e-3 * Math.max(1, Math.abs(b));
}

/** A hit of our own shape. */
export function hitOf(record: StoredRecord, metric: Metric, value: number): Hit {
  return { ...record, score: kit.scoreOf(metric, value), distance: kit.distanceOf(metric, value) };
}
