/** Order and scores of results, and input that is refused. */
import { expect } from "vitest";
import { cosine, embed } from "../harness.js";
import { ids, refused, texts, type Case } from "./case.js";

export const resultCases: Case[] = [
  {
    name: "equal scores come in the order of insertion",
    async run(store, adapter) {
      const names = ["c", "a", "d", "b"];
      const documents = names.map((text) => adapter.document({ text }));
      await store.addVectors(
        names.map(() => [1, 2, 3, 0, 0, 0]),
        documents,
        names,
      );
      expect(ids(await store.searchVector([1, 0, 0, 0, 0, 0], 4))).toEqual(names);
      expect(ids(await store.searchVector([1, 0, 0, 0, 0, 0], 2))).toEqual(["c", "a"]);
    },
  },
  {
    name: "scores fall, higher is closer, and are the cosine",
    async run(store, adapter) {
      const words = Array.from({ length: 50 }, (_, n) => `word ${n}`);
      await store.add(words.map((text) => adapter.document({ text })));
      const found = await store.search("question", 50);
      const expected = words
        .map((text) => ({ text, score: cosine(embed(text), embed("question")) }))
        .toSorted((a, b) => b.score - a.score);
      expect(texts(found)).toEqual(texts(expected));
      found.forEach((one, rank) => expect(one.score).toBeCloseTo(expected[rank]!.score, 4));
    },
  },
  {
    name: "negative scores and zero scores are returned",
    async run(store, adapter) {
      const documents = ["same", "across", "opposite"].map((text) => adapter.document({ text }));
      await store.addVectors(
        [
          [1, 0],
          [0, 1],
          [-1, 0],
        ],
        documents,
      );
      const found = await store.searchVector([2, 0], 3);
      expect(texts(found)).toEqual(["same", "across", "opposite"]);
      expect(found.map(({ score }) => score)).toEqual([1, 0, -1]);
    },
  },
  {
    name: "k above the number of documents returns all, k = 0 none",
    async run(store, adapter) {
      await store.add(["a", "b", "c"].map((text) => adapter.document({ text })));
      expect(await store.search("a", 1000)).toHaveLength(3);
      expect(await store.search("a", 1)).toHaveLength(1);
      expect(await store.search("a", 0)).toEqual([]);
    },
  },
  {
    name: "given vectors are the ones that are searched",
    async run(store, adapter) {
      const documents = ["x", "y"].map((text) => adapter.document({ text }));
      await store.addVectors([embed("y"), embed("x")], documents, ["1", "2"]);
      expect(texts(await store.search("y", 1))).toEqual(["x"]);
    },
  },
  {
    name: "a zero vector is stored and scores 0",
    async run(store, adapter) {
      const documents = ["zero", "one"].map((text) => adapter.document({ text }));
      await store.addVectors(
        [
          [0, 0, 0],
          [1, 0, 0],
        ],
        documents,
      );
      const found = await store.searchVector([1, 0, 0], 2);
      expect(found.map(({ text, score }) => [text, score])).toEqual([
        ["one", 1],
        ["zero", 0],
      ]);
      const scores = (await store.searchVector([0, 0, 0], 2)).map(({ score }) => score);
      expect(scores).toEqual([0, 0]);
    },
  },
];

export const refusalCases: Case[] = [
  {
    name: "a vector of another length is refused, in a query and in a document",
    async run(store, adapter) {
      await store.addVectors([[1, 0, 0]], [adapter.document({ text: "a" })], ["1"]);
      await refused(store.searchVector([1, 0], 1), "DIMENSION_MISMATCH");
      const two = ["b", "c"].map((text) => adapter.document({ text }));
      await refused(
        store.addVectors(
          [
            [1, 0, 0],
            [1, 0],
          ],
          two,
        ),
        "DIMENSION_MISMATCH",
      );
      expect(ids(await store.searchVector([1, 0, 0], 5))).toEqual(["1"]);
    },
  },
  {
    name: "NaN and Infinity are refused, in a query and in a document",
    async run(store, adapter) {
      await store.addVectors([[1, 0]], [adapter.document({ text: "a" })], ["1"]);
      for (const bad of [NaN, Infinity, -Infinity]) {
        await refused(store.searchVector([1, bad], 1), "NON_FINITE");
        const one = [adapter.document({ text: "b" })];
        await refused(store.addVectors([[bad, 1]], one), "NON_FINITE");
      }
      expect(ids(await store.searchVector([1, 0], 5))).toEqual(["1"]);
    },
  },
  {
    name: "lists of different lengths are refused and nothing is stored",
    async run(store, adapter) {
      const two = ["a", "b"].map((text) => adapter.document({ text }));
      await refused(store.add(two, ["1"]), "INVALID_ARGUMENT");
      await refused(store.add(two, ["1", "2", "3"]), "INVALID_ARGUMENT");
      await refused(store.addVectors([[1, 0]], two), "INVALID_ARGUMENT");
      expect(await store.get(["1", "2", "3"])).toEqual([]);
    },
  },
  {
    name: "a k that is no count is refused",
    async run(store, adapter) {
      await store.add([adapter.document({ text: "a" })]);
      for (const k of [-1, 1.5, NaN, "3" as unknown as number]) {
        await refused(store.search("a", k), "INVALID_ARGUMENT");
      }
    },
  },
  {
    name: "a batch with one bad document stores none of it",
    async run(store, adapter) {
      const documents = ["a", "b"].map((text) => adapter.document({ text }));
      await expect(
        store.addVectors(
          [
            [1, 0],
            [1, NaN],
          ],
          documents,
          ["1", "2"],
        ),
      ).rejects.toThrow();
      expect(await store.get(["1", "2"])).toEqual([]);
    },
  },
];
