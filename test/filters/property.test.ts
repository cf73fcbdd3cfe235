/**
 * Random filters over random metadata, against an evaluator of its own. HIVE_FILTER_CASES sets how
 * many pairs of a filter and a record are compared (default 60 000; by hand 1 000 000).
 */
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Collection, type Database, openDatabase } from "hive-gpu";
import { oracle } from "./oracle.js";

const cases = Number(process.env["HIVE_FILTER_CASES"] ?? 60_000);
const seed = Number(process.env["HIVE_FILTER_SEED"] ?? 20_261_124);

function generator(from: number) {
  let state = from >>> 0;
  const next = (): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return state / 2 ** 32;
  };
  const below = (limit: number): number => Math.floor(next() * limit);
  const pick = <T>(list: readonly T[]): T => list[below(list.length)]!;
  return { below, pick };
}
type Random = ReturnType<typeof generator>;

const long = "long ".repeat(80);
const paths = ["a", "b", "c", "o.x", "o.y.z", "d.e", "__proto__", "größe", "tags", "when", "rare"];
const strings = [
  "",
  "a",
  "b",
  "abc",
  "ABC",
  "é",
  "e\u0301",
  "😀",
  "a.b",
  "10",
  "true",
  long,
  `${long}x`,
];
const numbers = [
  0,
  1,
  -1,
  2,
  3,
  10,
  255,
  256,
  65_536,
  2 ** 31,
  2 ** 40,
  0.5,
  -2.25,
  1e300,
  -(2 ** 53),
];
const dates = [0, 1, 1_700_000_000_000, -5].map((ms) => new Date(ms));

function scalar(r: Random): unknown {
  switch (r.below(6)) {
    case 0:
      return r.pick(strings);
    case 1:
    case 2:
      return r.below(3) === 0 ? r.pick(numbers) : r.below(6);
    case 3:
      return r.below(2) === 0;
    case 4:
      return r.below(3) === 0 ? null : r.pick(strings);
    default:
      return r.pick(dates);
  }
}

function value(r: Random, depth: number): unknown {
  switch (r.below(9)) {
    case 0:
      return Array.from({ length: r.below(4) }, () => scalar(r));
    case 1:
      return depth > 2 ? {} : { x: value(r, depth + 1), y: { z: value(r, depth + 1) } };
    case 2:
      return r.below(4) > 0 ? scalar(r) : [[scalar(r)], { x: 1 }, scalar(r)];
    default:
      return scalar(r);
  }
}

function setOwn(object: object, key: string, item: unknown): void {
  Object.defineProperty(object, key, {
    value: item,
    enumerable: true,
    configurable: true,
    writable: true,
  });
}

function metadata(r: Random): Record<string, unknown> | undefined {
  if (r.below(20) === 0) return undefined;
  const made: Record<string, unknown> = {};
  for (const path of ["a", "b", "c", "o", "d.e", "d", "__proto__", "größe", "tags", "when"]) {
    if (r.below(3) > 0) setOwn(made, path, value(r, 0));
  }
  if (r.below(40) === 0) made["rare"] = scalar(r);
  return made;
}

function operators(r: Random, depth: number): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const count = 1 + r.below(2);
  for (let i = 0; i < count; i++) {
    const limit = (): unknown =>
      r.pick<() => unknown>([
        () => r.pick(strings),
        () => r.below(6),
        () => r.pick(numbers),
        () => r.pick(dates),
      ])();
    const list = (): unknown[] =>
      Array.from({ length: r.below(5) }, () => (r.below(9) === 0 ? value(r, 2) : scalar(r)));
    switch (r.below(14)) {
      case 0:
        made["$eq"] = value(r, 1);
        break;
      case 1:
        made["$ne"] = value(r, 1);
        break;
      case 2:
        made["$gt"] = limit();
        break;
      case 3:
        made["$gte"] = limit();
        break;
      case 4:
        made["$lt"] = limit();
        break;
      case 5:
        made["$lte"] = limit();
        break;
      case 6:
        made["$in"] = list();
        break;
      case 7:
        made["$nin"] = list();
        break;
      case 8:
        made["$exists"] = r.below(2) === 0;
        break;
      case 9:
        made["$all"] = list();
        break;
      case 10:
        made["$contains"] = scalar(r);
        break;
      case 11:
        made["$regex"] = r.pick(["a", "^a", "b$", "[0-9]+", "^$", "g x?", "é|😀", "^.$"]);
        if (r.below(3) === 0) made["$options"] = "i";
        break;
      case 12:
        if (r.below(2) === 0) made["$size"] = r.below(4);
        else
          made["$type"] = r.pick([
            "string",
            "number",
            "boolean",
            "date",
            "null",
            "array",
            "object",
          ]);
        break;
      default:
        if (depth < 2) made["$not"] = operators(r, depth + 1);
        else made["$exists"] = true;
    }
  }
  if (r.below(6) === 0) made["$missing"] = r.pick(["match", "exclude"]);
  return made;
}

function filter(r: Random, depth: number): Record<string, unknown> {
  const made: Record<string, unknown> = {};
  const count = r.below(5) === 0 ? 2 : 1;
  for (let i = 0; i < count; i++) {
    const kind = r.below(depth < 3 ? 10 : 5);
    if (kind < 6) {
      setOwn(made, r.pick(paths), r.below(4) === 0 ? value(r, 1) : operators(r, 0));
    } else if (kind === 9) {
      made["$not"] = r.below(2) === 0 ? filter(r, depth + 1) : [filter(r, depth + 1)];
    } else {
      const key = r.pick(["$and", "$or", "$nor"]);
      made[key] = Array.from({ length: 1 + r.below(3) }, () => filter(r, depth + 1));
    }
  }
  return made;
}

let db: Database;
beforeAll(async () => {
  db = await openDatabase();
});
afterAll(() => db.close());

/** A collection whose records came in several batches, some of them replaced. */
async function build(r: Random, name: string) {
  const collection: Collection = await db.collection(name);
  const stored = new Map<string, Record<string, unknown>>();
  for (let batch = 0; batch < 4; batch++) {
    const count = 1 + r.below(60);
    const records = Array.from({ length: count }, () => {
      const made = metadata(r);
      return {
        id: `r${r.below(120)}`,
        vector: [r.below(9) - 4, r.below(9) - 4, 1],
        ...(made === undefined ? {} : { metadata: made }),
      };
    });
    for (const { id, metadata: made } of records) {
      stored.delete(id);
      stored.set(id, made ?? {});
    }
    await collection.upsert(records);
  }
  return { collection, stored };
}

test(`filters pass the same records as an evaluator of its own (${cases} pairs)`, async () => {
  const r = generator(seed);
  let compared = 0;
  for (let round = 0; compared < cases; round++) {
    const { collection, stored } = await build(r, `c${round}`);
    for (let i = 0; i < 150; i++) {
      const given = filter(r, 0);
      const expected = [...stored].filter(([, made]) => oracle(given, made)).map(([id]) => id);
      const found: string[] = [];
      for await (const record of collection.scan({ filter: given, select: [] }))
        found.push(record.id);
      expect(found, `seed ${seed}, round ${round}: ${JSON.stringify(given)}`).toEqual(expected);
      if (i % 10 === 0) {
        const hits = await collection.search([1, 2, 3], { k: 1000, filter: given, select: [] });
        expect(new Set(hits.map((hit) => hit.id))).toEqual(new Set(expected));
        expect(await collection.count(given)).toBe(expected.length);
      }
      compared += stored.size;
    }
    await db.drop(`c${round}`);
  }
  expect(compared).toBeGreaterThanOrEqual(cases);
});
