/** Texts and metadata come back exactly, and records never mix. */
import { expect } from "vitest";
import { cosine, embed } from "../harness.js";
import { ids, refused, texts, type Case } from "./case.js";

const metadataSamples: Record<string, Record<string, unknown>> = {
  nested: { a: { b: [{ c: [1, [2, { d: null }]] }] }, e: {} },
  scalars: { t: true, f: false, n: null, zero: 0, big: 2 ** 53, small: -1.5e-300, empty: "" },
  unicode: { "ключ 🗝️": "値 — “q” \u0000 \u2028 \ud83d\ude80", "": "empty key" },
  dates: { at: new Date(0), list: [new Date("2024-02-29T12:00:00.123Z")], text: "2024-02-29" },
  lookalikes: { $date: 0, nested: { $date: "2024" }, toJSON: "no function", constructor: 1 },
  prototypes: JSON.parse('{"__proto__": {"polluted": true}, "hasOwnProperty": 1}'),
};

export const contentCases: Case[] = [
  ...Object.entries(metadataSamples).map(([name, sample]): Case => ({
    name: `metadata comes back exactly: ${name}`,
    async run(store, adapter) {
      await store.add([adapter.document({ text: "a", metadata: sample })], ["1"]);
      const [found] = await store.search("a", 1);
      expect(found!.metadata).toStrictEqual(sample);
      expect(Object.keys(found!.metadata)).toEqual(Object.keys(sample));
      expect((await store.get(["1"]))[0]!.metadata).toStrictEqual(sample);
      expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
    },
  })),
  {
    name: "metadata defaults to an empty object",
    async run(store, adapter) {
      await store.add([adapter.document({ text: "a" })], ["1"]);
      expect((await store.search("a", 1))[0]!.metadata).toStrictEqual({});
      expect((await store.get(["1"]))[0]!.metadata).toStrictEqual({});
    },
  },
  {
    name: "metadata that cannot be stored is refused with its path",
    async run(store, adapter) {
      const cycle: Record<string, unknown> = {};
      cycle["self"] = cycle;
      for (const bad of [cycle, { a: { b: 1n } }, { a: () => 1 }, { a: [Symbol("s")] }]) {
        const call = store.add([adapter.document({ text: "a", metadata: bad })]);
        await refused(call, "INVALID_METADATA");
      }
      expect(await store.search("a", 1)).toEqual([]);
    },
  },
  {
    name: "text comes back exactly",
    async run(store, adapter) {
      const samples = [
        "",
        " ",
        "line\nline\r\n\ttab",
        "𝒳 \u0000 \u2028 é e\u0301",
        "x".repeat(1e5),
      ];
      const given = await store.add(samples.map((text) => adapter.document({ text })));
      for (const [n, id] of given.entries()) {
        expect(texts(await store.get([id]))).toEqual([samples[n]]);
      }
    },
  },
];

export const isolationCases: Case[] = [
  {
    name: "documents are not changed by adding them",
    async run(store, adapter) {
      const item = { text: "a", metadata: { deep: { list: [1, 2] } } };
      const document = adapter.document(structuredClone(item));
      const before = structuredClone(adapter.read(document));
      await store.add([Object.freeze(document)], ["other id"]);
      expect(adapter.read(document)).toEqual(before);
    },
  },
  {
    name: "changing a document or an id list afterwards does not reach the store",
    async run(store, adapter) {
      const document = adapter.document({ text: "a", metadata: { deep: { list: [1] } } });
      const given = ["1"];
      await store.add([document], given);
      (adapter.read(document).metadata["deep"] as { list: number[] }).list.push(2);
      given[0] = "2";
      expect((await store.get(["1"]))[0]!.metadata).toEqual({ deep: { list: [1] } });
    },
  },
  {
    name: "changing a result does not reach the store",
    async run(store, adapter) {
      await store.add([adapter.document({ text: "a", metadata: { deep: { list: [1] } } })], ["1"]);
      for (let round = 0; round < 2; round++) {
        const [found] = await store.search("a", 1);
        expect(found!.metadata).toEqual({ deep: { list: [1] } });
        (found!.metadata["deep"] as { list: number[] }).list.push(2);
        found!.metadata["more"] = true;
      }
    },
  },
  {
    name: "additions and searches at the same time never mix up records",
    async run(store, adapter) {
      const add = async (n: number) => {
        const documents = Array.from({ length: 20 }, (_, i) => ({ text: `t${n}-${i}` }));
        const names = documents.map(({ text }) => text);
        await store.add(
          documents.map((item) => adapter.document({ ...item, metadata: { name: item.text } })),
          names,
        );
      };
      const look = async (n: number) => {
        for (const one of await store.search(`t${n}-3`, 10)) {
          expect(one.metadata).toEqual({ name: one.text });
          expect(one.id).toBe(one.text);
          expect(one.score).toBeCloseTo(cosine(embed(one.text), embed(`t${n}-3`)), 4);
        }
      };
      const work = Array.from({ length: 20 }, (_, n) => [add(n), look(n), look(19 - n)]);
      await Promise.all(work.flat());
      expect(await store.search("t0-0", 1000)).toHaveLength(400);
    },
  },
  {
    name: "a replaced and a deleted document do not come back",
    async run(store, adapter) {
      const words = Array.from({ length: 100 }, (_, n) => `w${n}`);
      await store.add(
        words.map((text) => adapter.document({ text })),
        words,
      );
      await store.delete(words.filter((_, n) => n % 3 === 0));
      const again = words.filter((_, n) => n % 3 === 1);
      await store.add(
        again.map((text) => adapter.document({ text: `${text} again` })),
        again,
      );
      const found = await store.search("w0", 1000);
      expect(found).toHaveLength(66);
      expect(found.filter(({ text }) => text.endsWith(" again"))).toHaveLength(33);
      expect(new Set(ids(found)).size).toBe(66);
    },
  },
  {
    name: "a deleted id can be added again",
    async run(store, adapter) {
      for (const text of ["first", "second"]) {
        await store.add([adapter.document({ text })], ["1"]);
        expect(texts(await store.search(text, 5))).toEqual([text]);
        await store.delete(["1"]);
        expect(await store.search(text, 5)).toEqual([]);
      }
    },
  },
];
