/** WAIST: the Collection API. */
import { hiveError, throwIfAborted } from "./errors.js";
import { limits } from "./limits.js";
import { callNative } from "./native-errors.js";
import type { FilterInput } from "./filter.js";
import { selectRows } from "./filter-run.js";
import { checkFunction, checkInteger, checkOptions, checkSignal, show } from "./options.js";
import { checkScan, countRecords, getRecords, notIds, scanRecords } from "./read.js";
import type { Metric } from "./result.js";
import { searchMany } from "./search-many.js";
import { filterOf } from "./search-options.js";
import { Searcher } from "./search.js";
import { recordSource } from "./sources.js";
import type { CollectionState } from "./state.js";
import type {
  CollectionStats,
  ColumnsInput,
  Dtype,
  ExplainOptions,
  Hit,
  Metadata,
  RecordInput,
  RecordUpdate,
  ScanOptions,
  SearchArrays,
  SearchManyOptions,
  SearchOptions,
  SearchPlan,
  SelectOptions,
  StoredRecord,
  WriteOptions,
} from "./types.js";
import type { VectorCollection } from "./vector-collection.js";
import type { VectorInput } from "./vectors.js";
import { Writer } from "./writer.js";

const writeKeys = new Set(["signal", "onProgress"]);
const signalKeys = new Set(["signal"]);
const deleteKeys = new Set(["ids", "filter"]);
const explainKeys = new Set(["k", "queries", "filter"]);
const defaultK = 10;

/**
 * Records that can be searched by vector. Made by `Database.collection`.
 *
 * Every method rejects with CLOSED after the database was closed or the collection dropped, with
 * ABORTED when its signal fires, and with an {@link InputError} for wrong input. Searches and
 * scans see one state of the collection from beginning to end; writes run one after another, and
 * one that fails or is aborted changes nothing.
 *
 * @typeParam M the shape of the records' metadata; checked at run time only by a schema
 * @typeParam In the shape of what is given to writes, when a schema makes M of it
 */
export class Collection<
  M extends object = Metadata,
  In extends object = M,
> implements VectorCollection<M, In> {
  readonly #state: CollectionState;
  readonly #writer: Writer;
  readonly #searcher: Searcher;

  /** @internal Use `Database.collection`. */
  constructor(state: CollectionState) {
    this.#state = state;
    this.#writer = new Writer(state);
    this.#searcher = new Searcher(state);
  }

  get name(): string {
    return this.#state.name;
  }

  /** Elements per vector; undefined until the first record fixes it. */
  get dimensions(): number | undefined {
    return this.#state.dimensions;
  }

  get metric(): Metric {
    return this.#state.metric;
  }

  get dtype(): Dtype {
    return this.#state.dtype;
  }

  /**
   * Stores records; a record with a known id replaces the old one and moves to the end. When an id
   * comes twice in one call, the last record wins.
   *
   * The input must not change until the promise settles; it is neither kept nor changed.
   * @returns the ids of all given records, in order
   * @throws DIMENSION_MISMATCH, NON_FINITE, VECTOR_TOO_LARGE, DTYPE_OVERFLOW, INVALID_METADATA,
   * SCHEMA_MISMATCH, SCHEMA_FAILED, LIMIT_EXCEEDED or INVALID_ARGUMENT, naming the record;
   * DETACHED when a buffer went away
   */
  async upsert(
    records: readonly RecordInput<In>[] | ColumnsInput<In>,
    options?: WriteOptions,
  ): Promise<string[]> {
    const checked = this.#write("upsert", options);
    const source = recordSource(records);
    if (source.isEmpty) return [];
    return this.#writer.upsert(source, checked);
  }

  /**
   * Changes text or metadata and keeps the vector bit by bit. What is not given stays; metadata is
   * replaced as a whole. The records move to the end.
   * @throws NOT_FOUND or SCHEMA_MISMATCH, naming the record; then nothing is changed
   */
  async update(updates: readonly RecordUpdate<In>[], options?: WriteOptions): Promise<void> {
    const checked = this.#write("update", options);
    if (!Array.isArray(updates)) {
      throw hiveError("INVALID_ARGUMENT", `update takes an array, got ${show(updates)}.`);
    }
    if (updates.length > 0) await this.#writer.update(updates, checked);
  }

  /**
   * The k records closest to a vector, or to a stored record's vector (`{ id }`; that record is
   * part of the answer), best first; equal ones in the order of insertion. With a filter, exactly
   * the k closest of those that pass. With a filter and no vector (undefined), the first k that pass, in the
   * order of insertion, with score and distance 0.
   * @throws DIMENSION_MISMATCH, NON_FINITE, LIMIT_EXCEEDED, UNKNOWN_OPTION, INVALID_FILTER;
   * NOT_FOUND for an id
   */
  search(
    query: VectorInput | { id: string } | undefined,
    options?: SearchOptions<M>,
  ): Promise<Hit<M>[]> {
    return this.#searcher.search(query, options) as Promise<Hit<M>[]>;
  }

  /**
   * Searches for many vectors at once, much faster than one by one. All answers come from the same
   * state of the collection.
   * @param queries vectors, or one Float32Array with query i at `[i * dimensions]`
   * @returns one array of hits per query, or with `output: "arrays"` typed arrays
   */
  searchMany(
    queries: Float32Array | readonly VectorInput[],
    options: SearchManyOptions<M> & { output: "arrays" },
  ): Promise<SearchArrays>;
  searchMany(
    queries: Float32Array | readonly VectorInput[],
    options?: SearchManyOptions<M> & { output?: "hits" | undefined },
  ): Promise<Hit<M>[][]>;
  searchMany(
    queries: Float32Array | readonly VectorInput[],
    options?: SearchManyOptions<M>,
  ): Promise<Hit<M>[][] | SearchArrays>;
  searchMany(
    queries: Float32Array | readonly VectorInput[],
    options?: SearchManyOptions<M>,
  ): Promise<Hit<M>[][] | SearchArrays> {
    return searchMany(this.#state, queries, options) as Promise<Hit<M>[][] | SearchArrays>;
  }

  /**
   * The record with that id, or undefined; for an array, one entry per id, in order. Every record
   * is as it was at one moment; of very many ids, later ones are read at a later moment.
   */
  get(id: string, options?: SelectOptions): Promise<StoredRecord<M> | undefined>;
  get(ids: readonly string[], options?: SelectOptions): Promise<(StoredRecord<M> | undefined)[]>;
  async get(
    ids: string | readonly string[],
    options?: SelectOptions,
  ): Promise<StoredRecord<M> | undefined | (StoredRecord<M> | undefined)[]> {
    if (Array.isArray(ids)) {
      return (await getRecords(this.#state, ids, options)) as (StoredRecord<M> | undefined)[];
    }
    if (typeof ids !== "string") throw notIds(ids);
    const [record] = await getRecords(this.#state, [ids], options);
    return record as StoredRecord<M> | undefined;
  }

  /**
   * Removes records by id, where unknown ids are fine, or all that pass a filter, decided on one
   * state of the collection.
   * @returns how many were there
   * @throws INVALID_FILTER for an empty filter: `clear` removes everything
   */
  async delete(
    what: { ids: readonly string[] } | { filter: FilterInput<M> },
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number> {
    const signal = this.#signal("delete", options);
    if (typeof what !== "object" || what === null || Array.isArray(what)) {
      const message = `delete takes { ids: […] } or { filter: {…} }, got ${show(what)}.`;
      throw hiveError("INVALID_ARGUMENT", message);
    }
    checkOptions("delete", what, deleteKeys);
    const { ids, filter } = what as { ids?: unknown; filter?: unknown };
    if (filter !== undefined && ids !== undefined) {
      throw hiveError("INVALID_ARGUMENT", "delete: ids and filter are mutually exclusive.");
    }
    if (filter !== undefined) {
      const node = filterOf("delete", filter);
      if (node !== undefined) return this.#writer.removeWhere(node, signal);
      throw hiveError("INVALID_FILTER", "delete: an empty filter would remove every record.", {
        hint: "Call clear() to remove everything.",
      });
    }
    if (!Array.isArray(ids)) {
      throw hiveError("INVALID_ARGUMENT", `delete: ids must be an array, got ${show(ids)}.`);
    }
    return ids.length === 0 ? 0 : this.#writer.remove(ids as string[], signal);
  }

  /** Removes all records; name, dimensions, metric and dtype stay. */
  async clear(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    await this.#writer.clear(this.#signal("clear", options));
  }

  /** Number of records, or of those that pass a filter. */
  async count(
    filter?: FilterInput<M>,
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number> {
    const signal = this.#signal("count", options);
    const node = filterOf("count", filter);
    if (node !== undefined) return countRecords(this.#state, node, signal);
    return this.#state.data?.store.count ?? 0;
  }

  /** All records in order of insertion, as they are at the first step; writes go on meanwhile. */
  scan(options?: ScanOptions<M>): AsyncIterableIterator<StoredRecord<M>> {
    this.#state.assertOpen();
    checkScan(options as ScanOptions);
    return scanRecords(this.#state, options as ScanOptions) as AsyncGenerator<
      StoredRecord<M>,
      void,
      undefined
    >;
  }

  /** Figures about records and memory. */
  async stats(): Promise<CollectionStats> {
    const state = this.#state;
    state.assertOpen();
    const { data } = state;
    const native = data === undefined ? undefined : callNative(() => data.native.stats());
    const store = data?.store.stats();
    return {
      records: data?.store.count ?? 0,
      dimensions: state.dimensions,
      metric: state.metric,
      dtype: state.dtype,
      sequence: data?.store.sequence ?? 0,
      segments: native?.segments ?? 0,
      rows: native?.rows ?? 0,
      columns: data?.columns.count ?? 0,
      columnBytes: native?.columnBytes ?? 0,
      vectorBytes: native?.hostBytes ?? 0,
      recordBytes: store?.recordBytes ?? 0,
      reservedRecordBytes: store?.reservedBytes ?? 0,
      retainedRows: store?.retainedRows ?? 0,
      ...state.storage?.stats(),
    };
  }

  /** How a search would be run now, and why. */
  async explain(options?: ExplainOptions<M>): Promise<SearchPlan> {
    const state = this.#state;
    state.assertOpen();
    checkOptions("explain", options, explainKeys);
    const k = checkInteger("explain", "k", options?.k ?? defaultK, 1, limits.resultEntriesMax);
    const most = limits.resultEntriesMax;
    const queries = checkInteger("explain", "queries", options?.queries ?? 1, 1, most);
    const filter = filterOf("explain", options?.filter);
    const snapshot = state.data?.acquire();
    if (snapshot === undefined) return state.emptyPlan();
    try {
      const check = (): void => state.assertOpen();
      const selection =
        filter === undefined ? undefined : await selectRows(snapshot, filter, undefined, check);
      return callNative(() => snapshot.native.explain(queries, k, selection));
    } finally {
      snapshot.release();
    }
  }

  #write(where: string, options: WriteOptions | undefined): WriteOptions {
    this.#state.assertOpen();
    checkOptions(where, options, writeKeys);
    const signal = checkSignal(where, options?.signal);
    checkFunction(where, "onProgress", options?.onProgress);
    throwIfAborted(signal);
    return { signal, onProgress: options?.onProgress };
  }

  #signal(where: string, options: { signal?: unknown } | undefined): AbortSignal | undefined {
    this.#state.assertOpen();
    checkOptions(where, options, signalKeys);
    const signal = checkSignal(where, options?.signal);
    throwIfAborted(signal);
    return signal;
  }
}
