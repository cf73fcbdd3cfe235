/**
 * Every trap of the server that is known from its source, by name: first that the stand-in has it,
 * then that the bridge does not fall into it.
 */
import { quirksOfVersion, scoreFromServer } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { clientOf, failure, fake, ids, raw, records, remoteOf } from "./helpers.js";

describe("vectors and metrics", () => {
  it("cosine vectors are stored normalized", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [3, 4] }]);
    const [stored] = [...server.collections.get("docs")!.points.values()];
    expect([...stored!.vector].map((x) => x.toFixed(4))).toEqual(["0.6000", "0.8000"]);
    const [hit] = await docs.search([30, 40], { select: ["vector"] });
    expect(hit!.score).toBe(1);
    expect(hit!.vector).toEqual(stored!.vector);
  });

  it("SQ8 is the default of the Qdrant path", async () => {
    const server = await fake();
    await raw(server, "PUT", "/qdrant/collections/naive", {
      vectors: { size: 4, distance: "Dot" },
    });
    expect(server.collections.get("naive")!.quantization).toBe("sq8");
    await remoteOf(server).upsert(records(3));
    expect(server.collections.get("docs")!.quantization).toBe("none");
  });

  it("a server that stays quantized is reported, once", async () => {
    const server = await fake({ quirks: { reencodeWorks: false } });
    const warnings: string[] = [];
    const docs = remoteOf(server, { onWarning: (message) => warnings.push(message) });
    await docs.upsert(records(3));
    await docs.count();
    expect(warnings).toHaveLength(1);
    expect(warnings[0]).toMatch(/"docs" quantized \(SQ/);
  });

  it("a misspelled metric becomes cosine", async () => {
    const server = await fake();
    const body = { name: "naive", dimension: 512, metric: "dot_product" };
    await raw(server, "POST", "/collections", body);
    expect(server.collections.get("naive")!.metric).toBe("cosine");
    await remoteOf(server, { metric: "dot" }).upsert(records(1, 512));
    expect(server.collections.get("docs")!.metric).toBe("dot");
    await failure(
      () => remoteOf(server, { name: "naive", metric: "dot" }).count(),
      "ALREADY_EXISTS",
    );
    await failure(() => clientOf(server.url).createCollection("x", 4, "l1"), "NOT_SUPPORTED");
  });

  it.each(["dot", "l2"] as const)(
    "3.5.0 ranks by cosine whatever the metric: %s",
    async (metric) => {
      const server = await fake({ version: "3.5.0" });
      const docs = remoteOf(server, { metric });
      const far = { id: "far, same direction", vector: [0.2, 0] };
      const near = { id: "near", vector: [3, 0.5] };
      await docs.upsert([far, near, { id: "other", vector: [0, -1] }]);
      const naive = await raw(server, "POST", "/collections/docs/search", {
        vector: [3, 0],
        limit: 1,
      });
      expect(naive.results[0].id).toBe("far, same direction");
      const [hit] = await docs.search([3, 0], { k: 1 });
      expect(hit!.id).toBe("near");
      expect(hit!.score).toBeCloseTo(metric === "dot" ? 9 : 1 / 1.5, 6);
      expect(await docs.search([3, 0], { k: 3 })).toHaveLength(3);
    },
  );

  it("a server that follows the metric is trusted, though it also says 3.5.0", async () => {
    const server = await fake({ version: "3.5.0", quirks: { metricIsIgnored: false } });
    const docs = remoteOf(server, { metric: "l2" });
    await docs.upsert(records(30));
    server.requests.length = 0;
    const hits = await docs.search([0.5, 0, 0, 0], { k: 5 });
    expect(hits).toHaveLength(5);
    expect(server.requests.filter((one) => one.endsWith("/scroll"))).toEqual([]);
  });

  it("the score of a dot product is its sigmoid", async () => {
    const server = await fake({ version: "3.6.0" });
    const docs = remoteOf(server, { metric: "dot" });
    await docs.upsert([
      { id: "a", vector: [40, 0] },
      { id: "b", vector: [30, 0] },
      { id: "c", vector: [-1, 0] },
    ]);
    const naive = await raw(server, "POST", "/collections/docs/search", { vector: [1, 0] });
    expect(naive.results.map(({ score }: { score: number }) => score)).toEqual([
      1,
      1,
      expect.any(Number),
    ]);
    const hits = await docs.search([1, 0]);
    expect(hits.map(({ id, score }) => [id, score])).toEqual([
      ["a", 40],
      ["b", 30],
      ["c", -1],
    ]);
  });

  it("scores are converted by metric and version where a number alone tells them", () => {
    const old = quirksOfVersion("3.5.0");
    const head = quirksOfVersion("3.6.0");
    expect([old.isKnown, head.isKnown, quirksOfVersion("v4.0").isKnown]).toEqual([
      true,
      false,
      false,
    ]);
    expect(quirksOfVersion("nonsense").metricIsIgnored).toBe(true);
    expect(scoreFromServer(0.25, "cosine", old)).toBe(0.25);
    expect(scoreFromServer(1.0000002, "cosine", old)).toBe(1);
    expect(scoreFromServer(0.25, "dot", old)).toBeUndefined();
    expect(scoreFromServer(0.25, "l2", head)).toBe(0.25);
    for (const dot of [-9, -0.5, 0, 2, 9]) {
      const sigmoid = Math.fround(1 / (1 + Math.exp(-dot)));
      expect(scoreFromServer(sigmoid, "dot", head)).toBeCloseTo(dot, 2);
    }
    expect(scoreFromServer(1, "dot", head)).toBeUndefined();
  });

  it("metrics go by many names", async () => {
    const server = await fake();
    const names = { cosine: "Cosine", l2: "Euclidean", dot: "DotProduct" } as const;
    for (const [metric, debugName] of Object.entries(names)) {
      const docs = remoteOf(server, { name: metric, metric: metric as "cosine" | "l2" | "dot" });
      await docs.upsert(records(1));
      expect((await raw(server, "GET", `/collections/${metric}`)).metric).toBe(debugName);
      expect((await docs.info())!.metric).toBe(metric);
    }
    expect((await clientOf(server.url).collections()).map(({ metric }) => metric)).toEqual([
      "cosine",
      "l2",
      "dot",
    ]);
  });
});

describe("searches and scans", () => {
  it("limits are clamped to 100 and 50", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(160));
    const body = { vector: [1, 0, 0, 0], limit: 150 };
    expect((await raw(server, "POST", "/collections/docs/search", body)).results).toHaveLength(100);
    expect((await raw(server, "GET", "/collections/docs/vectors?limit=150")).vectors).toHaveLength(
      50,
    );
    const hits = await docs.search([1, 0, 0, 0], { k: 150 });
    expect(new Set(ids(hits)).size).toBe(150);
    const next = await docs.search([1, 0, 0, 0], { k: 5, offset: 148 });
    expect(ids(next).slice(0, 2)).toEqual(ids(hits).slice(148));
    let scanned = 0;
    for await (const _ of docs.scan()) scanned++;
    expect(scanned).toBe(160);
  });

  it("filters are ignored or come too late, and their shape is not Qdrant's", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(60));
    const vector = Array.from(records(1)[0]!.vector);
    const match = { type: "match", key: "n", match_value: 59 };
    const native = await raw(server, "POST", "/collections/docs/search", { vector, filter: match });
    expect(native.results).toHaveLength(10);
    const qdrant = (filter: object, limit: number) =>
      raw(server, "POST", "/qdrant/collections/docs/points/search", { vector, limit, filter });
    expect((await qdrant({ must: [match] }, 1)).result).toEqual([]);
    expect((await qdrant({ must: [match] }, 60)).result).toHaveLength(1);
    const official = { must: [{ key: "n", match: { value: 59 } }] };
    expect(await qdrant(official, 60)).toMatchObject({ error_type: "parse_error" });
    const scroll = { filter: { must: [match] }, limit: 100 };
    const all = await raw(server, "POST", "/qdrant/collections/docs/points/scroll", scroll);
    expect(all.result.points).toHaveLength(60);
    server.requests.length = 0;
    await docs.search(vector, { k: 60 });
    for await (const _ of docs.scan());
    expect(server.requests.some((one) => one.includes("count") || one.includes("filter"))).toBe(
      false,
    );
  });

  it("an index with holes is completed by a scan", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(50));
    const collection = server.collections.get("docs")!;
    const search = collection.search.bind(collection);
    // Deleted points leave stale nodes behind, which use up the answer.
    collection.search = (query, limit) => search(query, limit).filter((_, i) => i % 2 === 0);
    expect(new Set(ids(await docs.search([1, 0, 0, 0], { k: 50 }))).size).toBe(50);
  });

  it("a scroll page repeats the last point, and pages of one never end", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(7));
    const scroll = "/qdrant/collections/docs/points/scroll";
    const first = await raw(server, "POST", scroll, { limit: 1 });
    const { next_page_offset: offset } = first.result;
    const second = await raw(server, "POST", scroll, { limit: 1, offset });
    expect(second.result).toEqual(first.result);
    for (const batchSize of [1, 2, 3, 7, 100]) {
      const seen: string[] = [];
      for await (const { id } of docs.scan({ batchSize })) seen.push(id);
      expect(seen).toEqual(records(7).map(({ id }) => id));
    }
  });

  it("a scroll whose offset was deleted starts over", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(20));
    const seen: string[] = [];
    for await (const { id } of docs.scan({ batchSize: 5 })) {
      seen.push(id);
      // The next page would begin with this point.
      if (seen.length % 5 === 0) server.collections.get("docs")!.delete(id);
    }
    expect(seen).toEqual(records(20).map(({ id }) => id));
  });

  it("searches answer from a stale cache after a Qdrant write, and that write comes later", async () => {
    const server = await fake({ asyncDelayMs: 5 });
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    const search = () =>
      raw(server, "POST", "/collections/docs/search", { vector: [0, 1], limit: 5 });
    expect((await search()).results).toHaveLength(1);
    const points = [{ id: "b", vector: [0, 1] }];
    await raw(server, "PUT", "/qdrant/collections/docs/points", { points, wait: true });
    expect(server.collections.get("docs")!.points.size).toBe(1);
    while (server.collections.get("docs")!.points.size < 2) {
      await new Promise((resolve) => {
        setTimeout(resolve, 5);
      });
    }
    expect((await search()).results).toHaveLength(1);
    await docs.upsert([{ id: "c", vector: [0, 1] }]);
    expect(ids(await docs.search([0, 1], { k: 5 })).toSorted()).toEqual(["a", "b", "c"]);
    expect(
      server.requests.filter((one) => one.startsWith("PUT") && one.endsWith("points")),
    ).toHaveLength(1);
  });
});
