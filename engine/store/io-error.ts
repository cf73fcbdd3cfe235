/** Typed errors for what Node's file functions throw. */
import fs from "node:fs/promises";
import { hiveError } from "../errors.js";

/** Whether there is a file or folder of that name. */
export async function exists(name: string): Promise<boolean> {
  try {
    await fs.access(name);
    return true;
  } catch (error) {
    if ((error as { code?: unknown }).code === "ENOENT") return false;
    throw ioError("look at", name, error);
  }
}

/** The error for a file operation that failed. */
export function ioError(doing: string, where: string, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  const full = /ENOSPC|EDQUOT|EFBIG/.test(text);
  return hiveError(full ? "NO_SPACE" : "STORAGE", `Cannot ${doing} ${where}: ${text}.`, {
    details: { file: where },
    cause,
  });
}
