/**
 * Filters from anywhere: only typed errors, no changed prototypes, no slow patterns. HIVE_FUZZ_FILTERS sets
 * how many fuzzed values are tried (default 5 000; by hand 100 000).
 */
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import {
  type Collection,
  type Database,
  filterSchema,
  HiveGpuError,
  limits,
  openDatabase,
  parseFilter,
} from "hive-gpu";

const runs = Number(process.env["HIVE_FUZZ_FILTERS"] ?? 5000);

let db: Database;
let collection: Collection;
beforeAll(async () => {
  db = await openDatabase();
  collection = await db.collection("a");
  const metadata = [{ a: 1, s: "x".repeat(200) }, { a: "1", t: ["x", null] }, { o: { p: true } }];
  await collection.upsert(metadata.map((m, i) => ({ id: `${i}`, vector: [i, 1], metadata: m })));
});
afterAll(() => db.close());

async function outcome(filter: unknown): Promise<string> {
  try {
    const count = await collection.count(filter as never);
    expect(count).toBeGreaterThanOrEqual(0);
    expect(count).toBeLessThanOrEqual(3);
    return "counted";
  } catch (error) {
    expect(error).toBeInstanceOf(HiveGpuError);
    const { code } = error as HiveGpuError;
    expect(["INVALID_FILTER", "LIMIT_EXCEEDED"]).toContain(code);
    return code;
  }
}

const operator = fc.constantFrom(
  "$eq",
  "$ne",
  "$gt",
  "$lte",
  "$in",
  "$nin",
  "$exists",
  "$all",
  "$contains",
  "$regex",
  "$options",
  "$size",
  "$type",
  "$not",
  "$and",
  "$or",
  "$nor",
  "$missing",
  "$where",
  "$",
  "$__",
);
const key = fc.oneof(
  fc.constantFrom("a", "s", "t", "o.p", "__proto__", "constructor", "toString", "", ".", "a..b"),
  operator,
  fc.string(),
);
const { tree } = fc.letrec((tie) => ({
  tree: fc.oneof(
    { maxDepth: 5, depthSize: "small" },
    fc.constantFrom(null, true, 0, -0, 1, "x", "", "(a+)+$", "[", "\\", "1", undefined),
    fc.double(),
    fc.string(),
    fc.date({ noInvalidDate: false }),
    fc.array(tie("tree"), { maxLength: 4 }),
    fc.dictionary(key, tie("tree"), { maxKeys: 4 }),
  ),
}));

describe("fuzzed filters", () => {
  it(`${runs} values are counted or refused with a code`, async () => {
    const names = Object.getOwnPropertyNames(Object.prototype);
    const seen = new Map<string, number>();
    const property = fc.asyncProperty(fc.dictionary(key, tree, { maxKeys: 3 }), async (filter) => {
      const what = await outcome(filter);
      seen.set(what, (seen.get(what) ?? 0) + 1);
      const json: unknown = JSON.parse(JSON.stringify(filter));
      await outcome(json);
    });
    await fc.assert(property, { numRuns: runs, seed: 7 });
    expect(Object.getOwnPropertyNames(Object.prototype)).toEqual(names);
    expect(({} as Record<string, unknown>)["p"]).toBeUndefined();
    // Both sides of the fence were visited.
    expect(seen.get("counted")).toBeGreaterThan(runs / 100);
    expect(seen.get("INVALID_FILTER")).toBeGreaterThan(runs / 100);
  }, 300_000);

  it("what is no object is refused", async () => {
    for (const bad of [1, "a", true, [], [{}], new Date(), new Map(), Symbol("s"), 1n, /a/]) {
      expect(await outcome(bad)).toBe("INVALID_FILTER");
    }
    expect(await outcome(undefined)).toBe("counted");
  });
});

describe("limits", () => {
  const nested = (depth: number, wrap: (inner: unknown) => unknown): unknown => {
    let filter: unknown = { a: 1 };
    for (let i = 0; i < depth; i++) filter = wrap(filter);
    return filter;
  };

  it("depth, also of cycles", async () => {
    const wrap = (inner: unknown): unknown => ({ $not: inner });
    expect(await outcome(nested(limits.filterDepthMax - 1, wrap))).toBe("counted");
    expect(await outcome(nested(100_000, wrap))).toBe("LIMIT_EXCEEDED");
    expect(await outcome({ a: nested(50, (inner) => ({ x: inner })) })).toBe("LIMIT_EXCEEDED");
    const cycle: Record<string, unknown> = {};
    cycle["$and"] = [cycle];
    expect(await outcome(cycle)).toBe("LIMIT_EXCEEDED");
    const value: Record<string, unknown> = {};
    value["x"] = value;
    expect(await outcome({ a: value })).toBe("LIMIT_EXCEEDED");
  });

  it("a filter that is as deep and as wide as allowed is still right", async () => {
    let filter: Record<string, unknown> = { a: 1 };
    for (let i = 0; i < limits.filterDepthMax / 2 - 2; i++) {
      filter = i % 2 === 0 ? { $or: [{ a: 7 }, filter] } : { $and: [filter, { s: { $ne: 3 } }] };
    }
    expect(await collection.count(filter)).toBe(1);
    const wide = Array.from({ length: 1000 }, (_, n) => ({ [`p${n}`]: null, a: { $ne: n + 5 } }));
    expect(await collection.count({ $and: wide })).toBe(3);
    const balanced = (depth: number): Record<string, unknown> =>
      depth === 0
        ? { a: 1 }
        : { [depth % 2 === 0 ? "$and" : "$or"]: [balanced(depth - 1), balanced(depth - 1)] };
    expect(await collection.count(balanced(9))).toBe(1);
  });

  it("conditions, values, paths and patterns", async () => {
    const many = (count: number): unknown => ({
      $or: Array.from({ length: count }, () => ({ a: 1 })),
    });
    expect(await outcome(many(2000))).toBe("counted");
    expect(await outcome(many(5000))).toBe("LIMIT_EXCEEDED");
    const list = (count: number): unknown => ({
      a: { $in: Array.from({ length: count }, (_, i) => i) },
    });
    expect(await outcome(list(100_000))).toBe("counted");
    expect(await outcome(list(300_000))).toBe("LIMIT_EXCEEDED");
    expect(await outcome({ ["x".repeat(5000)]: 1 })).toBe("LIMIT_EXCEEDED");
    expect(await outcome({ s: { $regex: "a".repeat(2000) } })).toBe("LIMIT_EXCEEDED");
  });
});

describe("patterns", () => {
  it("of the kind that never end elsewhere end here", async () => {
    for (const $regex of ["^(x+)+$", "^(x|x)*y", "(x*)*(x*)*(x*)*y", "(x?){200}x{200}"]) {
      expect(await outcome({ s: { $regex } })).toBe("counted");
    }
    expect(await collection.count({ s: { $regex: "^(x+)+$" } })).toBe(1);
  });

  it("that are not linear, or nonsense, are refused", async () => {
    const bad = ["(?=a)", "(a)\\1", "(?<!a)b", "[", "(", "a{5000}", "((a{100}){100}){100}"];
    for (const $regex of bad)
      expect(await outcome({ s: { $regex } }), $regex).toBe("INVALID_FILTER");
    expect(await outcome({ s: { $regex: new RegExp("x", "v") } })).toBe("INVALID_FILTER");
    expect(await outcome({ s: { $regex: "x", $options: "z" } })).toBe("INVALID_FILTER");
    expect(await collection.count({ s: { $regex: /X+/i } })).toBe(1);
  });
});

describe("checks for filters from outside", () => {
  it("parseFilter returns what is right and names the place of what is wrong", () => {
    const good = { a: { $gt: 1 }, $or: [{ b: null }] };
    expect(parseFilter(good)).toBe(good);
    expect(() => parseFilter({ $or: [{ a: 1 }, { b: { $gt: true } }] })).toThrow(
      /\$or\[1\]\.b\.\$gt/,
    );
    expect(() => parseFilter(() => true)).toThrow(HiveGpuError);
  });

  it("filterSchema does it inside zod", () => {
    expect(filterSchema.safeParse({ a: 1 }).success).toBe(true);
    const bad = filterSchema.safeParse({ a: { $in: 1 } });
    expect(bad.success).toBe(false);
    expect(bad.error?.issues[0]?.message).toMatch(/\$in: expected an array/);
  });
});

describe("functions", () => {
  it("must answer true or false at once; what they throw comes out as it is", async () => {
    expect(await collection.count((record) => record.id === "1")).toBe(1);
    for (const bad of [() => undefined, async () => true, () => 1]) {
      expect(await outcome(bad)).toBe("INVALID_FILTER");
    }
    const mine = new Error("mine");
    const failing = (): boolean => {
      throw mine;
    };
    await expect(collection.count(failing)).rejects.toBe(mine);
  });
});
