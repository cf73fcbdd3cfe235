/** A batch of the memory store. */
import type { Slices } from "../slices.js";
import { IdMap } from "./id-map.js";
import type { MemoryCore } from "./memory.js";
import type { Location } from "./slabs.js";
import type { StoreBatch } from "./store.js";

/** Batches up to this size are handled within one turn of the event loop. */
const smallBatch = 512;
/** Stands in the staged map for an id that the batch removes. */
const removed = -1;
/** Steps between two looks at the clock. */
const stride = 64;

/** Grows a typed array to hold at least `length` elements. */
function grown<T extends Uint8Array | Uint32Array | Float64Array>(array: T, length: number): T {
  if (array.length >= length) return array;
  const Type = array.constructor as new (length: number) => T;
  const larger = new Type(Math.max(length, array.length * 2, 64));
  larger.set(array);
  return larger;
}

export class MemoryBatch implements StoreBatch {
  readonly #core: MemoryCore;
  readonly #ids: string[] = [];
  /** id -> position, or `removed`. */
  readonly #staged: IdMap;
  /** 1 at void positions; shorter than the batch, and empty when there are none. */
  #voids = new Uint8Array(0);
  #voidCount = 0;
  /** slab, offset, length of position i at 3i; empty while no record has bytes. */
  #places = new Uint32Array(0);
  #tombstones = new Float64Array(0);
  #tombstoneCount = 0;
  #firstRow = -1;
  /** With void positions: position -> offset from the first row. */
  #offsets: Uint32Array | undefined;
  #finished = false;

  constructor(core: MemoryCore, expected: number) {
    this.#core = core;
    this.#staged = new IdMap(expected);
  }

  get size(): number {
    return this.#ids.length;
  }

  get hasVoid(): boolean {
    return this.#voidCount > 0;
  }

  isVoid(position: number): boolean {
    return this.#voidCount > 0 && this.#voids[position] === 1;
  }

  add(id: string, json: string): void {
    const position = this.#ids.length;
    this.#ids.push(id);
    const before = this.#staged.replace(id, position);
    if (before !== undefined && before !== removed) this.#makeVoid(before);
    if (json === "") return;
    const place = this.#core.scratch;
    this.#core.slabs.append(json, place);
    const at = position * 3;
    this.#places = grown(this.#places, at + 3);
    this.#places[at] = place.slab;
    this.#places[at + 1] = place.offset;
    this.#places[at + 2] = place.length;
  }

  remove(row: number): boolean {
    if (this.#staged.replace(this.#core.rows.id(row)!, removed) !== undefined) return false;
    this.#bury(row);
    return true;
  }

  prepare(firstRow: number, slices: Slices): Promise<void> | undefined {
    this.#firstRow = firstRow;
    if (this.#voidCount > 0) this.#offsets = this.#countOffsets();
    if (this.size > smallBatch) return this.#prepareLarge(slices);
    for (let i = 0; i < this.size; i++) this.#prepareOne(i);
    return undefined;
  }

  commit(): undefined {
    return undefined;
  }

  tombstones(): Float64Array {
    return this.#tombstones.subarray(0, this.#tombstoneCount);
  }

  publish(): Promise<void> | undefined {
    this.#finished = true;
    const core = this.#core;
    const dead = this.tombstones();
    core.published(this.size - this.#voidCount, dead);
    if (this.#isFirst()) {
      core.ids = this.#staged;
      return undefined;
    }
    if (this.size <= smallBatch && dead.length <= smallBatch) {
      for (const row of dead) this.#unmap(row);
      for (let i = 0; i < this.size; i++) this.#map(i);
      return undefined;
    }
    core.overlay = this;
    return this.#merge(dead);
  }

  abort(): Promise<void> | undefined {
    if (this.#finished) return undefined;
    this.#finished = true;
    if (this.size > smallBatch) return this.#forget();
    for (let i = 0; i < this.size; i++) this.#forgetOne(i);
    return undefined;
  }

  /** For the overlay: the row of an id, undefined when removed, null when not in this batch. */
  lookUp(id: string): number | undefined | null {
    const position = this.#staged.get(id);
    if (position === undefined) return null;
    return position === removed ? undefined : this.#rowAt(position);
  }

  #rowAt(position: number): number {
    return this.#firstRow + (this.#offsets === undefined ? position : this.#offsets[position]!);
  }

  #place(position: number): Location | undefined {
    const at = position * 3;
    const slab = this.#places[at];
    if (slab === undefined || slab === 0) return undefined;
    const place = this.#core.scratch;
    place.slab = slab;
    place.offset = this.#places[at + 1]!;
    place.length = this.#places[at + 2]!;
    return place;
  }

  #makeVoid(position: number): void {
    this.#voids = grown(this.#voids, position + 1);
    this.#voids[position] = 1;
    this.#voidCount++;
    this.#freePlace(position);
  }

  #freePlace(position: number): void {
    const place = this.#place(position);
    if (place === undefined) return;
    this.#core.slabs.free(place.slab, place.length);
    this.#places[position * 3] = 0;
  }

  #bury(row: number): void {
    this.#tombstones = grown(this.#tombstones, this.#tombstoneCount + 1);
    this.#tombstones[this.#tombstoneCount++] = row;
  }

  #countOffsets(): Uint32Array {
    const offsets = new Uint32Array(this.size);
    let offset = 0;
    for (let i = 0; i < offsets.length; i++) {
      offsets[i] = offset;
      if (this.#voids[i] !== 1) offset++;
    }
    return offsets;
  }

  async #prepareLarge(slices: Slices): Promise<void> {
    for (let i = 0; i < this.size; i++) {
      this.#prepareOne(i);
      if (i % stride === 0 && slices.due) await slices.turn();
    }
  }

  /** Writes a record's row, which nobody can see yet, and notes the row it replaces. */
  #prepareOne(position: number): void {
    if (this.isVoid(position)) return;
    const core = this.#core;
    const id = this.#ids[position]!;
    const replaced = core.ids.get(id);
    if (replaced !== undefined) this.#bury(replaced);
    const row = this.#rowAt(position);
    core.rows.set(row, id);
    const place = this.#place(position);
    if (place !== undefined) core.rows.setPlace(row, place.slab, place.offset, place.length);
  }

  #map(position: number): void {
    if (!this.isVoid(position)) this.#core.ids.replace(this.#ids[position]!, this.#rowAt(position));
  }

  /** Takes a dead row's id out of the map, unless the id has a newer row by now. */
  #unmap(row: number): void {
    const id = this.#core.rows.id(row);
    if (id !== undefined && this.#core.ids.get(id) === row) this.#core.ids.delete(id);
  }

  /** The first load of a store: positions are rows, so what was staged is the map to keep. */
  #isFirst(): boolean {
    return (
      this.#core.ids.size === 0 &&
      this.#core.overlay === undefined &&
      this.#staged.isLarge &&
      this.#firstRow === 0 &&
      this.#voidCount === 0 &&
      this.#staged.size === this.size
    );
  }

  async #merge(dead: Float64Array): Promise<void> {
    const core = this.#core;
    const slices = core.ownSlices();
    for (let i = 0; i < this.size && !core.closed; i++) {
      this.#map(i);
      if (i % stride === 0 && slices.due) await slices.turn();
    }
    // Replaced ids point to their new rows by now; what is left are ids that were removed.
    for (let i = 0; i < dead.length && !core.closed; i++) {
      this.#unmap(dead[i]!);
      if (i % stride === 0 && slices.due) await slices.turn();
    }
    core.overlay = undefined;
    core.reclaim();
  }

  async #forget(): Promise<void> {
    const slices = this.#core.ownSlices();
    for (let i = 0; i < this.size && !this.#core.closed; i++) {
      this.#forgetOne(i);
      if (i % stride === 0 && slices.due) await slices.turn();
    }
  }

  #forgetOne(position: number): void {
    if (this.isVoid(position)) return;
    const row = this.#firstRow < 0 ? -1 : this.#rowAt(position);
    // Once the row is in the table, compaction may have moved its bytes: the table knows better.
    if (row >= 0 && this.#core.rows.id(row) !== undefined) this.#core.free(row);
    else this.#freePlace(position);
  }
}
