/**
 * The surface of the native addon, as `native.ts` hands it to the rest of the engine.
 * Rows are numbers below 2^53 that the native collection gives out in ascending order and never
 * reuses. Nothing here knows of ids, text or metadata.
 *
 * A call that fails throws (or rejects with) a {@link NativeError}; errors.ts turns it into the
 * public one. Queries and rows are always copied before they are checked, so memory that another
 * thread changes meanwhile can spoil an answer but never the process.
 */

import type { NativeStorage } from "./store/native-log.js";

/** What the native side throws: an Error with a machine-readable code and plain details. */
export interface NativeError extends Error {
  /**
   * `HIVE_` plus a name from `native/include/hive_status.def`, or one of the addon's own:
   * HIVE_NON_FINITE, HIVE_NORM_TOO_LARGE, HIVE_DTYPE_OVERFLOW (details.index = vector,
   * details.element = position in it), HIVE_DETACHED (a buffer was detached or resized),
   * HIVE_CLOSED (the handle was closed or released).
   */
  code: string;
  details?: Record<string, unknown>;
}

export type NativeMetric = "cosine" | "dot" | "l2" | "l1" | "linf";
export type NativeDtype = "f32" | "f16" | "bf16" | "i8";

export interface NativeAddon {
  /** HIVE_BACKEND_ABI of the addon. */
  readonly abi: number;
  /** Rows of the `.def` lists, so that TypeScript's unions can be checked against them. */
  readonly lists: {
    statuses: { name: string; number: number; scope: string; retryable: boolean }[];
    metrics: { name: string; number: number; greaterIsCloser: boolean }[];
    dtypes: { name: string; number: number; bytes: number }[];
    ops: { name: string; number: number }[];
    backends: { name: string; score: number; selectable: boolean; hint: string }[];
  };
  /** Looks at every backend of the list, in order of preference. Never rejects for a backend. */
  probe(options: NativeOpenOptions): Promise<NativeBackendReport[]>;
  /**
   * Chooses and opens a device. Unforced: the best backend that has a usable device, with the CPU
   * as the fallback of every search. Forced: that one, or rejects with the reason.
   */
  openDevice(options: NativeOpenOptions): Promise<NativeDevice>;
  /** Files of the durable store; see store/native-log.ts. */
  readonly storage: NativeStorage;
}

export interface NativeOpenOptions {
  /** Folders, absolute, that hold one folder per backend: `<path>/<name>/hive_backend.{so,…}`. */
  searchPaths: string[];
  /** Forces a backend; nothing is answered elsewhere then. */
  backend?: string;
  /** Index of the device within the backend; default 0. */
  deviceIndex?: number;
  /** PCI bus id of the device, instead of its index. */
  busId?: string;
  /** Threads for computing on the host; default: the cores the process may use. */
  hostThreads?: number;
  /** "key=value;…" for the cpu backend: `isa=scalar|avx2|avx512|neon`. */
  cpuConfig?: string;
  /** "key=value;…" for the fault backend (tests); `inner=cpu` names the one it wraps. */
  faultConfig?: string;
  /** "key=value;…" of the other backends, by their names: docs/vulkan.md. */
  backendConfig?: Record<string, string>;
  /** Device memory this device may use for rows, bytes; default: 90 % of what is free at open. */
  memoryBudgetBytes?: number;
}

export interface NativeDeviceInfo {
  backend: string;
  index: number;
  name: string;
  vendor: string;
  vendorId: number;
  driver: string;
  busId: string;
  kind: "cpu" | "integrated" | "discrete" | "software";
  computeUnits: number;
  memoryTotalBytes: number;
  maxK: number;
  maxSegmentBytes: number;
  /** Reads the host's rows in place. */
  hostMemory: boolean;
}

export interface NativeBackendReport {
  name: string;
  /** Was a library found (cpu: always)? */
  built: boolean;
  /** Path of the library; "" when linked in or not found. */
  library: string;
  /** Did it load with the right ABI? */
  loaded: boolean;
  /** Did the probe find a usable device? */
  usable: boolean;
  /** Status name of what stopped it, or "OK". */
  status: string;
  /** Why it is not usable, and what to do; "" when it is. */
  reason: string;
  /** Driver or runtime version; "" when unknown. */
  version: string;
  selectable: boolean;
  score: number;
  devices: NativeDeviceInfo[];
}

export interface NativeHealth {
  status: string;
  detail: string;
  jobsSubmitted: number;
  jobsFinished: number;
  jobsFailed: number;
  rowsScanned: number;
}

/** An opened device plus, unless forced, the CPU that answers when the device cannot. */
export interface NativeDevice {
  readonly info: NativeDeviceInfo;
  readonly forced: boolean;
  /** Why this one: one line per backend that was passed over, then the choice. */
  readonly reasons: string[];
  memory(): {
    totalBytes: number;
    freeBytes: number;
    usedBytes: number;
    budgetBytes: number;
    residentBytes: number;
    evictions: number;
  };
  health(): NativeHealth;
  /** Called at most once per distinct cause when a search was answered by the CPU instead. */
  onFallback(listener: (reason: string) => void): void;
  createCollection(options: {
    dimensions: number;
    metric: NativeMetric;
    dtype: NativeDtype;
    /** Row of the first record; default 0. */
    firstRow?: number;
  }): NativeCollection;
  /** Idempotent. Cancels what runs; collections of this device answer HIVE_CLOSED afterwards. */
  close(): void;
}

export interface NativeCollection {
  readonly dimensions: number;
  /** Starts a batch. One at a time: a second one throws while the first is neither committed nor
   * aborted. */
  begin(): NativeBatch;
  /** Pins what is published now. Cheap. Release it. */
  snapshot(): NativeSnapshot;
  /** As `NativeBatch.setColumn` for rows that are stored already. Only before the first batch. */
  restoreColumn(
    id: number,
    kind: 0 | 1 | 2 | 3,
    rows: Float64Array,
    numbers: Float64Array,
    codes: Uint32Array,
    lengths: Uint32Array,
  ): void;
  stats(): {
    segments: number;
    rows: number;
    liveRows: number;
    hostBytes: number;
    columnBytes: number;
  };
  close(): void;
}

/** Rows on their way in; invisible until commit. */
export interface NativeBatch {
  /**
   * Appends `count` rows from `data`, row `i` at `data[(offset + i) * dimensions]`. Copies them
   * before it returns (so keep a call at or below 4 MiB) and checks, converts and measures them
   * on other threads. Throws HIVE_DETACHED when `data` is too short by now.
   */
  push(data: Float32Array, offset: number, count: number): void;
  /** Appends copies of stored rows, bit by bit. Every row must exist and be live. */
  pushCopies(rows: Float64Array): void;
  /**
   * Gives rows of the batch values of a metadata column, copied. positions: counted over all pushed
   * rows, ascending, above those the column was given before. kind 0: presence alone; 1: numbers;
   * 2: codes; 3: lists, codes one list after the other and their lengths. Arrays that a kind does
   * not use are empty.
   */
  setColumn(
    id: number,
    kind: 0 | 1 | 2 | 3,
    positions: Uint32Array,
    numbers: Float64Array,
    codes: Uint32Array,
    lengths: Uint32Array,
  ): void;
  /**
   * Resolves when everything pushed is stored. Rejects with HIVE_NON_FINITE, HIVE_NORM_TOO_LARGE
   * or HIVE_DTYPE_OVERFLOW, details.index counted over all pushed rows; the batch is aborted then.
   */
  finish(): Promise<{ firstRow: number; count: number }>;
  /** When everything pushed was small enough to be stored at once: the same, without waiting;
   * else undefined. */
  tryFinish(): { firstRow: number; count: number } | undefined;
  /** Publishes the rows and removes `tombstones` (live rows) in one step. After finish. */
  commit(tombstones: Float64Array): void;
  /** Forgets the rows. Idempotent; nothing after commit. */
  abort(): void;
}

export interface NativeSearchResult {
  /** Native values, [queryCount * k]; entries past counts[q] are 0. */
  values: Float32Array;
  /** Rows, [queryCount * k]. */
  rows: Float64Array;
  /** Hits per query, [queryCount]. */
  counts: Uint32Array;
  /** The backend that answered. */
  backend: string;
}

export interface NativeJob {
  promise: Promise<NativeSearchResult>;
  /** Asks to stop; the promise then rejects with HIVE_CANCELLED unless it was done. */
  cancel(): void;
}

export interface NativeExplain {
  backend: string;
  device: string;
  /** "inline" (on the JavaScript thread) or "threads". */
  path: "inline" | "threads";
  strategy: string;
  segments: number;
  rows: number;
  liveRows: number;
  bytes: number;
  estimatedMicros: number;
  reasons: string[];
}

/** The live rows of a snapshot that pass a filter. */
export interface NativeSelection {
  readonly count: number;
  /** The next of them at or above `fromRow`, ascending, at most `max`. */
  rowsFrom(fromRow: number, max: number): Float64Array;
}

/** A frozen view: rows, their order and which of them live. */
export interface NativeSnapshot {
  readonly liveRows: number;
  /** Every row of the snapshot is below this. */
  readonly endRow: number;
  /**
   * Searches on this thread when the plan is "inline" and writes into the arrays; returns false
   * (nothing written) when the plan is "threads". queries: [queryCount * dimensions].
   */
  trySearchInline(
    queries: Float32Array,
    queryCount: number,
    k: number,
    values: Float32Array,
    rows: Float64Array,
    counts: Uint32Array,
    selection?: NativeSelection,
  ): boolean;
  /**
   * Evaluates a filter program (engine/filter-compile.ts): at once when little has to be read, else
   * on the engine's threads. rows: lists of rows, ascending, that the program refers to.
   */
  select(program: Float64Array, rows: Float64Array[]): NativeSelection | Promise<NativeSelection>;
  /** Searches on the engine's threads; selection: of this snapshot. */
  search(
    queries: Float32Array,
    queryCount: number,
    k: number,
    selection?: NativeSelection,
  ): NativeJob;
  explain(queryCount: number, k: number, selection?: NativeSelection): NativeExplain;
  /** The next live rows at or above `fromRow`, ascending, at most `max`. */
  liveRowsFrom(fromRow: number, max: number): Float64Array;
  /** Decoded vectors [rows.length * dimensions]; throws HIVE_INVALID_ARGUMENT for a row that this
   * snapshot does not hold. */
  readVectors(rows: Float64Array): Float32Array;
  release(): void;
}
