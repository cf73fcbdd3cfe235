/** Devices: choosing one, and what is known of the one chosen. */
import { hiveError } from "./errors.js";
import { checkInteger, checkOptions, checkWord, show } from "./options.js";
import type { NativeDevice, NativeDeviceInfo, NativeOpenOptions } from "./native-types.js";
import type { LoadedAddon } from "./native.js";

/** Names of the backends, most preferred first; "fault" is for tests. */
export const backends = Object.freeze(["metal", "cuda", "rocm", "vulkan", "cpu", "fault"] as const);

/** Name of a backend. */
export type BackendName = (typeof backends)[number];

/**
 * Which device to use: "auto" (the best that works), a backend, a backend and the index or the PCI
 * bus id of one of its devices (`"cuda:1"`, `"cuda:0000:0a:00.0"`), or the same as an object.
 * Naming one forces it: then nothing is ever answered elsewhere.
 */
export type DeviceChoice =
  | "auto"
  | BackendName
  | `${BackendName}:${number}`
  | `${BackendName}:${string}:${string}.${number}`
  | { backend: BackendName; index?: number; busId?: string };

/** Memory of a device, bytes. */
export interface DeviceMemory {
  totalBytes: number;
  freeBytes: number;
  usedBytes: number;
  /** What this database may use for rows. */
  budgetBytes: number;
  /** Rows on the device now. */
  residentBytes: number;
  /** Segments that had to leave the device so far. */
  evictions: number;
}

/** What one search or segment may have at most on a device. */
export interface DeviceLimits {
  /** Hits of one query that the device selects itself. */
  maxK: number;
  /** Bytes of the vectors of one segment. */
  maxSegmentBytes: number;
}

/** The device of a database. */
export interface Device extends Readonly<NativeDeviceInfo> {
  readonly backend: BackendName;
  /** It was named by the caller or by HIVE_GPU_BACKEND. */
  readonly forced: boolean;
  /** Why this one: a line per backend that was passed over, then the choice. */
  readonly reasons: readonly string[];
  readonly limits: DeviceLimits;
  memory(): DeviceMemory;
  /** Used part of the device's memory, 0 to 100. */
  vramUsagePercent(): number;
  /** Whether that many bytes are free on the device. */
  hasAvailableVram(bytes: number): boolean;
}

const choiceKeys = new Set(["backend", "index", "busId"]);
const maxIndex = 255;
/** [domain:]bus:device.function, hexadecimal. */
const busIdPattern = /^(?:[0-9a-f]{1,8}:)?[0-9a-f]{1,2}:[0-9a-f]{1,2}\.[0-7]$/i;

interface Forced {
  backend: BackendName;
  deviceIndex: number;
  busId?: string;
}

function parseName(where: string, text: string): Forced {
  const colon = text.indexOf(":");
  const name = colon < 0 ? text : text.slice(0, colon);
  const backend = checkWord(where, "backend", name, backends);
  if (colon < 0) return { backend, deviceIndex: 0 };
  const digits = text.slice(colon + 1);
  if (busIdPattern.test(digits)) return { backend, deviceIndex: 0, busId: digits };
  const index = digits === "" ? NaN : Number(digits);
  return { backend, deviceIndex: checkInteger(where, "device index", index, 0, maxIndex) };
}

function parseChoice(choice: unknown): Forced | undefined {
  if (choice === undefined || choice === "auto") return undefined;
  const where = "openDatabase: device";
  if (typeof choice === "string") return parseName(where, choice);
  if (typeof choice !== "object" || choice === null) {
    const message = `${where} must be a backend's name or { backend, index }, got ${show(choice)}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  checkOptions(where, choice, choiceKeys);
  const { backend, index, busId } = choice as Record<string, unknown>;
  const name = checkWord(where, "backend", backend, backends);
  if (busId === undefined) {
    return { backend: name, deviceIndex: checkInteger(where, "index", index ?? 0, 0, maxIndex) };
  }
  if (index !== undefined || typeof busId !== "string" || !busIdPattern.test(busId)) {
    const message = `${where}: busId must be like "0000:0a:00.0", and alone; got ${show(busId)}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  return { backend: name, deviceIndex: 0, busId };
}

// Which Vulkan devices may be used: Intel's; with the universal flag any vendor's; when vulkan is
// named, software implementations too.
function vulkanConfig(forced: Forced | undefined, env: NodeJS.ProcessEnv): string {
  const inside =
    forced?.backend === "fault" && (env["HIVE_GPU_FAULT"] ?? "").includes("inner=vulkan");
  const universal = env["HIVE_GPU_VULKAN_UNIVERSAL"];
  const flag = universal !== undefined && universal !== "" && universal !== "0";
  const devices = forced?.backend === "vulkan" || inside ? "any" : flag ? "universal" : "intel";
  const more = env["HIVE_GPU_VULKAN"];
  return `devices=${devices}${more === undefined || more === "" ? "" : `;${more}`}`;
}

/** Options for the addon, from the caller's choice and the environment. */
export function nativeOpenOptions(
  loaded: LoadedAddon,
  choice?: unknown,
  memoryBudgetBytes?: number,
): NativeOpenOptions {
  const { env } = process;
  const options: NativeOpenOptions = { searchPaths: loaded.searchPaths };
  const named = env["HIVE_GPU_BACKEND"];
  let forced = parseChoice(choice);
  if (forced === undefined && named !== undefined && named !== "" && named !== "auto") {
    forced = parseName("HIVE_GPU_BACKEND", named);
  }
  if (forced !== undefined) Object.assign(options, forced);
  const isa = env["HIVE_GPU_CPU_ISA"];
  if (isa !== undefined && isa !== "") options.cpuConfig = `isa=${isa}`;
  const fault = env["HIVE_GPU_FAULT"];
  if (fault !== undefined && fault !== "") options.faultConfig = fault;
  options.backendConfig = { vulkan: vulkanConfig(forced, env) };
  if (memoryBudgetBytes !== undefined) options.memoryBudgetBytes = memoryBudgetBytes;
  return options;
}

/** The public view of an opened device. */
export function describeDevice(native: NativeDevice): Device {
  return Object.freeze({
    ...native.info,
    backend: native.info.backend as BackendName,
    forced: native.forced,
    reasons: Object.freeze([...native.reasons]),
    limits: Object.freeze({
      maxK: native.info.maxK,
      maxSegmentBytes: native.info.maxSegmentBytes,
    }),
    memory: () => native.memory(),
    vramUsagePercent(): number {
      const { totalBytes, freeBytes } = native.memory();
      return totalBytes === 0 ? 0 : ((totalBytes - freeBytes) / totalBytes) * 100;
    },
    hasAvailableVram: (bytes: number) => native.memory().freeBytes >= bytes,
  });
}
