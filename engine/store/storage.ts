/** A database on disk: its folder, lock, manifest and collections. */
import fs from "node:fs/promises";
import path from "node:path";
import { HiveGpuError, hiveError } from "../errors.js";
import { fromNative } from "../native-errors.js";
import type { Metric } from "../result.js";
import type { Dtype } from "../types.js";
import { type Directories, directoriesOf, fileName, parseFileName } from "./directories.js";
import { ioError } from "./io-error.js";
import { CollectionStorage } from "./collection-storage.js";
import { Committer } from "./committer.js";
import {
  type CollectionEvent,
  type CollectionManifest,
  type DatabaseManifest,
  Manifest,
} from "./manifest.js";
import type { NativeLock, NativeStorage } from "./native-log.js";
import {
  type StorageOptions,
  assertExists,
  prepareFolders,
  prepareIndex,
  readDatabase,
} from "./prepare.js";

/** An open database on disk. */
export class DatabaseStorage {
  readonly native: NativeStorage;
  readonly directories: Directories;
  readonly readOnly: boolean;
  /** Whether commits wait for the device. */
  readonly sync: boolean;
  readonly committer: Committer;
  readonly #manifest: Manifest;
  readonly #lock: NativeLock | undefined;
  readonly #collections = new Map<string, CollectionStorage>();
  /** Files to remove once nobody holds them. */
  readonly #doomed: string[] = [];
  #holds = 0;

  private constructor(
    native: NativeStorage,
    directories: Directories,
    options: StorageOptions,
    lock: NativeLock | undefined,
    manifest: Manifest,
    database: DatabaseManifest,
  ) {
    this.native = native;
    this.directories = directories;
    this.readOnly = options.readOnly;
    this.sync = options.durability === "sync";
    this.committer = new Committer(manifest, database);
    this.#manifest = manifest;
    this.#lock = lock;
    for (const one of manifest.collections()) {
      this.#collections.set(one.name, new CollectionStorage(this, one));
    }
  }

  /** Opens the database in `root`; makes a new one when there is none and it is not read-only. */
  static async open(
    native: NativeStorage,
    root: string,
    options: StorageOptions,
  ): Promise<DatabaseStorage> {
    const directories = directoriesOf(path.resolve(root));
    const { readOnly } = options;
    const lock = readOnly ? undefined : await prepareFolders(native, directories);
    let manifest: Manifest | undefined;
    try {
      if (readOnly) await assertExists(directories);
      else await prepareIndex(native, directories);
      manifest = await Manifest.open(directories.index, native, {
        readOnly,
        sync: options.durability === "sync",
      });
      const database = await readDatabase(manifest, directories, options);
      const storage = new DatabaseStorage(native, directories, options, lock, manifest, database);
      if (!readOnly) {
        await storage.#removeLeftovers(await storage.#recover());
      }
      return storage;
    } catch (error) {
      await manifest?.close();
      lock?.release();
      throw fromNative(error);
    }
  }

  /** Changes from here on are kept; null: none are. */
  get retainFrom(): number | null {
    return this.committer.database.retainFrom;
  }

  collection(name: string): CollectionStorage | undefined {
    return this.#collections.get(name);
  }

  /** In the order of their creation. */
  collections(): CollectionStorage[] {
    return [...this.#collections.values()].toSorted(
      (a, b) => a.manifest.number - b.manifest.number,
    );
  }

  /** Makes a collection, durably. */
  async create(
    name: string,
    dimensions: number | undefined,
    metric: Metric,
    dtype: Dtype,
  ): Promise<CollectionStorage> {
    this.assertWritable();
    const made: { manifest?: CollectionManifest } = {};
    await this.committer.commit({
      // New collections may share a group: nothing of theirs is shared.
      target: made,
      append: async (sequence) => {
        // Jobs of one group see the same database, and two new collections need two numbers.
        const number = this.#takeNumber();
        made.manifest = {
          number,
          name,
          metric,
          dtype,
          dimensions: dimensions ?? null,
          files: [],
          nextFile: 1,
          endRow: 0,
          count: 0,
          digest: "0".repeat(16),
          sequence,
          horizon: 0,
        };
        const event = {
          type: "create",
          name,
          metric,
          dtype,
          dimensions: dimensions ?? null,
        } as const;
        const database = { nextCollection: number + 1 };
        return { number, manifest: made.manifest, database, event };
      },
      abandon: async () => undefined,
      committed: () => undefined,
    });
    const storage = new CollectionStorage(this, made.manifest!);
    this.#collections.set(name, storage);
    return storage;
  }

  #nextNumber = 0;
  #takeNumber(): number {
    this.#nextNumber = Math.max(this.#nextNumber, this.committer.database.nextCollection);
    return this.#nextNumber++;
  }

  async drop(name: string): Promise<void> {
    await this.#collections.get(name)!.drop();
    this.#collections.delete(name);
  }

  /** Removes files that no manifest names any more, once nobody holds them. */
  async removeFiles(collection: number, files: readonly { number: number }[]): Promise<void> {
    for (const { number } of files) {
      this.#doomed.push(path.join(this.directories.segments, fileName(collection, number)));
    }
    await this.#removeDoomed();
  }

  async #removeDoomed(): Promise<void> {
    if (this.#holds > 0) return;
    for (const file of this.#doomed.splice(0)) {
      // A file that stays is removed at the next open.
      await fs.rm(file, { force: true }).catch(() => undefined);
    }
  }

  /** What the manifest says now of a collection; for readers beside a writer. */
  reread(number: number): CollectionManifest | undefined {
    return this.#manifest.collections().find((one) => one.number === number);
  }

  /** Creations and drops of collections from a sequence on. */
  eventsFrom(sequence: number): [number, CollectionEvent][] {
    return this.#manifest.events().filter(([at]) => at >= sequence);
  }

  /** What is committed, all of one moment. */
  committedState(): {
    database: DatabaseManifest;
    collections: CollectionManifest[];
    events: [number, CollectionEvent][];
  } {
    return {
      database: this.#manifest.database()!,
      collections: this.#manifest.collections(),
      events: this.#manifest.events(),
    };
  }

  /** Changes before `sequence` need not be kept any more. */
  async retainFromSequence(sequence: number): Promise<void> {
    this.assertWritable();
    await this.committer.commit({
      target: this,
      append: async () => ({ database: { retainFrom: sequence } }),
      abandon: async () => undefined,
      committed: () => undefined,
    });
  }

  /** Keeps every file that is named now until `release`. */
  async hold(): Promise<void> {
    this.#holds++;
    await Promise.all(this.collections().map((one) => one.compactor.hold()));
  }

  release(): void {
    this.#holds--;
    for (const one of this.collections()) one.compactor.release();
    void this.#removeDoomed();
  }

  assertWritable(): void {
    if (!this.readOnly) return;
    throw hiveError("READ_ONLY", "The database was opened with { readOnly: true }.");
  }

  async close(): Promise<void> {
    for (const one of this.#collections.values()) await one.compactor.stop();
    await this.committer.drain();
    for (const one of this.#collections.values()) await one.close();
    await this.#manifest.close();
    this.#lock?.release();
  }

  /**
   * Takes over commits that a crash kept from the manifest; see RecordLog::recover. Returns the
   * numbers of collections that are damaged: whoever opens those gets the error, and nothing of
   * theirs is removed.
   */
  async #recover(): Promise<Set<number>> {
    const damaged = new Set<number>();
    const { segments } = this.directories;
    const names = (await fs.readdir(segments)).map(parseFileName);
    for (const storage of this.#collections.values()) {
      const { number, files, nextFile } = storage.manifest;
      const newer = names
        .filter((file) => file?.collection === number && file.number >= nextFile)
        .map((file) => file!.number)
        .toSorted((a, b) => a - b);
      try {
        const tail = files.at(-1);
        const size =
          tail === undefined ? 0 : await sizeOf(path.join(segments, fileName(number, tail.number)));
        if (newer.length > 0 || size > (tail?.length ?? 0)) await storage.recover(newer);
      } catch (error) {
        const made = fromNative(error);
        if (!(made instanceof HiveGpuError) || made.code !== "CORRUPT") throw made;
        damaged.add(number);
      }
    }
    return damaged;
  }

  /** Removes what a crash left: files that no manifest names. */
  async #removeLeftovers(damaged: ReadonlySet<number>): Promise<void> {
    const { segments } = this.directories;
    const named = new Set<string>();
    for (const { manifest } of this.#collections.values()) {
      for (const { number } of manifest.files) named.add(fileName(manifest.number, number));
    }
    for (const name of await fs.readdir(segments)) {
      const file = parseFileName(name);
      if (file === undefined || named.has(name) || damaged.has(file.collection)) continue;
      await fs.rm(path.join(segments, name), { force: true });
    }
  }
}

/** Bytes of a segment file that the manifest names. */
async function sizeOf(file: string): Promise<number> {
  try {
    return (await fs.stat(file)).size;
  } catch (error) {
    if ((error as { code?: unknown }).code !== "ENOENT") throw ioError("look at", file, error);
    throw hiveError("CORRUPT", `The file ${file} is missing.`, { details: { file }, cause: error });
  }
}
