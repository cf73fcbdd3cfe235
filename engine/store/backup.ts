/** Copies of a database: made while writing goes on, and opened like any other database. */
import fs from "node:fs/promises";
import path from "node:path";
import { hiveError } from "../errors.js";
import { directoriesOf, fileName } from "./directories.js";
import { writeIndex } from "./index-folder.js";
import type { CollectionManifest } from "./manifest.js";
import { ioError } from "./io-error.js";
import type { DatabaseStorage } from "./storage.js";

/** Copies `bytes` bytes of a file and waits until they are on the device. */
async function copy(from: string, to: string, bytes: number): Promise<void> {
  // Copies by reference where the file system can.
  await fs.copyFile(from, to, fs.constants.COPYFILE_FICLONE | fs.constants.COPYFILE_EXCL);
  const file = await fs.open(to, "r+");
  try {
    await file.truncate(bytes);
    await file.sync();
  } finally {
    await file.close();
  }
}

async function assertEmpty(target: string): Promise<void> {
  const names = await fs.readdir(target).catch(() => []);
  if (names.length === 0) return;
  throw hiveError("ALREADY_EXISTS", `The folder ${target} is not empty.`, {
    hint: "Name a folder that is empty or does not exist.",
    details: { file: target },
  });
}

/**
 * Copies the database as it is at one moment into an empty folder. The index is written last: a
 * copy that was interrupted does not open.
 * @returns the sequence of the last commit in it
 */
export async function backup(storage: DatabaseStorage, target: string): Promise<number> {
  const to = directoriesOf(path.resolve(target));
  await assertEmpty(to.root);
  await storage.hold();
  try {
    const { database, collections, events } = storage.committedState();
    await fs.mkdir(to.segments, { recursive: true });
    for (const { number, files } of collections) {
      for (const file of files) {
        const name = fileName(number, file.number);
        const from = path.join(storage.directories.segments, name);
        await copy(from, path.join(to.segments, name), file.length);
      }
    }
    await storage.native.syncDirectory(to.segments);
    const entries = new Map<number, CollectionManifest>(
      collections.map((one) => [one.number, one]),
    );
    const content = { database, collections: entries, events: new Map(events) };
    await writeIndex(storage.native, to, content);
    await storage.native.syncDirectory(path.dirname(to.root));
    return database.sequence;
  } catch (error) {
    if (error instanceof Error && "code" in error && typeof error.code === "string") {
      if (/^E[A-Z]+$/.test(error.code)) throw ioError("copy to", to.root, error);
    }
    throw error;
  } finally {
    storage.release();
  }
}
