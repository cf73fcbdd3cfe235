/** Shared by the tests of durable storage. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";
import type { Collection, Database, DatabaseOptions } from "hive-gpu";
import { openDatabase } from "hive-gpu";
import { afterEach, expect } from "vitest";

export const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

const folders: string[] = [];
const open: Database[] = [];

afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
  for (const made of folders.splice(0)) fs.rmSync(made, { recursive: true, force: true });
});

/** An empty folder that goes after the test. */
export function folder(): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "hive-gpu-test-"));
  folders.push(made);
  return made;
}

/** A database that is closed after the test. */
export async function openAt(at: string, options?: DatabaseOptions): Promise<Database> {
  const db = await openDatabase({ path: at, onWarning: () => undefined, ...options });
  open.push(db);
  return db;
}

export interface Plain {
  vector: number[];
  text?: string | undefined;
  metadata?: unknown;
}

/** All records in order, read through scan. */
export async function contents(collection: Collection): Promise<[string, Plain][]> {
  const found: [string, Plain][] = [];
  for await (const one of collection.scan({ select: ["vector", "text", "metadata"] })) {
    const { id, vector, text, metadata } = one;
    found.push([id, { vector: [...vector!], text, metadata }]);
  }
  return found;
}

/** Compares by every way of reading: count, scan, get, search. */
export async function expectContents(
  collection: Collection,
  wanted: ReadonlyMap<string, Plain>,
): Promise<void> {
  expect(await collection.count()).toBe(wanted.size);
  expect(await contents(collection)).toEqual([...wanted]);
  const ids = [...wanted.keys()];
  const read = await collection.get(ids);
  expect(read.map((one) => one?.text)).toEqual([...wanted.values()].map((one) => one.text));
  if (wanted.size === 0) return;
  const [id, { vector }] = [...wanted][Math.floor(wanted.size / 2)]!;
  const hits = await collection.search(vector, { k: wanted.size });
  expect(new Set(hits.map((hit) => hit.id))).toEqual(new Set(ids));
  expect(hits.map((hit) => hit.id)).toContain(id);
}

/** Segment files of a database. */
export function segmentFiles(at: string): string[] {
  const segments = path.join(at, "segments");
  return fs.readdirSync(segments).map((name) => path.join(segments, name));
}

/** A generator of numbers in [0, 1) that depends on the seed only. */
export function random(seed: number): () => number {
  let x = seed >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), 1 | x);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** Says in the test's output how much was done. */
export function report(line: string): void {
  process.stdout.write(`${line}\n`);
}
