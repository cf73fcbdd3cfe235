/** Public shapes of records, hits and options. */
import type { NativeDtype, NativeExplain } from "./native-types.js";
import type { FilterInput } from "./filter.js";
import type { Metric } from "./result.js";
import type { VectorInput } from "./vectors.js";

/** How a vector's elements are stored: 4, 2, 2 or 1 bytes. i8 has one scale per vector. */
export type Dtype = NativeDtype;

/** All dtypes. */
export const dtypes = Object.freeze(["f32", "f16", "bf16", "i8"] as const);

/** Metadata when nothing else is said: any object of JSON values and Dates. */
export type Metadata = Record<string, unknown>;

/** A record to store. */
export interface RecordInput<M extends object = Metadata> {
  /** 1 to 1024 UTF-8 bytes; default: a random UUID. A known id replaces its record. */
  id?: string | undefined;
  /** As long as the collection has dimensions; finite; l2 norm below 9e18. */
  vector: VectorInput;
  text?: string | undefined;
  /** JSON values and Dates; `undefined` is dropped, -0 becomes 0. */
  metadata?: M | undefined;
}

/** Many records at once; the fastest way in. */
export interface ColumnsInput<M extends object = Metadata> {
  /** One per vector; default: random UUIDs. */
  ids?: readonly string[];
  /** Vector `i` at `[i * dimensions]`. Must not change until the promise settles. */
  vectors: Float32Array;
  /** Elements per vector; default: the collection's. */
  dimensions?: number;
  texts?: readonly (string | undefined)[];
  metadatas?: readonly (M | undefined)[];
}

/** New text or metadata of a stored record; what is left out stays. */
export interface RecordUpdate<M extends object = Metadata> {
  id: string;
  text?: string | undefined;
  /** Replaces the metadata as a whole. */
  metadata?: M | undefined;
}

/** A record as it is stored; parts that were not selected are missing. */
export interface StoredRecord<M extends object = Metadata> {
  id: string;
  text?: string;
  metadata?: M;
  /** Decoded from the collection's dtype. */
  vector?: Float32Array;
}

/** One answer of a search. */
export interface Hit<M extends object = Metadata> extends StoredRecord<M> {
  /** Higher is closer. cosine: -1 to 1; dot: the product; l2, l1, linf: 1 / (1 + distance). */
  score: number;
  /** Lower is closer. 1 - cosine; -dot; l2 (the root); l1; linf. */
  distance: number;
}

/** Parts of a record that can be asked for. */
export type RecordPart = "text" | "metadata" | "vector";

/** Options of a write. */
export interface WriteOptions {
  /** Stops the call; then nothing of it is stored. */
  signal?: AbortSignal | undefined;
  /** Called now and then while records are taken in. */
  onProgress?: ((progress: WriteProgress) => void) | undefined;
}

/** How far a write is. */
export interface WriteProgress {
  /** Records whose vectors were handed to the engine. */
  done: number;
  total: number;
}

/** Options of `get` and parts of others. */
export interface SelectOptions {
  /** Parts of the records to return; default: text and metadata. */
  select?: readonly RecordPart[] | undefined;
  signal?: AbortSignal | undefined;
}

/** Options of `search`. */
export interface SearchOptions<M extends object = Metadata> extends SelectOptions {
  /** Only records that pass are compared; the k best of them are found, however few they are. */
  filter?: FilterInput<M> | undefined;
  /** Hits wanted, 0 to 16 384; default 10. More than there are records returns all. */
  k?: number | undefined;
  /** Nearest records to skip; k + offset is at most 16 384. Default 0. */
  offset?: number | undefined;
  /** Leaves out hits of a lower score. Never brings in others. */
  minScore?: number | undefined;
}

/** Options of `searchMany`. */
export interface SearchManyOptions<M extends object = Metadata> extends SearchOptions<M> {
  /** "hits" (default): one array of hits per query. "arrays": typed arrays; allows a larger k. */
  output?: "hits" | "arrays" | undefined;
}

/** Answers of `searchMany` as arrays; query q's hit i at `[q * k + i]`, i < counts[q]. */
export interface SearchArrays {
  /** Entries per query. */
  k: number;
  counts: Uint32Array;
  scores: Float32Array;
  distances: Float32Array;
  /** The records' rows: numbers in the order of insertion. Entries past the count are -1. */
  rows: Float64Array;
  /** Entries past the count are "". */
  ids: string[];
}

/** Options of `scan`. */
export interface ScanOptions<M extends object = Metadata> extends SelectOptions {
  /** Only records that pass. */
  filter?: FilterInput<M> | undefined;
  /** Records fetched at a time; default 1000, 1 to 16 384. */
  batchSize?: number | undefined;
}

/** Options of `explain`. */
export interface ExplainOptions<M extends object = Metadata> {
  /** Evaluated to say how a search with it would be run. */
  filter?: FilterInput<M> | undefined;
  /** Default 10. */
  k?: number | undefined;
  /** Queries searched together; default 1. */
  queries?: number | undefined;
}

/** How a search would be run, and why. */
export type SearchPlan = NativeExplain;

/** Options of `Database.collection`. */
export interface CollectionOptions {
  /** Elements per vector, 1 to 65 536; default: fixed by the first record. */
  dimensions?: number | undefined;
  /** Default "cosine". */
  metric?: Metric | undefined;
  /** Default "f32". */
  dtype?: Dtype | undefined;
}

/** Figures of a collection. */
export interface CollectionStats {
  records: number;
  dimensions: number | undefined;
  metric: Metric;
  dtype: Dtype;
  /** Number of the last write. */
  sequence: number;
  /** Segments of rows on the native side. */
  segments: number;
  /** Rows held, replaced and deleted ones included. */
  rows: number;
  /** Metadata columns, one per path and type. */
  columns: number;
  /** Memory of their values, bytes. */
  columnBytes: number;
  /** Host memory of vectors, bytes. */
  vectorBytes: number;
  /** Text and metadata in use, bytes. */
  recordBytes: number;
  /** Memory held for text and metadata, bytes. */
  reservedRecordBytes: number;
  /** Rows replaced or deleted and kept for a search or scan that still sees them. */
  retainedRows: number;
  /** In a folder: a hash over all records, 16 hex digits; equal for equal records, whatever the
   * order of the writes. */
  digest?: string;
  /** In a folder: bytes of its segment files. */
  fileBytes?: number;
}
