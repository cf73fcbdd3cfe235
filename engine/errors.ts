/**
 * One error taxonomy. Every error of the engine is a {@link HiveGpuError} with a stable `code`,
 * a `hint` that says what to do, and `details` for programs. The code decides the class.
 */

interface ErrorRow {
  kind: ErrorKind;
  hint: string;
  retryable?: true;
}

type ErrorKind =
  | "InputError"
  | "StateError"
  | "AbortError"
  | "StorageError"
  | "ResourceError"
  | "DeviceError"
  | "BindingError"
  | "RemoteError";

function row(kind: ErrorKind, hint: string, retryable?: true): ErrorRow {
  return retryable ? { kind, hint, retryable } : { kind, hint };
}

/** code -> class, default hint, and whether the same call may succeed later. */
const table = {
  INVALID_ARGUMENT: row("InputError", "Correct the argument that the message names."),
  DIMENSION_MISMATCH: row(
    "InputError",
    "Every vector and query of a collection has the same length; use the same embedding model.",
  ),
  NON_FINITE: row("InputError", "Remove NaN and Infinity from the vector before the call."),
  VECTOR_TOO_LARGE: row("InputError", "Scale the vector down; its norm must stay below 9e18."),
  DTYPE_OVERFLOW: row("InputError", 'Scale the vector down, or use dtype "f32" or "bf16".'),
  LIMIT_EXCEEDED: row("InputError", "See limits.ts for the limit and its reason."),
  UNKNOWN_OPTION: row("InputError", "Check the spelling of the option."),
  INVALID_METADATA: row("InputError", "Metadata is JSON plus Date."),
  SCHEMA_MISMATCH: row(
    "InputError",
    "Correct the metadata that the message names, or the schema of the collection.",
  ),
  SCHEMA_FAILED: row("InputError", "Correct the schema of the collection; see the cause."),
  INVALID_FILTER: row("InputError", "See docs/filters.md for the operators and their operands."),
  NOT_FOUND: row("InputError", "Check the id, or upsert the record first."),
  ALREADY_EXISTS: row(
    "InputError",
    "Open the collection without that option, or drop it and create it anew.",
  ),
  CONFLICT: row("InputError", "Say which side wins, or bring both to the same state first."),
  DETACHED: row(
    "InputError",
    "Do not transfer, resize or reuse the buffer before the promise has settled.",
  ),
  CLOSED: row("StateError", "Open the database or collection again."),
  ABORTED: row("AbortError", "The caller's AbortSignal stopped the call."),
  NOT_SUPPORTED: row("InputError", "Use what the message suggests instead."),
  STORAGE: row("StorageError", "Check the storage that the message names."),
  NO_SPACE: row("StorageError", "Free space on the disk, or raise the quota, and try again.", true),
  CORRUPT: row(
    "StorageError",
    "Restore a backup, or run `npx hive-gpu verify <dir> --salvage <new dir>` to export what is " +
      "undamaged.",
  ),
  FORMAT_UNSUPPORTED: row("StorageError", "Open the database with a newer version of hive-gpu."),
  DATABASE_LOCKED: row(
    "StorageError",
    "Close the other writer, or open with { readOnly: true }.",
    true,
  ),
  READ_ONLY: row("StateError", "Open the database without { readOnly: true }."),
  CHANGES_TRUNCATED: row(
    "StateError",
    "Start from a scan or a backup, and set retainChanges so that later changes are kept.",
  ),
  OUT_OF_MEMORY: row("ResourceError", "Free memory or store fewer records.", true),
  DEVICE_OUT_OF_MEMORY: row(
    "ResourceError",
    "Free device memory, lower memoryBudgetBytes, or use another device.",
    true,
  ),
  NO_DEVICE: row("DeviceError", "Run `npx hive-gpu doctor` to see what each backend needs."),
  BACKEND_UNAVAILABLE: row(
    "DeviceError",
    "Run `npx hive-gpu doctor`, or let the device be chosen by leaving it out.",
  ),
  DEVICE_LOST: row("DeviceError", "Open the database again.", true),
  DEVICE_POISONED: row("DeviceError", "Restart the process, or use another backend."),
  DEVICE_TIMEOUT: row("DeviceError", "Try again; if it persists, use another device.", true),
  ADDON_MISSING: row("BindingError", "Run `npm run build` in the checkout of hive-gpu."),
  ADDON_INCOMPATIBLE: row("BindingError", "Rebuild the addon with `npm run build`."),
  REMOTE_UNREACHABLE: row(
    "RemoteError",
    "Check the address, and that the server runs and can be reached from here.",
    true,
  ),
  REMOTE_TIMEOUT: row("RemoteError", "Try again, or allow more time with timeoutMs.", true),
  REMOTE_DENIED: row("RemoteError", "Check the API key, token or password, and its permissions."),
  REMOTE_BUSY: row("RemoteError", "Wait as long as the server asks, then try again.", true),
  REMOTE_REFUSED: row("RemoteError", "Correct what the server's message names."),
  REMOTE_FAILED: row("RemoteError", "See the server's log for the cause; try again later.", true),
  REMOTE_PROTOCOL: row(
    "RemoteError",
    "Check that the address is that of the right kind of server, with nothing in between.",
  ),
  INTERNAL: row("StateError", "This is a bug of hive-gpu; please report it with the message."),
} satisfies Record<string, ErrorRow>;

/** What went wrong, as a stable machine-readable word. */
export type HiveErrorCode = keyof typeof table;

/** All codes. */
export const errorCodes = Object.freeze(Object.keys(table)) as readonly HiveErrorCode[];

/** What an error may carry besides its code and message. */
export interface HiveErrorOptions {
  /** What to do about it; default: the code's hint. */
  hint?: string;
  /** Facts for programs, such as `{ index: 3 }`. */
  details?: Record<string, unknown>;
  cause?: unknown;
}

/** Registered, so that two copies of the engine in one process recognise each other's errors. */
const brand = Symbol.for("hive-gpu.error");

/** Base class of every error that the engine throws or rejects with. */
export class HiveGpuError extends Error {
  override name = "HiveGpuError";
  readonly code: HiveErrorCode;
  /** One sentence: what to do. */
  readonly hint: string;
  /** Facts for programs; `{}` when there are none. */
  readonly details: Record<string, unknown>;
  /** Whether the same call may succeed later without a change. */
  readonly retryable: boolean;

  constructor(code: HiveErrorCode, message: string, options: HiveErrorOptions = {}) {
    super(message, "cause" in options ? { cause: options.cause } : undefined);
    const known: ErrorRow = table[code];
    this.code = code;
    this.hint = options.hint ?? known.hint;
    this.details = options.details ?? {};
    this.retryable = known.retryable ?? false;
  }

  /** Recognises errors of another copy of this package (CommonJS beside ESM, two versions). */
  static override [Symbol.hasInstance](value: unknown): boolean {
    const own = Object.hasOwn(this, brand) ? (this as unknown as Branded)[brand] : undefined;
    if (own === undefined) return Function.prototype[Symbol.hasInstance].call(this, value);
    if (typeof value !== "object" || value === null) return false;
    const brands = (value as Partial<Branded<readonly string[]>>)[brand];
    return Array.isArray(brands) && brands.includes(own);
  }
}

interface Branded<T = string> {
  [brand]: T;
}

/** The caller's input is wrong; the same call can never succeed. */
export class InputError extends HiveGpuError {
  override name = "InputError";
}
/** The object is closed, or the engine found itself in a state it should not be in. */
export class StateError extends HiveGpuError {
  override name = "StateError";
}
/** The caller's AbortSignal stopped the call; `cause` is the signal's reason. */
export class AbortError extends HiveGpuError {
  override name = "AbortError";
}
/** Stored data cannot be read or written. */
export class StorageError extends HiveGpuError {
  override name = "StorageError";
}
/** Memory of the host or of the device is used up. */
export class ResourceError extends HiveGpuError {
  override name = "ResourceError";
}
/** A device or its driver is missing or failed. */
export class DeviceError extends HiveGpuError {
  override name = "DeviceError";
}
/** A server that an adapter talks to cannot be reached, refuses, or answers nonsense. */
export class RemoteError extends HiveGpuError {
  override name = "RemoteError";
}
/** The native addon cannot be loaded. */
export class BindingError extends HiveGpuError {
  override name = "BindingError";
}

const classes = {
  InputError,
  StateError,
  AbortError,
  StorageError,
  ResourceError,
  DeviceError,
  BindingError,
  RemoteError,
};

function mark(target: typeof HiveGpuError, brands: readonly string[]): void {
  const name = brands.at(-1) as string;
  Object.defineProperty(target, brand, { value: name });
  Object.defineProperty(target.prototype, brand, { value: Object.freeze(brands) });
}
mark(HiveGpuError, ["HiveGpuError"]);
for (const [name, type] of Object.entries(classes)) mark(type, ["HiveGpuError", name]);

/** Makes the error of the class that the code belongs to. */
export function hiveError(
  code: HiveErrorCode,
  message: string,
  options?: HiveErrorOptions,
): HiveGpuError {
  return new classes[table[code].kind](code, message, options);
}

/** The error of a call that its signal stopped. */
export function abortError(signal: AbortSignal): HiveGpuError {
  return hiveError("ABORTED", "The call was aborted by its signal.", { cause: signal.reason });
}

/** Throws when the signal has fired. */
export function throwIfAborted(signal: AbortSignal | undefined): void {
  if (signal !== undefined && signal.aborted) throw abortError(signal);
}
