/**
 * The store that keeps records in files. What is searched and looked up is in memory, built from
 * checksummed frames; text and metadata are read back from the files, and checked, when asked for.
 */
import { hiveError } from "../errors.js";
import { callNative } from "../native-errors.js";
import type { NativeBatch, NativeCollection } from "../native-types.js";
import { type RecordContent, decodeRecord } from "../record-codec.js";
import { Slices } from "../slices.js";
import type { CollectionStorage } from "./collection-storage.js";
import type { NativeLog, NativeLogBatch } from "./native-log.js";
import type { RecordStore, StoreBatch, StoreStats } from "./store.js";

/** Rows handled natively between two looks at the clock: some tenths of a millisecond. */
const step = 2048;

/** Rows that a batch replaced or removed. */
interface DeadRows {
  sequence: number;
  rows: Float64Array;
}

/** A {@link RecordStore} in segment files. */
export class DurableStore implements RecordStore {
  readonly storage: CollectionStorage;
  readonly log: NativeLog;
  /** sequence -> readers, ascending: only the newest sequence is ever pinned. */
  readonly #pins = new Map<number, number>();
  readonly #dead: DeadRows[] = [];
  /** Of `#dead[0]`. */
  #released = 0;
  #retained = 0;
  #tidying = false;
  #merging = false;
  #closed = false;
  /** Rows of a store that was cleared are below. */
  #clearedBelow: number | undefined;
  count: number;
  sequence: number;

  constructor(storage: CollectionStorage, log: NativeLog) {
    this.storage = storage;
    this.log = log;
    this.count = log.state().count;
    this.sequence = storage.manifest.sequence;
  }

  load(native: NativeCollection): Promise<void> {
    return this.log.load(native);
  }

  rowOf(id: string): number | undefined {
    return callNative(() => this.log.rowOf(id));
  }

  idOf(row: number): string {
    const id = callNative(() => this.log.idOf(row));
    if (id !== undefined) return id;
    throw hiveError("INTERNAL", `Row ${row} has no id although it was found by a search.`);
  }

  contentOf(row: number): RecordContent {
    return decodeRecord(callNative(() => this.log.read(row)));
  }

  pin(): number {
    this.#pins.set(this.sequence, (this.#pins.get(this.sequence) ?? 0) + 1);
    return this.sequence;
  }

  unpin(sequence: number): void {
    const readers = this.#pins.get(sequence) ?? 0;
    if (readers > 1) this.#pins.set(sequence, readers - 1);
    else if (this.#pins.delete(sequence)) this.#reclaim();
  }

  begin(expected: number): StoreBatch {
    return new DurableBatch(
      this,
      callNative(() => this.log.begin(expected)),
    );
  }

  /** Removes all records, durably. */
  async clear(): Promise<void> {
    const batch = callNative(() => this.log.begin(0));
    batch.clear();
    batch.prepare(0, 0);
    try {
      await this.storage.commitBatch(batch, undefined);
      this.#clearedBelow = this.storage.manifest.endRow;
      batch.publish();
    } finally {
      batch.finish();
    }
  }

  stats(): StoreStats {
    return { recordBytes: 0, reservedBytes: 0, retainedRows: this.#retained };
  }

  close(): void {
    this.#closed = true;
    if (this.#clearedBelow === undefined) return;
    const below = this.#clearedBelow;
    this.storage.whenOpen(() => this.log.releaseBelow(below));
  }

  /** @internal A batch became visible. */
  published(count: number, dead: Float64Array): void {
    this.count = count;
    this.sequence = this.storage.manifest.sequence;
    if (dead.length === 0) return;
    this.#dead.push({ sequence: this.sequence, rows: dead });
    this.#retained += dead.length;
  }

  /** @internal Merges the ids of a published batch. */
  merge(batch: NativeLogBatch): Promise<void> | undefined {
    if (batch.merge(step)) {
      // What it staged goes now, not with the next garbage collection.
      batch.finish();
      this.#reclaim();
      return undefined;
    }
    this.#merging = true;
    return this.#mergeRest(batch);
  }

  async #mergeRest(batch: NativeLogBatch): Promise<void> {
    const slices = new Slices();
    while (!this.#closed && !batch.merge(step)) if (slices.due) await slices.turn();
    batch.finish();
    this.#merging = false;
    this.#reclaim();
  }

  #reclaimable(): DeadRows | undefined {
    const first = this.#dead[0];
    if (first === undefined || this.#closed || this.#merging) return undefined;
    const [oldest] = this.#pins.keys();
    return oldest === undefined || oldest >= first.sequence ? first : undefined;
  }

  #reclaim(): void {
    if (this.#tidying || this.#reclaimable() === undefined) return;
    this.#tidying = true;
    void this.#tidy();
  }

  /** Tells the log which dead rows nobody sees any more, in slices. */
  async #tidy(): Promise<void> {
    const slices = new Slices();
    await slices.turn();
    for (let dead = this.#reclaimable(); dead !== undefined; dead = this.#reclaimable()) {
      const rows = dead.rows.slice(this.#released, this.#released + step);
      this.log.release(rows);
      this.#retained -= rows.length;
      this.#released += rows.length;
      if (this.#released === dead.rows.length) {
        this.#dead.shift();
        this.#released = 0;
      }
      if (slices.due) await slices.turn();
    }
    this.#tidying = false;
    this.storage.considerCompaction();
  }
}

/** A batch of the durable store. */
class DurableBatch implements StoreBatch {
  readonly #store: DurableStore;
  readonly #native: NativeLogBatch;
  readonly #voids = new Set<number>();
  size = 0;
  #removals = 0;
  #finished = false;
  #committed = false;

  constructor(store: DurableStore, native: NativeLogBatch) {
    this.#store = store;
    this.#native = native;
  }

  get hasVoid(): boolean {
    return this.#voids.size > 0;
  }

  isVoid(position: number): boolean {
    return this.#voids.has(position);
  }

  add(id: string, json: string): void {
    const before = callNative(() => this.#native.stage(id, json));
    if (before >= 0) this.#voids.add(before);
    this.size++;
  }

  remove(row: number): boolean {
    const first = callNative(() => this.#native.remove(row));
    if (first) this.#removals++;
    return first;
  }

  prepare(firstRow: number, slices: Slices): Promise<void> | undefined {
    if (callNative(() => this.#native.prepare(firstRow, step))) return undefined;
    return this.#prepareRest(firstRow, slices);
  }

  async #prepareRest(firstRow: number, slices: Slices): Promise<void> {
    do if (slices.due) await slices.turn();
    while (!callNative(() => this.#native.prepare(firstRow, step)));
  }

  tombstones(): Float64Array {
    return this.#native.tombstones();
  }

  commit(native: NativeBatch): Promise<void> | undefined {
    // Removing what is not there changes nothing, so there is nothing to make durable.
    if (this.size === 0 && this.#removals === 0) return undefined;
    return this.#commit(native);
  }

  async #commit(native: NativeBatch): Promise<void> {
    await this.#store.storage.commitBatch(this.#native, this.size > 0 ? native : undefined);
    this.#committed = true;
  }

  publish(): Promise<void> | undefined {
    this.#finished = true;
    if (!this.#committed) {
      this.#native.finish();
      return undefined;
    }
    const dead = this.#native.tombstones();
    this.#native.publish();
    this.#store.published(this.#store.storage.manifest.count, dead);
    return this.#store.merge(this.#native);
  }

  abort(): undefined {
    if (this.#finished) return;
    this.#finished = true;
    // Durable and yet not published: memory no longer agrees with the files.
    if (this.#committed) this.#store.storage.fail();
    this.#native.finish();
  }
}
