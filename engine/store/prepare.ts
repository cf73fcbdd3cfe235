/** The folder of a database: making it, and reading what its manifest says of it. */
import { randomBytes } from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { hiveError } from "../errors.js";
import { fromNative } from "../native-errors.js";
import { type Directories, parseFileName } from "./directories.js";
import { writeIndex } from "./index-folder.js";
import { exists, ioError } from "./io-error.js";
import { type DatabaseManifest, type Manifest, formatVersion } from "./manifest.js";
import type { NativeLock, NativeStorage } from "./native-log.js";

/** How a write is acknowledged: see docs/reliability.md. */
export type Durability = "sync" | "os";

/** Options of a database on disk. */
export interface StorageOptions {
  durability: Durability;
  readOnly: boolean;
  /** undefined: as it was. */
  retainChanges: boolean | undefined;
}

/** Makes the folders and takes the lock. */
export async function prepareFolders(
  native: NativeStorage,
  directories: Directories,
): Promise<NativeLock> {
  const { root, segments } = directories;
  let lock: NativeLock;
  try {
    await fs.mkdir(root, { recursive: true });
    lock = native.lock(directories.lock);
  } catch (error) {
    throw isSystemError(error) ? ioError("create", root, error) : fromNative(error);
  }
  try {
    await fs.mkdir(segments, { recursive: true });
    await native.syncDirectory(path.dirname(root));
  } catch (error) {
    lock.release();
    throw isSystemError(error) ? ioError("create folders in", root, error) : fromNative(error);
  }
  return lock;
}

function isSystemError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === "string" && !code.startsWith("HIVE_");
}

/** For readers: there is a database. */
export async function assertExists({ root, index }: Directories): Promise<void> {
  if (await exists(path.join(index, "data.mdb"))) return;
  throw hiveError("STORAGE", `There is no database in ${root}.`, {
    hint: "Open it without { readOnly: true } once, which makes it.",
    details: { file: root },
  });
}

/** What the manifest says of the database. */
export async function readDatabase(
  manifest: Manifest,
  { root }: Directories,
  options: StorageOptions,
): Promise<DatabaseManifest> {
  const database = manifest.database();
  if (database === undefined) {
    throw hiveError("CORRUPT", `The index of the database in ${root} is empty.`, {
      details: { file: root },
    });
  }
  const { format, sequence, retainFrom } = database;
  if (format !== formatVersion) {
    const message = `The database in ${root} has format ${format}; this version reads format ${formatVersion}.`;
    throw hiveError("FORMAT_UNSUPPORTED", message, { details: { format } });
  }
  const { readOnly, retainChanges } = options;
  if (readOnly || retainChanges === undefined || retainChanges === (retainFrom !== null)) {
    return database;
  }
  const changed = { ...database, retainFrom: retainChanges ? sequence + 1 : null };
  await manifest.commit({ database: changed, collections: new Map() });
  return changed;
}

/** Makes the index of a new database, or nothing when there is one. */
export async function prepareIndex(native: NativeStorage, directories: Directories): Promise<void> {
  if (await exists(path.join(directories.index, "data.mdb"))) return;
  await assertNoSegments(directories);
  const database = {
    format: formatVersion,
    id: randomBytes(16).toString("hex"),
    sequence: 0,
    nextCollection: 1,
    retainFrom: null,
  };
  await writeIndex(native, directories, { database, collections: new Map() });
}

/** Segment files without an index are a damaged database, not a new one. */
async function assertNoSegments({ root, segments }: Directories): Promise<void> {
  const names = await fs.readdir(segments);
  if (!names.some((name) => parseFileName(name) !== undefined)) return;
  throw hiveError("CORRUPT", `The database in ${root} has segment files but no index.`, {
    hint: "Run `npx hive-gpu verify <dir> --rebuild` to make a new index from the segment files.",
    details: { file: root },
  });
}
