/** Turns what the native addon throws into the public errors; the one place that knows its codes. */
import { type HiveErrorCode, HiveGpuError, hiveError } from "./errors.js";
import type { NativeError } from "./native-types.js";

const codes: Readonly<Record<string, HiveErrorCode>> = {
  HIVE_INVALID_ARGUMENT: "INVALID_ARGUMENT",
  HIVE_UNSUPPORTED: "NOT_SUPPORTED",
  HIVE_OUT_OF_MEMORY: "OUT_OF_MEMORY",
  HIVE_DEVICE_OUT_OF_MEMORY: "DEVICE_OUT_OF_MEMORY",
  HIVE_DEVICE_LOST: "DEVICE_LOST",
  HIVE_DEVICE_POISONED: "DEVICE_POISONED",
  HIVE_DEVICE_TIMEOUT: "DEVICE_TIMEOUT",
  HIVE_CANCELLED: "ABORTED",
  HIVE_ABI_MISMATCH: "BACKEND_UNAVAILABLE",
  HIVE_LIBRARY_UNLOADABLE: "BACKEND_UNAVAILABLE",
  HIVE_DRIVER_MISSING: "BACKEND_UNAVAILABLE",
  HIVE_DRIVER_TOO_OLD: "BACKEND_UNAVAILABLE",
  HIVE_NO_DEVICE: "NO_DEVICE",
  HIVE_NON_FINITE: "NON_FINITE",
  HIVE_NORM_TOO_LARGE: "VECTOR_TOO_LARGE",
  HIVE_DTYPE_OVERFLOW: "DTYPE_OVERFLOW",
  HIVE_DETACHED: "DETACHED",
  HIVE_CLOSED: "CLOSED",
  HIVE_IO: "STORAGE",
  HIVE_NO_SPACE: "NO_SPACE",
  HIVE_CORRUPT: "CORRUPT",
  HIVE_FORMAT: "FORMAT_UNSUPPORTED",
  HIVE_LOCKED: "DATABASE_LOCKED",
};

/** The codes that speak of one vector of those that were given. */
const vectorProblems: Readonly<Record<string, string>> = {
  NON_FINITE: "holds NaN or Infinity",
  VECTOR_TOO_LARGE: "is too large: its l2 norm must stay below 9e18",
  DTYPE_OVERFLOW: "does not fit the collection's dtype",
};

/** Names the vector that `index` of the native call stood for. */
export type VectorNamer = (index: number) => { name: string; details: Record<string, unknown> };

function isNativeError(error: unknown): error is NativeError {
  const code = (error as Partial<NativeError> | null | undefined)?.code;
  return typeof code === "string" && code.startsWith("HIVE_");
}

/**
 * The public error for anything that a native call threw. Errors that are public already, and
 * errors that are not the addon's, come back as they are.
 */
export function fromNative(error: unknown, nameVector?: VectorNamer): unknown {
  if (error instanceof HiveGpuError || !isNativeError(error)) return error;
  const code = codes[error.code] ?? "INTERNAL";
  const details: Record<string, unknown> = { ...error.details, native: error.code };
  const index = details["index"];
  const problem = vectorProblems[code];
  if (problem === undefined || typeof index !== "number") {
    return hiveError(code, error.message, { details, cause: error });
  }
  const named = nameVector?.(index);
  const element = details["element"];
  const where = typeof element === "number" ? ` at element ${element}` : "";
  const message = `${named?.name ?? `Vector ${index}`} ${problem}${where}.`;
  return hiveError(code, message, { details: { ...details, ...named?.details }, cause: error });
}

/** Runs a native call and throws public errors only. */
export function callNative<T>(call: () => T, nameVector?: VectorNamer): T {
  try {
    return call();
  } catch (error) {
    throw fromNative(error, nameVector);
  }
}
