/** What can be made of a damaged database: a copy of the rest, or a new index. */
import path from "node:path";
import { type HiveGpuError, hiveError } from "../errors.js";
import { loadAddon } from "../native.js";
import { openDatabase } from "../open-database.js";
import { decodeRecord } from "../record-codec.js";
import type { RecordInput } from "../types.js";
import { type Directories, directoriesOf } from "./directories.js";
import { writeIndex } from "./index-folder.js";
import type { CollectionManifest } from "./manifest.js";
import type { NativeLog } from "./native-log.js";
import { type Problem, find, openLog, problemOf } from "./verify.js";

/** Records moved at a time. */
const batchRecords = 256;

/** Copies everything undamaged into a new database. Returns what was lost as problems. */
export async function salvageDatabase(
  root: string,
  target: string,
  useIndex: boolean,
): Promise<{ records: number; problems: Problem[] }> {
  const native = loadAddon().addon.storage;
  const at = directoriesOf(path.resolve(root));
  const { database, collections, problems } = await find(native, at, useIndex);
  const db = await openDatabase({ path: target, device: "cpu" });
  let records = 0;
  try {
    for (const manifest of collections) {
      const { name, metric, dtype } = manifest;
      const dimensions = manifest.dimensions ?? undefined;
      const collection = await db.collection(name, { metric, dtype, dimensions });
      if (manifest.files.length === 0) continue;
      const log = await openLog(native, at, database, manifest, true);
      problems.push(...log.problems());
      const rows = log.liveRows();
      for (let from = 0; from < rows.length; from += batchRecords) {
        const batch = undamaged(log, rows.subarray(from, from + batchRecords), at, problems);
        await collection.upsert(batch);
        records += batch.length;
      }
      log.close();
    }
  } finally {
    await db.close();
  }
  return { records, problems };
}

function undamaged(
  log: NativeLog,
  rows: Float64Array,
  at: Directories,
  problems: Problem[],
): RecordInput[] {
  const batch: RecordInput[] = [];
  for (const row of rows) {
    try {
      batch.push({
        id: log.idOf(row)!,
        vector: log.readVector(row),
        ...decodeRecord(log.read(row)),
      });
    } catch (error) {
      problems.push(problemOf(error, at.segments));
    }
  }
  return batch;
}

/** Makes a new index from the segment files; the old one is kept beside it. */
export async function rebuildIndex(root: string): Promise<{ records: number; kept: string }> {
  const native = loadAddon().addon.storage;
  const at = directoriesOf(path.resolve(root));
  const lock = native.lock(at.lock);
  try {
    const { database, collections, problems } = await find(native, at, false);
    if (problems.length > 0) throw damagedFiles(problems[0]!);
    const rebuilt = new Map<number, CollectionManifest>();
    let records = 0;
    for (const manifest of collections) {
      const log = await openLog(native, at, database, manifest, false);
      const { count, digest, endRow, nextFile, sequence, files } = log.state();
      log.close();
      records += count;
      database.sequence = Math.max(database.sequence, sequence);
      rebuilt.set(manifest.number, {
        ...manifest,
        files: files.map(({ number, length }) => ({ number, length })),
        nextFile: Math.max(nextFile, manifest.nextFile),
        // What compaction dropped before is not known any more.
        horizon: sequence,
        count,
        digest,
        endRow,
        sequence,
      });
    }
    const kept = `${at.index}.damaged-${Date.now()}`;
    await writeIndex(native, at, { database, collections: rebuilt }, kept);
    return { records, kept };
  } finally {
    lock.release();
  }
}

function damagedFiles({ file, offset, message }: Problem): HiveGpuError {
  return hiveError("CORRUPT", message, { details: { file, offset } });
}
