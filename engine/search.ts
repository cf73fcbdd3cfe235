/** The searches of a collection: inline on this thread when that is faster, else by the batcher. */
import { type Answer, Batcher } from "./batcher.js";
import { hiveError, throwIfAborted } from "./errors.js";
import { type HitRange, hitsInSlices, hitsNow } from "./hits.js";
import { checkId } from "./ids.js";
import { filteredJob, listPassing } from "./filtered-search.js";
import { selectRows } from "./filter-run.js";
import { checkOptions, show } from "./options.js";
import { fromNative } from "./native-errors.js";
import { type SearchPlanOptions, readSearchOptions } from "./search-options.js";
import { Slices } from "./slices.js";
import type { NativeSelection } from "./native-types.js";
import type { Snapshot } from "./snapshot.js";
import type { CollectionState } from "./state.js";
import type { Hit } from "./types.js";
import { type VectorInput, checkFinite, checkVector, copyVector, isVector } from "./vectors.js";

/** Up to this many hits are built in one go: some tenths of a millisecond. */
const hitsAtOnce = 128;
const queryName = (): string => "search: the query";
const idKeys = new Set(["id"]);

/** Where inline searches write; one per thread, because they end before anything else runs. */
let values = new Float32Array(hitsAtOnce);
let rows = new Float64Array(hitsAtOnce);
const counts = new Uint32Array(1);

function growScratch(k: number): void {
  if (values.length >= k) return;
  values = new Float32Array(k);
  rows = new Float64Array(k);
}

/** Answers the single searches of one collection. */
export class Searcher {
  readonly #state: CollectionState;
  readonly #batcher: Batcher;
  #query = new Float32Array(0);

  constructor(state: CollectionState) {
    this.#state = state;
    this.#batcher = new Batcher(() => {
      state.assertOpen();
      const snapshot = state.data?.acquire();
      if (snapshot === undefined || snapshot.liveRows > 0) return snapshot;
      snapshot.release();
      return undefined;
    });
  }

  /** The body of `Collection.search`; throws or rejects. */
  async search(query: unknown, given: unknown): Promise<Hit[]> {
    const state = this.#state;
    state.assertOpen();
    const options = readSearchOptions("search", given);
    const { data } = state;
    // Only with a filter: a vector that is undefined by mistake must not list the collection.
    if (query === undefined && options.hasFilter) return listPassing(state, options);
    const vector = this.#vectorOf(query);
    const k = options.k + options.offset;
    if (data === undefined || options.k === 0 || data.store.count === 0) {
      checkFinite(vector, queryName);
      return [];
    }
    if (options.filter !== undefined) return this.#filtered(vector.slice(), options);
    if (this.#batcher.idle) {
      const snapshot = data.acquire();
      try {
        const hits = this.#inline(snapshot, vector, Math.min(k, snapshot.liveRows), options);
        if (hits !== undefined) return await hits;
      } finally {
        snapshot.release();
      }
    }
    const answer = await this.#batcher.search(vector, k, options.signal);
    return answer === undefined ? [] : this.#hitsOf(answer, options);
  }

  /** The nearest among the records that pass. */
  async #filtered(vector: Float32Array, options: SearchPlanOptions): Promise<Hit[]> {
    const state = this.#state;
    const snapshot = state.data!.acquire();
    try {
      const { signal } = options;
      const check = (): void => state.assertOpen();
      const selection = await selectRows(snapshot, options.filter!, signal, check);
      const k = Math.min(options.k + options.offset, selection.count);
      if (k === 0) {
        checkFinite(vector, queryName);
        return [];
      }
      const hits = this.#inline(snapshot, vector, k, options, selection);
      if (hits !== undefined) return await hits;
      const result = await filteredJob(snapshot, vector, k, selection, signal, check);
      const answer = { snapshot: snapshot.retain(), result, offset: 0, count: result.counts[0]! };
      return await this.#hitsOf(answer, options);
    } finally {
      snapshot.release();
    }
  }

  /** Hits, or undefined when the search is for the engine's threads. */
  #inline(
    snapshot: Snapshot,
    vector: Float32Array,
    k: number,
    options: SearchPlanOptions,
    selection?: NativeSelection,
  ): Hit[] | Promise<Hit[]> | undefined {
    growScratch(k);
    try {
      const { native } = snapshot;
      if (!native.trySearchInline(vector, 1, k, values, rows, counts, selection)) return undefined;
    } catch (error) {
      throw fromNative(error, () => ({ name: queryName(), details: {} }));
    }
    const { metric } = this.#state;
    const { offset, parts, minScore } = options;
    const range: HitRange = { values, rows, from: offset, to: counts[0]! };
    if (range.to - offset <= hitsAtOnce) return hitsNow(snapshot, metric, range, parts, minScore);
    // The scratch is somebody else's after the first turn of the event loop.
    range.values = values.slice(0, range.to);
    range.rows = rows.slice(0, range.to);
    const slices = new Slices(options.signal, () => this.#state.assertOpen());
    return hitsInSlices(snapshot, metric, range, parts, minScore, slices);
  }

  async #hitsOf(answer: Answer, options: SearchPlanOptions): Promise<Hit[]> {
    const { snapshot, result, offset: at, count } = answer;
    try {
      throwIfAborted(options.signal);
      this.#state.assertOpen();
      const { metric } = this.#state;
      const { offset, parts, minScore } = options;
      const range = { values: result.values, rows: result.rows, from: at + offset, to: at + count };
      if (range.to - range.from <= hitsAtOnce) {
        return hitsNow(snapshot, metric, range, parts, minScore);
      }
      const slices = new Slices(options.signal, () => this.#state.assertOpen());
      return await hitsInSlices(snapshot, metric, range, parts, minScore, slices);
    } finally {
      snapshot.release();
    }
  }

  /** The query as f32: the caller's own array when it is one, else a copy in scratch memory. */
  #vectorOf(query: unknown): Float32Array {
    if (query instanceof Float32Array && query.length === this.#state.dimensions) return query;
    if (!isVector(query) && typeof query === "object" && query !== null && "id" in query) {
      return this.#vectorOfRecord(query);
    }
    checkVector(query, this.#state.dimensions, queryName);
    return this.#copied(query);
  }

  #copied(query: VectorInput): Float32Array {
    if (this.#query.length !== query.length) this.#query = new Float32Array(query.length);
    copyVector(query, this.#query, 0, queryName);
    return this.#query;
  }

  #vectorOfRecord(query: object): Float32Array {
    checkOptions("search: the query", query, idKeys);
    const { id } = query as { id: unknown };
    checkId(id, () => "search: the query's id");
    const { data } = this.#state;
    const row = data?.store.rowOf(id);
    if (row === undefined) {
      throw hiveError("NOT_FOUND", `search: there is no record with the id ${show(id)}.`, {
        details: { id },
      });
    }
    const snapshot = data!.acquire();
    try {
      return snapshot.native.readVectors(Float64Array.of(row));
    } finally {
      snapshot.release();
    }
  }
}
