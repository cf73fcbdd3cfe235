/** What LangChain's standard vector-store suite for Python asserts, written anew. */
import { expect } from "vitest";
import { byId, ids, plain, texts, type Case } from "./case.js";

export const standardCases: Case[] = [
  {
    name: "a new store is empty",
    async run(store) {
      expect(await store.search("foo", 1)).toEqual([]);
    },
  },
  {
    name: "added documents are found, all of them, in order of their score",
    async run(store, adapter) {
      const documents = [
        adapter.document({ text: "foo", metadata: { id: 1 } }),
        adapter.document({ text: "bar", metadata: { id: 2 } }),
      ];
      const given = await store.add(documents);
      expect(new Set(given).size).toBe(2);
      expect((await store.search("bar", 2)).map(plain)).toEqual([
        { id: given[1], text: "bar", metadata: { id: 2 } },
        { id: given[0], text: "foo", metadata: { id: 1 } },
      ]);
    },
  },
  {
    name: "another store is still empty",
    async run(store, adapter) {
      const other = await adapter.create();
      await other.add([adapter.document({ text: "foo" })]);
      expect(await store.search("foo", 1)).toEqual([]);
      await other.close();
    },
  },
  {
    name: "a deleted document is gone",
    async run(store, adapter) {
      const documents = ["foo", "bar"].map((text) => adapter.document({ text }));
      expect(await store.add(documents, ["1", "2"])).toEqual(["1", "2"]);
      await store.delete(["1"]);
      expect(texts(await store.search("foo", 2))).toEqual(["bar"]);
    },
  },
  {
    name: "several documents are deleted at once",
    async run(store, adapter) {
      const documents = ["foo", "bar", "baz"].map((text) => adapter.document({ text }));
      await store.add(documents, ["1", "2", "3"]);
      await store.delete(["1", "2"]);
      expect(texts(await store.search("foo", 3))).toEqual(["baz"]);
    },
  },
  {
    name: "deleting unknown ids is fine",
    async run(store, adapter) {
      await store.delete(["on an empty store"]);
      await store.add([adapter.document({ text: "foo" })], ["1"]);
      await store.delete(["2", "3"]);
      await store.delete([]);
      expect(ids(await store.search("foo", 3))).toEqual(["1"]);
    },
  },
  {
    name: "adding the same ids twice makes no duplicates",
    async run(store, adapter) {
      for (let round = 0; round < 2; round++) {
        const documents = ["foo", "bar"].map((text) => adapter.document({ text }));
        expect(await store.add(documents, ["1", "2"])).toEqual(["1", "2"]);
        expect(texts(await store.search("bar", 3))).toEqual(["bar", "foo"]);
      }
    },
  },
  {
    name: "adding a known id replaces text, metadata and vector",
    async run(store, adapter) {
      const first = ["foo", "bar"].map((text) => adapter.document({ text, metadata: { n: 1 } }));
      await store.add(first, ["1", "2"]);
      await store.add([adapter.document({ text: "new foo", metadata: { some: "field" } })], ["1"]);
      const found = await store.search("new foo", 2);
      expect(plain(found[0]!)).toEqual({ id: "1", text: "new foo", metadata: { some: "field" } });
      expect(found[0]!.score).toBeCloseTo(1, 5);
      expect(plain(found[1]!)).toEqual({ id: "2", text: "bar", metadata: { n: 1 } });
    },
  },
  {
    name: "documents are got by their ids",
    async run(store, adapter) {
      const documents = ["foo", "bar"].map((text, n) =>
        adapter.document({ text, metadata: { n } }),
      );
      await store.add(documents, ["1", "2"]);
      expect((await store.get(["2", "1"])).toSorted(byId)).toEqual([
        { id: "1", text: "foo", metadata: { n: 0 } },
        { id: "2", text: "bar", metadata: { n: 1 } },
      ]);
    },
  },
  {
    name: "getting unknown ids gives nothing",
    async run(store, adapter) {
      expect(await store.get(["1", "2"])).toEqual([]);
      await store.add([adapter.document({ text: "foo" })], ["1"]);
      expect(ids(await store.get(["3", "1", "2"]))).toEqual(["1"]);
    },
  },
  {
    name: "generated ids are strings that can be looked up",
    async run(store, adapter) {
      const given = await store.add(["foo", "bar"].map((text) => adapter.document({ text })));
      expect(given.every((id) => typeof id === "string" && id.length > 0)).toBe(true);
      expect((await store.get(given)).map(({ text }) => text).toSorted()).toEqual(["bar", "foo"]);
    },
  },
  {
    name: "a document's own id is kept, and others get one",
    async run(store, adapter) {
      const given = await store.add([
        adapter.document({ id: "foo", text: "foo", metadata: { n: 1 } }),
        adapter.document({ text: "bar" }),
      ]);
      expect(given[0]).toBe("foo");
      expect(given[1]).not.toBe("foo");
      expect(await store.get(["foo"])).toEqual([{ id: "foo", text: "foo", metadata: { n: 1 } }]);
      expect(texts(await store.get([given[1]!]))).toEqual(["bar"]);
    },
  },
];
