/** What has no column, for whatever reason, is found all the same. */
import { afterAll, beforeAll, expect, it } from "vitest";
import { type Collection, type Database, limits, openDatabase } from "hive-gpu";

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

async function filled(name: string, metadatas: Record<string, unknown>[]): Promise<Collection> {
  const collection = await db.collection(name);
  const records = metadatas.map((metadata, i) => ({ id: `${i}`, vector: [i, 1], metadata }));
  await collection.upsert(records);
  return collection;
}

const deep = (value: unknown): Record<string, unknown> => {
  let made: unknown = value;
  for (let i = 0; i < 12; i++) made = { d: made };
  return made as Record<string, unknown>;
};

const ids = (from: number, count: number): string[] =>
  Array.from({ length: count }, (_, i) => `r${from + i}`);
const metadataOf = (from: number, count: number, round: number) =>
  Array.from({ length: count }, (_, i) => ({
    n: from + i,
    wide: (from + i) * 1e7,
    round,
    tag: [`t${(from + i) % 3}`],
  }));

it("paths beyond the limit", async () => {
  const count = limits.columnPathsMax + 50;
  const metadatas = Array.from({ length: count }, (_, n) => ({ [`p${n}`]: n, all: n % 2 }));
  const collection = await filled("paths", [{ all: 5 }, ...metadatas]);
  const last = `p${count - 1}`;
  expect(await collection.count({ [last]: count - 1 })).toBe(1);
  expect(await collection.count({ [last]: { $exists: true } })).toBe(1);
  expect(await collection.count({ [last]: null })).toBe(count);
  expect(await collection.count({ [last]: { $ne: count - 1 } })).toBe(count);
  expect(await collection.count({ all: 1, [last]: { $gt: 0 } })).toBe((count - 1) % 2);
  expect(await collection.count({ p0: 0 })).toBe(1);
  expect(await collection.count({ never: 1 })).toBe(0);
  expect((await collection.stats()).columns).toBeLessThanOrEqual(limits.columnPathsMax * 2);
});

it("deep paths, long keys, long strings, long and odd arrays", async () => {
  const path = Array.from({ length: 12 }, () => "d").join(".");
  const key = "k".repeat(limits.columnPathMax + 1);
  const text = "t".repeat(limits.columnStringMax + 1);
  const list = Array.from({ length: limits.columnListMax + 1 }, (_, i) => i);
  const collection = await filled("odd", [
    deep(7),
    deep("x"),
    { [key]: 1 },
    { s: text },
    { s: `${text}!` },
    { s: "short" },
    { l: list },
    { l: [1, [2], { x: 3 }] },
    { l: [1] },
  ]);
  expect(await collection.count({ [path]: 7 })).toBe(1);
  expect(await collection.count({ [path]: { $exists: true } })).toBe(2);
  expect(await collection.count({ [key]: 1 })).toBe(1);
  expect(await collection.count({ s: text })).toBe(1);
  expect(await collection.count({ s: { $regex: "t!$" } })).toBe(1);
  expect(await collection.count({ s: { $in: ["short", text] } })).toBe(2);
  expect(await collection.count({ s: { $gt: "s" } })).toBe(3);
  expect(await collection.count({ s: { $type: "string" } })).toBe(3);
  expect(await collection.count({ l: limits.columnListMax })).toBe(1);
  expect(await collection.count({ l: { $size: list.length } })).toBe(1);
  expect(await collection.count({ l: { $all: [1, [2]] } })).toBe(1);
  expect(await collection.count({ l: { $in: [1] } })).toBe(3);
  expect(await collection.count({ l: { $type: "array" } })).toBe(3);
  expect(await collection.count({ l: [1] })).toBe(1);
});

it("a filtered search is right after replacing, deleting, compacting and many segments", async () => {
  const dimensions = 4096;
  const collection = await db.collection("segments", { dimensions, metric: "dot" });
  const vectors = (from: number, count: number): Float32Array => {
    const all = new Float32Array(count * dimensions);
    for (let i = 0; i < count; i++) {
      all[i * dimensions] = from + i;
      all[i * dimensions + 1] = 1;
    }
    return all;
  };
  for (const [from, count, round] of [
    [0, 3000, 0],
    [3000, 3000, 0],
    [0, 3500, 1],
    [5000, 1500, 2],
  ] as const) {
    await collection.upsert({
      ids: ids(from, count),
      vectors: vectors(from, count),
      metadatas: metadataOf(from, count, round),
    });
  }
  expect((await collection.stats()).segments).toBeGreaterThan(1);
  const query = new Float32Array(dimensions);
  query[0] = 1;
  for (let pass = 0; pass < 3; pass++) {
    expect(await collection.count({ round: 1 })).toBe(3500);
    expect(await collection.count({ round: 0 })).toBe(1500);
    expect(await collection.count({ wide: { $gte: 6e10 } })).toBe(500);
    expect(await collection.count({ tag: "t1", n: { $lt: 9 } })).toBe(3);
    const filter = { n: { $gte: 2990, $lt: 3010 } };
    const hits = await collection.search(query, { k: 50, filter });
    expect(hits.map(({ metadata }) => metadata!["n"])).toEqual(
      Array.from({ length: 20 }, (_, i) => 3009 - i),
    );
    const many = await collection.searchMany([query, query], { k: 3, filter, select: [] });
    expect(many.map((one) => one.map(({ id }) => id))).toEqual([
      ["r3009", "r3008", "r3007"],
      ["r3009", "r3008", "r3007"],
    ]);
    // Compaction runs by itself meanwhile, and more so after this.
    await collection.upsert([{ id: `extra${pass}`, vector: vectors(0, 1), metadata: { n: -1 } }]);
  }
  expect(await collection.delete({ filter: { n: { $lt: 6000 } } })).toBe(6003);
  expect(await collection.count()).toBe(500);
});

it("search without a vector lists what passes, in order of insertion", async () => {
  const collection = await filled("list", [{ a: 1 }, { a: 2 }, { a: 1 }, {}]);
  const all = await collection.search(undefined, { filter: { a: 1 } });
  expect(all).toEqual([
    { id: "0", metadata: { a: 1 }, score: 0, distance: 0 },
    { id: "2", metadata: { a: 1 }, score: 0, distance: 0 },
  ]);
  const second = await collection.search(undefined, { filter: {}, k: 1, offset: 1, select: [] });
  expect(second.map(({ id }) => id)).toEqual(["1"]);
  const none = collection.search(undefined);
  await expect(none).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  const ranked = collection.search(undefined, { filter: {}, minScore: 0 });
  await expect(ranked).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
});
