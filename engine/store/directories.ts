/** Where the parts of a database on disk are. */
import path from "node:path";

/** Where the parts of a database are. */
export interface Directories {
  root: string;
  lock: string;
  index: string;
  segments: string;
}

/** The layout of a database's folder. */
export function directoriesOf(root: string): Directories {
  return {
    root,
    lock: path.join(root, "lock"),
    index: path.join(root, "index"),
    segments: path.join(root, "segments"),
  };
}

/** Collection and number that a segment file's name says, or undefined for other names. */
export function parseFileName(name: string): { collection: number; number: number } | undefined {
  const match = /^(\d{8,16})-(\d{8,16})\.seg$/.exec(name);
  return match === null ? undefined : { collection: Number(match[1]), number: Number(match[2]) };
}

const digits = (n: number): string => String(n).padStart(8, "0");

/** The name of a segment file. */
export function fileName(collection: number, number: number): string {
  return `${digits(collection)}-${digits(number)}.seg`;
}
