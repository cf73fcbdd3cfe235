/** Why each backend is, or is not, used. */
import { backends, nativeOpenOptions } from "./device.js";
import { HiveGpuError } from "./errors.js";
import { fromNative } from "./native-errors.js";
import type { NativeBackendReport } from "./native-types.js";
import { type LoadedAddon, loadAddon } from "./native.js";

/** One backend, as `doctor` sees it. */
export interface BackendReport extends NativeBackendReport {
  /** This is the backend that `openDatabase()` would use here. */
  chosen: boolean;
  /** Why it is not chosen and what to do; "" when it is. */
  advice: string;
}

/** What `doctor` found. */
export interface DoctorReport {
  node: string;
  platform: string;
  arch: string;
  /** The addon's file; "" when it could not be loaded. */
  addon: string;
  /** Environment variables of hive-gpu that are set. */
  environment: Record<string, string>;
  /** Most preferred first; empty when the addon could not be loaded. */
  backends: BackendReport[];
  /** Backend that `openDatabase()` would use; "" when there is none. */
  chosen: string;
  /** Why: a line per backend that was passed over, then the choice. */
  reasons: string[];
  /** What is wrong, and what to do; empty when a backend can be used. */
  problems: string[];
  /** The best usable backend, or the one that was asked for, is in use. */
  ok: boolean;
}

const variables = [
  "HIVE_GPU_BACKEND",
  "HIVE_GPU_CPU_ISA",
  "HIVE_GPU_FAULT",
  "HIVE_GPU_ADDON",
  "HIVE_GPU_VULKAN",
  "HIVE_GPU_VULKAN_UNIVERSAL",
];

function problemOf(error: unknown): string {
  const known = fromNative(error);
  if (!(known instanceof HiveGpuError)) return String(known);
  return known.message.includes(known.hint) ? known.message : `${known.message} ${known.hint}`;
}

function environment(): Record<string, string> {
  const set: Record<string, string> = {};
  for (const name of variables) {
    const value = process.env[name];
    if (value !== undefined && value !== "") set[name] = value;
  }
  return set;
}

function adviceFor(report: NativeBackendReport, chosen: string): string {
  if (report.name === chosen) return "";
  if (!report.usable) return report.reason;
  if (!report.selectable) return "Used only when it is named.";
  return chosen === "" ? "" : `Usable, but ${chosen} is preferred here.`;
}

function preference(name: string): number {
  return (backends as readonly string[]).indexOf(name);
}

async function examine(loaded: LoadedAddon, report: DoctorReport): Promise<void> {
  const options = nativeOpenOptions(loaded);
  const found = await loaded.addon.probe(options);
  try {
    const device = await loaded.addon.openDevice(options);
    report.chosen = device.info.backend;
    report.reasons = [...device.reasons];
    device.close();
  } catch (error) {
    report.problems.push(problemOf(error));
  }
  report.backends = found
    .map((one) => {
      const advice = adviceFor(one, report.chosen);
      return Object.assign(one, { chosen: one.name === report.chosen, advice });
    })
    .toSorted((a, b) => preference(a.name) - preference(b.name));
}

/** Looks at every backend and at the choice that `openDatabase()` would make. Never rejects. */
export async function doctor(): Promise<DoctorReport> {
  const report: DoctorReport = {
    node: process.version,
    platform: process.platform,
    arch: process.arch,
    addon: "",
    environment: environment(),
    backends: [],
    chosen: "",
    reasons: [],
    problems: [],
    ok: false,
  };
  try {
    const loaded = loadAddon();
    report.addon = loaded.file;
    await examine(loaded, report);
  } catch (error) {
    report.problems.push(problemOf(error));
  }
  const forced = report.environment["HIVE_GPU_BACKEND"];
  const best = report.backends.find((one) => one.usable && one.selectable)?.name ?? "";
  report.ok = report.chosen !== "" && (forced !== undefined || report.chosen === best);
  return report;
}

function gib(bytes: number): string {
  return `${(bytes / 2 ** 30).toFixed(1)} GiB`;
}

function backendLines(one: BackendReport): string[] {
  const state = one.chosen ? "chosen" : one.usable ? "usable" : "not usable";
  const lines = [
    `${one.chosen ? "*" : " "} ${one.name.padEnd(7)} ${state}`,
    `      built: ${one.built ? "yes" : "no"}   loads: ${one.loaded ? "yes" : "no"}` +
      `   driver: ${one.version === "" ? "-" : one.version}` +
      (one.library === "" ? "" : `   library: ${one.library}`),
  ];
  for (const device of one.devices) {
    const units = `${device.computeUnits} ${device.kind === "cpu" ? "cores" : "units"}`;
    lines.push(
      `      device ${device.index}: ${device.name}, ${gib(device.memoryTotalBytes)}, ${units}`,
    );
  }
  if (one.advice !== "") lines.push(`      ${one.advice}`);
  return lines;
}

/** The report as text for a terminal. */
export function formatReport(report: DoctorReport): string {
  const lines = [
    `hive-gpu on Node.js ${report.node}, ${report.platform} ${report.arch}`,
    `addon: ${report.addon === "" ? "not loaded" : report.addon}`,
  ];
  for (const [name, value] of Object.entries(report.environment)) lines.push(`${name}=${value}`);
  if (report.backends.length > 0) lines.push("", "backends, most preferred first:");
  for (const one of report.backends) lines.push(...backendLines(one));
  if (report.reasons.length > 0) lines.push("", "why:", ...report.reasons.map((why) => `  ${why}`));
  if (report.problems.length > 0) lines.push("", "problems:", ...report.problems);
  lines.push("", report.ok ? `Searches run on: ${report.chosen}.` : "No usable backend is chosen.");
  return lines.join("\n");
}
