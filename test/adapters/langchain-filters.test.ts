/** Filters through every door of LangChain, the translator for self-query, and mem0-style use. */
import { Document } from "@langchain/core/documents";
import { RunnableLambda } from "@langchain/core/runnables";
import {
  Comparators,
  Comparison,
  FunctionalTranslator,
  Operation,
  Operators,
  StructuredQuery,
} from "@langchain/core/structured_query";
import { SelfQueryRetriever } from "@langchain/classic/retrievers/self_query";
import { describe, expect, it } from "vitest";
import { HiveTranslator, type HiveFilterType, type HiveVectorStore } from "hive-gpu/langchain";
import { embed } from "./harness.js";
import { newStore } from "./langchain-harness.js";

const films = [
  ["1", "dinosaurs", { year: 1993, rating: 7.7, genre: "action" }],
  ["2", "a dream within a dream", { year: 2010, director: "Nolan", rating: 8.2 }],
  ["3", "toys come alive", { year: 1995, genre: "animated" }],
  ["4", "three men walk into the zone", { year: 1979, director: "Tarkovsky", rating: 9.9 }],
  ["5", "a bunch of women", { year: 2019, director: "Gerwig", rating: 8.3 }],
] as const;

async function filled(): Promise<HiveVectorStore> {
  const store = newStore();
  const documents = films.map(
    ([id, pageContent, metadata]) => new Document({ id, pageContent, metadata }),
  );
  await store.addDocuments(documents);
  return store;
}

const idsOf = (documents: readonly { id?: string | undefined }[]) =>
  documents.map(({ id }) => id).toSorted((a, b) => (a! < b! ? -1 : 1));

const failing: HiveFilterType = ({ metadata }) => metadata["a"].b;

describe("filters of searches", () => {
  const filters: Record<string, HiveFilterType> = {
    object: { year: { $gte: 1995 }, rating: { $gt: 8 } },
    function: ({ metadata }) => Number(metadata["year"]) >= 1995 && Number(metadata["rating"]) > 8,
  };
  for (const [name, filter] of Object.entries(filters)) {
    it(`${name}: everywhere the same documents, however few pass`, async () => {
      await using store = await filled();
      const expected = ["2", "5"];
      expect(idsOf(await store.similaritySearch("q", 2, filter))).toEqual(expected);
      expect(idsOf(await store.similaritySearch("q", 10, filter))).toEqual(expected);
      const scored = await store.similaritySearchWithScore("q", 4, filter);
      expect(idsOf(scored.map(([document]) => document))).toEqual(expected);
      const vectors = await store.similaritySearchVectorWithScore(embed("q"), 4, filter);
      expect(vectors).toEqual(scored);
      expect(idsOf(await store.asRetriever(4, filter).invoke("q"))).toEqual(expected);
      const mmr = store.asRetriever({ filter, searchType: "mmr", searchKwargs: { fetchK: 4 } });
      expect(idsOf(await mmr.invoke("q"))).toEqual(expected);
      const one = await store.maxMarginalRelevanceSearch("q", { k: 1, fetchK: 1, filter });
      expect(one.map(({ id }) => id)).toEqual([scored[0]![0].id]);
    });
  }

  it("gives a function whole documents, takes what is true for true, and hands on what it throws", async () => {
    await using store = await filled();
    const seen: Document[] = [];
    const truthy = (document: Document) => (seen.push(document), document.id === "3" ? 1 : 0);
    const found = await store.similaritySearch("q", 5, truthy as never);
    expect(idsOf(found)).toEqual(["3"]);
    expect(seen).toHaveLength(films.length);
    expect(seen[0]).toBeInstanceOf(Document);
    expect(idsOf(seen)).toEqual(["1", "2", "3", "4", "5"]);
    await expect(store.similaritySearch("q", 5, failing)).rejects.toThrow(TypeError);
    const late = (async () => true) as never;
    await expect(store.similaritySearch("q", 5, late)).rejects.toMatchObject({
      code: "INVALID_FILTER",
    });
  });
});

const memory = (id: string, user: string) =>
  new Document({ pageContent: "", metadata: { _mem0_id: id, user_id: user, data: id } });

describe("delete by filter", () => {
  it("removes what passes and nothing else", async () => {
    await using store = await filled();
    await store.delete({ filter: { year: { $lt: 1995 } } });
    expect(idsOf(await store.similaritySearch("q", 9))).toEqual(["2", "3", "5"]);
    await store.delete({ filter: ({ metadata }) => metadata["director"] === "Nolan" });
    expect(idsOf(await store.similaritySearch("q", 9))).toEqual(["3", "5"]);
    await store.delete({ filter: { year: 1 } });
    expect(idsOf(await store.similaritySearch("q", 9))).toEqual(["3", "5"]);
  });

  it("serves memories: add, search with a filter, update, delete by their own id", async () => {
    await using store = newStore();
    const texts = ["likes tea", "has a dog", "plays chess"];
    const documents = [memory("m1", "ann"), memory("m2", "ann"), memory("m3", "bob")];
    await store.addVectors(texts.map(embed), documents, { ids: ["m1", "m2", "m3"] });
    const ofAnn = await store.similaritySearchVectorWithScore(embed("chess"), 5, {
      user_id: "ann",
    });
    expect(idsOf(ofAnn.map(([document]) => document))).toEqual(["m1", "m2"]);
    await store.delete({ filter: { _mem0_id: "m1" } });
    await store.addVectors([embed("likes coffee")], [memory("m1", "ann")], { ids: ["m1"] });
    const [[first]] = (await store.similaritySearchVectorWithScore(embed("likes coffee"), 1, {
      user_id: "ann",
    })) as [[Document, number]];
    expect(first.metadata).toEqual({ _mem0_id: "m1", user_id: "ann", data: "m1" });
    await store.delete({ filter: { user_id: "ann" } });
    expect(await store.similaritySearch("x", 9)).toHaveLength(1);
  });
});

const compare = (comparator: keyof typeof Comparators, attribute: string, value: string | number) =>
  new Comparison(Comparators[comparator]!, attribute, value);
const combine = (operator: keyof typeof Operators, ...args: (Comparison | Operation)[]) =>
  new Operation(Operators[operator]!, args);

async function ask(filter: Comparison | Operation | undefined, own?: HiveFilterType) {
  await using store = await filled();
  const constructed = new StructuredQuery("q", filter);
  const retriever = new SelfQueryRetriever({
    vectorStore: store,
    structuredQueryTranslator: new HiveTranslator(),
    queryConstructor: RunnableLambda.from(() => constructed) as never,
    searchParams: own === undefined ? { k: 9 } : { k: 9, filter: own as never },
  });
  return idsOf(await retriever.invoke("whatever"));
}

describe("self-query", () => {
  it("works with every comparator, as LangChain's own functional translator does", async () => {
    for (const comparator of ["eq", "ne", "gt", "gte", "lt", "lte"] as const) {
      const comparison = compare(comparator, "year", 1995);
      const passes = new FunctionalTranslator().visitComparison(comparison);
      const expected = films
        .filter(([, pageContent, metadata]) => passes(new Document({ pageContent, metadata })))
        .map(([id]) => id);
      expect(await ask(comparison), comparator).toEqual(expected);
    }
    expect(await ask(compare("ne", "director", "Nolan"))).toEqual(["1", "3", "4", "5"]);
  });

  it("works with and, or, not, nested", async () => {
    const old = compare("lt", "year", 1994);
    const good = compare("gt", "rating", 8);
    expect(await ask(combine("and", old, good))).toEqual(["4"]);
    expect(await ask(combine("or", old, good))).toEqual(["1", "2", "4", "5"]);
    expect(await ask(combine("not", combine("or", old, good)))).toEqual(["3"]);
    expect(await ask(combine("and", combine("not", old), good))).toEqual(["2", "5"]);
  });

  it("keeps the caller's own filter, also when the model finds none", async () => {
    const own = { year: { $gte: 2000 } };
    expect(await ask(undefined)).toHaveLength(films.length);
    expect(await ask(undefined, own)).toEqual(["2", "5"]);
    expect(await ask(compare("eq", "director", "Nolan"), own)).toEqual(["2"]);
    expect(await ask(compare("eq", "director", "Tarkovsky"), own)).toEqual([]);
  });
});
