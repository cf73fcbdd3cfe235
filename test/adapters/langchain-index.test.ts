/** LangChain's `index()`: re-runs, changed and vanished documents, every cleanup mode. */
import type { Document } from "@langchain/core/documents";
import { index } from "@langchain/core/indexing";
import { describe, expect, it } from "vitest";
import { MemoryRecordManager, newDocument, newStore } from "./langchain-harness.js";

type Options = NonNullable<Parameters<typeof index>[0]["options"]>;

const page = (source: string, text: string) => newDocument({ text, metadata: { source } });

/** A store with its bookkeeping; `run` indexes documents, `stored` lists what is in it. */
function newIndex() {
  const store = newStore();
  const recordManager = new MemoryRecordManager();
  return {
    store,
    run: (docsSource: Document[], options: Options = {}) =>
      index({ docsSource, recordManager, vectorStore: store, options }),
    async stored() {
      const found = await store.similaritySearch("anything", 1000);
      return found.map(({ pageContent }) => pageContent).toSorted();
    },
    [Symbol.asyncDispose]: () => store.close(),
  };
}

const counts = (numAdded: number, numUpdated: number, numSkipped: number, numDeleted: number) => ({
  numAdded,
  numUpdated,
  numSkipped,
  numDeleted,
});

describe("index()", () => {
  it("adds once, skips what it knows, drops duplicates within a run", async () => {
    await using pages = newIndex();
    const documents = [page("1", "a"), page("2", "b"), page("2", "b")];
    expect(await pages.run(documents)).toEqual(counts(2, 0, 0, 0));
    expect(await pages.run(documents)).toEqual(counts(0, 0, 2, 0));
    expect(await pages.stored()).toEqual(["a", "b"]);
  });

  it("without cleanup keeps old versions", async () => {
    await using pages = newIndex();
    await pages.run([page("1", "a")]);
    expect(await pages.run([page("1", "a changed")])).toEqual(counts(1, 0, 0, 0));
    expect(await pages.stored()).toEqual(["a", "a changed"]);
  });

  it("cleanup incremental removes old versions of the sources it saw", async () => {
    await using pages = newIndex();
    const options: Options = { cleanup: "incremental", sourceIdKey: "source" };
    await pages.run([page("1", "a"), page("1", "b"), page("2", "c")], options);
    const again = await pages.run([page("1", "a"), page("1", "b changed")], options);
    expect(again).toEqual(counts(1, 0, 1, 1));
    expect(await pages.stored()).toEqual(["a", "b changed", "c"]);
  });

  it("cleanup full removes everything that is no longer there", async () => {
    await using pages = newIndex();
    const many = Array.from({ length: 25 }, (_, n) => page(`${n}`, `text ${n}`));
    await pages.run(many, { cleanup: "full", batchSize: 10 });
    const kept = many.slice(20);
    const options: Options = { cleanup: "full", batchSize: 2, cleanupBatchSize: 7 };
    expect(await pages.run([...kept, page("new", "new")], options)).toEqual(counts(1, 0, 5, 20));
    const expected = ["new", ...kept.map(({ pageContent }) => pageContent)].toSorted();
    expect(await pages.stored()).toEqual(expected);
    expect(await pages.run([], { cleanup: "full" })).toEqual(counts(0, 0, 0, 6));
    expect(await pages.stored()).toEqual([]);
  });

  it("forceUpdate writes known documents again and makes no duplicates", async () => {
    await using pages = newIndex();
    const documents = [page("1", "a"), page("2", "b")];
    await pages.run(documents);
    expect(await pages.run(documents, { forceUpdate: true })).toEqual(counts(0, 2, 0, 0));
    expect(await pages.stored()).toEqual(["a", "b"]);
  });

  it("brings back what was deleted behind its back", async () => {
    await using pages = newIndex();
    await pages.run([page("1", "a"), page("2", "b")]);
    await pages.store.delete({ deleteAll: true });
    await pages.run([page("1", "a"), page("2", "b")], { forceUpdate: true });
    expect(await pages.stored()).toEqual(["a", "b"]);
  });
});
