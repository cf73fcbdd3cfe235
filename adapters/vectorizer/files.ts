/** Looking at files before they are read. */
import { open } from "node:fs/promises";
import path from "node:path";
import { vecdbName } from "./vecdb-format.js";

/** The parsed JSON; undefined when it is none. */
export function parseOr(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The first bytes of a file; fewer when it is shorter. */
export async function firstBytes(file: string, count: number): Promise<Buffer> {
  const handle = await open(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(count), 0, count, 0);
    return buffer.subarray(0, bytesRead);
  } finally {
    await handle.close();
  }
}

/** Archives begin with a local header, or with their end when they are empty. */
export async function isZip(file: string): Promise<boolean> {
  if (file.endsWith(path.extname(vecdbName))) return true;
  const start = await firstBytes(file, 4);
  return start.equals(Buffer.from("PK\u0003\u0004")) || start.equals(Buffer.from("PK\u0005\u0006"));
}
