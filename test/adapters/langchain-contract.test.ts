/** Adding, deleting, filters and serialisation: LangChain's contract beyond the shared table. */
import { Document } from "@langchain/core/documents";
import { InputError } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/langchain";
import { describe, expect, it } from "vitest";
import { embed, TestEmbeddings } from "./harness.js";
import { documentsOf, newDocument, newStore } from "./langchain-harness.js";

describe("adding", () => {
  it("prefers options.ids over document.id over a new UUID", async () => {
    await using store = newStore();
    const documents = [
      newDocument({ id: "own a", text: "a" }),
      newDocument({ id: "own b", text: "b" }),
      newDocument({ text: "c" }),
    ];
    const ids = await store.addDocuments(documents, { ids: ["given", undefined, undefined] });
    expect(ids.slice(0, 2)).toEqual(["given", "own b"]);
    expect(ids[2]).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4/);
    expect(documents.map(({ id }) => id)).toEqual(["own a", "own b", undefined]);
  });

  it("takes an array of ids in place of options", async () => {
    await using store = newStore();
    expect(await store.addDocuments(documentsOf("a", "b"), ["1", "2"])).toEqual(["1", "2"]);
    expect(await store.addVectors([embed("c")], documentsOf("c"), ["3"])).toEqual(["3"]);
  });

  it("adds nothing without embedding anything", async () => {
    const embeddings = new TestEmbeddings();
    await using store = new HiveVectorStore(embeddings, {});
    expect(await store.addDocuments([])).toEqual([]);
    expect(await store.addVectors([], [])).toEqual([]);
    await store.addVectors([embed("a")], documentsOf("a"));
    expect(embeddings.documentCalls).toBe(0);
  });

  it("takes plain objects as documents and gives Documents back", async () => {
    await using store = newStore();
    for (const extra of [{}, { metadata: null }, { metadata: undefined }]) {
      const plain = { pageContent: "a", ...extra } as unknown as Document;
      await store.addDocuments([plain], ["1"]);
      const [found] = await store.similaritySearch("a", 1);
      expect(found).toBeInstanceOf(Document);
      expect(found).toEqual(new Document({ id: "1", pageContent: "a", metadata: {} }));
    }
  });

  it("names a document without text", async () => {
    await using store = newStore();
    const broken = [newDocument({ text: "a" }), { metadata: {} } as unknown as Document];
    await expect(store.addDocuments(broken)).rejects.toMatchObject({
      code: "INVALID_ARGUMENT",
      message: expect.stringContaining("documents[1].pageContent"),
    });
  });

  it("refuses what is not a list", async () => {
    await using store = newStore();
    const calls = [
      () => store.addDocuments("a" as never),
      () => store.addDocuments(undefined as never),
      () => store.addVectors(undefined as never, documentsOf("a")),
      () => store.addVectors([1, 0] as never, documentsOf("a", "b")),
      () => store.addDocuments(documentsOf("a"), { ids: "1" } as never),
      () => store.addDocuments(documentsOf("a"), { ids: [1] } as never),
      () => store.addDocuments(documentsOf("a"), "1" as never),
      () => store.getByIds("1" as never),
      () => store.getByIds([1] as never),
      () => store.similaritySearchVectorWithScore("a" as never, 1),
    ];
    for (const call of calls) await expect(call()).rejects.toBeInstanceOf(InputError);
    expect(await store.similaritySearch("a", 1)).toEqual([]);
  });

  it("refuses embeddings that return too few vectors", async () => {
    const short = {
      embedDocuments: async (texts: string[]) => texts.slice(1).map(embed),
      embedQuery: async (text: string) => embed(text),
    };
    await using store = new HiveVectorStore(short, {});
    await expect(store.addDocuments(documentsOf("a", "b"))).rejects.toThrow(
      "got 1 vectors, but 2 documents",
    );
  });

  it("reports progress and stops at a signal", async () => {
    await using store = newStore();
    const seen: number[] = [];
    await store.addDocuments(documentsOf("a", "b"), {
      onProgress: ({ done }) => seen.push(done),
    });
    expect(seen.at(-1)).toBe(2);
    const signal = AbortSignal.abort();
    await expect(store.addDocuments(documentsOf("c"), { signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    const query = store.similaritySearchVectorWithScore(embed("a"), 1, undefined, { signal });
    await expect(query).rejects.toMatchObject({ code: "ABORTED" });
    await expect(store.delete({ deleteAll: true, signal })).rejects.toMatchObject({
      code: "ABORTED",
    });
    expect(await store.similaritySearch("c", 5)).toHaveLength(2);
  });
});

describe("deleting", () => {
  it("removes everything only when told so", async () => {
    await using store = newStore();
    await store.addDocuments(documentsOf("a", "b"), ["1", "2"]);
    const refusals = [undefined, {}, { deleteAll: false }, { ids: ["1"], deleteAll: true }];
    for (const params of refusals) await expect(store.delete(params)).rejects.toThrow(InputError);
    expect(await store.similaritySearch("a", 5)).toHaveLength(2);
    await store.delete({ deleteAll: true });
    expect(await store.similaritySearch("a", 5)).toEqual([]);
    await store.addDocuments(documentsOf("c"));
    expect(await store.similaritySearch("a", 5)).toHaveLength(1);
  });

  it("refuses an empty filter, and a filter beside ids", async () => {
    await using store = newStore();
    await store.addDocuments(documentsOf("a"), ["1"]);
    await expect(store.delete({ filter: {} })).rejects.toMatchObject({ code: "INVALID_FILTER" });
    const both = { ids: ["1"], filter: { a: 1 } };
    for (const params of [both, { filter: { a: 1 }, deleteAll: true }, { ids: "1" as never }]) {
      await expect(store.delete(params)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
    }
    expect(await store.getByIds(["1"])).toHaveLength(1);
  });
});

describe("a filter that cannot be understood is refused, never ignored", () => {
  const filters = { string: "year = 1979", list: [{ year: 1979 }], operator: { year: { $is: 1 } } };
  for (const [name, filter] of Object.entries(filters)) {
    it(name, async () => {
      await using store = newStore();
      const bad = filter as never;
      const calls = [
        () => store.similaritySearch("a", 1, bad),
        () => store.similaritySearchWithScore("a", 1, bad),
        () => store.similaritySearchVectorWithScore(embed("a"), 1, bad),
        () => store.maxMarginalRelevanceSearch("a", { k: 1, filter: bad }),
        () => store.asRetriever(1, bad).invoke("a"),
        () => store.asRetriever({ filter: bad, searchType: "mmr" }).invoke("a"),
        () => store.delete({ filter: bad }),
      ];
      for (const documents of [[], documentsOf("a")]) {
        await store.addDocuments(documents);
        for (const call of calls) {
          await expect(call()).rejects.toMatchObject({ code: "INVALID_FILTER" });
        }
      }
    });
  }

  it("while a filter that selects everything is none", async () => {
    await using store = newStore();
    await store.addDocuments(documentsOf("a"));
    for (const none of [undefined, null, {}]) {
      expect(await store.similaritySearch("a", 1, none as never)).toHaveLength(1);
    }
  });
});

describe("LangChain's machinery", () => {
  it("serialises without touching the engine", async () => {
    await using store = newStore({ name: "docs" });
    await store.addDocuments(documentsOf("a"));
    expect(JSON.parse(JSON.stringify(store))).toEqual({
      lc: 1,
      type: "not_implemented",
      id: ["langchain", "vectorstores", "hive-gpu", "HiveVectorStore"],
    });
    expect(store.lc_kwargs).toEqual({});
    expect(() => JSON.stringify(store.asRetriever())).not.toThrow();
  });

  it("serves callers that pass ids and read scores, and nothing else", async () => {
    await using store = newStore();
    const options = { ids: ["memory-1", "memory-2"] };
    await store.addVectors(
      [embed("likes tea"), embed("has a dog")],
      documentsOf("x", "y"),
      options,
    );
    await store.addVectors([embed("likes coffee")], documentsOf("z"), { ids: ["memory-1"] });
    const found = await store.similaritySearchVectorWithScore(embed("likes coffee"), 10);
    expect(found.map(([{ id, pageContent }]) => [id, pageContent])).toEqual([
      ["memory-1", "z"],
      ["memory-2", "y"],
    ]);
    expect(found[0]![1]).toBeCloseTo(1, 5);
  });
});
