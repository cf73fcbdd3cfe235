/** The child process of cli-storage.ts. */
import type { StorageAnswer, StorageTask } from "./cli-storage.js";
import { openDatabase } from "./open-database.js";
import { HiveGpuError } from "./errors.js";
import { fromNative } from "./native-errors.js";
import { rebuildIndex, salvageDatabase } from "./store/repair.js";
import { verifyDatabase } from "./store/verify.js";

async function copyOf(root: string, target: string): Promise<number> {
  const db = await openDatabase({ path: root, device: "cpu" });
  try {
    return await db.backup(target);
  } finally {
    await db.close();
  }
}

async function run({ what, root, target, useIndex }: StorageTask): Promise<unknown> {
  switch (what) {
    case "verify":
      return verifyDatabase(root, useIndex);
    case "salvage":
      return salvageDatabase(root, target!, useIndex);
    case "rebuild":
      return rebuildIndex(root);
    default:
      return copyOf(root, target!);
  }
}

async function main(): Promise<void> {
  let answer: StorageAnswer;
  try {
    answer = { ok: true, value: await run(JSON.parse(process.argv[2]!) as StorageTask) };
  } catch (error) {
    const made = fromNative(error);
    const known = made instanceof HiveGpuError ? made : undefined;
    const message = made instanceof Error ? made.message : String(made);
    answer = { ok: false, code: known?.code ?? "INTERNAL", message, hint: known?.hint ?? "" };
  }
  process.send!(answer, () => process.disconnect());
}

void main();
