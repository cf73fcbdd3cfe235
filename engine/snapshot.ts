/**
 * What a search reads: the native snapshot and the record store, pinned at the same moment. So a
 * hit never pairs an old score with a new record. Snapshots are shared between the searches that
 * start between two writes, and counted.
 */
import { Columns } from "./columns.js";
import type { NativeCollection, NativeSnapshot } from "./native-types.js";
import type { RecordStore } from "./store/store.js";

/** A pinned view. Each holder calls `release` once. */
export class Snapshot {
  readonly data: CollectionData;
  readonly native: NativeSnapshot;
  /** Records that live in this view. */
  readonly liveRows: number;
  readonly #sequence: number;
  #holders = 1;

  constructor(data: CollectionData) {
    this.data = data;
    this.native = data.native.snapshot();
    this.liveRows = this.native.liveRows;
    this.#sequence = data.store.pin();
  }

  retain(): this {
    this.#holders++;
    return this;
  }

  release(): void {
    if (--this.#holders > 0) return;
    this.native.release();
    this.data.store.unpin(this.#sequence);
    this.data.released();
  }
}

/**
 * Rows and records of a collection from its creation, or its last `clear`, on. Clearing puts a new
 * one in its place, so that it takes no time and readers keep what they pinned.
 */
export class CollectionData {
  readonly native: NativeCollection;
  readonly store: RecordStore;
  /** Metadata paths that filters need no records for. */
  readonly columns = new Columns();
  /** Added to native rows, so that rows are never reused after `clear`. */
  readonly rowBase: number;
  /** Elements per vector. */
  readonly dimensions: number;
  #current: Snapshot | undefined;
  #snapshots = 0;
  #closing = false;

  constructor(native: NativeCollection, store: RecordStore, dimensions: number, rowBase: number) {
    this.native = native;
    this.dimensions = dimensions;
    this.store = store;
    this.rowBase = rowBase;
  }

  /** The view of everything published; release it. */
  acquire(): Snapshot {
    if (this.#current === undefined) {
      this.#current = new Snapshot(this);
      this.#snapshots++;
    }
    return this.#current.retain();
  }

  /** After a write was published: the next reader gets a new view. */
  changed(): void {
    const current = this.#current;
    this.#current = undefined;
    current?.release();
  }

  /** Called when a view is gone. */
  released(): void {
    this.#snapshots--;
    this.#closeWhenUnused();
  }

  /** Frees everything as soon as the last reader is done. */
  close(): void {
    if (this.#closing) return;
    this.#closing = true;
    this.changed();
    this.#closeWhenUnused();
  }

  #closeWhenUnused(): void {
    if (!this.#closing || this.#snapshots > 0) return;
    this.native.close();
    this.store.close();
  }
}
