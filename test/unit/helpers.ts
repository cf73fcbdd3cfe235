/** Shared by the engine's tests. */
import { type Collection, type Database, HiveGpuError, openDatabase } from "hive-gpu";
import { afterEach, expect } from "vitest";

/** A backend was forced from outside: then neither device names nor the inline path are certain, and
 * long tests of what does not depend on the backend are left to the run without. */
export const forced = (process.env["HIVE_GPU_BACKEND"] ?? "") !== "";

const open: Database[] = [];

afterEach(async () => {
  for (const db of open.splice(0)) await db.close();
});

/** A database that is closed after the test. */
export async function database(): Promise<Database> {
  const db = await openDatabase({ onWarning: () => undefined });
  open.push(db);
  return db;
}

/** A collection in a database of its own. */
export async function collection(
  options?: Parameters<Database["collection"]>[1],
): Promise<Collection> {
  return (await database()).collection("test", options);
}

/** Numbers from -1 to 1 that depend on the seed only. */
export function noise(count: number, seed = 1): Float32Array {
  const out = new Float32Array(count);
  let x = seed >>> 0;
  for (let i = 0; i < count; i++) {
    x = (Math.imul(x, 1_664_525) + 1_013_904_223) >>> 0;
    out[i] = x / 2_147_483_648 - 1;
  }
  return out;
}

/** Awaits a rejection (or throw) with that code, and returns the error. */
export async function failure(
  call: () => unknown,
  code: string,
  message?: RegExp,
): Promise<HiveGpuError> {
  let caught: unknown;
  try {
    await call();
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(HiveGpuError);
  const error = caught as HiveGpuError;
  expect(`${error.code}: ${error.message}`).toMatch(new RegExp(`^${code}: `));
  if (message !== undefined) expect(error.message).toMatch(message);
  expect(error.hint).not.toBe("");
  return error;
}

/** Lets the event loop turn a few times. */
export async function turns(count = 3): Promise<void> {
  for (let i = 0; i < count; i++) await new Promise((resolve) => setImmediate(resolve));
}
