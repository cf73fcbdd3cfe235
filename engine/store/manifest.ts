/**
 * The manifest: what of the segment files is committed. It lives in LMDB, whose transaction is the
 * commit point of every write. A value is the CRC-32C of its JSON, then the JSON, because LMDB has
 * no checksums of its own.
 */
import type { RootDatabase } from "lmdb";
import { type HiveGpuError, hiveError } from "../errors.js";
import type { Metric } from "../result.js";
import type { Dtype } from "../types.js";
import type { NativeLogFile, NativeStorage } from "./native-log.js";

/** Version of the layout on disk. */
export const formatVersion = 1;
/** Fixed by format 1; a key and its value must fit a page. */
const pageSize = 8192;
const databaseKey = "database";
const collectionPrefix = "collection/";
const eventPrefix = "event/";

/** What the database knows of itself. */
export interface DatabaseManifest {
  format: number;
  /** 32 hex digits; the same in every segment file. */
  id: string;
  /** Of the last commit. */
  sequence: number;
  /** Number of the next collection. */
  nextCollection: number;
  /** Changes from here on are kept by compaction; null: none. */
  retainFrom: number | null;
}

/** What is committed of one collection. */
export interface CollectionManifest {
  number: number;
  name: string;
  metric: Metric;
  dtype: Dtype;
  /** null until the first record fixes it. */
  dimensions: number | null;
  files: NativeLogFile[];
  nextFile: number;
  endRow: number;
  count: number;
  digest: string;
  /** Of its last commit. */
  sequence: number;
  /** Changes up to this sequence are no longer complete; 0: all are there. */
  horizon: number;
}

/** What happened to a collection as a whole. */
export type CollectionEvent =
  | { type: "create"; name: string; metric: Metric; dtype: Dtype; dimensions: number | null }
  | { type: "drop"; name: string };

/** Changes of the manifest that take effect together. */
export interface ManifestChange {
  database: DatabaseManifest;
  /** By sequence. */
  events?: ReadonlyMap<number, CollectionEvent>;
  /** number -> new value, or undefined to remove it. */
  collections: Map<number, CollectionManifest | undefined>;
}

function keyOf(number: number): string {
  return collectionPrefix + String(number).padStart(8, "0");
}

function damaged(file: string, what: string, cause?: unknown): HiveGpuError {
  return hiveError("CORRUPT", `The index ${file} is damaged: ${what}.`, {
    hint: "Run `npx hive-gpu verify <dir> --rebuild` to make a new index from the segment files.",
    details: { file },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** The typed error for a failed call of LMDB. */
function lmdbError(file: string, doing: string, cause: unknown): HiveGpuError {
  const text = cause instanceof Error ? cause.message : String(cause);
  const full = /ENOSPC|EDQUOT|EFBIG|No space|quota|too large|MAP_FULL/i.test(text);
  const code = full ? "NO_SPACE" : "STORAGE";
  return hiveError(code, `Cannot ${doing} the index ${file}: ${text}.`, {
    details: { file },
    cause,
  });
}

/** The manifest of one database. */
export class Manifest {
  readonly #root: RootDatabase<Buffer, string>;
  readonly #file: string;
  readonly #storage: NativeStorage;

  private constructor(root: RootDatabase<Buffer, string>, file: string, storage: NativeStorage) {
    this.#root = root;
    this.#file = file;
    this.#storage = storage;
  }

  /** @param sync whether a commit waits for the device. */
  static async open(
    directory: string,
    storage: NativeStorage,
    options: { readOnly: boolean; sync: boolean },
  ): Promise<Manifest> {
    const { open } = await import("lmdb");
    try {
      const root = open<Buffer, string>({
        path: directory,
        noSubdir: false,
        pageSize,
        encoding: "binary",
        readOnly: options.readOnly,
        // A commit is then on the device when its promise resolves.
        overlappingSync: false,
        noSync: !options.sync,
      });
      return new Manifest(root, directory, storage);
    } catch (error) {
      throw lmdbError(directory, "open", error);
    }
  }

  /** undefined in a new database. */
  database(): DatabaseManifest | undefined {
    return this.#read<DatabaseManifest>(databaseKey);
  }

  collections(): CollectionManifest[] {
    return this.#entries<CollectionManifest>(collectionPrefix).map(([, value]) => value);
  }

  /** Events with their sequences, ascending. */
  events(): [number, CollectionEvent][] {
    return this.#entries<CollectionEvent>(eventPrefix).map(([key, event]) => [
      Number(key.slice(eventPrefix.length)),
      event,
    ]);
  }

  #entries<T>(prefix: string): [string, T][] {
    const found: [string, T][] = [];
    try {
      for (const key of this.#root.getKeys({ start: prefix, end: `${prefix}~` })) {
        found.push([key, this.#read<T>(key)!]);
      }
    } catch (error) {
      if (error instanceof Error && "code" in error && error.code === "CORRUPT") throw error;
      throw damaged(this.#file, String(error), error);
    }
    return found;
  }

  /** Resolves when the change is committed; rejects when none of it is. */
  async commit(change: ManifestChange): Promise<void> {
    const root = this.#root;
    // One turn of the loop without anything in between is one transaction.
    const writes: Promise<boolean>[] = [];
    for (const [number, value] of change.collections) {
      const key = keyOf(number);
      writes.push(value === undefined ? root.remove(key) : root.put(key, this.#encode(value)));
    }
    for (const [sequence, event] of change.events ?? []) {
      const key = eventPrefix + String(sequence).padStart(16, "0");
      writes.push(root.put(key, this.#encode(event)));
    }
    writes.push(root.put(databaseKey, this.#encode(change.database)));
    const settled = await Promise.allSettled(writes);
    const failed = settled.find((one) => one.status === "rejected");
    if (failed !== undefined) throw lmdbError(this.#file, "write to", failed.reason);
  }

  async close(): Promise<void> {
    await this.#root.close();
  }

  #encode(value: object): Buffer {
    const json = Buffer.from(JSON.stringify(value));
    const out = Buffer.allocUnsafe(json.length + 4);
    out.writeUInt32LE(this.#storage.crc32c(json), 0);
    json.copy(out, 4);
    return out;
  }

  #read<T>(key: string): T | undefined {
    let bytes: Buffer | undefined;
    try {
      bytes = this.#root.getBinary(key);
    } catch (error) {
      throw damaged(this.#file, String(error), error);
    }
    if (bytes === undefined) return undefined;
    const json = bytes.subarray(4);
    if (bytes.length < 4 || bytes.readUInt32LE(0) !== this.#storage.crc32c(json)) {
      throw damaged(this.#file, `the checksum of "${key}" is wrong`);
    }
    return JSON.parse(json.toString()) as T;
  }
}
