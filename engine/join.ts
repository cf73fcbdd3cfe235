/**
 * Small upserts that wait for their turn at the same time become one write, so that they share one
 * batch, one sync and one commit. Each caller still gets its own answer: when the joined write
 * fails for what one caller gave, the callers are served one by one.
 */
import type { ColumnBatch } from "./column-batch.js";
import { HiveGpuError, InputError } from "./errors.js";
import type { NativeBatch } from "./native-types.js";
import type { RecordSource } from "./sources.js";
import type { StoreBatch } from "./store/store.js";
import type { WriteOptions } from "./types.js";

/** Larger upserts gain nothing. */
const callRecordsMax = 64;
const joinedRecordsMax = 4096;

interface Caller {
  source: RecordSource;
  resolve: (ids: string[]) => void;
  reject: (error: unknown) => void;
}

/** A write that several upserts share. */
export class Join {
  readonly #callers: Caller[] = [];
  #count = 0;

  /** Whether an upsert may share its write: it is small, and nobody watches or stops it. */
  static takes(source: RecordSource, options: WriteOptions): boolean {
    const { signal, onProgress } = options;
    if (signal !== undefined || onProgress !== undefined) return false;
    return source.count > 0 && source.count <= callRecordsMax;
  }

  hasRoom(source: RecordSource): boolean {
    return this.#count + source.count <= joinedRecordsMax;
  }

  /** Resolves with the ids of the source's records. */
  add(source: RecordSource): Promise<string[]> {
    this.#count += source.count;
    return new Promise((resolve, reject) => {
      this.#callers.push({ source, resolve, reject });
    });
  }

  /** Writes everything with `upsert`, and answers every caller. Never rejects. */
  async run(upsert: (source: RecordSource) => Promise<string[]>): Promise<void> {
    const callers = this.#callers;
    if (callers.length > 1) {
      try {
        const ids = await upsert(new JoinedSource(callers.map((one) => one.source)));
        let from = 0;
        for (const { source, resolve } of callers) {
          resolve(ids.slice(from, from + source.count));
          from += source.count;
        }
        return;
      } catch (error) {
        if (!(error instanceof InputError) && error instanceof HiveGpuError) {
          for (const { reject } of callers) reject(error);
          return;
        }
      }
    }
    for (const { source, resolve, reject } of callers) {
      try {
        resolve(await upsert(source));
      } catch (error) {
        reject(error);
      }
    }
  }
}

/** The records of several sources, one after another. */
class JoinedSource implements RecordSource {
  readonly #sources: readonly RecordSource[];
  /** Position of each source's first record. */
  readonly #starts: number[] = [];
  readonly count: number;
  readonly isEmpty = false;
  maxPush = 1;

  constructor(sources: readonly RecordSource[]) {
    this.#sources = sources;
    let count = 0;
    for (const source of sources) {
      this.#starts.push(count);
      count += source.count;
    }
    this.count = count;
  }

  dimensions(fixed: number | undefined): number {
    let dimensions = fixed;
    for (const source of this.#sources) {
      dimensions = source.dimensions(dimensions);
      this.maxPush = source.maxPush;
    }
    return dimensions!;
  }

  metadata(position: number): unknown {
    const at = this.#find(position);
    return this.#sources[at]!.metadata(position - this.#starts[at]!);
  }

  stage(position: number, batch: StoreBatch, columns: ColumnBatch, metadata?: object): string {
    const at = this.#find(position);
    return this.#sources[at]!.stage(position - this.#starts[at]!, batch, columns, metadata);
  }

  push(batch: NativeBatch, from: number, to: number): void {
    let position = from;
    for (let at = this.#find(from); position < to; at++) {
      const start = this.#starts[at]!;
      const source = this.#sources[at]!;
      const end = Math.min(to, start + source.count);
      source.push(batch, position - start, end - start);
      position = end;
    }
  }

  name(position: number): string {
    const at = this.#find(position);
    return this.#sources[at]!.name(position - this.#starts[at]!);
  }

  /** Index of the source that a position belongs to. */
  #find(position: number): number {
    let low = 0;
    let high = this.#starts.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (this.#starts[middle]! <= position) low = middle;
      else high = middle - 1;
    }
    return low;
  }
}
