/** What adapters need of a collection, so that they work on any that answers like the engine's. */
import type { FilterInput } from "./filter.js";
import type { Metric } from "./result.js";
import type {
  ColumnsInput,
  Hit,
  Metadata,
  RecordInput,
  ScanOptions,
  SearchOptions,
  SelectOptions,
  StoredRecord,
  WriteOptions,
} from "./types.js";
import type { VectorInput } from "./vectors.js";

/**
 * Records that can be searched by vector, wherever they live. `Collection` is the engine's own;
 * adapters bring others, such as a collection of a server. Every method means what the method of
 * the same name means there: higher scores are closer, filters are exact, errors have a code.
 *
 * @typeParam M the shape of the records' metadata; not checked at run time
 * @typeParam In the shape of what is given to writes
 */
export interface VectorCollection<M extends object = Metadata, In extends object = M> {
  readonly name: string;
  /** Elements per vector; undefined until the first record fixes it. */
  readonly dimensions: number | undefined;
  readonly metric: Metric;

  /** Stores records; one with a known id replaces the old one. Returns the ids, in order. */
  upsert(
    records: readonly RecordInput<In>[] | ColumnsInput<In>,
    options?: WriteOptions,
  ): Promise<string[]>;

  /** The k records closest to a vector, or to a stored record's, best first. */
  search(query: VectorInput | { id: string }, options?: SearchOptions<M>): Promise<Hit<M>[]>;

  /** The record with that id, or undefined; for an array, one entry per id, in order. */
  get(id: string, options?: SelectOptions): Promise<StoredRecord<M> | undefined>;
  get(ids: readonly string[], options?: SelectOptions): Promise<(StoredRecord<M> | undefined)[]>;

  /** Removes records, by id or by filter, and says how many were there. */
  delete(
    what: { ids: readonly string[] } | { filter: FilterInput<M> },
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number>;

  /** Removes all records; the collection stays. */
  clear(options?: { signal?: AbortSignal | undefined }): Promise<void>;

  /** Number of records, or of those that pass a filter. */
  count(filter?: FilterInput<M>): Promise<number>;

  /** All records, in order of insertion. */
  scan(options?: ScanOptions<M>): AsyncIterableIterator<StoredRecord<M>>;
}
