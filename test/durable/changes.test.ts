/** The change log, retention and compaction. */
import type { Change, Collection, Database } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { failure } from "../unit/helpers.js";
import { contents, folder, openAt, random, segmentFiles } from "./helpers.js";
import { apply } from "./operations.mjs";

async function all(db: Database, fromSeq = 1): Promise<Change[]> {
  const found: Change[] = [];
  for await (const change of db.changes({ fromSeq })) found.push(change);
  return found;
}

/** What a follower does. */
async function replay(changes: readonly Change[], into: Database): Promise<void> {
  for (const change of changes) {
    if (change.type === "create") {
      const { metric, dtype, dimensions } = change;
      await into.collection(change.collection, {
        metric,
        dtype,
        dimensions: dimensions ?? undefined,
      });
      continue;
    }
    if (change.type === "drop") {
      await into.drop(change.collection);
      continue;
    }
    const collection = await into.collection(change.collection);
    if (change.type === "upsert") await collection.upsert([change.record]);
    else if (change.type === "delete") await collection.delete({ ids: [change.id] });
    else await collection.clear();
  }
}

const options = { metric: "dot", dimensions: 8 } as const;
const digest = async (c: Collection) => (await c.stats()).digest;

describe("changes", () => {
  it.each(["f32", "f16", "bf16"] as const)(
    "replayed, give the same database (%s)",
    async (dtype) => {
      const db = await openAt(folder(), { retainChanges: true });
      const a = await db.collection("a", { ...options, dtype });
      const b = await db.collection("b", { ...options, dtype });
      for (let n = 0; n < 60; n++) {
        await Promise.all([apply(a, n), apply(b, n + 1000)]);
        if (n === 30) await db.compact();
      }
      await (await db.collection("gone")).upsert([{ id: "x", vector: [1] }]);
      await db.drop("gone");
      const changes = await all(db);
      const sequences = changes.map((one) => one.sequence);
      expect(sequences).toEqual(sequences.toSorted((x, y) => x - y));
      expect(sequences.at(-1)).toBe((await db.stats()).sequence);

      const follower = await openAt(folder());
      const half = Math.floor(sequences.length / 2);
      const cut = changes.findIndex((one) => one.sequence > sequences[half]!);
      await replay(changes.slice(0, cut), follower);
      await replay(await all(db, changes[cut]!.sequence), follower);
      expect(await follower.collections()).toEqual(["a", "b"]);
      for (const [name, one] of [
        ["a", a],
        ["b", b],
      ] as const) {
        const copy = await follower.collection(name);
        expect(await digest(copy)).toBe(await digest(one));
        expect(await contents(copy)).toEqual(await contents(one));
      }
    },
  );

  it("come with vectors, text and metadata, and deletes as ids", async () => {
    const at = folder();
    let db = await openAt(at);
    const c = await db.collection("a", { metric: "l2" });
    await c.upsert([
      { id: "x", vector: [1, 2], text: "t", metadata: { when: new Date(5) } },
      { id: "y", vector: [3, 4] },
    ]);
    await c.update([{ id: "y", text: "later" }]);
    await c.delete({ ids: ["x", "unknown"] });
    await c.clear();
    await db.close();
    db = await openAt(at, { readOnly: true });
    const created = { type: "create", metric: "l2", dtype: "f32", dimensions: null };
    expect(await all(db)).toEqual([
      { sequence: 1, collection: "a", ...created },
      {
        sequence: 2,
        collection: "a",
        type: "upsert",
        record: {
          id: "x",
          vector: new Float32Array([1, 2]),
          text: "t",
          metadata: { when: new Date(5) },
        },
      },
      {
        sequence: 2,
        collection: "a",
        type: "upsert",
        record: { id: "y", vector: new Float32Array([3, 4]) },
      },
      {
        sequence: 3,
        collection: "a",
        type: "upsert",
        record: { id: "y", vector: new Float32Array([3, 4]), text: "later" },
      },
      { sequence: 4, collection: "a", type: "delete", id: "x" },
      { sequence: 5, collection: "a", type: "clear" },
    ]);
    expect((await all(db, 4)).map((one) => one.type)).toEqual(["delete", "clear"]);
    expect(await all(db, 6)).toEqual([]);
    await failure(() => db.changes({ fromSeq: 0 }), "INVALID_ARGUMENT", /fromSeq/);
  });

  it("below the horizon are refused; retained ones survive compaction until released", async () => {
    const at = folder();
    let db = await openAt(at);
    let c = await db.collection("a", options);
    for (let n = 0; n < 40; n++) await apply(c, n);
    await db.compact();
    const error = await failure(() => all(db, 1), "CHANGES_TRUNCATED", /compaction/);
    const horizon = Number(error.details["horizon"]);
    await all(db, horizon + 1);
    await db.close();

    db = await openAt(at, { retainChanges: true });
    c = await db.collection("a", options);
    const from = (await db.stats()).sequence! + 1;
    for (let n = 40; n < 90; n++) await apply(c, n);
    const before = await all(db, from);
    await db.compact();
    expect(await all(db, from)).toEqual(before);
    await db.close();
    db = await openAt(at);
    expect(await all(db, from)).toEqual(before);
    c = await db.collection("a", options);
    const records = await contents(c);
    await db.truncateChanges({ before: (await db.stats()).sequence! });
    await db.compact();
    await failure(() => all(db, from), "CHANGES_TRUNCATED");
    expect(await contents(c)).toEqual(records);
  });

  it("are read to their end although compaction replaces the files meanwhile", async () => {
    const db = await openAt(folder());
    const c = await db.collection("a", options);
    for (let n = 0; n < 30; n++) await apply(c, n);
    const expected = await all(db);
    const reader = db.changes({ fromSeq: 1 });
    const found: Change[] = [(await reader.next()).value as Change];
    await db.compact();
    for await (const change of reader) found.push(change);
    expect(found).toEqual(expected);
  });
});

describe("compaction", () => {
  it(
    "gives space back, keeps rows and what readers see, and goes on by itself",
    { timeout: 180_000 },
    async () => {
      const at = folder();
      const db = await openAt(at);
      const c = await db.collection("a", { dimensions: 64 });
      const next = random(9);
      const vector = () => Array.from({ length: 64 }, next);
      const text = "x".repeat(4000);
      await c.upsert(Array.from({ length: 400 }, (_, i) => ({ id: `keep${i}`, vector: vector() })));
      const query = vector();
      const before = await c.searchMany([query], { k: 400, output: "arrays" });
      const scan = c.scan({ select: ["text"] });
      await scan.next();
      // 40 rounds of replacing 200 records: 36 MB, of which 0.9 MB live.
      for (let round = 0; round < 40; round++) {
        const records = Array.from({ length: 200 }, (_, i) => ({
          id: `r${i}`,
          vector: vector(),
          text,
        }));
        await c.upsert(records);
      }
      let seen = 1;
      for await (const one of scan) {
        expect(one.id).toMatch(/^keep/);
        seen++;
      }
      expect(seen).toBe(400);
      for (let i = 0; i < 1800 && (await c.stats()).fileBytes! > 16e6; i++) {
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
      expect((await c.stats()).fileBytes).toBeLessThan(16e6);
      await db.compact();
      expect((await c.stats()).fileBytes).toBeLessThan(1.5e6);
      await c.delete({ ids: Array.from({ length: 200 }, (_, i) => `r${i}`) });
      await db.compact();
      const after = await c.searchMany([query], { k: 400, output: "arrays" });
      expect(after.rows).toEqual(before.rows);
      await db.close();
      expect(segmentFiles(at).length).toBeLessThan(4);
      const reopened = await (await openAt(at)).collection("a");
      const again = await reopened.searchMany([query], { k: 400, output: "arrays" });
      expect(again.rows).toEqual(before.rows);
      expect(again.scores).toEqual(before.scores);
    },
  );
});
