/** Opening the storage that the options of `openDatabase` ask for. */
import type { DatabaseOptions } from "../open-database.js";
import { hiveError } from "../errors.js";
import { checkBoolean, checkWord, show } from "../options.js";
import type { NativeStorage } from "./native-log.js";
import { DatabaseStorage } from "./storage.js";

const durabilities = ["sync", "os"] as const;

/** The storage that the options ask for; undefined for a database in memory. */
export async function openStorage(
  native: NativeStorage,
  options: DatabaseOptions,
): Promise<DatabaseStorage | undefined> {
  const { path, durability = "sync", readOnly = false, retainChanges } = options;
  for (const name of ["durability", "readOnly", "retainChanges"] as const) {
    if (path !== undefined || options[name] === undefined) continue;
    const message = `openDatabase: ${name} needs a path.`;
    throw hiveError("INVALID_ARGUMENT", message, { details: { option: name } });
  }
  if (path === undefined) return undefined;
  if (typeof path !== "string" || path === "" || path.includes("\0")) {
    const message = `openDatabase: path must name a folder, got ${show(path)}.`;
    throw hiveError("INVALID_ARGUMENT", message, { details: { option: "path" } });
  }
  checkWord("openDatabase", "durability", durability, durabilities);
  checkBoolean("openDatabase", "readOnly", readOnly);
  checkBoolean("openDatabase", "retainChanges", retainChanges);
  return DatabaseStorage.open(native, path, { durability, readOnly, retainChanges });
}
