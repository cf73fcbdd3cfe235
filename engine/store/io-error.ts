/** Typed errors for what Node's file functions throw. */
import { hiveError } from "../errors.js";

/** The error for a file operation that failed. */
export function ioError(doing: string, where: string, cause: unknown): Error {
  const text = cause instanceof Error ? cause.message : String(cause);
  const full = /ENOSPC|EDQUOT|EFBIG/.test(text);
  return hiveError(full ? "NO_SPACE" : "STORAGE", `Cannot ${doing} ${where}: ${text}.`, {
    details: { file: where },
    cause,
  });
}
