import * as hive from "hive-gpu";
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { collection, database, failure, forced, noise, turns } from "./helpers.js";

describe("database", () => {
  it("opens, lists, re-opens and drops collections", async () => {
    const db = await database();
    const a = await db.collection("a", { metric: "l2", dtype: "f16", dimensions: 4 });
    expect([a.name, a.metric, a.dtype, a.dimensions]).toEqual(["a", "l2", "f16", 4]);
    expect(await db.collection("a")).toBe(a);
    expect(await db.collection("a", { metric: "l2", dimensions: 4 })).toBe(a);
    await failure(() => db.collection("a", { metric: "dot" }), "ALREADY_EXISTS", /metric l2.*dot/);
    await failure(() => db.collection("a", { dimensions: 5 }), "ALREADY_EXISTS", /4.*5/);
    await failure(() => db.collection("a", { dtype: "f32" }), "ALREADY_EXISTS", /f16.*f32/);
    const b = await db.collection("b");
    expect([b.metric, b.dtype, b.dimensions]).toEqual(["cosine", "f32", undefined]);
    await b.upsert([{ vector: [1, 2, 3] }]);
    expect(b.dimensions).toBe(3);
    await failure(() => db.collection("b", { dimensions: 2 }), "ALREADY_EXISTS", /3.*2/);
    expect(await db.collections()).toEqual(["a", "b"]);
    expect(await db.stats()).toMatchObject({ collections: 2, records: 1 });
    await db.drop("b");
    expect(await db.collections()).toEqual(["a"]);
  });

  it("describes its device", async () => {
    const { device } = await database();
    expect(device.reasons.length).toBeGreaterThan(0);
    expect(device.vramUsagePercent()).toBeGreaterThanOrEqual(0);
    expect(device.vramUsagePercent()).toBeLessThanOrEqual(100);
    expect(device.hasAvailableVram(0)).toBe(true);
    expect(device.hasAvailableVram(2 ** 60)).toBe(false);
    if (!forced) expect(device.backend).toBe("cpu");
  });

  it("takes a device by name and refuses one that is not there", async () => {
    const db = await hive.openDatabase({ device: "cpu:0" });
    expect(db.device).toMatchObject({ backend: "cpu", forced: true });
    await db.close();
    const error = await failure(
      () => hive.openDatabase({ device: { backend: "metal" } }),
      "BACKEND_UNAVAILABLE",
    );
    expect(error).toBeInstanceOf(hive.DeviceError);
    await failure(
      () => hive.openDatabase({ device: "cpu:0000:0a:00.0" }),
      "NO_DEVICE",
      /0000:0a:00\.0.*no PCI bus ids/,
    );
  });

  it("holds a collection to the dimensions it is given while its first records come in", async () => {
    const db = await database();
    const c = await db.collection("late");
    const load = c.upsert({ vectors: new Float32Array(3_000_000), dimensions: 300 });
    const caught = failure(() => load, "DIMENSION_MISMATCH", /300.*400/);
    await db.collection("late", { dimensions: 400 });
    await caught;
    expect([c.dimensions, await c.count()]).toEqual([400, 0]);
  });

  it("closes with Symbol.asyncDispose", async () => {
    const db = await hive.openDatabase();
    await db[Symbol.asyncDispose]();
    await failure(() => db.collections(), "CLOSED");
  });

  it("is one engine for import and require", async () => {
    const required = createRequire(import.meta.url)("hive-gpu") as typeof hive;
    expect(required.HiveGpuError).toBe(hive.HiveGpuError);
    expect(Object.keys(required).toSorted()).toEqual(Object.keys(hive).toSorted());
  });
});

describe("records", () => {
  it("replaces by id and moves the record to the end", async () => {
    const c = await collection();
    await c.upsert([
      { id: "a", vector: [1, 0], text: "one", metadata: { n: 1 } },
      { id: "b", vector: [1, 0] },
    ]);
    await c.upsert([{ id: "a", vector: [1, 0], text: "two" }]);
    expect(await c.get("a")).toEqual({ id: "a", text: "two" });
    expect((await c.search([1, 0])).map((hit) => hit.id)).toEqual(["b", "a"]);
    expect(await c.count()).toBe(2);
  });

  it("makes ids, and returns them in order", async () => {
    const c = await collection();
    const ids = await c.upsert([{ vector: [1] }, { id: "x", vector: [2] }, { vector: [3] }]);
    expect(ids[1]).toBe("x");
    expect(ids[0]).toMatch(/^[\da-f-]{36}$/);
    expect((await c.get(ids)).map((record) => record?.id)).toEqual(ids);
    expect(await c.upsert([])).toEqual([]);
  });

  it("takes columns", async () => {
    const c = await collection();
    const ids = await c.upsert({
      vectors: Float32Array.of(1, 0, 0, 1),
      dimensions: 2,
      texts: ["x", undefined],
      metadatas: [undefined, { n: 2 }],
    });
    expect(await c.get(ids)).toEqual([
      { id: ids[0], text: "x" },
      { id: ids[1], metadata: { n: 2 } },
    ]);
  });

  it("updates text or metadata and keeps the vector bit by bit", async () => {
    const c = await collection({ dtype: "i8" });
    const vector = noise(33);
    await c.upsert([{ id: "a", vector, text: "t", metadata: { x: 1, y: 2 } }]);
    const before = await c.get("a", { select: ["vector"] });
    await c.update([{ id: "a", metadata: { z: 3 } }]);
    expect(await c.get("a")).toEqual({ id: "a", text: "t", metadata: { z: 3 } });
    await c.update([
      { id: "a", text: "first" },
      { id: "a", metadata: { w: 1 } },
      { id: "a", text: "second" },
    ]);
    expect(await c.get("a")).toEqual({ id: "a", text: "second", metadata: { w: 1 } });
    expect(await c.get("a", { select: ["vector"] })).toEqual(before);
    const nothing = await collection();
    await failure(() => nothing.update([{ id: "a", text: "x" }]), "NOT_FOUND", /"a"/);
    await nothing.update([]);
  });

  it("does not keep or change its input", async () => {
    const c = await collection();
    const metadata = { list: [1], at: new Date(5) };
    const vector = [1, 0];
    const records = [{ id: "a", vector, metadata }];
    const copy = structuredClone(records);
    await c.upsert(records);
    expect(records).toEqual(copy);
    metadata.list.push(2);
    metadata.at.setTime(6);
    vector[0] = 9;
    expect((await c.get("a"))!.metadata).toEqual({ list: [1], at: new Date(5) });
    const [hit] = await c.search([1, 0]);
    (hit!.metadata!["list"] as number[]).push(3);
    expect((await c.search([1, 0]))[0]!.metadata!["list"]).toEqual([1]);
  });

  it("selects parts", async () => {
    const c = await collection();
    await c.upsert([{ id: "a", vector: [1, 0], text: "t", metadata: { n: 1 } }]);
    const score = { id: "a", score: 1, distance: 0 };
    const search = async (select?: hive.RecordPart[]) => (await c.search([1, 0], { select }))[0];
    expect(await search()).toEqual({ ...score, text: "t", metadata: { n: 1 } });
    expect(await search([])).toEqual(score);
    expect(await search(["text"])).toEqual({ ...score, text: "t" });
    expect(await search(["vector", "metadata"])).toEqual({
      ...score,
      vector: Float32Array.of(1, 0),
      metadata: { n: 1 },
    });
  });

  it("clears and goes on", async () => {
    const c = await collection();
    await c.clear();
    await c.upsert([{ id: "a", vector: [1, 0], text: "t" }]);
    const first = await c.searchMany([[1, 0]], { k: 1, output: "arrays" });
    await c.clear();
    expect(await c.count()).toBe(0);
    expect(await c.search([1, 0])).toEqual([]);
    expect(await c.get("a")).toBeUndefined();
    await failure(() => c.upsert([{ vector: [1] }]), "DIMENSION_MISMATCH");
    await c.upsert([{ id: "a", vector: [0, 1] }]);
    const second = await c.searchMany([[1, 0]], { k: 1, output: "arrays" });
    expect(second.rows[0]).toBeGreaterThan(first.rows[0]!);
    expect((await c.stats()).records).toBe(1);
  });

  it("answers an empty collection", async () => {
    const c = await collection();
    expect(await c.search([1, 2, 3])).toEqual([]);
    expect(await c.searchMany([[1], [2]])).toEqual([[], []]);
    expect(await c.count()).toBe(0);
    expect(await c.delete({ ids: ["a"] })).toBe(0);
    expect((await c.explain()).liveRows).toBe(0);
    for await (const record of c.scan()) expect(record).toBeUndefined();
    expect(await c.stats()).toMatchObject({ records: 0, dimensions: undefined });
  });

  it("scans in order of insertion on one snapshot", async () => {
    const c = await collection();
    const ids = await c.upsert(
      Array.from({ length: 50 }, (_, i) => ({ id: `r${i}`, vector: [i] })),
    );
    const seen: string[] = [];
    for await (const record of c.scan({ batchSize: 7, select: ["vector"] })) {
      if (seen.length === 3) {
        await c.delete({ ids: ["r10"] });
        await c.upsert([
          { id: "r20", vector: [-1] },
          { id: "new", vector: [0] },
        ]);
      }
      expect(record.vector![0]).toBe(Number(record.id.slice(1)));
      seen.push(record.id);
    }
    expect(seen).toEqual(ids);
    for await (const record of c.scan()) {
      expect(record.id).toBe("r0");
      break;
    }
    await turns();
    expect((await c.stats()).retainedRows).toBe(0);
  });
});
