/**
 * Record bytes in append-only slabs outside the JavaScript heap, so that millions of records cost
 * the garbage collector nothing. A slab counts its live bytes; a dead one is given back at once.
 */
const slabBytes = 1 << 20;
const firstSlabBytes = 1 << 14;

interface Slab {
  buffer: Buffer;
  used: number;
  live: number;
}

/** Where a record's bytes are. `slab` 0 means that the record has none. */
export interface Location {
  slab: number;
  offset: number;
  length: number;
}

/** Append-only storage of byte strings. */
export class Slabs {
  readonly #slabs = new Map<number, Slab>();
  #open: Slab | undefined;
  #openId = 0;
  #nextId = 1;
  #capacity = 0;
  #used = 0;
  #live = 0;

  /** Bytes of memory held. */
  get capacity(): number {
    return this.#capacity;
  }

  /** Bytes that records still use. */
  get live(): number {
    return this.#live;
  }

  /** Bytes that were written and are no longer used. */
  get dead(): number {
    return this.#used - this.#live;
  }

  /** Appends the UTF-8 of `json` (not empty) and writes where it went into `out`. */
  append(json: string, out: Location): void {
    let slab = this.#open;
    // Three bytes per UTF-16 unit is the most; the exact count is taken only when space is short.
    if (slab === undefined || slab.used + json.length * 3 > slab.buffer.length) {
      slab = this.#room(Buffer.byteLength(json));
    }
    const length = slab.buffer.write(json, slab.used, "utf8");
    this.#place(slab, length, out);
  }

  /** Moves a record's bytes to the open slab and frees the old place. */
  move(from: Location, out: Location): void {
    const source = this.#slabs.get(from.slab)!.buffer;
    const slab = this.#room(from.length);
    source.copy(slab.buffer, slab.used, from.offset, from.offset + from.length);
    const { slab: oldSlab, length } = from;
    this.#place(slab, length, out);
    this.free(oldSlab, length);
  }

  /** The string at a place. */
  read(slab: number, offset: number, length: number): string {
    return this.#slabs.get(slab)!.buffer.toString("utf8", offset, offset + length);
  }

  /** Gives `length` bytes of a slab back; the slab goes when nothing in it lives. */
  free(id: number, length: number): void {
    const slab = this.#slabs.get(id)!;
    slab.live -= length;
    this.#live -= length;
    if (slab.live === 0 && slab !== this.#open) this.#drop(id, slab);
  }

  /** Whether less than half of a full slab lives, so that moving the rest pays. */
  isSparse(id: number): boolean {
    const slab = this.#slabs.get(id);
    return slab !== undefined && slab !== this.#open && slab.live * 2 < slab.used;
  }

  #place(slab: Slab, length: number, out: Location): void {
    out.slab = this.#openId;
    out.offset = slab.used;
    out.length = length;
    slab.used += length;
    slab.live += length;
    this.#used += length;
    this.#live += length;
  }

  /** The open slab, or a new one, with room for `bytes`. */
  #room(bytes: number): Slab {
    const open = this.#open;
    if (open !== undefined && open.used + bytes <= open.buffer.length) return open;
    // Small collections stay small: slabs double until they have their full size.
    const wanted = Math.min(slabBytes, Math.max(firstSlabBytes, this.#capacity));
    const size = Math.max(wanted, bytes);
    const slab: Slab = { buffer: Buffer.allocUnsafeSlow(size), used: 0, live: 0 };
    if (open !== undefined && open.live === 0) this.#drop(this.#openId, open);
    this.#open = slab;
    this.#openId = this.#nextId++;
    this.#slabs.set(this.#openId, slab);
    this.#capacity += size;
    return slab;
  }

  #drop(id: number, slab: Slab): void {
    this.#slabs.delete(id);
    this.#capacity -= slab.buffer.length;
    this.#used -= slab.used;
  }
}
