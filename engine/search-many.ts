/** Many queries in one call: jobs of their own, all on one snapshot. */
import { hiveError, throwIfAborted } from "./errors.js";
import { selectRows } from "./filter-run.js";
import { hitsInSlices } from "./hits.js";
import { limits } from "./limits.js";
import { fromNative } from "./native-errors.js";
import type { NativeSearchResult, NativeSelection } from "./native-types.js";
import { show } from "./options.js";
import { type Metric, distanceOf, scoreOf } from "./result.js";
import { type SearchPlanOptions, readSearchOptions } from "./search-options.js";
import { Slices } from "./slices.js";
import type { Snapshot } from "./snapshot.js";
import type { CollectionState } from "./state.js";
import type { Hit, SearchArrays } from "./types.js";
import { checkFinite, checkVector, copyVector } from "./vectors.js";

/** Bytes of queries handed over in one call, which copies and checks them on this thread. */
const queryBytes = 1 << 20;
/** Entries of one native result: 6 MB of arrays. */
const jobEntries = 1 << 19;
/** Entries converted between two looks at the clock. */
const stride = 1024;

/** The queries, row by row, or how to get them so. */
interface Queries {
  count: number;
  dimensions: number;
  /** Queries [from, to) one after another; valid until the next call. */
  block(from: number, to: number): Float32Array;
}

function flatQueries(given: Float32Array, fixed: number | undefined): Queries {
  const dimensions = fixed ?? given.length;
  const count = given.length === 0 ? 0 : given.length / dimensions;
  const { length } = given;
  if (!Number.isInteger(count)) {
    const message = `searchMany: ${length} elements are not whole queries of ${dimensions}.`;
    throw hiveError("DIMENSION_MISMATCH", message, { details: { expected: dimensions } });
  }
  const block = (from: number, to: number): Float32Array => {
    if (given.length === length) return given.subarray(from * dimensions, to * dimensions);
    const message = "searchMany: the buffer of queries was detached or resized during the call.";
    throw hiveError("DETACHED", message);
  };
  return { count, dimensions, block };
}

function nameOf(index: number): () => string {
  return () => `searchMany: query ${index}`;
}

function listedQueries(given: readonly unknown[], fixed: number | undefined): Queries {
  let dimensions = fixed;
  for (const [i, query] of given.entries()) {
    checkVector(query, dimensions, nameOf(i));
    dimensions ??= query.length;
  }
  const length = dimensions ?? 1;
  const block = (from: number, to: number): Float32Array => {
    const out = new Float32Array((to - from) * length);
    for (let i = from; i < to; i++) {
      const query = given[i];
      checkVector(query, length, nameOf(i));
      copyVector(query, out, (i - from) * length, nameOf(i));
    }
    return out;
  };
  return { count: given.length, dimensions: length, block };
}

function queriesOf(given: unknown, fixed: number | undefined): Queries {
  if (given instanceof Float32Array) return flatQueries(given, fixed);
  if (Array.isArray(given)) return listedQueries(given, fixed);
  throw hiveError(
    "INVALID_ARGUMENT",
    `searchMany: queries must be a Float32Array or an array of vectors, got ${show(given)}.`,
  );
}

/** One `searchMany` under way. */
class ManySearch {
  readonly #state: CollectionState;
  readonly #queries: Queries;
  readonly #options: SearchPlanOptions;
  readonly #slices: Slices;

  constructor(state: CollectionState, queries: Queries, options: SearchPlanOptions) {
    this.#state = state;
    this.#queries = queries;
    this.#options = options;
    this.#slices = new Slices(options.signal, () => state.assertOpen());
  }

  async hits(): Promise<Hit[][]> {
    const { metric } = this.#state;
    const { offset, parts, minScore } = this.#options;
    const all: Hit[][] = [];
    await this.#each(async (snapshot, result, count) => {
      const width = result.rows.length / count;
      for (let q = 0; q < count; q++) {
        const from = q * width + offset;
        const range = { ...result, from, to: q * width + result.counts[q]! };
        all.push(await hitsInSlices(snapshot, metric, range, parts, minScore, this.#slices));
        if (this.#slices.due) await this.#slices.turn();
      }
    });
    while (all.length < this.#queries.count) all.push([]);
    return all;
  }

  async arrays(): Promise<SearchArrays> {
    const { k } = this.#options;
    const entries = this.#queries.count * k;
    if (entries > limits.resultEntriesMax) {
      const max = limits.resultEntriesMax;
      const message = `searchMany: queries times k is ${entries}, the limit is ${max}.`;
      throw hiveError("LIMIT_EXCEEDED", message, { details: { entries, max } });
    }
    const out: SearchArrays = {
      k,
      counts: new Uint32Array(this.#queries.count),
      scores: new Float32Array(entries),
      distances: new Float32Array(entries),
      rows: new Float64Array(entries),
      ids: [],
    };
    let first = 0;
    await this.#each(async (snapshot, result, count) => {
      await this.#append(snapshot, result, count, first, out);
      first += count;
    });
    await this.#pad(out, entries);
    return out;
  }

  /** Converts a job's results into entries from query `first` on. */
  async #append(
    snapshot: Snapshot,
    result: NativeSearchResult,
    count: number,
    first: number,
    out: SearchArrays,
  ): Promise<void> {
    const { metric } = this.#state;
    const { offset, minScore } = this.#options;
    const width = result.rows.length / count;
    for (let q = 0; q < count; q++) {
      await this.#pad(out, (first + q) * out.k);
      const end = Math.min(result.counts[q]!, offset + out.k);
      for (let i = offset; i < end; i++) {
        const at = q * width + i;
        if (!appendEntry(snapshot, metric, result, at, minScore, out)) break;
        if (out.ids.length % stride === 0 && this.#slices.due) await this.#slices.turn();
      }
      out.counts[first + q] = out.ids.length - (first + q) * out.k;
    }
  }

  /** Fills entries past a query's count. */
  async #pad(out: SearchArrays, end: number): Promise<void> {
    while (out.ids.length < end) {
      out.rows[out.ids.length] = -1;
      out.ids.push("");
      if (out.ids.length % stride === 0 && this.#slices.due) await this.#slices.turn();
    }
  }

  /** Runs the jobs one after another and hands each result to `use`. */
  async #each(
    use: (snapshot: Snapshot, result: NativeSearchResult, count: number) => Promise<void>,
  ): Promise<void> {
    const queries = this.#queries;
    const snapshot = this.#state.data?.acquire();
    try {
      const wanted = this.#options.k + this.#options.offset;
      const selection = await this.#selection(snapshot);
      const there = selection?.count ?? snapshot?.liveRows ?? 0;
      const k = this.#options.k === 0 ? 0 : Math.min(wanted, there);
      const perJob = Math.max(
        1,
        Math.min(
          Math.floor(queryBytes / (queries.dimensions * 4)),
          Math.floor(jobEntries / Math.max(1, k)),
        ),
      );
      for (let from = 0; from < queries.count; from += perJob) {
        const to = Math.min(from + perJob, queries.count);
        const block = queries.block(from, to);
        if (snapshot === undefined || k === 0) {
          await this.#checkAll(block, from, to);
        } else {
          const result = await this.#job(snapshot, block, from, to - from, k, selection);
          await use(snapshot, result, to - from);
        }
        if (this.#slices.due) await this.#slices.turn();
      }
    } finally {
      snapshot?.release();
    }
  }

  /** The rows that pass the filter, the same for all queries; undefined without a filter. */
  async #selection(snapshot: Snapshot | undefined): Promise<NativeSelection | undefined> {
    const { filter, signal } = this.#options;
    if (snapshot === undefined || filter === undefined) return undefined;
    return selectRows(snapshot, filter, signal, () => this.#state.assertOpen());
  }

  async #checkAll(block: Float32Array, from: number, to: number): Promise<void> {
    const { dimensions } = this.#queries;
    for (let i = from; i < to; i++) {
      const query = block.subarray((i - from) * dimensions, (i - from + 1) * dimensions);
      checkFinite(query, () => `searchMany: query ${i}`);
      if (this.#slices.due) await this.#slices.turn();
    }
  }

  async #job(
    snapshot: Snapshot,
    block: Float32Array,
    from: number,
    count: number,
    k: number,
    selection: NativeSelection | undefined,
  ): Promise<NativeSearchResult> {
    const { signal } = this.#options;
    throwIfAborted(signal);
    this.#state.assertOpen();
    let cancel: (() => void) | undefined;
    try {
      const job = snapshot.native.search(block, count, k, selection);
      cancel = (): void => job.cancel();
      signal?.addEventListener("abort", cancel, { once: true });
      return await job.promise;
    } catch (error) {
      throwIfAborted(signal);
      this.#state.assertOpen();
      throw fromNative(error, (index) => ({
        name: `searchMany: query ${from + index}`,
        details: { index: from + index },
      }));
    } finally {
      if (cancel !== undefined) signal?.removeEventListener("abort", cancel);
    }
  }
}

/** Appends one entry; false when its score is below `minScore`. */
function appendEntry(
  snapshot: Snapshot,
  metric: Metric,
  result: NativeSearchResult,
  at: number,
  minScore: number,
  out: SearchArrays,
): boolean {
  const value = result.values[at]!;
  const score = scoreOf(metric, value);
  if (score < minScore) return false;
  const to = out.ids.length;
  out.scores[to] = score;
  out.distances[to] = distanceOf(metric, value);
  out.rows[to] = result.rows[at]! + snapshot.data.rowBase;
  out.ids.push(snapshot.data.store.idOf(result.rows[at]!));
  return true;
}

/** The body of `Collection.searchMany`; throws or rejects. */
export async function searchMany(
  state: CollectionState,
  given: unknown,
  options: unknown,
): Promise<Hit[][] | SearchArrays> {
  state.assertOpen();
  const read = readSearchOptions("searchMany", options);
  const search = new ManySearch(state, queriesOf(given, state.dimensions), read);
  return read.arrays ? search.arrays() : search.hits();
}
