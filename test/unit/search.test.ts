import type { Metric, SearchOptions, WriteProgress, Hit } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, forced, noise } from "./helpers.js";

async function metric(name: Metric): Promise<Hit[]> {
  const c = await collection({ metric: name });
  await c.upsert([
    { id: "a", vector: [3, 4] },
    { id: "b", vector: [0, 1] },
  ]);
  return c.search([0, 0.5]);
}

function stop(): never {
  throw new RangeError("stop");
}

describe("search", () => {
  it("converts values to score and distance", async () => {
    expect(await metric("cosine")).toMatchObject([
      { id: "b", score: 1, distance: 0 },
      { id: "a", score: expect.closeTo(0.8, 6), distance: expect.closeTo(0.2, 6) },
    ]);
    expect(await metric("dot")).toMatchObject([
      { id: "a", score: 2, distance: -2 },
      { id: "b", score: 0.5, distance: -0.5 },
    ]);
    const l2 = Math.hypot(3, 3.5);
    expect(await metric("l2")).toMatchObject([
      { id: "b", score: 1 / 1.5, distance: 0.5 },
      { id: "a", score: expect.closeTo(1 / (1 + l2), 6), distance: expect.closeTo(l2, 5) },
    ]);
    expect(await metric("l1")).toMatchObject([
      { id: "b", distance: 0.5 },
      { id: "a", distance: 6.5, score: 1 / 7.5 },
    ]);
    expect(await metric("linf")).toMatchObject([{ id: "b" }, { id: "a", distance: 3.5 }]);
  });

  it("searches by a record's vector and includes the record", async () => {
    const c = await collection();
    await c.upsert([
      { id: "a", vector: [1, 0] },
      { id: "b", vector: [1, 1] },
    ]);
    expect((await c.search({ id: "b" })).map((hit) => hit.id)).toEqual(["b", "a"]);
  });

  it("applies minScore to the k best", async () => {
    const c = await collection();
    await c.upsert([
      { id: "a", vector: [1, 0] },
      { id: "b", vector: [1, 1] },
      { id: "c", vector: [-1, 0] },
    ]);
    const ids = async (options: SearchOptions) =>
      (await c.search([1, 0], options)).map((hit) => hit.id);
    expect(await ids({ minScore: 0.5 })).toEqual(["a", "b"]);
    expect(await ids({ minScore: 0.5, offset: 1 })).toEqual(["b"]);
    expect(await ids({ minScore: 2 })).toEqual([]);
    const many = await c.searchMany([[1, 0]], { k: 3, minScore: 0.5, output: "arrays" });
    expect([many.counts[0], many.ids]).toEqual([2, ["a", "b", ""]]);
  });

  it("gives the same from search, searchMany and arrays", async () => {
    const c = await collection({ dimensions: 24 });
    const ids = Array.from({ length: 700 }, (_, i) => `r${i}`);
    await c.upsert({ ids, vectors: noise(700 * 24) });
    const queries = noise(9 * 24, 7);
    const hits = await c.searchMany(queries, { k: 5, offset: 2 });
    const arrays = await c.searchMany(queries, { k: 5, offset: 2, output: "arrays" });
    expect(arrays.k).toBe(5);
    for (let q = 0; q < 9; q++) {
      const one = await c.search(queries.subarray(q * 24, (q + 1) * 24), { k: 5, offset: 2 });
      expect(hits[q]).toEqual(one);
      expect(arrays.ids.slice(q * 5, q * 5 + 5)).toEqual(one.map((hit) => hit.id));
      expect(Array.from(arrays.scores.subarray(q * 5, q * 5 + 5))).toEqual(
        one.map((hit) => hit.score),
      );
      expect(arrays.counts[q]).toBe(5);
    }
    const listed = await c.searchMany([Array.from(queries.slice(0, 24))], { k: 5, offset: 2 });
    expect(listed[0]).toEqual(hits[0]);
    expect(await c.searchMany([])).toEqual([]);
    expect(await c.searchMany(new Float32Array(0), { output: "arrays" })).toMatchObject({
      ids: [],
    });
    const wide = await c.searchMany(queries.subarray(0, 24), { k: 900, output: "arrays" });
    expect([wide.ids.length, wide.counts[0], wide.rows[899]]).toEqual([900, 700, -1]);
  });

  it("returns many hits with their vectors", async () => {
    const c = await collection({ dimensions: 8 });
    const ids = Array.from({ length: 3000 }, (_, i) => `r${i}`);
    const vectors = noise(3000 * 8);
    await c.upsert({ ids, vectors });
    const hits = await c.search(noise(8, 3), { k: 2500, select: ["vector"] });
    expect(hits).toHaveLength(2500);
    for (const { id, vector } of hits) {
      const at = Number(id.slice(1)) * 8;
      expect(vector).toEqual(vectors.slice(at, at + 8));
    }
  });

  it("explains the plan", async () => {
    const c = await collection({ dimensions: 8 });
    await c.upsert({ vectors: noise(80) });
    const plan = await c.explain({ k: 3 });
    expect(plan).toMatchObject({ rows: 10, liveRows: 10 });
    expect(plan.reasons.length).toBeGreaterThan(0);
    if (!forced) expect(plan.path).toBe("inline");
  });
});

describe("progress", () => {
  it("reports, and an error thrown by the listener stops the write", async () => {
    const c = await collection({ dimensions: 256 });
    const seen: WriteProgress[] = [];
    const onProgress = (progress: WriteProgress) => void seen.push(progress);
    await c.upsert({ vectors: noise(20_000 * 256) }, { onProgress });
    expect(seen.at(-1)).toEqual({ done: 20_000, total: 20_000 });
    expect(seen.map((one) => one.done)).toEqual(
      seen.map((one) => one.done).toSorted((a, b) => a - b),
    );
    await expect(c.upsert([{ vector: noise(256) }], { onProgress: stop })).rejects.toThrow(
      RangeError,
    );
    expect(await c.count()).toBe(20_000);
  });
});
