/**
 * The durable collection against a plain Map: random writes, searches, compactions and reopenings.
 * HIVE_TEST_MODEL_RUNS sets how many sequences of 200 operations (1000 by hand).
 */
import type { Collection, Database } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { type Plain, contents, expectContents, folder, openAt, random, report } from "./helpers.js";

const runs = Number(process.env["HIVE_TEST_MODEL_RUNS"] ?? 12);
const firstSeed = Number(process.env["HIVE_TEST_MODEL_SEED"] ?? Math.floor(Math.random() * 1e9));
const operations = 200;
const options = { metric: "dot", dimensions: 4 } as const;

class Run {
  readonly next: () => number;
  readonly at = folder();
  readonly model = new Map<string, Plain>();
  db!: Database;
  collection!: Collection;
  reopened = 0;

  constructor(seed: number) {
    this.next = random(seed);
  }

  below(n: number): number {
    return Math.floor(this.next() * n);
  }

  async open(): Promise<void> {
    this.db = await openAt(this.at);
    this.collection = await this.db.collection("test", options);
  }

  record(): Plain & { id: string } {
    const vector = Array.from({ length: 4 }, () => this.below(7) - 3);
    const text = this.next() < 0.2 ? undefined : `text ${"é".repeat(this.below(50))}`;
    const metadata = this.next() < 0.2 ? undefined : { n: this.below(100) };
    return { id: `id${this.below(40)}`, vector, text, metadata };
  }

  put({ id, ...plain }: Plain & { id: string }): void {
    this.model.delete(id);
    this.model.set(id, plain);
  }

  async step(): Promise<void> {
    const what = this.next();
    const c = this.collection;
    if (what < 0.45) {
      const records = Array.from({ length: 1 + this.below(8) }, () => this.record());
      await c.upsert(records as never);
      for (const one of records) this.put(one);
    } else if (what < 0.6) {
      const ids = Array.from({ length: this.below(6) }, () => `id${this.below(40)}`);
      const known = new Set(ids.filter((id) => this.model.delete(id)));
      expect(await c.delete({ ids })).toBe(known.size);
    } else if (what < 0.7) {
      const { id, text, metadata } = this.record();
      const before = this.model.get(id);
      const update = c.update([{ id, text, metadata: metadata as never }]);
      if (before === undefined) await expect(update).rejects.toMatchObject({ code: "NOT_FOUND" });
      else await update;
      if (before === undefined) return;
      const merged = { text: text ?? before.text, metadata: metadata ?? before.metadata };
      this.put({ id, vector: before.vector, ...merged });
    } else if (what < 0.8) {
      const query = [1, 2, -1, 3];
      const dot = (v: number[]) => v.reduce((sum, x, i) => sum + x * query[i]!, 0);
      const expected = [...this.model]
        .map(([id, { vector }], row) => ({ id, row, value: dot(vector) }))
        .toSorted((a, b) => b.value - a.value || a.row - b.row)
        .slice(0, 7);
      const hits = await c.search(query, { k: 7 });
      expect(hits.map((hit) => hit.id)).toEqual(expected.map(({ id }) => id));
    } else if (what < 0.83) {
      await c.clear();
      this.model.clear();
    } else if (what < 0.88) {
      await this.db.compact();
    } else if (what < 0.91) {
      const bad = [this.record(), { ...this.record(), vector: [1, Number.NaN, 0, 0] }];
      await expect(c.upsert(bad as never)).rejects.toMatchObject({ code: "NON_FINITE" });
    } else if (what < 0.95) {
      const many = Array.from({ length: 12 }, () => this.record());
      await Promise.all(many.map((one) => c.upsert([one] as never)));
      for (const one of many) this.put(one);
    } else {
      const { digest } = await c.stats();
      await this.db.close();
      await this.open();
      expect((await this.collection.stats()).digest).toBe(digest);
      expect(await contents(this.collection)).toEqual([...this.model]);
      this.reopened++;
    }
  }
}

describe("durable collection", () => {
  it(
    `agrees with a plain Map, ${runs} × ${operations} operations`,
    { timeout: 7_200_000 },
    async () => {
      let reopened = 0;
      for (let seed = firstSeed; seed < firstSeed + runs; seed++) {
        const run = new Run(seed);
        await run.open();
        try {
          for (let i = 0; i < operations; i++) await run.step();
          await expectContents(run.collection, run.model);
          await run.db.close();
          await run.open();
          await expectContents(run.collection, run.model);
        } catch (error) {
          throw new Error(`seed ${seed}`, { cause: error });
        }
        await run.db.close();
        reopened += run.reopened + 1;
      }
      report(`seeds ${firstSeed} to ${firstSeed + runs - 1}, reopened ${reopened} times`);
    },
  );
});
