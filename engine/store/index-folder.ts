/** Making the folder of the index. */
import fs from "node:fs/promises";
import type { Directories } from "./directories.js";
import { ioError } from "./io-error.js";
import { Manifest, type ManifestChange } from "./manifest.js";
import type { NativeStorage } from "./native-log.js";

/**
 * Makes an index that holds `content`, beside its place, and moves it there once it is on the
 * device: LMDB cannot open (and ends the process on) a file that was half made when power went.
 * @param keep where an index that is there is moved to
 */
export async function writeIndex(
  native: NativeStorage,
  { root, index }: Directories,
  content: ManifestChange,
  keep?: string,
): Promise<void> {
  const made = `${index}.new`;
  try {
    await fs.rm(made, { recursive: true, force: true });
    await fs.mkdir(made);
  } catch (error) {
    throw ioError("create", made, error);
  }
  const manifest = await Manifest.open(made, native, { readOnly: false, sync: true });
  try {
    await manifest.commit(content);
  } finally {
    await manifest.close();
  }
  await native.syncDirectory(made);
  try {
    if (keep === undefined) await fs.rm(index, { recursive: true, force: true });
    else await fs.rename(index, keep).catch(ignoreMissing);
    await fs.rename(made, index);
  } catch (error) {
    throw ioError("move", made, error);
  }
  await native.syncDirectory(root);
}

function ignoreMissing(error: unknown): void {
  if ((error as { code?: unknown }).code !== "ENOENT") throw error;
}
