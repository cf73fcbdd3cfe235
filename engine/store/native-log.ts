/**
 * The addon's surface for durable storage. Files are append-only and checksummed; docs/file-format.md
 * describes them. Failures have the codes HIVE_IO, HIVE_NO_SPACE, HIVE_CORRUPT, HIVE_FORMAT and
 * HIVE_LOCKED, with `details.file`, and `details.offset` where there is one.
 */
import type { NativeBatch, NativeCollection, NativeDtype, NativeMetric } from "../native-types.js";

/** A segment file and how much of it is committed. */
export interface NativeLogFile {
  number: number;
  /** Bytes. Left out when opening: as far as whole commits go. */
  length: number;
}

/** What opens a collection's log. */
export interface NativeLogOptions {
  /** Folder of the segment files. */
  directory: string;
  /** 32 hex digits. */
  database: string;
  collection: number;
  name: string;
  dimensions: number;
  dtype: NativeDtype;
  metric: NativeMetric;
  files: { number: number; length?: number | undefined }[];
  nextFile: number;
  endRow: number;
  /** Of the last commit that the manifest knows. */
  sequence: number;
  /** Writable: numbers of files that the manifest does not name and that may go on where the last
   * one ends, ascending. Whole commits found there, or behind the last file's length, are kept. */
  newer?: number[];
  /** Cuts off what is beyond the commits. */
  writable: boolean;
  /** Skips damage and lists it in `problems`. */
  tolerant?: boolean;
}

/** Functions that need no log. */
export interface NativeStorage {
  /** CRC-32C of the bytes. */
  crc32c(bytes: Uint8Array): number;
  /** Takes an exclusive lock on a file (made when missing), or throws HIVE_LOCKED. */
  lock(path: string): NativeLock;
  /** Makes names in a folder durable. */
  syncDirectory(path: string): Promise<void>;
  openLog(options: NativeLogOptions): Promise<NativeLog>;
  /** What a segment file's header says. */
  describeFile(path: string, number: number): Promise<NativeFileHeader>;
  /** For tests: file operation `at` from now on (0: none) fails with that errno; all later ones
   * too when `repeat`. */
  setFault(at: number, errno: number, repeat: boolean): void;
  /** File operations since `setFault`. */
  operations(): number;
}

export interface NativeLock {
  /** Idempotent; the lock also goes with the process. */
  release(): void;
}

export interface NativeFileHeader {
  database: string;
  collection: number;
  name: string;
  dimensions: number;
  dtype: NativeDtype;
  metric: NativeMetric;
  /** Up to the last whole commit. */
  bytes: number;
  firstRow: number;
  /** Files whose place this one takes, when compaction wrote it, */
  replaces: number[];
  /** and finished. */
  complete: boolean;
  /** What is wrong in front of a frame that is whole. */
  damage?: string;
}

/** Figures of a log. */
export interface NativeLogState {
  count: number;
  endRow: number;
  nextFile: number;
  /** Of the newest commit found in the files. */
  sequence: number;
  /** 16 hex digits. */
  digest: string;
  files: (NativeLogFile & { rows: number; releasedRows: number; frames: number })[];
}

/** One collection's log. Rows are those of the native collection. */
export interface NativeLog {
  /** The row of a published id. */
  rowOf(id: string): number | undefined;
  /** The id of a row whose frame is in the log. */
  idOf(row: number): string | undefined;
  /** The record's JSON, checked against its checksum. */
  read(row: number): string;
  /** The stored vector, decoded and checked. */
  readVector(row: number): Float32Array;
  /** One batch at a time. */
  begin(expected: number): NativeLogBatch;
  /** Reads the vectors of all live rows into a new collection; nothing else may run meanwhile. */
  load(collection: NativeCollection): Promise<void>;
  /** Rows that died and that no snapshot sees: compaction may drop them. */
  release(rows: Float64Array): void;
  releaseBelow(row: number): void;
  /** The next batch starts a new file. */
  seal(): void;
  state(): NativeLogState;
  /** Live rows, ascending. */
  liveRows(): Float64Array;
  problems(): { file: string; offset: number; message: string }[];
  /** Changes from a sequence on, as the log is now. */
  changes(fromSequence: number): NativeChanges;
  /** Writes files [first, first + count) of `state().files` anew without what nobody needs. */
  compact(first: number, count: number, retainFrom: number): Promise<NativeCompaction>;
  close(): void;
}

export interface NativeChanges {
  /** About that many bytes of changes; none at the end. */
  next(bytes: number): Promise<NativeChangeBlock>;
}

export interface NativeChangeBlock {
  sequences: Float64Array;
  /** 1 upsert, 2 delete, 3 clear. */
  kinds: Uint8Array;
  ids: string[];
  records: string[];
  /** Of the upserts, one after another. */
  vectors: Float32Array;
}

export interface NativeCompaction {
  sources: NativeLogFile[];
  /** The new file; undefined when nothing had to be kept. */
  target?: NativeLogFile;
  /** Highest sequence of what was left out; 0 when nothing was. */
  droppedThrough: number;
  /** After the manifest names the new file: uses it, removes the sources. */
  swap(): Promise<void>;
  /** Removes the new file. */
  abandon(): Promise<void>;
}

/** Call order: stage or remove, prepare, append, install, publish, merge; or abandon; finish. */
export interface NativeLogBatch {
  /** Returns the position that this one makes void, or -1. */
  stage(id: string, json: string): number;
  remove(row: number): boolean;
  /** The batch removes all rows that exist. */
  clear(): void;
  /** Gives up to `most` staged records their rows; true when all have one. */
  prepare(firstRow: number, most: number): boolean;
  tombstones(): Float64Array;
  /** Writes, and with `sync` syncs, the frames. */
  append(
    vectors: NativeBatch | undefined,
    sequence: number,
    sync: boolean,
  ): Promise<NativeAppended>;
  /** Cuts off what append wrote. */
  abandon(): Promise<void>;
  /** Makes up to `most` rows known; true when done. */
  install(most: number): boolean;
  /** Makes the batch visible at once. */
  publish(): void;
  /** Moves up to `most` ids into the index; true when done. */
  merge(most: number): boolean;
  /** Idempotent; the next batch may begin. */
  finish(): void;
}

export interface NativeAppended {
  /** Files written to, with their new lengths. */
  touched: NativeLogFile[];
  count: number;
  endRow: number;
  nextFile: number;
  digest: string;
}
