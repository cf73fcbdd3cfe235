/** Stores in a folder: `{ path }`, save, load, `index()` across restarts. */
import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { index } from "@langchain/core/indexing";
import { HiveVectorStore } from "hive-gpu/langchain";
import { afterEach, describe, expect, it } from "vitest";
import { TestEmbeddings } from "./harness.js";
import { MemoryRecordManager, documentsOf, newDocument, newStore } from "./langchain-harness.js";

const folders: string[] = [];
afterEach(() => {
  for (const made of folders.splice(0)) fs.rmSync(made, { recursive: true, force: true });
});

function folder(): string {
  const made = fs.mkdtempSync(path.join(os.tmpdir(), "hive-gpu-test-"));
  folders.push(made);
  return path.join(made, "store");
}

const page = (source: string, text: string) => newDocument({ text, metadata: { source } });

const texts = async (store: HiveVectorStore) =>
  (await store.similaritySearch("alpha", 100)).map((one) => one.pageContent).toSorted();

describe("a store in a folder", () => {
  it("has its documents after a restart, and refuses a second writer", async () => {
    const at = folder();
    const store = newStore({ path: at, metric: "l2" });
    const when = new Date(7);
    await store.addDocuments([newDocument({ id: "1", text: "alpha", metadata: { when } })]);
    await expect(newStore({ path: at }).addDocuments(documentsOf("x"))).rejects.toMatchObject({
      code: "DATABASE_LOCKED",
    });
    await using reader = newStore({ path: at, readOnly: true });
    expect(await texts(reader)).toEqual(["alpha"]);
    await expect(reader.addDocuments(documentsOf("x"))).rejects.toMatchObject({
      code: "READ_ONLY",
    });
    await store.close();
    await using again = newStore({ path: at });
    expect((await again.getByIds(["1"]))[0]?.metadata).toEqual({ when });
    expect((await again.collection()).metric).toBe("l2");
  });

  it.each(["in memory", "in a folder"])("is saved and loaded (%s)", async (where) => {
    const options = where === "in memory" ? { name: "docs" } : { name: "docs", path: folder() };
    await using store = newStore(options);
    await store.addDocuments(documentsOf("alpha", "beta", "gamma"), ["a", "b", "c"]);
    const at = folder();
    await store.save(at);
    await store.delete({ ids: ["b"] });
    await store.addDocuments(documentsOf("alpha two", "delta"), ["a", "d"]);
    await store.save(at);
    const loaded = await HiveVectorStore.load(at, new TestEmbeddings(), { name: "docs" });
    expect(await texts(loaded)).toEqual(["alpha two", "delta", "gamma"]);
    const query = "delta";
    expect(await loaded.similaritySearchWithScore(query, 3)).toEqual(
      await store.similaritySearchWithScore(query, 3),
    );
    await loaded.addDocuments(documentsOf("epsilon"));
    await loaded.save(at);
    await loaded.close();
    await using again = await HiveVectorStore.load(at, new TestEmbeddings(), { name: "docs" });
    expect(await texts(again)).toEqual(["alpha two", "delta", "epsilon", "gamma"]);
  });

  it("keeps index() incremental across restarts", async () => {
    const at = folder();
    const recordManager = new MemoryRecordManager();
    const run = async (...docsSource: ReturnType<typeof page>[]) => {
      await using vectorStore = newStore({ path: at });
      const options = { cleanup: "incremental", sourceIdKey: "source" } as const;
      const done = await index({ docsSource, recordManager, vectorStore, options });
      return { ...done, texts: await texts(vectorStore) };
    };
    expect(await run(page("1", "a"), page("2", "b"))).toMatchObject({ numAdded: 2 });
    expect(await run(page("1", "a"), page("2", "b"))).toMatchObject({ numAdded: 0, numSkipped: 2 });
    expect(await run(page("1", "a changed"))).toMatchObject({
      numAdded: 1,
      numDeleted: 1,
      texts: ["a changed", "b"],
    });
  });
});
