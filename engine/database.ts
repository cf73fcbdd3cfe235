/** A database and its collections. */
import { type Change, type ChangesOptions, checkChanges, readChanges } from "./changes.js";
import { Collection } from "./collection.js";
import { type BackendName, type Device, type DeviceMemory, describeDevice } from "./device.js";
import { hiveError } from "./errors.js";
import { checkName } from "./ids.js";
import { limits } from "./limits.js";
import { callNative } from "./native-errors.js";
import type { NativeDevice, NativeHealth } from "./native-types.js";
import { checkInteger, checkOptions, checkWord, show } from "./options.js";
import { metrics } from "./result.js";
import { type MetadataSchema, type SchemaInput, type SchemaOutput, checkSchema } from "./schema.js";
import { CollectionState } from "./state.js";
import { backup } from "./store/backup.js";
import type { DatabaseStorage } from "./store/storage.js";
import { type CollectionOptions, type Metadata, dtypes } from "./types.js";

/** Figures of a database. */
export interface DatabaseStats {
  /** In a folder: number of the last commit. */
  sequence?: number;
  collections: number;
  records: number;
  backend: BackendName;
  memory: DeviceMemory;
  health: NativeHealth;
}

const truncateKeys = new Set(["before"]);
const collectionKeys = new Set(["dimensions", "metric", "dtype", "schema"]);
const asyncDispose: symbol =
  (Symbol as { asyncDispose?: symbol }).asyncDispose ?? Symbol.for("Symbol.asyncDispose");

interface Entry {
  state: CollectionState;
  collection: Collection<object>;
}

/**
 * Collections on one device. Made by {@link openDatabase}; belongs to the thread that opened it.
 * All methods reject with CLOSED after `close`.
 */
export class Database implements AsyncDisposable {
  /** The device that searches run on. */
  readonly device: Device;
  readonly #native: NativeDevice;
  readonly #storage: DatabaseStorage | undefined;
  readonly #entries = new Map<string, Entry>();
  /** Collections that are being opened. */
  readonly #opening = new Map<string, Promise<Entry>>();
  #closing: Promise<void> | undefined;

  /** @internal Use `openDatabase`. */
  constructor(native: NativeDevice, storage?: DatabaseStorage) {
    this.#native = native;
    this.#storage = storage;
    this.device = describeDevice(native);
  }

  /**
   * Opens a collection, or creates it when there is none of that name.
   * @param name 1 to 255 UTF-8 bytes
   * @param options of a new collection. For one that exists, what is given must be what it has; a
   * schema may also be given to one that has none yet, for the writes from then on. It holds, for
   * everyone who opens the collection, until the database is closed.
   * @throws ALREADY_EXISTS when an option differs, naming both values
   */
  collection<S extends MetadataSchema>(
    name: string,
    options: CollectionOptions & { schema: S },
  ): Promise<Collection<SchemaOutput<S>, SchemaInput<S>>>;
  collection<M extends object = Metadata>(
    name: string,
    options?: CollectionOptions,
  ): Promise<Collection<M>>;
  async collection(
    name: string,
    options?: CollectionOptions & { schema?: unknown },
  ): Promise<Collection<object>> {
    this.#assertOpen();
    checkName(name);
    checkOptions("collection", options, collectionKeys);
    const { dimensions, metric, dtype } = options ?? {};
    if (dimensions !== undefined) {
      checkInteger("collection", "dimensions", dimensions, 1, limits.dimensionsMax);
    }
    if (metric !== undefined) checkWord("collection", "metric", metric, metrics);
    if (dtype !== undefined) checkWord("collection", "dtype", dtype, dtypes);
    const schema = checkSchema("collection", options?.schema);
    const wanted = { dimensions, metric, dtype };
    const entry = this.#entries.get(name) ?? (await this.#open(name, wanted));
    this.#assertOpen();
    matchExisting(entry.state, wanted);
    entry.state.useSchema(schema);
    await entry.state.setDimensions(dimensions);
    return entry.collection;
  }

  /** Opens or creates; once at a time for each name. */
  #open(name: string, options: CollectionOptions): Promise<Entry> {
    let opening = this.#opening.get(name);
    if (opening === undefined) {
      opening = this.#make(name, options).finally(() => this.#opening.delete(name));
      this.#opening.set(name, opening);
    }
    return opening;
  }

  async #make(name: string, options: CollectionOptions): Promise<Entry> {
    const { metric = "cosine", dtype = "f32" } = options;
    const native = this.#native;
    const storage =
      this.#storage?.collection(name) ??
      (await this.#storage?.create(name, options.dimensions, metric, dtype));
    const known = storage?.manifest;
    const state = new CollectionState(
      native,
      name,
      known === undefined ? options.dimensions : (known.dimensions ?? undefined),
      known?.metric ?? metric,
      known?.dtype ?? dtype,
      storage,
    );
    await state.load();
    const entry = { state, collection: new Collection<object>(state) };
    if (this.#closing !== undefined) state.close("the database is closed");
    else this.#entries.set(name, entry);
    return entry;
  }

  /** Names of the collections, in the order of their creation. */
  async collections(): Promise<string[]> {
    this.#assertOpen();
    if (this.#storage === undefined) return [...this.#entries.keys()];
    return this.#storage.collections().map((one) => one.manifest.name);
  }

  /** Removes a collection with all its records; false when there is none of that name. */
  async drop(name: string): Promise<boolean> {
    this.#assertOpen();
    checkName(name);
    this.#storage?.assertWritable();
    await this.#opening.get(name);
    const entry = this.#entries.get(name);
    const stored = this.#storage?.collection(name);
    if (entry === undefined && stored === undefined) return false;
    // Whoever asks for the name from now on gets a new collection.
    this.#entries.delete(name);
    if (stored !== undefined) await this.#storage!.drop(name);
    entry?.state.close("it was dropped");
    return true;
  }

  /**
   * Rewrites the files of a database in a folder without what was replaced or deleted, as far as
   * no reader needs it and changes are not retained. Writing and searching go on meanwhile. Without
   * a call this happens in the background once most of a file is dead.
   */
  async compact(): Promise<void> {
    this.#assertOpen();
    this.#storage?.assertWritable();
    for (const one of this.#storage?.collections() ?? []) await one.compactor.compactAll();
  }

  /**
   * The changes of a database in a folder, in the order of their commits, from commit `fromSeq` on
   * to the last one at the time of the first step. Replaying them into an empty database gives the
   * same records, and per collection the same digest (see `Collection.stats`).
   * @throws CHANGES_TRUNCATED when compaction dropped some of them; see `retainChanges`
   */
  changes(options: ChangesOptions): AsyncGenerator<Change, void, undefined> {
    this.#assertOpen();
    const checked = checkChanges(options);
    return readChanges(this.#onDisk("changes"), checked, () => this.#assertOpen());
  }

  /** Lets compaction drop changes before commit `before`, when changes are retained. */
  async truncateChanges(options: { before: number }): Promise<void> {
    this.#assertOpen();
    checkOptions("truncateChanges", options, truncateKeys);
    const most = Number.MAX_SAFE_INTEGER;
    const before = checkInteger("truncateChanges", "before", options.before, 1, most);
    const storage = this.#onDisk("truncateChanges");
    const { retainFrom } = storage;
    if (retainFrom !== null && before > retainFrom) await storage.retainFromSequence(before);
  }

  /**
   * Copies a database in a folder, as it is at one moment, into an empty folder, while writing and
   * searching go on. The copy is a database like any other: open it, or copy it back.
   * @returns the number of the last commit in it
   */
  async backup(target: string): Promise<number> {
    this.#assertOpen();
    const storage = this.#onDisk("backup");
    if (typeof target !== "string" || target === "") {
      throw hiveError("INVALID_ARGUMENT", `backup takes a folder, got ${show(target)}.`);
    }
    return backup(storage, target);
  }

  #onDisk(method: string): DatabaseStorage {
    if (this.#storage !== undefined) return this.#storage;
    throw hiveError("NOT_SUPPORTED", `${method} needs a database in a folder.`, {
      hint: "Open it with openDatabase({ path }).",
    });
  }

  /** Figures about the database and its device. */
  async stats(): Promise<DatabaseStats> {
    this.#assertOpen();
    let records = 0;
    const stored = this.#storage?.collections();
    for (const one of stored ?? []) records += one.manifest.count;
    if (stored === undefined) {
      for (const { state } of this.#entries.values()) records += state.data?.store.count ?? 0;
    }
    const sequence = this.#storage?.committer.database.sequence;
    return {
      ...(sequence === undefined ? {} : { sequence }),
      collections: stored?.length ?? this.#entries.size,
      records,
      backend: this.device.backend,
      memory: callNative(() => this.#native.memory()),
      health: callNative(() => this.#native.health()),
    };
  }

  /**
   * Frees all memory; what is under way is rejected with CLOSED, except writes that are on their
   * way to the disk: they are waited for. May be called again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  async #close(): Promise<void> {
    await Promise.allSettled(this.#opening.values());
    await this.#storage?.committer.drain();
    for (const { state } of this.#entries.values()) state.close("the database is closed");
    this.#entries.clear();
    await this.#storage?.close();
    this.#native.close();
  }

  /** As `close`: `await using db = await openDatabase()`. */
  declare [Symbol.asyncDispose]: () => Promise<void>;

  #assertOpen(): void {
    if (this.#closing !== undefined) throw hiveError("CLOSED", "The database is closed.");
  }
}

// Node 20 has the symbol; older tools that polyfill it use the registered one.
Object.defineProperty(Database.prototype, asyncDispose, {
  value(this: Database) {
    return this.close();
  },
  configurable: true,
  writable: true,
});

function matchExisting(state: CollectionState, options: CollectionOptions): void {
  for (const key of ["dimensions", "metric", "dtype"] as const) {
    const wanted = options[key];
    const existing = state[key];
    if (wanted === undefined || existing === undefined || wanted === existing) continue;
    const name = JSON.stringify(state.name);
    throw hiveError(
      "ALREADY_EXISTS",
      `Collection ${name} exists with ${key} ${existing}; it was asked for with ${wanted}.`,
      { details: { option: key, existing, wanted } },
    );
  }
}
