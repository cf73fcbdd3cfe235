/**
 * Verification of a database that is not open. Runs in a
 * process of its own (see cli-storage.ts): a damaged index can take a process down.
 */
import fs from "node:fs/promises";
import path from "node:path";
import { HiveGpuError, hiveError } from "../errors.js";
import { fromNative } from "../native-errors.js";
import { loadAddon } from "../native.js";
import { type Directories, directoriesOf, parseFileName } from "./directories.js";
import {
  type CollectionManifest,
  type DatabaseManifest,
  Manifest,
  formatVersion,
} from "./manifest.js";
import type { NativeFileHeader, NativeLog, NativeStorage } from "./native-log.js";

/** Something that is wrong. */
export interface Problem {
  file: string;
  /** Byte in the file; -1 when no single one is meant. */
  offset: number;
  message: string;
}

/** What was found. */
export interface VerifyReport {
  ok: boolean;
  /** How the collections were found: from the index, or from the segment files alone. */
  source: "index" | "files";
  collections: { name: string; records: number; files: number; bytes: number; digest: string }[];
  problems: Problem[];
}

/** An error as a problem; `file` when it names none. */
export function problemOf(error: unknown, file: string): Problem {
  const made = fromNative(error);
  const details = made instanceof HiveGpuError ? made.details : {};
  return {
    file: typeof details["file"] === "string" ? details["file"] : file,
    offset: typeof details["offset"] === "number" ? details["offset"] : -1,
    message: made instanceof Error ? made.message : String(made),
  };
}

/** What a database consists of. */
export interface Found {
  database: DatabaseManifest;
  collections: CollectionManifest[];
  problems: Problem[];
}

/** What the index says; throws when it cannot be read. */
async function fromIndex(native: NativeStorage, at: Directories): Promise<Found> {
  const manifest = await Manifest.open(at.index, native, { readOnly: true, sync: true });
  try {
    const database = manifest.database();
    if (database === undefined) {
      throw hiveError("CORRUPT", `The index ${at.index} has no database.`, {
        details: { file: at.index },
      });
    }
    return { database, collections: manifest.collections(), problems: [] };
  } finally {
    await manifest.close();
  }
}

type Described = NativeFileHeader & { number: number; file: string };

/** The files that make up each collection, from their headers alone. */
async function describeFiles(
  native: NativeStorage,
  at: Directories,
  problems: Problem[],
): Promise<Map<number, Described[]>> {
  const found = new Map<number, Described[]>();
  for (const name of (await fs.readdir(at.segments)).toSorted()) {
    const parsed = parseFileName(name);
    if (parsed === undefined) continue;
    const file = path.join(at.segments, name);
    try {
      const header = await native.describeFile(file, parsed.number);
      const list = found.get(header.collection) ?? [];
      list.push({ ...header, number: parsed.number, file });
      found.set(header.collection, list);
    } catch (error) {
      problems.push(problemOf(error, file));
    }
  }
  return found;
}

/** Of a compaction that a crash interrupted, either the result or its sources count. */
function current(files: Described[]): Described[] {
  const replaced = new Set<number>();
  for (const { replaces, complete } of files)
    if (complete) for (const n of replaces) replaced.add(n);
  return files
    .filter(
      ({ number, replaces, complete }) =>
        !replaced.has(number) && (replaces.length === 0 || complete),
    )
    .toSorted((a, b) => a.firstRow - b.firstRow || a.number - b.number);
}

/** What the segment files say without an index: their whole commits. */
async function fromFiles(native: NativeStorage, at: Directories): Promise<Found> {
  const problems: Problem[] = [];
  const collections: CollectionManifest[] = [];
  let database = "";
  for (const [number, all] of await describeFiles(native, at, problems)) {
    const files = current(all);
    const [first] = files;
    if (first === undefined) continue;
    ({ database } = first);
    const { name, metric, dtype, dimensions } = first;
    collections.push({
      number,
      name,
      metric,
      dtype,
      dimensions,
      files: files.map((file) => ({ number: file.number, length: file.bytes })),
      nextFile: Math.max(...all.map((file) => file.number)) + 1,
      endRow: 0,
      count: 0,
      digest: "",
      sequence: 0,
      horizon: 0,
    });
  }
  const nextCollection = Math.max(0, ...collections.map((one) => one.number)) + 1;
  const made = {
    format: formatVersion,
    id: database,
    sequence: 0,
    nextCollection,
    retainFrom: null,
  };
  return { database: made, collections, problems };
}

/** Opens a collection's log for reading. */
export function openLog(
  native: NativeStorage,
  at: Directories,
  database: DatabaseManifest,
  manifest: CollectionManifest,
  tolerant: boolean,
): Promise<NativeLog> {
  const { number, name, dimensions, dtype, metric, nextFile, endRow, sequence } = manifest;
  return native.openLog({
    directory: at.segments,
    database: database.id,
    collection: number,
    name,
    dimensions: dimensions!,
    dtype,
    metric,
    files: manifest.files,
    nextFile,
    endRow,
    sequence,
    writable: false,
    tolerant,
  });
}

/** From the index, or from the segment files alone. */
export async function find(
  native: NativeStorage,
  at: Directories,
  useIndex: boolean,
): Promise<Found> {
  await fs.access(at.segments).catch((error: unknown) => {
    const message = `There is no database in ${at.root}.`;
    throw hiveError("STORAGE", message, { details: { file: at.root }, cause: error });
  });
  return useIndex ? fromIndex(native, at) : fromFiles(native, at);
}

/** Reads everything and compares it with its checksums, and the files with the index. */
export async function verifyDatabase(root: string, useIndex: boolean): Promise<VerifyReport> {
  const native = loadAddon().addon.storage;
  const at = directoriesOf(path.resolve(root));
  const { database, collections, problems } = await find(native, at, useIndex);
  const report: VerifyReport = {
    ok: true,
    source: useIndex ? "index" : "files",
    collections: [],
    problems,
  };
  for (const manifest of collections) {
    let count = 0;
    let { digest } = manifest;
    if (manifest.files.length > 0) {
      try {
        const log = await openLog(native, at, database, manifest, true);
        problems.push(...log.problems());
        const state = log.state();
        ({ count, digest } = state);
        readEverything(log, at, problems);
        if (useIndex && (count !== manifest.count || digest !== manifest.digest)) {
          const message = `Collection ${JSON.stringify(manifest.name)}: the files hold ${count} records, the index says ${manifest.count}, or others.`;
          problems.push({ file: at.index, offset: -1, message });
        }
        log.close();
      } catch (error) {
        problems.push(problemOf(error, at.segments));
      }
    }
    const bytes = manifest.files.reduce((sum, file) => sum + file.length, 0);
    const files = manifest.files.length;
    report.collections.push({ name: manifest.name, records: count, files, bytes, digest });
  }
  report.ok = problems.length === 0;
  return report;
}

function readEverything(log: NativeLog, at: Directories, problems: Problem[]): void {
  for (const row of log.liveRows()) {
    for (const read of [() => log.read(row), () => log.readVector(row)]) {
      try {
        read();
      } catch (error) {
        problems.push(problemOf(error, at.segments));
      }
    }
  }
}
