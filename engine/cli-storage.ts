/**
 * `hive-gpu verify`, `inspect` and `backup`. The work runs in a child process, because a damaged
 * index can take a process down; then it is done again without the index.
 */
import { fork } from "node:child_process";
import path from "node:path";
import type { Problem, VerifyReport } from "./store/verify.js";

/** What the child is asked to do. */
export interface StorageTask {
  what: "verify" | "salvage" | "rebuild" | "backup";
  root: string;
  target?: string | undefined;
  useIndex: boolean;
}

/** Its answer. */
export type StorageAnswer =
  | { ok: true; value: unknown }
  | { ok: false; code: string; message: string; hint: string };

/** Runs the task in a child; undefined when the process ended without an answer. */
export function runStorageTask(task: StorageTask): Promise<StorageAnswer | undefined> {
  return new Promise((resolve) => {
    const child = fork(path.join(__dirname, "storage-worker.js"), [JSON.stringify(task)], {
      stdio: ["ignore", "inherit", "inherit", "ipc"],
    });
    let answer: StorageAnswer | undefined;
    child.on("message", (message) => {
      answer = message as StorageAnswer;
    });
    child.on("close", () => resolve(answer));
  });
}

interface Output {
  text: string;
  exitCode: number;
}

const mega = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

function listProblems(problems: readonly Problem[]): string[] {
  return problems.map(({ file, offset, message }) =>
    offset >= 0 ? `  ${file} at byte ${offset}: ${message}` : `  ${file}: ${message}`,
  );
}

function formatReport(report: VerifyReport, withDigest: boolean): string {
  const lines = report.collections.map(({ name, records, files, bytes, digest }) => {
    const tail = withDigest ? `, digest ${digest}` : "";
    return `${JSON.stringify(name)}: ${records} records, ${files} files, ${mega(bytes)}${tail}`;
  });
  if (report.source === "files") {
    lines.push("The index cannot be used; this was read from the segment files alone.");
  }
  lines.push(report.ok ? "No damage found." : `${report.problems.length} problems:`);
  return [...lines, ...listProblems(report.problems)].join("\n");
}

function failed(answer: StorageAnswer | undefined): Output {
  if (answer === undefined || answer.ok) {
    return { text: "The process ended without an answer.", exitCode: 2 };
  }
  return { text: `${answer.code}: ${answer.message}\n${answer.hint}`, exitCode: 2 };
}

/** Runs with the index, and without it when that fails. */
async function withFallback(
  task: Omit<StorageTask, "useIndex">,
): Promise<{ answer: StorageAnswer | undefined; why: string | undefined }> {
  const answer = await runStorageTask({ ...task, useIndex: true });
  if (answer?.ok === true || (answer !== undefined && answer.code !== "CORRUPT")) {
    return { answer, why: undefined };
  }
  const why = answer === undefined ? "reading the index ended the process" : answer.message;
  return { answer: await runStorageTask({ ...task, useIndex: false }), why };
}

/** Options of the commands. */
export interface StorageOptions {
  json?: boolean;
  salvage?: string;
  rebuild?: boolean;
}

/** `hive-gpu verify <dir>`; exit code 0: sound, 1: damaged, 2: could not be examined. */
export async function verifyCommand(root: string, options: StorageOptions): Promise<Output> {
  if (options.rebuild === true) {
    const answer = await runStorageTask({ what: "rebuild", root, useIndex: false });
    if (answer?.ok !== true) return failed(answer);
    const { records, kept } = answer.value as { records: number; kept: string };
    const text = `A new index was made: ${records} records. The old one is in ${kept}.`;
    return { text, exitCode: 0 };
  }
  if (options.salvage !== undefined) {
    const { answer } = await withFallback({ what: "salvage", root, target: options.salvage });
    if (answer?.ok !== true) return failed(answer);
    const { records, problems } = answer.value as { records: number; problems: Problem[] };
    const lines = [`${records} undamaged records were copied to ${options.salvage}.`];
    if (problems.length > 0) lines.push(`${problems.length} problems:`, ...listProblems(problems));
    return { text: lines.join("\n"), exitCode: problems.length === 0 ? 0 : 1 };
  }
  const { answer, why } = await withFallback({ what: "verify", root });
  if (answer?.ok !== true) return failed(answer);
  const report = answer.value as VerifyReport;
  if (why !== undefined) {
    report.ok = false;
    report.problems.unshift({ file: path.join(root, "index"), offset: -1, message: why });
  }
  const text =
    options.json === true ? JSON.stringify(report, undefined, 2) : formatReport(report, false);
  return { text, exitCode: report.ok ? 0 : 1 };
}

/** `hive-gpu inspect <dir>`: what is in a database. */
export async function inspectCommand(root: string, options: StorageOptions): Promise<Output> {
  const { answer } = await withFallback({ what: "verify", root });
  if (answer?.ok !== true) return failed(answer);
  const report = answer.value as VerifyReport;
  const text =
    options.json === true ? JSON.stringify(report, undefined, 2) : formatReport(report, true);
  return { text, exitCode: 0 };
}

/** `hive-gpu backup <dir> <to>`: a copy of a database that is not open; also restores one. */
export async function backupCommand(root: string, target: string): Promise<Output> {
  const answer = await runStorageTask({ what: "backup", root, target, useIndex: true });
  if (answer?.ok !== true) return failed(answer);
  return { text: `Copied to ${target}, up to commit ${String(answer.value)}.`, exitCode: 0 };
}
