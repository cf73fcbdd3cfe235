/**
 * id -> number in many small maps. One big `Map` stops the event loop for tens of milliseconds
 * when it grows, and cannot pass 2^24 entries.
 */
const shardCount = 1024;
/** Up to this many entries one map grows in less than a millisecond. */
const singleMax = 8192;

/** A cheap hash over the end of the id, where ids differ most, and its length. */
function shardOf(id: string): number {
  let hash = id.length;
  const start = id.length > 12 ? id.length - 12 : 0;
  for (let i = start; i < id.length; i++) hash = (Math.imul(hash, 31) + id.charCodeAt(i)) | 0;
  return hash ^ (hash >>> 10) ^ (hash >>> 20);
}

/** Maps ids to rows or positions. */
export class IdMap {
  readonly #shards: (Map<string, number> | undefined)[];
  #size = 0;

  readonly #mask: number;

  /** @param expected entries to come; a map for few is made of one part. */
  constructor(expected: number) {
    const shards = expected > singleMax ? shardCount : 1;
    this.#mask = shards - 1;
    this.#shards = Array.from({ length: shards });
  }

  /** Whether it was made for many entries. */
  get isLarge(): boolean {
    return this.#mask > 0;
  }

  get size(): number {
    return this.#size;
  }

  get(id: string): number | undefined {
    return this.#shards[shardOf(id) & this.#mask]?.get(id);
  }

  /** Sets and returns what was there before. */
  replace(id: string, value: number): number | undefined {
    const at = shardOf(id) & this.#mask;
    let shard = this.#shards[at];
    if (shard === undefined) {
      shard = new Map();
      this.#shards[at] = shard;
    }
    const before = shard.get(id);
    if (before === undefined) this.#size++;
    shard.set(id, value);
    return before;
  }

  delete(id: string): boolean {
    const removed = this.#shards[shardOf(id) & this.#mask]?.delete(id) ?? false;
    if (removed) this.#size--;
    return removed;
  }
}
