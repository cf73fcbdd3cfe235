/**
 * Every file operation of ours is made to fail in turn, once and from then on, with EIO and with
 * ENOSPC: the call gets a typed error, and the database is usable or says that it has to be opened
 * again; then everything acknowledged is there. HIVE_TEST_FAULT_STEP=1 tries every operation.
 */
import { createRequire } from "node:module";
import path from "node:path";
import { HiveGpuError, type Database } from "hive-gpu";
import { afterEach, describe, expect, it } from "vitest";
import { contents, folder, openAt, report, root } from "./helpers.js";
import { forced } from "../unit/helpers.js";
import { Model, apply } from "./operations.mjs";

const { loadAddon } = createRequire(import.meta.url)(
  path.join(root, "dist", "cjs", "engine", "native.js"),
) as typeof import("../../dist/cjs/engine/native.js");
const { storage } = loadAddon().addon;

const step = Number(process.env["HIVE_TEST_FAULT_STEP"] ?? 30);
const operations = 24;
const codes = new Set(["STORAGE", "NO_SPACE", "CORRUPT"]);
const errors = { EIO: 5, ENOSPC: 28 };

afterEach(() => storage.setFault(0, 0, false));

const options = { metric: "dot", dimensions: 8 } as const;

/** Opens and writes; a failure of one call does not end it. Returns what may be there. */
async function scenario(at: string): Promise<{ models: Model[]; failures: HiveGpuError[] }> {
  const failures: HiveGpuError[] = [];
  const model = new Model();
  const note = (error: unknown): void => {
    expect(error).toBeInstanceOf(HiveGpuError);
    failures.push(error as HiveGpuError);
  };
  // States that the files may be in: a call that failed has happened as a whole or not at all.
  let models = [model];
  let db: Database | undefined;
  try {
    db = await openAt(at);
    const collection = await db.collection("test", options);
    for (let n = 0; n < operations; n++) {
      try {
        await apply(collection, n);
        models = models.map((one) => one.advance(n + 1));
      } catch (error) {
        note(error);
        // Kept from here on: with the operation, and without it.
        const skipped = models.map((one) => {
          const copy = one.clone();
          copy.count = n + 1;
          return copy;
        });
        models = [...skipped, ...models.map((one) => one.advance(n + 1))];
        break;
      }
      if (n % 8 === 7) await db.compact().catch(note);
    }
  } catch (error) {
    note(error);
  }
  await db?.close().catch(note);
  return { models, failures };
}

const shape = (model: Model): string =>
  JSON.stringify(
    [...model.records].map(([id, { vector, text, metadata }]) => [id, { vector, text, metadata }]),
  );

describe.skipIf(forced)("a failing file operation", () => {
  it("is found in every place", { timeout: 3_600_000 }, async () => {
    storage.setFault(0, 0, false);
    await scenario(folder());
    const total = storage.operations();
    expect(total).toBeGreaterThan(operations);
    let failed = 0;
    let survived = 0;
    const first = 1 + Math.floor(Math.random() * step);
    for (const [name, errno] of Object.entries(errors)) {
      for (const repeat of [false, true]) {
        for (let at = first; at <= total; at += step) {
          const dir = folder();
          storage.setFault(at, errno, repeat);
          const { models, failures } = await scenario(dir);
          storage.setFault(0, 0, false);
          const where = `operation ${at} of ${total}, ${name}, ${repeat ? "repeated" : "once"}`;
          for (const failure of failures) {
            expect(codes, `${where}: ${failure.message}`).toContain(failure.code);
            if (errno === 28 && failure.details["errno"] === 28)
              expect(failure.code).toBe("NO_SPACE");
          }
          if (failures.length > 0) failed++;
          else survived++;
          const db = await openAt(dir);
          const collection = await db.collection("test", options);
          const found = JSON.stringify(await contents(collection));
          expect(models.map(shape), where).toContain(found);
          await apply(collection, operations + 1);
          await db.close();
        }
      }
    }
    report(`${total} operations, ${failed} failures reported, ${survived} without consequence`);
    expect(failed).toBeGreaterThan(0);
  });

  it("leaves the database usable: the next call succeeds", async () => {
    const db = await openAt(folder());
    const collection = await db.collection("test", options);
    const model = new Model();
    for (let n = 0; n < 10; n++) await apply(collection, n);
    model.advance(10);
    // Writing fails; syncing would not be forgiven.
    storage.setFault(1, errors.ENOSPC, false);
    await expect(
      collection.upsert([{ id: "x", vector: [1, 2, 3, 4, 5, 6, 7, 8] }]),
    ).rejects.toMatchObject({
      code: "NO_SPACE",
      retryable: true,
    });
    storage.setFault(0, 0, false);
    expect(JSON.stringify(await contents(collection))).toBe(shape(model));
    await apply(collection, 10);
    model.advance(11);
    expect(JSON.stringify(await contents(collection))).toBe(shape(model));
  });

  it("a failed sync is final: writes are refused until the database is opened again", async () => {
    const at = folder();
    const db = await openAt(at);
    const collection = await db.collection("test", options);
    await apply(collection, 0);
    storage.setFault(2, errors.EIO, false);
    const vector = [1, 2, 3, 4, 5, 6, 7, 8];
    await expect(collection.upsert([{ id: "x", vector }])).rejects.toMatchObject({
      code: "STORAGE",
    });
    storage.setFault(0, 0, false);
    const refused = collection.upsert([{ id: "x", vector }]);
    await expect(refused).rejects.toMatchObject({ code: "STORAGE", message: /open the database/ });
    expect(await collection.count()).toBe(new Model().advance(1).records.size);
    await db.close();
    const again = await openAt(at);
    await (await again.collection("test")).upsert([{ id: "x", vector }]);
  });
});
