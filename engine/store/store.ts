/**
 * WAIST: what the engine asks of a record store. It maps ids to rows and keeps each row's id, text
 * and metadata; vectors live on the native side. The memory store is one implementation; a durable
 * one fits behind the same calls, because everything that may wait is a promise and happens before
 * the synchronous `publish`.
 *
 * Sequences number the published batches. A reader pins the sequence it reads at; rows that a later
 * batch replaced stay readable until no pinned sequence sees them.
 */
import type { NativeBatch } from "../native-types.js";
import type { RecordContent } from "../record-codec.js";
import type { Slices } from "../slices.js";

/** Records of one collection. */
export interface RecordStore {
  /** Live records at the published sequence. */
  readonly count: number;
  /** Number of the last published batch; 0 at first. */
  readonly sequence: number;
  /** The row of a published id. */
  rowOf(id: string): number | undefined;
  /** The id of a row that is published and live, or pinned. */
  idOf(row: number): string;
  /** Text and metadata of a row that is published and live, or pinned; made anew each time. */
  contentOf(row: number): RecordContent;
  /** Keeps what the published sequence sees readable until `unpin` of the same number. */
  pin(): number;
  unpin(sequence: number): void;
  /** Starts a batch of about `expected` records. One at a time: the collection's write queue sees to that. */
  begin(expected: number): StoreBatch;
  stats(): StoreStats;
  /** Frees everything; the store must not be used afterwards. */
  close(): void;
}

/** Records on their way in, and rows on their way out; invisible until `publish`. */
export interface StoreBatch {
  /**
   * Stages a record at the next position (0, 1, …). `json` is what the codec made of it.
   * An id that was staged before in this batch takes its place: the earlier position is void.
   */
  add(id: string, json: string): void;
  /** Positions staged, void ones included. */
  readonly size: number;
  /** Whether some positions are void. */
  readonly hasVoid: boolean;
  isVoid(position: number): boolean;
  /** Stages the removal of a published row; false when that was done before. */
  remove(row: number): boolean;
  /**
   * Gives the staged records their rows, in order from `firstRow`, void positions left out. Small
   * batches are done at once and return undefined.
   */
  prepare(firstRow: number, slices: Slices): Promise<void> | undefined;
  /**
   * Makes the batch as lasting as the store is, with the vectors of `native`, which is finished.
   * Once it has resolved, the batch must be published; when it rejects, nothing of it was stored.
   * undefined when there is nothing to wait for. After `prepare`.
   */
  commit(native: NativeBatch): Promise<void> | undefined;
  /** Rows that are replaced or removed by this batch, ascending or not. After `prepare`. */
  tombstones(): Float64Array;
  /**
   * Makes the batch visible, in constant time for large batches. What remains to be tidied up is
   * done by the returned promise, which must settle before the next batch begins; undefined when
   * there is nothing.
   */
  publish(): Promise<void> | undefined;
  /** Forgets the batch; the promise as for `publish`. Idempotent; nothing after publish. */
  abort(): Promise<void> | undefined;
}

/** Figures of a store. */
export interface StoreStats {
  /** Bytes of text and metadata in use. */
  recordBytes: number;
  /** Bytes of memory held for them. */
  reservedBytes: number;
  /** Rows that were replaced or deleted and are still kept for a pinned snapshot. */
  retainedRows: number;
}
