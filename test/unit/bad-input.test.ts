import { InputError, limits } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, failure, noise, turns } from "./helpers.js";

const three = [
  { id: "a", vector: [1, 0, 0] },
  { id: "b", vector: [0, 1, 0] },
  { id: "c", vector: [0.5, 0.5, 0] },
];

async function filled() {
  const c = await collection();
  await c.upsert(three);
  return c;
}

describe("vectors", () => {
  it("refuses a wrong length, naming both", async () => {
    const c = await filled();
    await failure(() => c.search([1, 0]), "DIMENSION_MISMATCH", /2 elements.*3 dimensions/);
    const error = await failure(
      () =>
        c.upsert([
          { id: "d", vector: [1, 0, 0] },
          { id: "e", vector: [1, 0, 0, 0] },
        ]),
      "DIMENSION_MISMATCH",
      /record 1 \("e"\).*4 elements.*3/,
    );
    expect(error).toBeInstanceOf(InputError);
    expect(await c.count()).toBe(3);
  });

  it("refuses empty and non-array vectors", async () => {
    const c = await filled();
    await failure(() => c.search([]), "DIMENSION_MISMATCH", /empty/);
    for (const bad of [undefined, null, "x", 1, new Uint8Array(3), new Map(), {}]) {
      await failure(() => c.search(bad as never), "INVALID_ARGUMENT");
      await failure(() => c.upsert([{ vector: bad as never }]), "INVALID_ARGUMENT");
    }
    const fresh = await collection();
    await failure(() => fresh.upsert([{ vector: [] }]), "DIMENSION_MISMATCH", /empty/);
    await failure(
      () => fresh.upsert([{ vector: ["1"] as never }]),
      "INVALID_ARGUMENT",
      /element 0/,
    );
    expect(fresh.dimensions).toBeUndefined();
    await failure(() => fresh.upsert("x" as never), "INVALID_ARGUMENT");
    await failure(() => fresh.upsert([null as never]), "INVALID_ARGUMENT", /record 0/);
    await failure(
      () => fresh.upsert({ vectors: [1] } as never),
      "INVALID_ARGUMENT",
      /Float32Array/,
    );
  });

  it.each([NaN, Infinity, -Infinity])("refuses %s and names the vector", async (bad) => {
    const c = await filled();
    await failure(() => c.search([1, bad, 0]), "NON_FINITE", /query.*element 1/);
    const records = [...three, { id: "bad", vector: [0, 0, bad] }];
    const error = await failure(() => c.upsert(records), "NON_FINITE", /record 3 \("bad"\)/);
    expect(error.details).toMatchObject({ index: 3, element: 2 });
    const many = [
      [1, 0, 0],
      [0, bad, 0],
    ];
    const inMany = await failure(() => c.searchMany(many), "NON_FINITE", /query 1/);
    expect(inMany.details).toMatchObject({ index: 1 });
    const empty = await collection();
    await failure(() => empty.search([bad]), "NON_FINITE");
    await failure(() => empty.searchMany([[bad]]), "NON_FINITE", /query 0/);
  });

  it("names the right record when an id comes twice before it", async () => {
    const c = await collection();
    const records = [
      { id: "x", vector: [1, 0, 0] },
      { id: "x", vector: [0, 1, 0] },
      { id: "y", vector: [NaN, 0, 0] },
    ];
    const error = await failure(() => c.upsert(records), "NON_FINITE", /record 2 \("y"\)/);
    expect(error.details).toMatchObject({ index: 2 });
  });

  it("names the vector in a large load", async () => {
    const c = await collection({ dimensions: 64 });
    const vectors = noise(20_000 * 64);
    vectors[17_321 * 64 + 5] = NaN;
    const error = await failure(() => c.upsert({ vectors }), "NON_FINITE", /record 17321/);
    expect(error.details).toMatchObject({ index: 17_321, element: 5 });
    expect(await c.count()).toBe(0);
    expect(await c.upsert([{ id: "ok", vector: noise(64) }])).toEqual(["ok"]);
  });

  it("takes zero vectors: cosine with them is 0", async () => {
    const c = await filled();
    await c.upsert([{ id: "zero", vector: [0, 0, 0] }]);
    const hits = await c.search([0, 0, 0], { k: 9 });
    expect(hits.map((hit) => hit.score)).toEqual([0, 0, 0, 0]);
    expect(hits.map((hit) => hit.id)).toEqual(["a", "b", "c", "zero"]);
    expect((await c.search({ id: "zero" }, { k: 1 }))[0]!.score).toBe(0);
  });

  it("refuses values whose norm could overflow, and f16 overflow", async () => {
    const c = await filled();
    await failure(() => c.upsert([{ vector: [1e30, 0, 0] }]), "VECTOR_TOO_LARGE", /record 0/);
    await failure(() => c.search([1e30, 0, 0]), "VECTOR_TOO_LARGE", /query/);
    const half = await collection({ dtype: "f16" });
    await failure(() => half.upsert([{ vector: [70_000, 0] }]), "DTYPE_OVERFLOW", /record 0/);
    await half.upsert([{ id: "max", vector: [65_504, 0] }]);
    expect((await half.search([1, 0]))[0]!.id).toBe("max");
  });

  it("refuses more dimensions than the limit", async () => {
    const c = await collection();
    const vector = new Float32Array(limits.dimensionsMax + 1);
    await failure(() => c.upsert([{ vector }]), "LIMIT_EXCEEDED", /65537.*65536/);
  });
});

describe("k and offset", () => {
  it("takes 0 and more than there are", async () => {
    const c = await filled();
    expect(await c.search([1, 0, 0], { k: 0 })).toEqual([]);
    expect(await c.search([1, 0, 0], { k: 1000 })).toHaveLength(3);
    expect(await c.search([1, 0, 0], { k: 2, offset: 5 })).toEqual([]);
    const ids = (await c.search([1, 0, 0], { k: 2, offset: 1 })).map((hit) => hit.id);
    expect(ids).toEqual(["c", "b"]);
  });

  it.each([-1, 0.5, NaN, Infinity, "1", null])("refuses k = %s", async (k) => {
    const c = await filled();
    await failure(() => c.search([1, 0, 0], { k: k as number }), "INVALID_ARGUMENT", /k must be/);
    await failure(() => c.search([1, 0, 0], { offset: k as number }), "INVALID_ARGUMENT", /offset/);
  });

  it("refuses k beyond the limit of hits, and allows it as arrays", async () => {
    const c = await filled();
    await failure(() => c.search([1, 0, 0], { k: 2 ** 31 }), "LIMIT_EXCEEDED");
    await failure(() => c.search([1, 0, 0], { k: 16_385 }), "LIMIT_EXCEEDED", /16384/);
    await failure(() => c.search([1, 0, 0], { k: 16_384, offset: 1 }), "LIMIT_EXCEEDED");
    expect(await c.search([1, 0, 0], { k: 16_384 })).toHaveLength(3);
    const arrays = await c.searchMany([[1, 0, 0]], { k: 20_000, output: "arrays" });
    expect(arrays.counts[0]).toBe(3);
    const huge = { k: 2 ** 26, output: "arrays" } as const;
    await failure(
      () =>
        c.searchMany(
          [
            [1, 0, 0],
            [1, 0, 0],
          ],
          huge,
        ),
      "LIMIT_EXCEEDED",
    );
  });
});

describe("ids", () => {
  it("refuses empty, long, ill-formed and non-string ids with the limit", async () => {
    const c = await filled();
    const vector = [1, 0, 0];
    await failure(() => c.upsert([{ id: "", vector }]), "INVALID_ARGUMENT", /empty.*1024/);
    await failure(
      () => c.upsert([{ id: "x".repeat(1025), vector }]),
      "LIMIT_EXCEEDED",
      /1025.*1024/,
    );
    await failure(
      () => c.upsert([{ id: "é".repeat(513), vector }]),
      "LIMIT_EXCEEDED",
      /1026.*1024/,
    );
    await failure(() => c.upsert([{ id: "\ud800", vector }]), "INVALID_ARGUMENT", /surrogate/);
    await failure(() => c.upsert([{ id: 7 as never, vector }]), "INVALID_ARGUMENT", /string/);
    expect(await c.upsert([{ id: "é".repeat(512), vector }])).toHaveLength(1);
    expect(await c.upsert([{ id: "__proto__", vector }])).toEqual(["__proto__"]);
    expect((await c.get("__proto__"))?.id).toBe("__proto__");
  });

  it("refuses unknown ids in update and search, and takes them in get and delete", async () => {
    const c = await filled();
    await failure(() => c.update([{ id: "a", text: "x" }, { id: "nope" }]), "NOT_FOUND", /"nope"/);
    expect((await c.get("a"))?.text).toBeUndefined();
    await failure(() => c.search({ id: "nope" }), "NOT_FOUND", /"nope"/);
    expect(await c.get(["nope", "a"])).toEqual([undefined, { id: "a" }]);
    expect(await c.delete({ ids: ["nope", "a", "a"] })).toBe(1);
    expect(await c.delete({ ids: [] })).toBe(0);
  });

  it("lets the last of the same id in one call win", async () => {
    const c = await collection();
    const ids = await c.upsert([
      { id: "a", vector: [1, 0], text: "first" },
      { id: "b", vector: [0, 1] },
      { id: "a", vector: [0, 1], text: "last" },
    ]);
    expect(ids).toEqual(["a", "b", "a"]);
    expect(await c.count()).toBe(2);
    expect(await c.get("a", { select: ["text", "vector"] })).toEqual({
      id: "a",
      text: "last",
      vector: Float32Array.of(0, 1),
    });
    expect((await c.search([0, 1])).map((hit) => hit.id)).toEqual(["b", "a"]);
  });
});

describe("buffers", () => {
  it("takes subarray views", async () => {
    const c = await collection();
    const all = Float32Array.of(9, 9, 1, 0, 0, 1, 9);
    await c.upsert({ ids: ["a", "b"], vectors: all.subarray(2, 6) });
    const [hit] = await c.search(all.subarray(2, 4), { k: 1, select: ["vector"] });
    expect(hit).toMatchObject({ id: "a", vector: Float32Array.of(1, 0) });
  });

  it("says DETACHED when the buffer goes away during a load", async () => {
    const c = await collection({ dimensions: 256 });
    const vectors = noise(40_000 * 256);
    const load = c.upsert({ vectors });
    const caught = failure(() => load, "DETACHED");
    await turns(1);
    structuredClone(vectors.buffer, { transfer: [vectors.buffer as ArrayBuffer] });
    expect((await caught).hint).toMatch(/transfer/);
    expect(await c.count()).toBe(0);
  });

  it("refuses a detached query", async () => {
    const c = await filled();
    const query = Float32Array.of(1, 0, 0);
    structuredClone(query.buffer, { transfer: [query.buffer] });
    await failure(() => c.search(query), "DIMENSION_MISMATCH");
  });

  it("survives shared memory that changes during the call", async () => {
    const c = await collection({ dimensions: 96 });
    await c.upsert({ vectors: noise(20_000 * 96) });
    const shared = new Float32Array(new SharedArrayBuffer(96 * 4));
    shared.set(noise(96, 5));
    const before = await c.search(shared, { k: 3 });
    const pending = [c.search(shared, { k: 3 }), c.search(shared, { k: 3 })];
    shared.fill(NaN);
    for (const hits of await Promise.all(pending)) expect(hits).toEqual(before);
  });

  it("refuses columns that do not fit together", async () => {
    const c = await collection({ dimensions: 2 });
    const vectors = new Float32Array(5);
    await failure(() => c.upsert({ vectors }), "DIMENSION_MISMATCH", /5 elements/);
    const four = new Float32Array(4);
    await failure(() => c.upsert({ ids: ["a"], vectors: four }), "DIMENSION_MISMATCH");
    await failure(() => c.upsert({ vectors: four, texts: ["a"] }), "DIMENSION_MISMATCH");
    const ids = ["a", "b"];
    await failure(
      () => c.upsert({ ids, vectors: four, texts: ["a"] }),
      "INVALID_ARGUMENT",
      /texts/,
    );
    await failure(() => c.upsert({ ids, vectors: four, dimensions: 3 }), "DIMENSION_MISMATCH");
    const fresh = await collection();
    await failure(() => fresh.upsert({ vectors: four }), "INVALID_ARGUMENT", /dimensions/);
    expect(await fresh.upsert({ vectors: new Float32Array(0) })).toEqual([]);
  });
});
