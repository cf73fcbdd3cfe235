import { limits } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, database, failure, noise, turns } from "./helpers.js";

const three = [
  { id: "a", vector: [1, 0, 0] },
  { id: "b", vector: [0, 1, 0] },
  { id: "c", vector: [0.5, 0.5, 0] },
];

describe("metadata", () => {
  const cycle: Record<string, unknown> = { list: [] };
  (cycle["list"] as unknown[]).push({ back: cycle });

  it.each([
    [{ a: { b: 10n } }, /metadata\.a\.b is a BigInt/],
    [{ f: () => 1 }, /metadata\.f is a function/],
    [{ tags: ["x", "y", Symbol("s")] }, /metadata\.tags\[2\] is a symbol/],
    [cycle, /metadata\.list\[0\]\.back refers to .*cycle/],
    [{ n: NaN }, /metadata\.n is NaN/],
    [{ m: new Map() }, /metadata\.m is an instance of Map/],
    [{ d: new Date(NaN) }, /metadata\.d is an invalid Date/],
    [{ list: [undefined] }, /metadata\.list\[0\] is undefined/],
    [{ "odd key": { x: Infinity } }, /metadata\["odd key"\]\.x is Infinity/],
    [[1], /must be a plain object/],
    ["text", /must be a plain object/],
    [new Date(), /must be a plain object/],
  ])("refuses %# with the path", async (metadata, message) => {
    const c = await collection();
    const records = [{ id: "a", vector: [1], metadata: metadata as never }];
    const error = await failure(() => c.upsert(records), "INVALID_METADATA", message);
    expect(error.message).toMatch(/record 0 \("a"\)/);
    expect(await c.count()).toBe(0);
  });

  it("refuses metadata that is too deep or unfolds without end", async () => {
    let deep: Record<string, unknown> = {};
    for (let i = 0; i < limits.metadataDepthMax + 1; i++) deep = { deep };
    const c = await collection();
    await failure(() => c.upsert([{ vector: [1], metadata: deep }]), "LIMIT_EXCEEDED", /nested/);
    let wide: Record<string, unknown> = {};
    for (let i = 0; i < 50; i++) wide = { a: wide, b: wide };
    await failure(() => c.upsert([{ vector: [1], metadata: wide }]), "LIMIT_EXCEEDED", /values/);
    const text = "é".repeat(limits.recordBytesMax / 2);
    await failure(() => c.upsert([{ vector: [1], text }]), "LIMIT_EXCEEDED", /bytes/);
    await failure(() => c.upsert([{ vector: [1], text: 1 as never }]), "INVALID_ARGUMENT", /text/);
  });

  it("keeps __proto__ keys as data and touches no prototype", async () => {
    const c = await collection();
    const metadata = JSON.parse('{"__proto__":{"admin":true},"constructor":1}') as object;
    await c.upsert([{ id: "a", vector: [1], metadata: metadata as never }]);
    const back = (await c.get("a"))!.metadata!;
    expect(Object.keys(back)).toEqual(["__proto__", "constructor"]);
    expect(JSON.stringify(back)).toBe(JSON.stringify(metadata));
    expect(Object.getPrototypeOf(back)).toBe(Object.prototype);
    expect(({} as Record<string, unknown>)["admin"]).toBeUndefined();
  });
});

describe("closed and aborted", () => {
  it("answers CLOSED after close and drop", async () => {
    const db = await database();
    const c = await db.collection("a");
    await c.upsert(three);
    expect(await db.drop("a")).toBe(true);
    expect(await db.drop("a")).toBe(false);
    await failure(() => c.search([1, 0, 0]), "CLOSED", /dropped/);
    const d = await db.collection("a");
    await d.upsert(three);
    await db.close();
    await db.close();
    await failure(() => d.search([1, 0, 0]), "CLOSED", /closed/);
    await failure(() => d.upsert(three), "CLOSED");
    await failure(() => d.count(), "CLOSED");
    await failure(() => d.get("a"), "CLOSED");
    await failure(() => db.collection("b"), "CLOSED");
    await failure(() => db.stats(), "CLOSED");
  });

  it("settles everything that is under way when the database closes", async () => {
    const db = await database();
    const c = await db.collection("a", { dimensions: 128 });
    await c.upsert({ vectors: noise(30_000 * 128) });
    const query = noise(128, 3);
    const running = [
      c.upsert({ vectors: noise(30_000 * 128, 2) }),
      c.upsert([{ vector: query }]),
      ...Array.from({ length: 5 }, (_, i) => c.search(query, { k: 5 + (i % 2) })),
      c.searchMany(noise(300 * 128)),
    ];
    const settled = Promise.allSettled(running);
    await turns(1);
    await db.close();
    for (const one of await settled) {
      if (one.status === "rejected") expect(one.reason).toMatchObject({ code: "CLOSED" });
    }
  });
});
