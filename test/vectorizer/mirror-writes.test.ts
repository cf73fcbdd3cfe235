/** A mirror's writes: local changes sent back, and writes and reads that go through it. */
import { HiveVectorStore } from "hive-gpu/langchain";
import { VectorizerMirror, type MirrorOptions } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { clientOf, failure, FakeServer, records, remoteOf } from "./helpers.js";
import { contents, mirrored, until } from "./mirror-helpers.js";

const embed = async () => [1, 0, 0, 0];

/** A mirror whose copy was changed in five records. */
async function changed(open: Partial<MirrorOptions> = {}) {
  const made = await mirrored(open, 20);
  const { mirror, docs } = made;
  await mirror.sync();
  await mirror.local.upsert([
    { id: "r1", vector: [0, 0, 3, 4], text: "mine" },
    { id: "r2", vector: [0, 0, 0, 1], text: " mine, padded " },
    { id: "new#1", vector: [1, 0, 0, 0], metadata: { at: new Date(0) } },
  ]);
  await mirror.local.delete({ ids: ["r3", "r4"] });
  return { ...made, mirror, docs };
}

describe("push", () => {
  it("sends changes and deletions, and takes over what the server made of them", async () => {
    const { mirror, docs } = await changed();
    const report = await mirror.push({ conflicts: "fail" });
    expect(report).toEqual({ upserted: 3, deleted: 2, conflicts: [], takenOver: 0 });
    expect(await contents(docs)).toEqual(await contents(mirror.local));
    expect((await docs.get("r1", { select: ["vector"] }))!.vector).toEqual(
      Float32Array.of(0, 0, 0.6, 0.8),
    );
    expect(await mirror.push({ conflicts: "fail" })).toMatchObject({ upserted: 0, deleted: 0 });
    expect(await mirror.sync()).toMatchObject({ upserted: 0, deleted: 0 });
  });

  const elsewhere = { id: "r1", vector: [1, 0, 0, 0], text: "theirs" };

  it("conflicts: fail sends nothing", async () => {
    const { mirror, docs } = await changed();
    await docs.upsert([elsewhere]);
    await docs.delete({ ids: ["r2"] });
    const before = await contents(docs);
    const error = await failure(() => mirror.push({ conflicts: "fail" }), "CONFLICT", /2 records/);
    expect((error.details["ids"] as string[]).toSorted()).toEqual(["r1", "r2"]);
    expect(await contents(docs)).toEqual(before);
  });

  it("conflicts: server-wins takes the server's records over", async () => {
    const { mirror, docs } = await changed();
    await docs.upsert([elsewhere, { id: "r3", vector: [1, 0, 0, 0], text: "revived" }]);
    await docs.delete({ ids: ["r2"] });
    const report = await mirror.push({ conflicts: "server-wins" });
    expect(report).toMatchObject({ upserted: 1, deleted: 1, takenOver: 3 });
    expect(await mirror.local.get(["r1", "r2", "r3"])).toMatchObject([
      { text: "theirs" },
      undefined,
      { text: "revived" },
    ]);
    expect(await contents(docs)).toEqual(await contents(mirror.local));
  });

  it("conflicts: local-wins overwrites the server", async () => {
    const { mirror, docs } = await changed();
    await docs.upsert([elsewhere, { id: "r3", vector: [1, 0, 0, 0], text: "revived" }]);
    await docs.delete({ ids: ["r2"] });
    expect(await mirror.push({ conflicts: "local-wins" })).toMatchObject({
      upserted: 3,
      deleted: 2,
    });
    expect(await docs.get(["r1", "r2", "r3"])).toMatchObject([
      { text: "mine" },
      { text: " mine, padded " },
      undefined,
    ]);
    expect(await contents(docs)).toEqual(await contents(mirror.local));
  });

  it("the same change on both sides is no conflict", async () => {
    const { mirror, docs } = await changed();
    await docs.delete({ ids: ["r3", "r4"] });
    expect((await mirror.push({ conflicts: "fail" })).conflicts).toEqual([]);
  });

  it("the policy has to be said", async () => {
    const { mirror } = await changed();
    await failure(() => mirror.push({} as never), "INVALID_ARGUMENT", /conflicts/);
    await failure(() => mirror.push(undefined as never), "INVALID_ARGUMENT");
  });

  it.each(["server-wins", "local-wins"] as const)(
    "a sync meets local changes: %s",
    async (conflicts) => {
      const { mirror, docs } = await changed({ conflicts });
      await docs.upsert([elsewhere]);
      expect(await mirror.sync()).toMatchObject({ conflicts: 1 });
      const text = conflicts === "server-wins" ? "theirs" : "mine";
      expect(await mirror.local.get(["r1", "new#1"])).toMatchObject([{ text }, { id: "new#1" }]);
    },
  );
});

describe("read-through", () => {
  it("reads go to the server until the copy is there, and when it is stale", async () => {
    const warnings: string[] = [];
    const { mirror, docs } = await mirrored({ onWarning: (message) => warnings.push(message) });
    expect(await mirror.search([1, 0, 0, 0], { k: 3 })).toHaveLength(3);
    expect(mirror.status).toMatchObject({
      fresh: false,
      reason: "it was not synced yet",
      answeredByServer: 1,
    });
    await mirror.sync();
    await docs.upsert([{ id: "newest", vector: [1, 0, 0, 0] }]);
    expect((await mirror.search([1, 0, 0, 0], { k: 1 }))[0]!.id).not.toBe("newest");
    expect(await mirror.check()).toBe(false);
    expect((await mirror.search([1, 0, 0, 0], { k: 1 }))[0]!.id).toBe("newest");
    expect(await mirror.get("newest")).toBeDefined();
    expect(await mirror.count()).toBe(201);
    expect(mirror.status.reason).toMatch(/changed/);
    await mirror.sync();
    expect(mirror.status.fresh).toBe(true);
    expect((await mirror.search([1, 0, 0, 0], { k: 1 }))[0]!.id).toBe("newest");
    expect(warnings).toHaveLength(2);
  });

  it("writes go to the server and into the copy", async () => {
    const { mirror, docs } = await mirrored();
    await mirror.sync();
    await mirror.upsert([
      { id: "a b ", vector: [2, 0, 0, 0], text: " padded\r\n", metadata: { z: 1, a: 2 } },
    ]);
    await mirror.upsert({ ids: ["c"], vectors: Float32Array.of(0, 2, 0, 0), dimensions: 4 });
    expect(await mirror.delete({ ids: ["r0", "nobody"] })).toBe(1);
    expect(await contents(mirror.local)).toEqual(await contents(docs));
    expect(mirror.status.fresh).toBe(true);
    expect(await mirror.check()).toBe(false);
    // Only our own writes happened, so the copy still answers.
    expect(mirror.status.fresh).toBe(true);
    expect(await mirror.sync()).toMatchObject({ upserted: 0, deleted: 0, consistent: true });
    await mirror.clear();
    expect([await mirror.local.count(), await docs.count()]).toEqual([0, 0]);
  });

  it("writes during a sync are not undone by what the sync had read before", async () => {
    const { mirror, docs, server } = await mirrored({ pageSize: 20 });
    let writing: Promise<unknown> = Promise.resolve();
    let pages = 0;
    server.intercept = (request) => {
      if (request.url?.endsWith("/scroll") === true && ++pages <= 8) {
        const id = `r${pages * 20}`;
        writing = Promise.all([
          writing,
          mirror.upsert([{ id, vector: [1, 2, 3, pages], text: `written ${pages}` }]),
          mirror.delete({ ids: [`r${pages * 20 + 1}`] }),
        ]);
      }
      return false;
    };
    await mirror.sync();
    await writing;
    expect(await contents(mirror.local)).toEqual(await contents(docs));
    await mirror.sync();
    expect(await contents(mirror.local)).toEqual(await contents(docs));
  });

  it("a copy that is too old is not used", async () => {
    const { mirror } = await mirrored({ maxStalenessMs: 0 });
    await mirror.sync();
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
    await mirror.search([1, 0, 0, 0]);
    expect(mirror.status).toMatchObject({ fresh: false, answeredByServer: 1 });
  });

  it("polls, syncs by itself, answers while the server is down, and stops when closed", async () => {
    const warnings: string[] = [];
    const server = await FakeServer.start();
    const docs = remoteOf(server);
    await docs.upsert(records(10));
    const client = clientOf(server.url);
    const onWarning = (message: string) => warnings.push(message);
    const db = await database();
    const mirror = await VectorizerMirror.open({
      client,
      name: "docs",
      database: db,
      pollMs: 5,
      onWarning,
    });
    await until(() => mirror.status.fresh);
    await docs.upsert([{ id: "later", vector: [1, 0, 0, 0] }]);
    await until(async () => (await mirror.local.get("later")) !== undefined);
    await until(() => mirror.status.fresh);
    await server.close();
    await until(() => warnings.some((message) => message.includes("could not be asked")));
    expect(await mirror.search([1, 0, 0, 0], { k: 1 })).toHaveLength(1);
    await mirror.close();
    await failure(() => mirror.search([1, 0, 0, 0]), "CLOSED");
  });

  it("LangChain works on it", async () => {
    const { mirror } = await mirrored();
    await mirror.sync();
    const store = new HiveVectorStore(
      {
        embedQuery: embed,
        embedDocuments: async (texts: string[]) => texts.map(() => [1, 0, 0, 0]),
      },
      { collection: mirror },
    );
    await store.addDocuments([{ pageContent: "hello", metadata: { n: 1 } }], { ids: ["mine"] });
    const [document] = await store.similaritySearch("anything", 1);
    expect(document).toMatchObject({ id: "mine", pageContent: "hello", metadata: { n: 1 } });
    expect(mirror.status.answeredHere).toBe(1);
  });
});

describe("verify", () => {
  it("says how well both sides agree", async () => {
    const { mirror, server } = await mirrored();
    await failure(() => mirror.verify(), "INVALID_ARGUMENT", /no queries/);
    await mirror.sync();
    const report = await mirror.verify({ sample: 20, k: 5 });
    expect(report).toMatchObject({ queries: 20, k: 5, meanOverlap: 1, minOverlap: 1 });
    expect(report.scoresCompared).toBe(100);
    expect(report.maxScoreDifference).toBeLessThan(1e-5);
    server.collections.get("docs")!.search = () => [];
    server.collections.get("docs")!.cache.clear();
    const bad = await mirror.verify({ queries: [[1, 0, 0, 0]] });
    expect(bad).toMatchObject({ meanOverlap: 0, scoresCompared: 0, maxScoreDifference: undefined });
  });
});
