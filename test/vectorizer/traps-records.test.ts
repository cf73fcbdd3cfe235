/** Traps of single records, ids, collections, credentials and errors; see traps.test.ts. */
import { HiveVectorStore } from "hive-gpu/langchain";
import type { RemoteCollection } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { clientOf, failure, fake, ids, noise, raw, records, remoteOf } from "./helpers.js";

describe("single records", () => {
  it("GET of a vector is a mock", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0], text: "A" }]);
    const mock = await raw(server, "GET", "/collections/docs/vectors/nobody");
    expect(mock.vector).toHaveLength(512);
    expect(await docs.get(["nobody", "a"])).toEqual([undefined, { id: "a", text: "A" }]);
  });

  it("POST /update does nothing", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0], text: "old" }]);
    const body = { collection: "docs", id: "a", vector: [0, 1], metadata: { x: 1 } };
    expect((await raw(server, "POST", "/update", body)).message).toMatch(/success/);
    expect(await docs.get("a")).toEqual({ id: "a", text: "old" });
    await docs.upsert([{ id: "a", vector: [0, 1], text: "new" }]);
    const changed = await docs.get("a", { select: ["text", "vector"] });
    expect(changed).toEqual({ id: "a", text: "new", vector: Float32Array.of(0, 1) });
  });

  it("text inserts make strings of metadata and do not keep short texts", async () => {
    const server = await fake();
    const body = { collection: "naive", id: "a", text: "short", metadata: { n: 42, o: { x: 1 } } };
    await raw(server, "POST", "/insert", body);
    expect(server.collections.get("naive")!.points.get("a")!.payload).toEqual({
      n: "42",
      o: '{"x":1}',
    });
    const docs = remoteOf(server);
    const metadata = { n: 42, o: { x: 1 } };
    await docs.upsert([{ id: "a", vector: [1], text: "short", metadata }]);
    expect(await docs.get("a")).toEqual({ id: "a", text: "short", metadata });
  });

  it("white space of payload strings is changed by get and search", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    const text = "  a \r\n\r\n\r\n\r\n b\t\n";
    await docs.upsert([{ id: "a", vector: [1, 0], text, metadata: { s: " x " } }]);
    const scroll = await raw(server, "POST", "/qdrant/collections/docs/points/scroll", {});
    expect(scroll.result.points[0].payload.content).toBe(text);
    const search = await raw(server, "POST", "/collections/docs/search", { vector: [1, 0] });
    expect(search.results[0].payload.content).toBe("a\n\n b");
    const expected = { id: "a", text, metadata: { s: " x " } };
    expect(await docs.get("a")).toEqual(expected);
    expect((await docs.search([1, 0]))[0]).toMatchObject(expected);
    for await (const record of docs.scan()) expect(record).toEqual(expected);
  });

  it("what another client changed in a payload wins over the exact copy", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([
      { id: "a", vector: [1, 0], text: " padded ", metadata: { at: new Date(0) } },
    ]);
    const { payload } = server.collections.get("docs")!.points.get("a")!;
    const changed = { ...(payload as object), content: "edited", by: "somebody" };
    server.collections.get("docs")!.put("a", [1, 0], changed);
    expect(await docs.get("a")).toEqual({
      id: "a",
      text: "edited",
      metadata: { at: "1970-01-01T00:00:00.000Z", by: "somebody" },
    });
  });
});

describe("ids", () => {
  it("ids that look like numbers come back as other numbers", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    const odd = ["007", "7", "+7", "18446744073709551615", "9007199254740993", "-7", "7.0"];
    await docs.upsert(odd.map((id, i) => ({ id, vector: [1, i / 10] })));
    const hits = await docs.search([1, 0], { k: 150 });
    expect(ids(hits)).toEqual(odd);
    expect((await docs.get(odd)).map((record) => record?.id)).toEqual(odd);
    expect(await docs.delete({ ids: ["007"] })).toBe(1);
    expect(await docs.get(["7", "007"])).toEqual([expect.anything(), undefined]);
  });

  it("numbers that others stored are told apart by their vectors", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(records(130, 2));
    const collection = server.collections.get("docs")!;
    collection.put("007", [1, 0.1], null);
    collection.put("7", [1, 0.2], null);
    collection.put("0009", [1, 0.3], null);
    const naive = await raw(server, "POST", "/qdrant/collections/docs/points/search", {
      vector: [1, 0],
      limit: 133,
    });
    const flipped = naive.result.filter(({ id }: { id: unknown }) => typeof id === "number");
    expect(ids(flipped)).toEqual(expect.arrayContaining([7, 7, 9]));
    const found = ids(await docs.search([1, 0], { k: 133 }));
    expect(new Set(found).size).toBe(133);
    expect(found).toEqual(expect.arrayContaining(["007", "7", "0009"]));
  });

  it("ids with #, spaces at the ends, or more than 256 bytes are refused", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    const odd = ["a#1", " a", "a ", "é".repeat(200), "x".repeat(1024), "hv1_", "hv1_YSMx", "#"];
    const body = { collection: "docs", vectors: odd.map((id) => ({ id, embedding: [1, 0] })) };
    await docs.upsert([{ id: "plain", vector: [1, 0] }]);
    const refused = await raw(server, "POST", "/insert_vectors", body);
    expect(refused.failed).toBe(6);
    await docs.clear();
    await docs.upsert(odd.map((id, n) => ({ id, vector: [1, n], metadata: { n } })));
    expect(ids(await docs.search([1, 0], { k: 8 })).toSorted()).toEqual(odd.toSorted());
    expect((await docs.get(odd)).map((record) => record!.metadata!["n"])).toEqual([...odd.keys()]);
    const scanned: string[] = [];
    for await (const { id } of docs.scan()) scanned.push(id);
    expect(scanned).toEqual(odd);
    expect(await docs.delete({ ids: [...odd, "nobody", "#"] })).toBe(odd.length);
    expect(await docs.count()).toBe(0);
  });

  it("chunks that the server itself named with # are read, replaced and deleted", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    const collection = server.collections.get("docs")!;
    collection.put("doc#0", [0, 1], { content: "chunk", parent_id: "doc" });
    expect(await docs.get("doc#0")).toEqual({
      id: "doc#0",
      text: "chunk",
      metadata: { parent_id: "doc" },
    });
    await docs.upsert([{ id: "doc#0", vector: [1, 1], text: "new" }]);
    expect([...collection.points.keys()]).toEqual(["a", "doc#0"]);
    expect(await docs.get("doc#0")).toMatchObject({ text: "new" });
    expect(await docs.delete({ ids: ["doc#0"] })).toBe(1);
    expect([...collection.points.keys()]).toEqual(["a"]);
  });
});

describe("collections", () => {
  it("an insert into an unknown collection creates one of 512 dimensions", async () => {
    const server = await fake();
    const vectors = [{ id: "a", embedding: [1, 0] }];
    await raw(server, "POST", "/insert_vectors", { collection: "naive", vectors });
    expect(server.collections.get("naive")!.dimension).toBe(512);
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    server.collections.delete("docs");
    await docs.upsert([{ id: "a", vector: [1, 0, 0] }]);
    expect(server.collections.get("docs")!.dimension).toBe(3);
    const strict = remoteOf(server, { name: "missing", create: false });
    await failure(() => strict.upsert([{ vector: [1] }]), "NOT_FOUND", /missing/);
    expect(server.collections.has("missing")).toBe(false);
  });

  it("the list says that everything was updated now", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    const before = (await docs.info())!.updatedAt;
    const [listed] = await clientOf(server.url).collections();
    expect(listed!.updatedAt).toBeUndefined();
    expect((await docs.info())!.updatedAt).toBe(before);
    await docs.upsert([{ id: "a", vector: [0, 1] }]);
    expect((await docs.info())!.updatedAt).not.toBe(before);
  });

  it("the provider of a collection is misreported, so nothing depends on it", async () => {
    const server = await fake();
    await remoteOf(server).upsert(records(2));
    const info = await raw(server, "GET", "/collections/docs");
    expect(info.embedding_provider).toBe("bm25");
    expect(await clientOf(server.url).collection("docs")).not.toHaveProperty("provider");
  });
});

describe("credentials and errors", () => {
  it("an API key as a bearer token is refused", async () => {
    const server = await fake({ apiKey: "secret-key" });
    const naive = await fetch(`${server.url}/collections`, {
      headers: { authorization: "Bearer secret-key" },
    });
    expect(naive.status).toBe(401);
    expect(await clientOf(server.url, { apiKey: "secret-key" }).collections()).toEqual([]);
    const wrong = clientOf(server.url, { token: "secret-key" });
    const error = await failure(() => wrong.collections(), "REMOTE_DENIED", /401/);
    expect(JSON.stringify(error)).not.toContain("secret-key");
  });

  it("a login is used until its token is refused, then made again", async () => {
    const login = { username: "ann", password: "right" };
    const server = await fake({ login });
    const client = clientOf(server.url, { login });
    expect(await Promise.all([client.collections(), client.collections()])).toEqual([[], []]);
    expect(server.requests.filter((one) => one.endsWith("login"))).toHaveLength(1);
    server.expire();
    expect(await client.collections()).toEqual([]);
    expect(server.requests.filter((one) => one.endsWith("login"))).toHaveLength(2);
    const wrong = clientOf(server.url, { login: { ...login, password: "wrong" } });
    await failure(() => wrong.collections(), "REMOTE_DENIED", /Invalid username/);
  });

  it("errors have two shapes, swapped fields, or are plain text", async () => {
    const server = await fake();
    const client = clientOf(server.url);
    const swapped = await raw(server, "POST", "/qdrant/collections/nope/points", { ids: ["a"] });
    expect(swapped.message).toBe("collection_not_found");
    const error = await failure(() => client.retrieve("nope", ["a"], 2), "NOT_FOUND", /nope/);
    expect(error.details).toMatchObject({ status: 404, errorType: "collection_not_found" });
    expect(await raw(server, "POST", "/search", undefined)).toMatchObject({
      error_type: expect.any(String),
    });
    await remoteOf(server).upsert([{ id: "a", vector: [1, 0] }]);
    expect(await raw(server, "POST", "/collections/docs/search", {})).toMatch(
      /^Failed to deserialize/,
    );
    const lone = [{ id: "a", vector: [1, 0], payload: { content: "\ud800" } }];
    await failure(() => client.insert("docs", lone), "REMOTE_REFUSED", /400, "Failed to parse/);
    const wrong = [{ id: "b", vector: [1, 0, 0], payload: null }];
    expect(await client.insert("docs", wrong)).toMatchObject([
      { ok: false, code: "DIMENSION_MISMATCH" },
    ]);
  });

  it("a busy server is waited for as long as it asks, and no longer than allowed", async () => {
    const server = await fake({ rateLimit: { every: 2, retryAfter: "0" } });
    const patient = clientOf(server.url, { retries: 3 });
    for (let i = 0; i < 4; i++) expect(await patient.collections()).toEqual([]);
    const date = new Date(Date.now() + 3_600_000).toUTCString();
    for (const retryAfter of ["3600", date]) {
      const busy = await fake({ rateLimit: { every: 1, retryAfter } });
      const client = clientOf(busy.url, { retries: 3 });
      const error = await failure(() => client.collections(), "REMOTE_BUSY", /429/);
      expect(error.retryable).toBe(true);
      expect(error.details["retryAfterMs"]).toBeGreaterThan(3_000_000);
      expect(busy.requests).toHaveLength(1);
    }
  });

  it("requests that are too large are cut until they fit", async () => {
    const server = await fake({ maxBodyBytes: 20_000 });
    const docs = remoteOf(server);
    const results = await docs.upsertEach(records(300, 16));
    expect(results.every(({ ok }) => ok)).toBe(true);
    expect(await docs.count()).toBe(300);
    const huge = [{ id: "huge", vector: noise(16), text: "x".repeat(30_000) }];
    await failure(() => docs.upsert(huge), "LIMIT_EXCEEDED", /413/);
  });

  it("items that the server refuses are named, and the others are stored", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    const collection = server.collections.get("docs")!;
    const store = await HiveVectorStore.fromExistingCollection(
      { embedDocuments: async () => [], embedQuery: async () => [] },
      { collection: docs },
    );
    expect(await store.collection<RemoteCollection>()).toBe(docs);
    Object.defineProperty(collection, "dimension", { value: 3 });
    server.intercept = (request, response) => {
      if (request.method !== "GET") return false;
      const info = { vector_count: 1, dimension: 2, metric: "Cosine" };
      response.end(JSON.stringify(info));
      return true;
    };
    const error = await failure(
      () => docs.upsert([{ id: "b", vector: [1, 0] }]),
      "DIMENSION_MISMATCH",
      /1 of 1 records, first "b"/,
    );
    expect(error.details["results"]).toMatchObject([{ id: "b", ok: false }]);
  });
});
