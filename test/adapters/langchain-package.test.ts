/** The adapter as CommonJS and as ESM in one process: one engine, one family of errors. */
import { createRequire } from "node:module";
import { HiveGpuError, openDatabase } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { TestEmbeddings } from "./harness.js";
import { documentsOf, newStore } from "./langchain-harness.js";

type Adapter = typeof import("hive-gpu/langchain");

const required = createRequire(import.meta.url)("hive-gpu/langchain") as Adapter;

describe("the CommonJS build", () => {
  it("works on a collection that ESM opened", async () => {
    await using db = await openDatabase();
    const collection = await db.collection("shared");
    const one = newStore({ collection });
    const two = new required.HiveVectorStore(new TestEmbeddings(), { collection });
    await one.addDocuments(documentsOf("a"), ["1"]);
    expect(await two.similaritySearch("a", 1)).toEqual(await one.similaritySearch("a", 1));
  });

  it("throws errors that ESM recognises", async () => {
    await using store = new required.HiveVectorStore(new TestEmbeddings(), {});
    await expect(store.delete({})).rejects.toBeInstanceOf(HiveGpuError);
    await store.close();
    await expect(store.addDocuments(documentsOf("a"))).rejects.toBeInstanceOf(HiveGpuError);
  });
});
