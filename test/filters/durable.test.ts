/** Filters over a collection that was closed and opened again: columns are built anew. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { openDatabase } from "hive-gpu";

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(os.tmpdir(), "hive-filters-"));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

const filters = [
  { n: { $gte: 40 } },
  { tags: "t1" },
  { s: { $regex: "^s[12]$" } },
  { note: { $contains: "needle" } },
  { when: { $lt: new Date(5000) }, ok: true },
  { s: null },
  { "deep.er": { $in: [1, 2] } },
];

it("answers the same before and after, and after more writes", async () => {
  const before: number[] = [];
  {
    await using db = await openDatabase({ path: folder });
    const collection = await db.collection("a");
    const records = Array.from({ length: 60 }, (_, n) => ({
      id: `r${n}`,
      vector: [n, 1],
      metadata: {
        n,
        ok: n % 2 === 0,
        tags: [`t${n % 3}`],
        when: new Date(n * 1000),
        deep: { er: n % 5 },
        note: `${"hay ".repeat(100)}${n % 7 === 0 ? "needle" : ""}`,
        ...(n % 4 === 0 ? {} : { s: `s${n % 4}` }),
      },
    }));
    await collection.upsert(records.slice(0, 40));
    await collection.upsert(records.slice(20));
    await collection.delete({ filter: { n: { $lt: 3 } } });
    for (const filter of filters) before.push(await collection.count(filter));
    expect(before.every((count) => count > 0)).toBe(true);
  }
  await using db = await openDatabase({ path: folder });
  const collection = await db.collection("a");
  const after: number[] = [];
  for (const filter of filters) after.push(await collection.count(filter));
  expect(after).toEqual(before);
  expect((await collection.explain({ filter: { n: 5 } })).strategy).toBe("gather");
  await collection.upsert([{ id: "new", vector: [1, 2], metadata: { n: 1000, tags: ["t1"] } }]);
  expect(await collection.count({ n: { $gte: 40 } })).toBe(before[0]! + 1);
  expect(await collection.count({ tags: "t1" })).toBe(before[1]! + 1);
});
