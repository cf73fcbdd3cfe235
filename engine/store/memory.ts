/**
 * The store that keeps records in memory: ids in many small maps, bytes outside the JavaScript
 * heap. Nothing here holds up the event loop: large batches are published as an overlay and merged
 * in slices, and replaced records are freed in slices once no pinned sequence sees them.
 */
import { hiveError } from "../errors.js";
import { type RecordContent, decodeRecord } from "../record-codec.js";
import { Slices } from "../slices.js";
import { IdMap } from "./id-map.js";
import { MemoryBatch } from "./memory-batch.js";
import { RowTable } from "./row-table.js";
import { type Location, Slabs } from "./slabs.js";
import type { RecordStore, StoreBatch, StoreStats } from "./store.js";

/** Below this many dead bytes, moving records to close the gaps does not pay. */
const compactAbove = 4 << 20;
const stride = 64;

/** Rows that a batch replaced or removed. */
interface DeadRows {
  sequence: number;
  rows: Float64Array;
}

/** The parts that a store shares with its batches. */
export class MemoryCore {
  ids = new IdMap(Infinity);
  readonly rows = new RowTable();
  readonly slabs = new Slabs();
  readonly scratch: Location = { slab: 0, offset: 0, length: 0 };
  /** Published and not yet merged; it hides what `ids` says. */
  overlay: MemoryBatch | undefined;
  closed = false;
  count = 0;
  sequence = 0;
  retained = 0;
  /** sequence -> readers; in ascending order, because only the newest sequence is ever pinned. */
  readonly #pins = new Map<number, number>();
  #dead: DeadRows[] = [];
  /** Rows of `#dead[0]` that are freed already. */
  #freed = 0;
  #tidying = false;

  ownSlices(): Slices {
    return new Slices();
  }

  /** A batch became visible. */
  published(added: number, dead: Float64Array): void {
    this.sequence++;
    this.count += added - dead.length;
    if (dead.length === 0) return;
    this.#dead.push({ sequence: this.sequence, rows: dead });
    this.retained += dead.length;
  }

  pin(): number {
    this.#pins.set(this.sequence, (this.#pins.get(this.sequence) ?? 0) + 1);
    return this.sequence;
  }

  unpin(sequence: number): void {
    const readers = this.#pins.get(sequence) ?? 0;
    if (readers > 1) this.#pins.set(sequence, readers - 1);
    else if (this.#pins.delete(sequence)) this.reclaim();
  }

  /** Starts to free what nobody sees any more, unless that is under way. */
  reclaim(): void {
    // The merge of an overlay still reads the ids of dead rows.
    if (this.#tidying || this.closed || this.overlay !== undefined) return;
    if (this.#reclaimable() === undefined) return;
    this.#tidying = true;
    void this.#tidy();
  }

  #reclaimable(): DeadRows | undefined {
    const first = this.#dead[0];
    if (first === undefined) return undefined;
    const [oldest] = this.#pins.keys();
    return oldest === undefined || oldest >= first.sequence ? first : undefined;
  }

  async #tidy(): Promise<void> {
    const slices = this.ownSlices();
    // Within the caller's turn nothing is freed: a search that just ended should not pay for it.
    await slices.turn();
    let dead = this.#reclaimable();
    while (dead !== undefined && !this.closed && this.overlay === undefined) {
      this.free(dead.rows[this.#freed++]!);
      this.retained--;
      if (this.#freed === dead.rows.length) {
        this.#dead.shift();
        this.#freed = 0;
        dead = this.#reclaimable();
      }
      if (this.#freed % stride === 0 && slices.due) {
        await slices.turn();
        dead = this.#reclaimable();
      }
    }
    await this.#compact(slices);
    this.#tidying = false;
    this.reclaim();
  }

  /** Forgets a row and frees its bytes. */
  free(row: number): void {
    if (this.rows.place(row, this.scratch)) this.slabs.free(this.scratch.slab, this.scratch.length);
    this.rows.remove(row);
  }

  /** Moves the records of slabs that are mostly dead, so that those slabs can go. */
  async #compact(slices: Slices): Promise<void> {
    const { slabs, rows } = this;
    if (slabs.dead < compactAbove || slabs.dead < slabs.live) return;
    const from: Location = { slab: 0, offset: 0, length: 0 };
    for (const index of rows.pageIndexes()) {
      const movable: number[] = [];
      rows.visitPage(index, (row) => movable.push(row));
      for (const [i, row] of movable.entries()) {
        if (this.closed) return;
        if (rows.place(row, from) && slabs.isSparse(from.slab)) {
          slabs.move(from, this.scratch);
          const to = this.scratch;
          rows.setPlace(row, to.slab, to.offset, to.length);
        }
        if (i % stride === 0 && slices.due) await slices.turn();
      }
      if (slices.due) await slices.turn();
    }
  }
}

/** A {@link RecordStore} in memory. */
export class MemoryStore implements RecordStore {
  readonly #core = new MemoryCore();

  get count(): number {
    return this.#core.count;
  }

  get sequence(): number {
    return this.#core.sequence;
  }

  rowOf(id: string): number | undefined {
    const { overlay, ids } = this.#core;
    if (overlay === undefined) return ids.get(id);
    const overlaid = overlay.lookUp(id);
    return overlaid === null ? ids.get(id) : overlaid;
  }

  idOf(row: number): string {
    const id = this.#core.rows.id(row);
    if (id === undefined) {
      throw hiveError("INTERNAL", `Row ${row} has no id although it was found by a search.`);
    }
    return id;
  }

  contentOf(row: number): RecordContent {
    const place = this.#core.scratch;
    if (!this.#core.rows.place(row, place)) return {};
    return decodeRecord(this.#core.slabs.read(place.slab, place.offset, place.length));
  }

  pin(): number {
    return this.#core.pin();
  }

  unpin(sequence: number): void {
    this.#core.unpin(sequence);
  }

  begin(expected: number): StoreBatch {
    return new MemoryBatch(this.#core, expected);
  }

  stats(): StoreStats {
    const { slabs, retained } = this.#core;
    return { recordBytes: slabs.live, reservedBytes: slabs.capacity, retainedRows: retained };
  }

  close(): void {
    this.#core.closed = true;
  }
}
