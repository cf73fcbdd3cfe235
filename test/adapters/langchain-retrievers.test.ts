/** Retrievers of LangChain on top of the store, and maximal marginal relevance. */
import { Document } from "@langchain/core/documents";
import { InMemoryStore } from "@langchain/core/stores";
import { maximalMarginalRelevance } from "@langchain/core/utils/math";
import { FakeListChatModel } from "@langchain/core/utils/testing";
import { VectorStoreRetriever } from "@langchain/core/vectorstores";
import { MemoryVectorStore } from "@langchain/classic/vectorstores/memory";
import { MultiQueryRetriever } from "@langchain/classic/retrievers/multi_query";
import { ParentDocumentRetriever } from "@langchain/classic/retrievers/parent_document";
import { ScoreThresholdRetriever } from "@langchain/classic/retrievers/score_threshold";
import { TimeWeightedVectorStoreRetriever } from "@langchain/classic/retrievers/time_weighted";
import { CharacterTextSplitter } from "@langchain/textsplitters";
import { HiveVectorStore } from "hive-gpu/langchain";
import { describe, expect, it } from "vitest";
import { cosine, embed, TestEmbeddings } from "./harness.js";
import { newDocument, newStore } from "./langchain-harness.js";

const words = Array.from({ length: 60 }, (_, n) => `word ${n}`);
const contents = (documents: readonly { pageContent: string }[]) =>
  documents.map(({ pageContent }) => pageContent);

/** A store with all the words in it. */
async function filled(): Promise<HiveVectorStore> {
  const store = newStore();
  await store.addDocuments(
    words.map((text) => newDocument({ text })),
    { ids: words },
  );
  return store;
}

/** The words closest to the query, by plain arithmetic. */
function nearest(query: string, count: number): string[] {
  const score = (text: string) => cosine(embed(text), embed(query));
  return words.toSorted((a, b) => score(b) - score(a)).slice(0, count);
}

describe("asRetriever", () => {
  it("similarity: four documents unless told otherwise", async () => {
    await using store = await filled();
    const retriever = store.asRetriever();
    expect(retriever).toBeInstanceOf(VectorStoreRetriever);
    expect(retriever.tags).toEqual(["hive-gpu"]);
    expect(contents(await retriever.invoke("q"))).toEqual(nearest("q", 4));
    expect(contents(await store.asRetriever(7).invoke("q"))).toEqual(nearest("q", 7));
    expect(contents(await store.asRetriever({ k: 2 }).invoke("q"))).toEqual(nearest("q", 2));
  });

  it("mmr: passes k, fetchK and lambda on", async () => {
    await using store = await filled();
    const searchKwargs = { fetchK: 30, lambda: 0.2 };
    const retriever = store.asRetriever({ k: 6, searchType: "mmr", searchKwargs });
    const direct = await store.maxMarginalRelevanceSearch("q", { k: 6, fetchK: 30, lambda: 0.2 });
    expect(await retriever.invoke("q")).toEqual(direct);
    expect(contents(direct)).not.toEqual(nearest("q", 6));
  });

  it("adds documents, and answers several questions at once", async () => {
    await using store = await filled();
    const retriever = store.asRetriever(1);
    expect(await retriever.addDocuments([newDocument({ text: "q" })], { ids: ["q"] })).toEqual([
      "q",
    ]);
    const answers = await retriever.batch(["q", "word 3", "word 9"]);
    expect(answers.map(contents)).toEqual([["q"], ["word 3"], ["word 9"]]);
  });
});

describe("maxMarginalRelevanceSearch", () => {
  it("chooses as LangChain's helper does", async () => {
    await using store = await filled();
    for (const lambda of [0, 0.25, 0.5, 0.75, 1]) {
      for (const [k, fetchK] of [
        [1, 20],
        [4, 20],
        [10, 60],
        [8, 5],
        [3, 1000],
      ] as const) {
        const near = nearest("q", fetchK);
        const chosen = maximalMarginalRelevance(embed("q"), near.map(embed), lambda, k);
        const found = await store.maxMarginalRelevanceSearch("q", { k, fetchK, lambda });
        expect(contents(found)).toEqual(chosen.map((index) => near[index]));
      }
    }
  });

  it("chooses as LangChain's MemoryVectorStore does by default", async () => {
    await using store = await filled();
    const memory = new MemoryVectorStore(new TestEmbeddings());
    await memory.addDocuments(words.map((text) => newDocument({ text })));
    const expected = await memory.maxMarginalRelevanceSearch("q", { k: 5 });
    expect(contents(await store.maxMarginalRelevanceSearch("q", { k: 5 }))).toEqual(
      contents(expected),
    );
    expect(await store.maxMarginalRelevanceSearch("q", {} as never)).toHaveLength(4);
  });

  it("returns ids and metadata, and [] where there is nothing to return", async () => {
    await using store = newStore();
    expect(await store.maxMarginalRelevanceSearch("q", { k: 3 })).toEqual([]);
    const document = newDocument({ text: "a", metadata: { n: 1 } });
    await store.addDocuments([document], ["1"]);
    expect(await store.maxMarginalRelevanceSearch("q", { k: 3 })).toEqual([
      new Document({ id: "1", pageContent: "a", metadata: { n: 1 } }),
    ]);
    expect(await store.maxMarginalRelevanceSearch("q", { k: 0 })).toEqual([]);
    expect(await store.maxMarginalRelevanceSearch("q", { k: 3, fetchK: 0 })).toEqual([]);
  });

  it("refuses what it cannot use", async () => {
    await using store = await filled();
    const bad = [{ lambda: 1.1 }, { lambda: NaN }, { fetchK: -1 }, { fetchK: 2.5 }, { k: -1 }];
    for (const options of bad) {
      await expect(
        store.maxMarginalRelevanceSearch("q", { k: 2, ...options }),
      ).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
  });
});

describe("retrievers of @langchain/classic", () => {
  it("ScoreThresholdRetriever returns what scores well enough", async () => {
    await using store = await filled();
    const retriever = ScoreThresholdRetriever.fromVectorStore(store, {
      minSimilarityScore: 0.3,
      maxK: 100,
      kIncrement: 5,
    });
    const expected = nearest("q", words.length).filter(
      (text) => cosine(embed(text), embed("q")) >= 0.3,
    );
    expect(expected.length).toBeGreaterThan(5);
    expect(contents(await retriever.invoke("q"))).toEqual(expected);
  });

  it("TimeWeightedVectorStoreRetriever finds its own bookkeeping in the metadata", async () => {
    await using store = newStore();
    const retriever = new TimeWeightedVectorStoreRetriever({
      vectorStore: store,
      memoryStream: [],
      searchKwargs: 2,
      k: 2,
    });
    await retriever.addDocuments(["a", "b", "c"].map((text) => newDocument({ text })));
    expect(contents(await retriever.invoke("b"))).toContain("b");
  });

  it("MultiQueryRetriever asks in several ways and merges the answers", async () => {
    await using store = await filled();
    const llm = new FakeListChatModel({ responses: ["<questions>\nword 7\nword 9\n</questions>"] });
    const retriever = MultiQueryRetriever.fromLLM({ llm, retriever: store.asRetriever(1) });
    expect(contents(await retriever.invoke("which?")).toSorted()).toEqual(["word 7", "word 9"]);
  });

  it("ParentDocumentRetriever maps passages to their parents", async () => {
    await using store = newStore();
    const retriever = new ParentDocumentRetriever({
      vectorstore: store,
      byteStore: new InMemoryStore<Uint8Array>(),
      childSplitter: new CharacterTextSplitter({ separator: " ", chunkSize: 1, chunkOverlap: 0 }),
    });
    await retriever.addDocuments([newDocument({ text: "x y" }), newDocument({ text: "z w" })]);
    expect(contents(await retriever.invoke("z"))[0]).toBe("z w");
  });
});
