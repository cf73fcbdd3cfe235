/** The collection against a plain Map, under random calls. */
import * as fc from "fast-check";
import type { Collection } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, noise } from "./helpers.js";

interface Plain {
  vector: number[];
  text?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
}

/** Few values, so that ties are common; sums are exact, so that the model is too. */
const vector = fc.array(fc.integer({ min: -3, max: 3 }), { minLength: 4, maxLength: 4 });
const id = fc.nat(14).map((n) => `id${n}`);
const text = fc.option(fc.string({ maxLength: 5 }), { nil: undefined });
const metadata = fc.option(fc.dictionary(fc.string({ maxLength: 3 }), fc.integer()), {
  nil: undefined,
});
const record = fc.record({ id, vector, text, metadata });

const call = fc.oneof(
  fc.record({ kind: fc.constant("upsert" as const), records: fc.array(record, { maxLength: 6 }) }),
  fc.record({ kind: fc.constant("delete" as const), ids: fc.array(id, { maxLength: 4 }) }),
  fc.record({ kind: fc.constant("update" as const), id, text, metadata }),
  fc.record({ kind: fc.constant("search" as const), vector, k: fc.nat(20), offset: fc.nat(3) }),
  fc.record({ kind: fc.constant("clear" as const) }),
);
type Call = typeof call extends fc.Arbitrary<infer T> ? T : never;

/** Insertion order of the Map is the order of rows. */
class Model {
  readonly records = new Map<string, Plain>();

  put(key: string, plain: Plain): void {
    this.records.delete(key);
    this.records.set(key, plain);
  }

  search(query: number[], k: number, offset: number): string[] {
    const dot = (v: number[]) => v.reduce((sum, x, i) => sum + x * query[i]!, 0);
    return [...this.records]
      .map(([key, { vector: v }], row) => ({ key, row, value: dot(v) }))
      .toSorted((a, b) => b.value - a.value || a.row - b.row)
      .slice(offset, offset + k)
      .map(({ key }) => key);
  }
}

async function run(c: Collection, model: Model, step: Call): Promise<void> {
  switch (step.kind) {
    case "upsert": {
      await c.upsert(step.records);
      // Within a call, rows follow the last place of each id.
      for (const { id: key, ...plain } of step.records) model.put(key, plain);
      return;
    }
    case "delete": {
      const known = new Set(step.ids.filter((key) => model.records.delete(key)));
      expect(await c.delete({ ids: step.ids })).toBe(known.size);
      return;
    }
    case "update": {
      const plain = model.records.get(step.id);
      const update = c.update([{ id: step.id, text: step.text, metadata: step.metadata }]);
      if (plain === undefined) {
        await expect(update).rejects.toMatchObject({ code: "NOT_FOUND" });
        return;
      }
      await update;
      model.put(step.id, {
        vector: plain.vector,
        text: step.text ?? plain.text,
        metadata: step.metadata ?? plain.metadata,
      });
      return;
    }
    case "search": {
      const hits = await c.search(step.vector, { k: step.k, offset: step.offset });
      expect(hits.map((hit) => hit.id)).toEqual(model.search(step.vector, step.k, step.offset));
      return;
    }
    default:
      await c.clear();
      model.records.clear();
  }
}

async function compare(c: Collection, model: Model): Promise<void> {
  expect(await c.count()).toBe(model.records.size);
  const scanned: [string, Plain][] = [];
  for await (const one of c.scan({ batchSize: 4, select: ["vector", "text", "metadata"] })) {
    const plain: Plain = { vector: [...one.vector!] };
    scanned.push([one.id, { ...plain, text: one.text, metadata: one.metadata }]);
  }
  expect(scanned).toEqual([...model.records]);
}

describe("collection", () => {
  it("agrees with a plain Map", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(call, { maxLength: 40 }), async (steps) => {
        const c = await collection({ metric: "dot", dimensions: 4 });
        const model = new Model();
        for (const step of steps) await run(c, model, step);
        await compare(c, model);
      }),
      { numRuns: 120, verbose: true },
    );
  });

  it("agrees when writes are not awaited: they run in order", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.array(record, { maxLength: 5 }), { maxLength: 8 }),
        async (calls) => {
          const c = await collection({ metric: "dot", dimensions: 4 });
          const model = new Model();
          const pending = calls.map((records) => c.upsert(records));
          for (const records of calls)
            for (const { id: key, ...plain } of records) model.put(key, plain);
          await Promise.all(pending);
          await compare(c, model);
        },
      ),
      { numRuns: 60, verbose: true },
    );
  });
});

describe("snapshots", () => {
  /** Record r of generation g has the vector (g + 1) · e_r and the metadata { g, r }. */
  const size = 64;
  const generation = (g: number) =>
    Array.from({ length: size }, (_, r) => {
      const v = new Float32Array(size);
      v[r] = g + 1;
      return { id: `r${r}`, vector: v, text: `g${g}`, metadata: { g, r } };
    });

  it("never pair an old score with a new record", async () => {
    const c = await collection({ metric: "dot", dimensions: size });
    // Ballast takes searches to the engine's threads, so that writes happen while they run.
    const ballast = noise(8000 * size, 3).map((x) => x / 1000);
    await c.upsert({ vectors: ballast });
    await c.upsert(generation(0));
    const writing = { done: false };
    const writer = async () => {
      for (let g = 1; g <= 25; g++) {
        await c.upsert(generation(g));
        await new Promise((resolve) => setImmediate(resolve));
      }
      writing.done = true;
    };
    let checked = 0;
    const reader = async (r: number) => {
      const query = new Float32Array(size);
      query[r] = 1;
      while (!writing.done) {
        const [hit] = await c.search(query, { k: 1, select: ["text", "metadata", "vector"] });
        const { g } = hit!.metadata as { g: number };
        expect(hit).toMatchObject({ id: `r${r}`, score: g + 1, text: `g${g}`, metadata: { g, r } });
        expect(hit!.vector![r]).toBe(g + 1);
        checked++;
      }
    };
    const scanner = async () => {
      while (!writing.done) {
        const seen = new Set<number>();
        for await (const one of c.scan({ batchSize: 500 })) {
          if (one.metadata !== undefined) seen.add((one.metadata as { g: number }).g);
        }
        expect(seen.size).toBe(1);
      }
    };
    await Promise.all([writer(), reader(1), reader(2), reader(63), scanner()]);
    expect(checked).toBeGreaterThan(0);
    await new Promise((resolve) => setTimeout(resolve, 50));
    expect((await c.stats()).retainedRows).toBe(0);
  });
});
