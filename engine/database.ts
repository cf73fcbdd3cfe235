/** Opening a database, and its collections. */
import { Collection } from "./collection.js";
import {
  type BackendName,
  type Device,
  type DeviceChoice,
  type DeviceMemory,
  describeDevice,
  nativeOpenOptions,
} from "./device.js";
import { type HiveGpuError, hiveError } from "./errors.js";
import { checkName } from "./ids.js";
import { limits } from "./limits.js";
import { callNative, fromNative } from "./native-errors.js";
import type { NativeDevice, NativeHealth } from "./native-types.js";
import { loadAddon } from "./native.js";
import { checkFunction, checkInteger, checkOptions, checkWord } from "./options.js";
import { metrics } from "./result.js";
import { CollectionState } from "./state.js";
import { type CollectionOptions, type Metadata, dtypes } from "./types.js";

/** Options of {@link openDatabase}. */
export interface DatabaseOptions {
  /** A folder for durable storage; refused with NOT_SUPPORTED, because that does not exist yet. */
  path?: string | undefined;
  /** Default "auto"; the environment variable HIVE_GPU_BACKEND names one when this does not. */
  device?: DeviceChoice | undefined;
  /** Device memory for rows, bytes; default: 90 % of what is free. */
  memoryBudgetBytes?: number | undefined;
  /** Gets a sentence when searches fall back to the CPU; default: `process.emitWarning`. */
  onWarning?: ((message: string) => void) | undefined;
}

/** Figures of a database. */
export interface DatabaseStats {
  collections: number;
  records: number;
  backend: BackendName;
  memory: DeviceMemory;
  health: NativeHealth;
}

const openKeys = new Set(["path", "device", "memoryBudgetBytes", "onWarning"]);
const collectionKeys = new Set(["dimensions", "metric", "dtype"]);
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
  readonly #entries = new Map<string, Entry>();
  #closed = false;

  /** @internal Use `openDatabase`. */
  constructor(native: NativeDevice) {
    this.#native = native;
    this.device = describeDevice(native);
  }

  /**
   * Opens a collection, or creates it when there is none of that name.
   * @param name 1 to 255 UTF-8 bytes
   * @param options of a new collection. For one that exists, what is given must be what it has.
   * @throws ALREADY_EXISTS when an option differs, naming both values
   */
  async collection<M extends object = Metadata>(
    name: string,
    options?: CollectionOptions,
  ): Promise<Collection<M>> {
    this.#assertOpen();
    checkName(name);
    checkOptions("collection", options, collectionKeys);
    const { dimensions, metric, dtype } = options ?? {};
    if (dimensions !== undefined) {
      checkInteger("collection", "dimensions", dimensions, 1, limits.dimensionsMax);
    }
    if (metric !== undefined) checkWord("collection", "metric", metric, metrics);
    if (dtype !== undefined) checkWord("collection", "dtype", dtype, dtypes);
    let entry = this.#entries.get(name);
    if (entry === undefined) {
      const native = this.#native;
      const state = new CollectionState(
        native,
        name,
        dimensions,
        metric ?? "cosine",
        dtype ?? "f32",
      );
      entry = { state, collection: new Collection<object>(state) };
      this.#entries.set(name, entry);
    } else {
      matchExisting(entry.state, { dimensions, metric, dtype });
      entry.state.dimensions ??= dimensions;
    }
    return entry.collection as unknown as Collection<M>;
  }

  /** Names of the collections, in the order of their creation. */
  async collections(): Promise<string[]> {
    this.#assertOpen();
    return [...this.#entries.keys()];
  }

  /** Removes a collection with all its records; false when there is none of that name. */
  async drop(name: string): Promise<boolean> {
    this.#assertOpen();
    checkName(name);
    const entry = this.#entries.get(name);
    if (entry === undefined) return false;
    this.#entries.delete(name);
    entry.state.close("it was dropped");
    return true;
  }

  /** Figures about the database and its device. */
  async stats(): Promise<DatabaseStats> {
    this.#assertOpen();
    let records = 0;
    for (const { state } of this.#entries.values()) records += state.data?.store.count ?? 0;
    return {
      collections: this.#entries.size,
      records,
      backend: this.device.backend,
      memory: callNative(() => this.#native.memory()),
      health: callNative(() => this.#native.health()),
    };
  }

  /** Frees all memory; what is under way is rejected with CLOSED. May be called again. */
  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const { state } of this.#entries.values()) state.close("the database is closed");
    this.#entries.clear();
    this.#native.close();
  }

  /** As `close`: `await using db = await openDatabase()`. */
  declare [Symbol.asyncDispose]: () => Promise<void>;

  #assertOpen(): void {
    if (this.#closed) throw hiveError("CLOSED", "The database is closed.");
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

/** The call comes from the native side, where nobody could catch what the listener throws. */
function callListener(listener: (message: string) => void, reason: string): void {
  try {
    listener(reason);
  } catch (error) {
    process.emitWarning(`hive-gpu: onWarning threw: ${String(error)}`, "HiveGpuWarning");
  }
}

/**
 * Opens a database in memory.
 * @throws NOT_SUPPORTED for a path; ADDON_MISSING when the native engine was not built;
 * BACKEND_UNAVAILABLE or NO_DEVICE when a named device cannot be used
 */
export async function openDatabase(options?: DatabaseOptions): Promise<Database> {
  checkOptions("openDatabase", options, openKeys);
  const { path, device, memoryBudgetBytes, onWarning } = options ?? {};
  if (path !== undefined) {
    throw hiveError("NOT_SUPPORTED", "openDatabase: durable storage does not exist yet.", {
      hint: "Leave path out; records are kept in memory until the process ends.",
      details: { option: "path" },
    });
  }
  checkFunction("openDatabase", "onWarning", onWarning);
  if (memoryBudgetBytes !== undefined) {
    const max = Number.MAX_SAFE_INTEGER;
    checkInteger("openDatabase", "memoryBudgetBytes", memoryBudgetBytes, 1, max);
  }
  const loaded = loadAddon();
  let native: NativeDevice;
  try {
    native = await loaded.addon.openDevice(nativeOpenOptions(loaded, device, memoryBudgetBytes));
  } catch (error) {
    throw fromNative(error) as HiveGpuError;
  }
  native.onFallback((reason) => {
    if (onWarning === undefined) {
      process.emitWarning(`hive-gpu: ${reason}`, {
        type: "HiveGpuWarning",
        code: "HIVE_GPU_FALLBACK",
      });
    } else {
      callListener(onWarning, reason);
    }
  });
  return new Database(native);
}
