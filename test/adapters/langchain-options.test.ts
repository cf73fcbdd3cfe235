/** What a store is made of: options, whose database it is, texts and documents. */
import { FakeEmbeddings } from "@langchain/core/utils/testing";
import { HiveGpuError, openDatabase } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/langchain";
import { describe, expect, it } from "vitest";
import { TestEmbeddings } from "./harness.js";
import { documentsOf, newDocument, newStore } from "./langchain-harness.js";

describe("options", () => {
  it("names what it does not know", async () => {
    expect(() => newStore({ metrik: "dot" } as never)).toThrow('unknown option "metrik"');
    await using store = newStore();
    await expect(store.addDocuments([], { id: ["1"] } as never)).rejects.toThrow('"id"');
    await expect(store.delete({ id: ["1"] } as never)).rejects.toThrow('"id"');
    const mmr = store.maxMarginalRelevanceSearch("a", { k: 1, fetchk: 2 } as never);
    await expect(mmr).rejects.toMatchObject({ code: "UNKNOWN_OPTION" });
  });

  it("asks for embeddings at once", () => {
    for (const embeddings of [undefined, null, {}, { embedQuery: async () => [1] }]) {
      expect(() => new HiveVectorStore(embeddings as never, {})).toThrow("must be embeddings");
    }
  });

  it("refuses what contradicts itself", async () => {
    await using db = await openDatabase();
    const collection = await db.collection("one");
    for (const options of [
      { collection, metric: "dot" },
      { collection, database: db },
      { database: db, device: "cpu" },
      { database: {} },
      { collection: "one" },
      { collection: null },
      [],
      "one",
    ]) {
      expect(() => newStore(options as never)).toThrow(HiveGpuError);
    }
  });

  it("passes metric, dtype, name and device on", async () => {
    await using store = newStore({ name: "mine", metric: "l2", dtype: "f16", device: "cpu" });
    await store.addVectors([[3, 4]], documentsOf("a"));
    const [[, score] = []] = await store.similaritySearchVectorWithScore([0, 0], 1);
    expect(score).toBeCloseTo(1 / 6, 6);
    const stats = await (await store.collection()).stats();
    expect(stats).toMatchObject({ metric: "l2", dtype: "f16", dimensions: 2 });
    for (const wrong of [{ metric: "angular" }, { device: "abacus" }, { name: "" }]) {
      await using other = newStore(wrong as never);
      await expect(other.similaritySearch("a", 1)).rejects.toMatchObject({
        code: "INVALID_ARGUMENT",
      });
    }
  });

  it("scores stay higher for closer under every metric", async () => {
    for (const metric of ["cosine", "dot", "l2", "l1", "linf"] as const) {
      await using store = newStore({ metric });
      await store.addVectors(
        [
          [0, 1],
          [1, 0.1],
          [-1, 0],
        ],
        documentsOf("b", "a", "c"),
      );
      const found = await store.similaritySearchVectorWithScore([1, 0], 3);
      expect(found.map(([document]) => document.pageContent)).toEqual(["a", "b", "c"]);
      const scores = found.map(([, score]) => score);
      expect(scores).toEqual(scores.toSorted((a, b) => b - a));
    }
  });
});

describe("whose database it is", () => {
  it("two stores on one collection see each other's documents", async () => {
    await using db = await openDatabase();
    const collection = await db.collection("shared");
    const one = newStore({ collection });
    const two = newStore({ database: db, name: "shared" });
    await one.addDocuments(documentsOf("a"), ["1"]);
    await two.addDocuments(documentsOf("b"), ["2"]);
    expect(await one.getByIds(["1", "2"])).toEqual(await two.getByIds(["1", "2"]));
    await one.close();
    await two.close();
    expect(await collection.count()).toBe(2);
    expect(await one.similaritySearch("b", 1)).toHaveLength(1);
    expect(await two.similaritySearch("b", 1)).toHaveLength(1);
  });

  it("closes its private database, once, used or not", async () => {
    const used = newStore();
    await used.addDocuments(documentsOf("a"));
    const opening = newStore();
    const search = opening.similaritySearch("a", 1);
    for (const store of [used, opening, newStore()]) {
      await store.close();
      await store.close();
      await expect(store.similaritySearch("a", 1)).rejects.toMatchObject({ code: "CLOSED" });
    }
    await search.catch((error: unknown) => expect(error).toMatchObject({ code: "CLOSED" }));
  });

  it("tries again after an opening that failed", async () => {
    await using db = await openDatabase();
    await db.collection("shared", { metric: "dot" });
    await using store = newStore({ database: db, name: "shared", metric: "l2" });
    await expect(store.addDocuments(documentsOf("a"))).rejects.toThrow(HiveGpuError);
    await db.drop("shared");
    expect(await store.addDocuments(documentsOf("a"))).toHaveLength(1);
  });
});

describe("made from texts and documents", () => {
  it("texts with one metadata for each", async () => {
    const given = [{ id: 1 }, { id: 2 }];
    await using store = await HiveVectorStore.fromTexts(["a", "b"], given, new TestEmbeddings());
    expect((await store.similaritySearch("b", 1))[0]!.metadata).toEqual({ id: 2 });
    const short = HiveVectorStore.fromTexts(["a", "b"], [{}], new TestEmbeddings(), {});
    await expect(short).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });

  it("texts with one metadata for all", async () => {
    const all = { source: "s" };
    await using store = await HiveVectorStore.fromTexts(["a", "b"], all, new TestEmbeddings(), {});
    const found = await store.similaritySearch("b", 2);
    expect(found.map(({ metadata }) => metadata)).toEqual([{ source: "s" }, { source: "s" }]);
  });

  it("documents that keep their ids, on a collection that exists", async () => {
    await using db = await openDatabase();
    const options = { database: db, name: "docs" };
    const documents = [newDocument({ id: "x", text: "a", metadata: {} })];
    await HiveVectorStore.fromDocuments(documents, new TestEmbeddings(), options);
    for (const open of ["fromExistingCollection", "fromExistingIndex"] as const) {
      const store = await HiveVectorStore[open](new TestEmbeddings(), options);
      expect(await store.similaritySearch("a", 1)).toEqual(documents);
    }
  });

  it("equal vectors keep the order of insertion", async () => {
    const metadatas = [2, 1, 3].map((id) => ({ id }));
    await using store = await HiveVectorStore.fromTexts(
      ["Hello world", "Bye bye", "hello nice world"],
      metadatas,
      new FakeEmbeddings(),
      {},
    );
    const found = await store.similaritySearchVectorWithScore([1, 0, 0, 0], 3);
    expect(found.map(([{ metadata }]) => metadata)).toEqual(metadatas);
  });

  it("a store that cannot be filled is closed", async () => {
    let closed = 0;
    class Counting extends HiveVectorStore {
      override async close(): Promise<void> {
        closed++;
        await super.close();
      }
    }
    const broken = [newDocument({ text: "a", metadata: { bad: 1n } })];
    const call = Counting.fromDocuments(broken, new TestEmbeddings(), {});
    await expect(call).rejects.toMatchObject({ code: "INVALID_METADATA" });
    expect(closed).toBe(1);
  });

  it("a subclass makes itself", async () => {
    class Mine extends HiveVectorStore {}
    await using store = await Mine.fromTexts(["a"], {}, new TestEmbeddings(), {});
    expect(store).toBeInstanceOf(Mine);
  });
});
