/** Opening a database. */
import { Database } from "./database.js";
import { type DeviceChoice, nativeOpenOptions } from "./device.js";
import type { HiveGpuError } from "./errors.js";
import { fromNative } from "./native-errors.js";
import type { NativeDevice } from "./native-types.js";
import { loadAddon } from "./native.js";
import { checkFunction, checkInteger, checkOptions } from "./options.js";
import { openStorage } from "./store/open.js";
import type { Durability } from "./store/prepare.js";

/** Options of {@link openDatabase}. */
export interface DatabaseOptions {
  /** A folder for durable storage, made when missing. Default: records are kept in memory. */
  path?: string | undefined;
  /**
   * When a write to a path is acknowledged. "sync" (default): once it survives power loss. "os":
   * once the operating system has it, so that it survives the end of the process only.
   */
  durability?: Durability | undefined;
  /** Opens an existing path for reading, beside its writer: the state at the time of opening. */
  readOnly?: boolean | undefined;
  /** Whether compaction keeps replaced and deleted records for `changes`; default: as it was,
   * false in a new database. */
  retainChanges?: boolean | undefined;
  /** Default "auto"; the environment variable HIVE_GPU_BACKEND names one when this does not. */
  device?: DeviceChoice | undefined;
  /** Device memory for rows, bytes; default: 90 % of what is free. */
  memoryBudgetBytes?: number | undefined;
  /** Gets a sentence when searches fall back to the CPU; default: `process.emitWarning`. */
  onWarning?: ((message: string) => void) | undefined;
}

const openKeys = new Set([
  "path",
  "durability",
  "readOnly",
  "retainChanges",
  "device",
  "memoryBudgetBytes",
  "onWarning",
]);

/** The call comes from the native side, where nobody could catch what the listener throws. */
function callListener(listener: (message: string) => void, reason: string): void {
  try {
    listener(reason);
  } catch (error) {
    process.emitWarning(`hive-gpu: onWarning threw: ${String(error)}`, "HiveGpuWarning");
  }
}

/**
 * Opens a database, in memory or in a folder.
 * @throws DATABASE_LOCKED when the folder has a writer; CORRUPT, FORMAT_UNSUPPORTED, NO_SPACE or
 * STORAGE, naming the file; ADDON_MISSING when the native engine was not built;
 * BACKEND_UNAVAILABLE or NO_DEVICE when a named device cannot be used
 */
export async function openDatabase(options?: DatabaseOptions): Promise<Database> {
  checkOptions("openDatabase", options, openKeys);
  const { device, memoryBudgetBytes, onWarning } = options ?? {};
  checkFunction("openDatabase", "onWarning", onWarning);
  if (memoryBudgetBytes !== undefined) {
    const max = Number.MAX_SAFE_INTEGER;
    checkInteger("openDatabase", "memoryBudgetBytes", memoryBudgetBytes, 1, max);
  }
  const loaded = loadAddon();
  const storage = await openStorage(loaded.addon.storage, options ?? {});
  let native: NativeDevice;
  try {
    native = await loaded.addon.openDevice(nativeOpenOptions(loaded, device, memoryBudgetBytes));
  } catch (error) {
    await storage?.close();
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
  return new Database(native, storage);
}
