/** The only file that loads the native addon. */
import { existsSync } from "node:fs";
import os from "node:os";
import path from "node:path";
import { hiveError } from "./errors.js";
import type { NativeAddon } from "./native-types.js";

/** HIVE_BACKEND_ABI that this engine was written for. */
const abi = 1;

/** The addon, and where its backends are looked for. */
export interface LoadedAddon {
  addon: NativeAddon;
  /** File it was loaded from. */
  file: string;
  /** Folders that hold one folder per backend. */
  searchPaths: string[];
}

interface Attempt {
  place: string;
  reason: string;
}

/** musl (Alpine) and glibc need different binaries; only glibc reports its version. */
function isMusl(): boolean {
  if (process.platform !== "linux") return false;
  const report = process.report?.getReport() as { header?: Record<string, unknown> } | undefined;
  return report?.header?.["glibcVersionRuntime"] === undefined;
}

function platformName(): string {
  return `${process.platform}-${process.arch}${isMusl() ? "-musl" : ""}`;
}

/** Root of the package: this file is compiled to `<root>/dist/cjs/engine/native.js`. */
function packageRoot(): string {
  return path.join(__dirname, "..", "..", "..");
}

function reasonOf(error: unknown): string {
  return (error instanceof Error ? error.message : String(error)).split("\n")[0]!;
}

/** The files to try, in order, or why a place has none. */
function candidates(): { place: string; file?: string; reason?: string }[] {
  const forced = process.env["HIVE_GPU_ADDON"];
  if (forced !== undefined && forced !== "") {
    if (path.isAbsolute(forced)) return [{ place: `HIVE_GPU_ADDON (${forced})`, file: forced }];
    return [{ place: `HIVE_GPU_ADDON (${forced})`, reason: "the path must be absolute" }];
  }
  const name = `@hive-gpu/${platformName()}`;
  const list: { place: string; file?: string; reason?: string }[] = [];
  try {
    list.push({ place: `package ${name}`, file: require.resolve(`${name}/hive_gpu.node`) });
  } catch (error) {
    list.push({ place: `package ${name}`, reason: reasonOf(error) });
  }
  const built = path.join(packageRoot(), "build", "Release", "hive_gpu.node");
  list.push({ place: built, file: built });
  return list;
}

/**
 * Node unloads an addon when the last environment that loaded it ends, such as a worker; the
 * engine's threads may still be running its code then. RTLD_NODELETE, which Node has no name for,
 * keeps it in memory.
 */
function loadFlags(): number {
  const noDelete: Partial<Record<NodeJS.Platform, number>> = { linux: 0x1000, darwin: 0x80 };
  return os.constants.dlopen.RTLD_LAZY | (noDelete[process.platform] ?? 0);
}

function load(file: string): NativeAddon {
  if (!existsSync(file)) throw new Error("the file does not exist");
  const loaded = { exports: {} as NativeAddon };
  if (process.platform === "win32") process.dlopen(loaded, file);
  else process.dlopen(loaded, file, loadFlags());
  return loaded.exports;
}

/** What to do when nothing could be loaded. */
function advice(attempts: readonly Attempt[]): string {
  const text = attempts.map((attempt) => attempt.reason).join("\n");
  if (/no-addons|ERR_DLOPEN_DISABLED|native addons? .*disabled/i.test(text)) {
    return "Start Node.js without --no-addons.";
  }
  if (/GLIBC_|musl|ld-linux/i.test(text)) {
    return "The addon was built for another C library (glibc or musl); run `npm run build` here.";
  }
  return (
    "In a checkout, run `npm run build` (it needs cmake, make and a C++20 compiler); " +
    `with an installed package, there is no binary for ${platformName()} yet.`
  );
}

function missing(attempts: readonly Attempt[]): Error {
  const list = attempts.map((attempt) => `  - ${attempt.place}: ${attempt.reason}`).join("\n");
  const hint = advice(attempts);
  const message = `The native addon of hive-gpu could not be loaded. Tried:\n${list}\n${hint}`;
  return hiveError("ADDON_MISSING", message, { hint, details: { attempts } });
}

function checked(addon: NativeAddon, file: string): LoadedAddon {
  if (addon.abi !== abi) {
    const message = `The addon ${file} has ABI ${addon.abi}, this engine needs ${abi}.`;
    throw hiveError("ADDON_INCOMPATIBLE", message, { details: { file, abi: addon.abi } });
  }
  const searchPaths = [path.join(path.dirname(file), "backends")];
  const packaged = path.join(packageRoot(), "node_modules", "@hive-gpu");
  if (existsSync(packaged)) searchPaths.push(packaged);
  return { addon, file, searchPaths };
}

let cached: LoadedAddon | undefined;

/** Loads the addon, once per thread. Throws ADDON_MISSING with every place that was tried. */
export function loadAddon(): LoadedAddon {
  if (cached !== undefined) return cached;
  const attempts: Attempt[] = [];
  for (const { place, file, reason } of candidates()) {
    if (file === undefined) {
      attempts.push({ place, reason: reason ?? "not found" });
      continue;
    }
    let addon: NativeAddon;
    try {
      addon = load(file);
    } catch (error) {
      attempts.push({ place, reason: reasonOf(error) });
      continue;
    }
    cached = checked(addon, file);
    return cached;
  }
  throw missing(attempts);
}
