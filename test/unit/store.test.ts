import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Slices } from "../../dist/cjs/engine/slices.js";
import { IdMap } from "../../dist/cjs/engine/store/id-map.js";
import { MemoryStore } from "../../dist/cjs/engine/store/memory.js";
import { type Location, Slabs } from "../../dist/cjs/engine/store/slabs.js";
import { turns } from "./helpers.js";

/** Adds records like the writer does; rows continue from `firstRow`. */
async function put(store: MemoryStore, firstRow: number, records: [string, string][]) {
  const batch = store.begin(records.length);
  for (const [id, text] of records) batch.add(id, text === "" ? "" : JSON.stringify({ text }));
  await batch.prepare(firstRow, new Slices());
  const dead = [...batch.tombstones()];
  const tail = batch.publish();
  return { dead, tail };
}

function many(count: number, text = (i: number) => `text ${i}`): [string, string][] {
  return Array.from({ length: count }, (_, i) => [`id-${i}`, text(i)]);
}

/** Waits until freed rows are gone. */
async function tidied(store: MemoryStore): Promise<void> {
  for (let i = 0; i < 5000 && store.stats().retainedRows > 0; i++) await turns(1);
  await turns(5);
}

describe("memory store", () => {
  it("maps ids to rows and rows to records", async () => {
    const store = new MemoryStore();
    await put(store, 0, [
      ["a", "one"],
      ["b", ""],
    ]);
    expect([store.rowOf("a"), store.rowOf("b"), store.rowOf("c")]).toEqual([0, 1, undefined]);
    expect([store.idOf(0), store.idOf(1)]).toEqual(["a", "b"]);
    expect([store.contentOf(0), store.contentOf(1)]).toEqual([{ text: "one" }, {}]);
    expect([store.count, store.sequence]).toEqual([2, 1]);
  });

  it("keeps replaced records until no pin sees them", async () => {
    const store = new MemoryStore();
    await put(store, 0, [["a", "old"]]);
    const pin = store.pin();
    const again = store.pin();
    const { dead } = await put(store, 1, [["a", "new"]]);
    expect(dead).toEqual([0]);
    expect(store.rowOf("a")).toBe(1);
    await turns();
    expect([store.contentOf(0), store.idOf(0)]).toEqual([{ text: "old" }, "a"]);
    store.unpin(pin);
    await turns();
    expect(store.contentOf(0)).toEqual({ text: "old" });
    const newer = store.pin();
    store.unpin(again);
    await tidied(store);
    expect(() => store.idOf(0)).toThrow(/INTERNAL|no id/);
    expect(store.stats()).toMatchObject({ retainedRows: 0, recordBytes: '{"text":"new"}'.length });
    store.unpin(newer);
  });

  it("publishes a large batch at once, before it is merged", async () => {
    const store = new MemoryStore();
    const first = await put(store, 0, many(5000));
    await first.tail;
    const { dead, tail } = await put(
      store,
      5000,
      many(20_000, (i) => `second ${i}`),
    );
    expect(dead).toHaveLength(5000);
    expect(tail).toBeDefined();
    expect([store.rowOf("id-0"), store.rowOf("id-19999")]).toEqual([5000, 24_999]);
    expect(store.count).toBe(20_000);
    await tail;
    expect([store.rowOf("id-0"), store.rowOf("id-19999")]).toEqual([5000, 24_999]);
    const removal = store.begin(20_000);
    for (let i = 0; i < 19_990; i++) removal.remove(5000 + i);
    await removal.prepare(25_000, new Slices());
    const merged = removal.publish();
    expect([store.rowOf("id-0"), store.rowOf("id-19995")]).toEqual([undefined, 24_995]);
    await merged;
    expect([store.rowOf("id-0"), store.rowOf("id-19995")]).toEqual([undefined, 24_995]);
    await tidied(store);
    expect(store.count).toBe(10);
    expect(store.stats().retainedRows).toBe(0);
  });

  it("keeps the map of the first load, and goes on from there", async () => {
    const store = new MemoryStore();
    const { tail } = await put(store, 0, many(10_000));
    expect(tail).toBeUndefined();
    const { dead } = await put(store, 10_000, [
      ["id-7", "again"],
      ["new", "x"],
    ]);
    expect(dead).toEqual([7]);
    expect([store.rowOf("id-7"), store.rowOf("id-8"), store.rowOf("new")]).toEqual([
      10_000, 8, 10_001,
    ]);
    expect(store.count).toBe(10_001);
  });

  it("forgets an aborted batch", async () => {
    const store = new MemoryStore();
    await put(store, 0, [["a", "kept"]]);
    const bytes = store.stats().recordBytes;
    for (const prepared of [false, true]) {
      const batch = store.begin(3000);
      for (const [id, text] of many(3000)) batch.add(id, JSON.stringify({ text }));
      batch.add("a", '{"text":"lost"}');
      if (prepared) await batch.prepare(1, new Slices());
      await batch.abort();
      await batch.abort();
    }
    expect(store.stats().recordBytes).toBe(bytes);
    expect([store.count, store.rowOf("id-1"), store.contentOf(0)]).toEqual([
      1,
      undefined,
      { text: "kept" },
    ]);
    await put(store, 1, [["id-1", "again"]]);
    expect([store.idOf(1), store.contentOf(1)]).toEqual(["id-1", { text: "again" }]);
  });

  it("gives memory back when most records are replaced", async () => {
    const store = new MemoryStore();
    const long = "x".repeat(400);
    let row = 0;
    for (let round = 0; round < 3; round++) {
      const { tail } = await put(
        store,
        row,
        many(40_000, (i) => `${long}${round}-${i}`),
      );
      await tail;
      row += 40_000;
    }
    const some = many(40_000, () => "short").filter((_, i) => i % 3 !== 0);
    const { tail } = await put(store, row, some);
    await tail;
    await tidied(store);
    await turns(200);
    const { recordBytes, reservedBytes } = store.stats();
    expect(reservedBytes).toBeLessThan(recordBytes * 2.2 + (1 << 21));
    for (let i = 0; i < 40_000; i += 999) {
      const expected = i % 3 === 0 ? `${long}2-${i}` : "short";
      expect(store.contentOf(store.rowOf(`id-${i}`)!)).toEqual({ text: expected });
    }
  });

  it("agrees with a Map under random batches", async () => {
    const step = fc.record({
      put: fc.array(fc.tuple(fc.nat(30), fc.string({ maxLength: 4 })), { maxLength: 12 }),
      remove: fc.array(fc.nat(30), { maxLength: 6 }),
      abort: fc.boolean(),
    });
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 25 }), async (steps) => {
        const store = new MemoryStore();
        const model = new Map<string, string>();
        let row = 0;
        for (const { put: puts, remove, abort } of steps) {
          const batch = store.begin(puts.length);
          const next = new Map(model);
          for (const [n, text] of puts) {
            batch.add(`k${n}`, JSON.stringify({ text }));
            next.set(`k${n}`, text);
          }
          await batch.prepare(row, new Slices());
          row += puts.length;
          if (abort) {
            await batch.abort();
          } else {
            await batch.publish();
            model.clear();
            for (const [id, text] of next) model.set(id, text);
          }
          const removal = store.begin(0);
          for (const n of new Set(remove)) {
            const at = store.rowOf(`k${n}`);
            if (at !== undefined) removal.remove(at);
            model.delete(`k${n}`);
          }
          await removal.prepare(row, new Slices());
          await removal.publish();
          expect(store.count).toBe(model.size);
          for (let n = 0; n <= 30; n++) {
            const at = store.rowOf(`k${n}`);
            expect(at === undefined ? undefined : store.contentOf(at).text).toBe(
              model.get(`k${n}`),
            );
          }
        }
      }),
      { numRuns: 150, verbose: true },
    );
  });
});

describe("parts of the store", () => {
  it("IdMap counts and replaces", () => {
    for (const expected of [1, 100_000]) {
      const map = new IdMap(expected);
      expect(map.replace("a", 1)).toBeUndefined();
      expect(map.replace("a", 2)).toBe(1);
      expect([map.get("a"), map.get("b"), map.size]).toEqual([2, undefined, 1]);
      expect([map.delete("a"), map.delete("a"), map.size]).toEqual([true, false, 0]);
    }
  });

  it("Slabs drops dead slabs and takes strings larger than a slab", () => {
    const slabs = new Slabs();
    const places: Location[] = [];
    for (const size of [10, 3 << 20, 500_000, 500_000, 500_000]) {
      const place: Location = { slab: 0, offset: 0, length: 0 };
      slabs.append("é".repeat(size / 2), place);
      expect(slabs.read(place.slab, place.offset, place.length)).toBe("é".repeat(size / 2));
      places.push({ ...place });
    }
    for (const place of places) slabs.free(place.slab, place.length);
    expect(slabs.live).toBe(0);
    expect(slabs.capacity).toBeLessThanOrEqual(4 << 20);
  });
});
