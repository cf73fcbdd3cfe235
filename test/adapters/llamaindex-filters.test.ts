/**
 * All thirteen operators over every kind of value: the table of LlamaIndex's own SimpleVectorStore, with
 * the deviations that docs/llamaindex.md lists.
 */
import { type MetadataFilter, TextNode, VectorStoreQueryMode } from "llamaindex";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { HiveVectorStore, type NestedMetadataFilters } from "hive-gpu/llamaindex";

/** Values of the field `f`, by the name of the node that has them; `missing` has none. */
const values: Record<string, unknown> = {
  missing: undefined,
  null: null,
  empty: "",
  zero: 0,
  one: 1,
  two: 2,
  "string 1": "1",
  abc: "abc",
  true: true,
  "list ab": ["a", "b"],
  "list 12": [1, 2],
  "list of none": [],
  object: { a: 1 },
};

let store: HiveVectorStore;
beforeAll(async () => {
  store = new HiveVectorStore();
  const nodes = Object.entries(values).map(
    ([name, f], n) =>
      new TextNode({
        id_: name,
        text: name,
        embedding: [1, n],
        metadata: f === undefined ? { other: 1 } : { f, other: 1 },
      }),
  );
  await store.add(nodes);
});
afterAll(() => store.close());

async function passing(filters: NestedMetadataFilters): Promise<string[]> {
  const mode = VectorStoreQueryMode.DEFAULT;
  const found = await store.query({ queryEmbedding: [1, 0], similarityTopK: 100, mode, filters });
  return Object.keys(values).filter((name) => found.ids.includes(name));
}

const one = (operator: string, value?: unknown): NestedMetadataFilters => ({
  filters: [{ key: "f", operator, value } as MetadataFilter],
});

const present = Object.keys(values).slice(1);
const without = (...names: string[]) => present.filter((name) => !names.includes(name));

const table: [operator: string, value: unknown, expected: string[]][] = [
  ["==", 1, ["one"]],
  ["==", "1", ["string 1"]],
  ["==", "a", []],
  ["==", 0, ["zero"]],
  ["==", "", ["empty"]],
  ["==", true, ["true"]],
  ["!=", 1, without("one")],
  ["!=", "a", present],
  [">", 0, ["one", "two"]],
  [">=", 0, ["zero", "one", "two"]],
  ["<", 2, ["zero", "one"]],
  ["<=", 2, ["zero", "one", "two"]],
  [">", "1", ["abc"]],
  ["in", [0, 2, "abc"], ["zero", "two", "abc"]],
  ["in", ["a"], []],
  ["in", [], []],
  ["nin", [1, "abc"], without("one", "abc")],
  ["nin", [0], without("zero")],
  ["nin", [], present],
  ["any", ["a", 2], ["list ab", "list 12"]],
  ["any", ["abc", 1], ["list 12"]],
  ["any", [], []],
  ["all", ["a", "b"], ["list ab"]],
  ["all", ["a", 1], []],
  ["all", [], ["list ab", "list 12", "list of none"]],
  ["contains", "a", ["list ab"]],
  ["contains", 1, ["list 12"]],
  ["text_match", "b", ["abc", "list ab"]],
  ["text_match", "B", []],
  ["is_empty", undefined, ["missing", "null", "empty", "list of none"]],
];

describe("operators", () => {
  for (const [operator, value, expected] of table) {
    it(`${operator} ${JSON.stringify(value) ?? ""}`, async () => {
      expect(await passing(one(operator, value))).toEqual(expected);
    });
  }

  it("refuses values of the wrong type and unknown operators, naming the key", async () => {
    const wrong: [string, unknown][] = [
      ["==", null],
      ["==", ["a"]],
      [">", true],
      ["in", "a"],
      ["nin", [null]],
      ["any", 1],
      ["contains", ["a"]],
      ["text_match", 1],
      ["like", "a"],
    ];
    for (const [operator, value] of wrong) {
      await expect(passing(one(operator, value)), operator).rejects.toMatchObject({
        code: "INVALID_FILTER",
        details: expect.objectContaining({ key: "f" }),
      });
    }
  });
});

describe("conditions", () => {
  const isOne: MetadataFilter = { key: "f", operator: "==", value: 1 };
  const isAbc: MetadataFilter = { key: "f", operator: "==", value: "abc" };
  const other: MetadataFilter = { key: "other", operator: "==", value: 1 };

  it("joins with and, by default, and with or", async () => {
    expect(await passing({ filters: [isOne, other] })).toEqual(["one"]);
    expect(await passing({ filters: [isOne, isAbc], condition: "and" })).toEqual([]);
    expect(await passing({ filters: [isOne, isAbc], condition: "or" })).toEqual(["one", "abc"]);
  });

  it("takes nested filters", async () => {
    const either: NestedMetadataFilters = { filters: [isOne, isAbc], condition: "or" };
    expect(await passing({ filters: [either, other] })).toEqual(["one", "abc"]);
    const above: MetadataFilter = { key: "f", operator: ">", value: 0 };
    expect(await passing({ filters: [either, above] })).toEqual(["one"]);
  });

  it("lets everything pass for an empty and, nothing for an empty or", async () => {
    expect(await passing({ filters: [] })).toEqual(Object.keys(values));
    expect(await passing({ filters: [], condition: "or" })).toEqual([]);
    const not = passing({ filters: [isOne], condition: "not" as never });
    await expect(not).rejects.toMatchObject({ code: "INVALID_FILTER" });
  });
});
