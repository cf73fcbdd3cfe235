/**
 * row -> id and row -> place of the record's bytes, in pages of 4096 rows. A page is made when its
 * first row is set and goes when its last row is removed; places exist only on pages that have a
 * record with bytes.
 */
import type { Location } from "./slabs.js";

const pageRows = 4096;

interface Page {
  ids: (string | undefined)[];
  filled: number;
  /** slab, offset, length of row i at 3i. */
  places: Uint32Array | undefined;
}

/** What is known of each row. */
export class RowTable {
  readonly #pages = new Map<number, Page>();
  #lastIndex = -1;
  #last: Page | undefined;

  /** The id of a row, or undefined when the row is not (or no longer) there. */
  id(row: number): string | undefined {
    return this.#page(row)?.ids[row % pageRows];
  }

  /** Whether the row has bytes; writes their place into `out`. */
  place(row: number, out: Location): boolean {
    const places = this.#page(row)?.places;
    if (places === undefined) return false;
    const at = (row % pageRows) * 3;
    const slab = places[at]!;
    if (slab === 0) return false;
    out.slab = slab;
    out.offset = places[at + 1]!;
    out.length = places[at + 2]!;
    return true;
  }

  set(row: number, id: string): void {
    const index = Math.floor(row / pageRows);
    let page = this.#page(row);
    if (page === undefined) {
      page = { ids: Array.from({ length: pageRows }), filled: 0, places: undefined };
      this.#pages.set(index, page);
      this.#lastIndex = index;
      this.#last = page;
    }
    const at = row % pageRows;
    if (page.ids[at] === undefined) page.filled++;
    page.ids[at] = id;
  }

  setPlace(row: number, slab: number, offset: number, length: number): void {
    const page = this.#page(row)!;
    page.places ??= new Uint32Array(pageRows * 3);
    const at = (row % pageRows) * 3;
    page.places[at] = slab;
    page.places[at + 1] = offset;
    page.places[at + 2] = length;
  }

  /** Forgets the row. */
  remove(row: number): void {
    const page = this.#page(row);
    const at = row % pageRows;
    if (page === undefined || page.ids[at] === undefined) return;
    page.ids[at] = undefined;
    if (page.places !== undefined) page.places[at * 3] = 0;
    page.filled--;
    if (page.filled > 0) return;
    this.#pages.delete(Math.floor(row / pageRows));
    this.#lastIndex = -1;
    this.#last = undefined;
  }

  /** Calls `visit(row)` for each row of one page that has bytes. */
  visitPage(index: number, visit: (row: number) => void): void {
    const places = this.#pages.get(index)?.places;
    if (places === undefined) return;
    for (let i = 0; i < pageRows; i++) if (places[i * 3] !== 0) visit(index * pageRows + i);
  }

  /** Numbers of the pages there are now. */
  pageIndexes(): number[] {
    return [...this.#pages.keys()];
  }

  #page(row: number): Page | undefined {
    const index = Math.floor(row / pageRows);
    if (index === this.#lastIndex) return this.#last;
    const page = this.#pages.get(index);
    if (page !== undefined) {
      this.#lastIndex = index;
      this.#last = page;
    }
    return page;
  }
}
