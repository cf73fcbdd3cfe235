/**
 * What the bridge promises, in one suite: on the stand-in servers, and on a live one when
 * VECTORIZER_URL is set (VECTORIZER_API_KEY as its key). The collections it makes are deleted.
 */
import { randomUUID } from "node:crypto";
import { HiveVectorStore } from "hive-gpu/langchain";
import { RemoteCollection, VectorizerClient, VectorizerMirror } from "hive-gpu/vectorizer";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { FakeServer } from "../../dist/examples/vectorizer-mirror/fake/server.js";
import { database, failure } from "../unit/helpers.js";
import { ids, records } from "./helpers.js";

interface Subject {
  name: string;
  start(): Promise<{ client: VectorizerClient; stop: () => Promise<void> }>;
}

const standIn = (version: string): Subject => ({
  name: `the stand-in that says ${version}`,
  async start() {
    const server = await FakeServer.start({ version });
    return { client: new VectorizerClient({ url: server.url }), stop: () => server.close() };
  },
});

const url = process.env["VECTORIZER_URL"] ?? "";
const live: Subject = {
  name: `the server at ${url}`,
  async start() {
    const apiKey = process.env["VECTORIZER_API_KEY"];
    const client = new VectorizerClient({ url, apiKey: apiKey === "" ? undefined : apiKey });
    return { client, stop: async () => undefined };
  },
};

describe.skipIf(url !== "")("a live server", () => {
  it.skip("is not tested (set VECTORIZER_URL to the address of one)");
});

for (const subject of [standIn("3.5.0"), standIn("3.6.0"), ...(url === "" ? [] : [live])]) {
  describe(subject.name, () => {
    let client: VectorizerClient;
    let stop: () => Promise<void>;
    const made: string[] = [];
    beforeAll(async () => {
      ({ client, stop } = await subject.start());
    });
    afterAll(async () => {
      for (const name of made) await client.deleteCollection(name);
      await stop();
    });

    function fresh(metric: "cosine" | "dot" | "l2" = "cosine"): RemoteCollection {
      const name = `hive-gpu-test-${randomUUID()}`;
      made.push(name);
      return new RemoteCollection({ client, name, metric, onWarning: () => undefined });
    }

    it("tells its version", async () => {
      expect((await client.probe()).version).toMatch(/\d/);
    });

    // 512 dimensions: those of the embedding provider that a stock server has, so not quantized.
    it.each(["cosine", "dot", "l2"] as const)(
      "stores, finds, replaces, deletes: %s",
      async (metric) => {
        const docs = fresh(metric);
        expect(await docs.search(records(1, 512)[0]!.vector)).toEqual([]);
        const given = records(150, 512);
        expect(await docs.upsert(given)).toEqual(ids(given));
        expect(await docs.count()).toBe(150);
        expect(await docs.info()).toMatchObject({ dimensions: 512, metric });
        const [hit] = await docs.search(given[7]!.vector, { k: 1 });
        expect(hit).toMatchObject({ id: "r7", text: "text 7", metadata: { n: 7 } });
        const many = await docs.search(given[7]!.vector, { k: 150 });
        expect(new Set(ids(many)).size).toBe(150);
        const scores = many.map(({ score }) => score);
        expect(scores).toEqual(scores.toSorted((a, b) => b - a));
        await docs.upsert([
          { ...given[7]!, text: " new\r\n text ", metadata: { at: new Date(7) } },
        ]);
        expect(await docs.get("r7")).toEqual({
          id: "r7",
          text: " new\r\n text ",
          metadata: { at: new Date(7) },
        });
        expect(await docs.delete({ ids: ["r7", "nobody"] })).toBe(1);
        expect(await docs.get(["r7", "r8"])).toMatchObject([undefined, { id: "r8" }]);
        expect(await docs.count()).toBe(149);
        const scanned: string[] = [];
        for await (const { id } of docs.scan({ batchSize: 20 })) scanned.push(id);
        expect(scanned.toSorted()).toEqual(
          ids(given)
            .filter((id) => id !== "r7")
            .toSorted(),
        );
      },
    );

    it("keeps ids that it would refuse or change", async () => {
      const docs = fresh();
      const odd = ["007", "7", "a#1", " x ", "é".repeat(300)];
      const vectors = records(odd.length, 512);
      await docs.upsert(odd.map((id, i) => ({ id, vector: vectors[i]!.vector })));
      for (const [i, id] of odd.entries()) {
        expect(ids(await docs.search(vectors[i]!.vector, { k: 1 }))).toEqual([id]);
      }
      expect((await docs.get(odd)).map((record) => record?.id)).toEqual(odd);
      expect(await docs.delete({ ids: odd })).toBe(odd.length);
    });

    it("refuses vectors of another length and unknown collections", async () => {
      const docs = fresh();
      await docs.upsert(records(1, 512));
      await failure(() => docs.upsert([{ vector: [1, 0] }]), "DIMENSION_MISMATCH");
      await failure(() => docs.search([1, 0]), "DIMENSION_MISMATCH");
      expect(await client.collection(`hive-gpu-test-${randomUUID()}`)).toBeUndefined();
    });

    it("is mirrored, synced, and agrees with its mirror", async () => {
      const docs = fresh();
      await docs.upsert(records(120, 512));
      await using mirror = await VectorizerMirror.open({
        client,
        name: docs.name,
        database: await database(),
        pollMs: 0,
      });
      expect(await mirror.sync()).toMatchObject({ upserted: 120 });
      await docs.upsert([{ ...records(4, 512)[3]!, text: "changed" }]);
      await docs.delete({ ids: ["r5"] });
      expect(await mirror.sync()).toMatchObject({ upserted: 1, deleted: 1 });
      expect(await mirror.local.get("r3")).toMatchObject({ text: "changed" });
      const report = await mirror.verify({ sample: 20 });
      expect(report.meanOverlap).toBeGreaterThan(0.95);
      expect(report.maxScoreDifference).toBeLessThan(0.01);
    });

    it("serves LangChain", async () => {
      const [one, two] = records(2, 512).map(({ vector }) => Array.from(vector));
      const embedQuery = async () => one!;
      const embedDocuments = async () => [one!, two!];
      const store = new HiveVectorStore({ embedQuery, embedDocuments }, { collection: fresh() });
      await store.addDocuments([
        { pageContent: "first", metadata: { n: 1 } },
        { pageContent: "second", metadata: { n: 2 } },
      ]);
      expect(await store.similaritySearch("anything", 1)).toMatchObject([
        { pageContent: "first", metadata: { n: 1 } },
      ]);
    });
  });
}
