/** A collection of a server kept on the device: import, sync, resume, push, verify, read-through. */
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { HiveVectorStore } from "hive-gpu/langchain";
import { VectorizerMirror, type MirrorOptions } from "hive-gpu/vectorizer";
import { afterEach, describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { clientOf, failure, fake, FakeServer, ids, records, remoteOf } from "./helpers.js";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

async function folder(): Promise<string> {
  folders.push(await mkdtemp(path.join(os.tmpdir(), "mirror-")));
  return folders.at(-1)!;
}

/** A server with records of its own, and a mirror of it that is not synced yet. */
async function mirrored(options: Partial<MirrorOptions> = {}, count = 200) {
  const server = await fake();
  const docs = remoteOf(server);
  if (count > 0) await docs.upsert(records(count));
  else await docs.upsert(records(1));
  const open = async (more: Partial<MirrorOptions> = {}) =>
    VectorizerMirror.open({
      client: clientOf(server.url),
      name: "docs",
      database: await database(),
      pollMs: 0,
      onWarning: () => undefined,
      ...options,
      ...more,
    });
  return { server, docs, open, mirror: await open() };
}

const all = { select: ["text", "metadata", "vector"] } as const;

/** Everything of a collection, by id. */
async function contents(collection: {
  scan(options: typeof all): AsyncIterable<{ id: string }>;
}): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for await (const record of collection.scan(all)) found.set(record.id, record);
  return found;
}

describe("import and sync", () => {
  it("brings ids, texts, payloads and vectors over, and answers like the server", async () => {
    const { mirror, docs, server } = await mirrored({ pageSize: 37 });
    server.collections
      .get("docs")!
      .put("doc#1", [1, 1, 1, 1], { content: "x", list: [1, { a: null }] });
    server.collections.get("docs")!.put("bare", [1, 1, 1, 2], null);
    server.collections.get("docs")!.put("odd", [1, 1, 1, 3], "no object");
    const seen: number[] = [];
    const report = await mirror.sync({ onProgress: ({ done }) => seen.push(done) });
    expect(report).toMatchObject({ scanned: 203, upserted: 203, deleted: 0, consistent: true });
    expect(seen.at(-1)).toBe(203);
    expect(await contents(mirror.local)).toEqual(await contents(docs));
    const query = [0.3, -0.2, 0.9, 0.1];
    const here = await mirror.search(query, { k: 20 });
    const there = await docs.search(query, { k: 20 });
    expect(ids(here)).toEqual(ids(there));
    here.forEach((hit, i) => expect(hit.score).toBeCloseTo(there[i]!.score, 6));
    expect(mirror.status).toMatchObject({ fresh: true, answeredHere: 1, answeredByServer: 0 });
    await mirror.close();
  });

  it("asks once when nothing changed, and reads all when told to", async () => {
    const { mirror, server } = await mirrored();
    await mirror.sync();
    server.requests.length = 0;
    expect(await mirror.sync()).toMatchObject({ scanned: 0, upserted: 0, consistent: true });
    expect(server.requests).toEqual(["GET /collections/docs"]);
    expect(await mirror.sync({ force: true })).toMatchObject({ scanned: 200, upserted: 0 });
  });

  it("brings in only what changed, and deletes what is gone", async () => {
    const { mirror, docs } = await mirrored();
    await mirror.sync();
    await docs.upsert([
      { id: "r3", vector: [1, 2, 3, 4], text: "new vector", metadata: {} },
      { id: "r4", vector: records(5)[4]!.vector, text: "text 4", metadata: { n: "4" } },
      { id: "more", vector: [0, 0, 0, 1] },
    ]);
    await docs.delete({ ids: ["r7", "r8"] });
    expect(await mirror.sync()).toMatchObject({
      upserted: 3,
      deleted: 2,
      conflicts: 0,
      consistent: true,
    });
    expect(await contents(mirror.local)).toEqual(await contents(docs));
  });

  it("goes on where it stopped, also in another process", async () => {
    const statePath = path.join(await folder(), "state");
    const db = await database();
    const first = await mirrored({ pageSize: 20, database: db, statePath });
    let pages = 0;
    first.server.intercept = (request, response) => {
      if (request.url?.endsWith("/scroll") !== true || ++pages < 6) return false;
      response.destroy();
      return true;
    };
    await failure(() => first.mirror.sync(), "REMOTE_UNREACHABLE");
    await first.mirror.close();
    const kept = await first.mirror.local.count();
    expect(kept).toBeGreaterThan(50);
    expect(kept).toBeLessThan(200);
    first.server.intercept = undefined;
    const again = await first.open();
    const report = await again.sync();
    expect(report.upserted).toBe(200 - kept);
    expect(report.consistent).toBe(true);
    expect(await contents(again.local)).toEqual(await contents(first.docs));
    await again.close();
    const third = await first.open();
    expect(third.status.fresh).toBe(true);
    expect((await third.sync()).scanned).toBe(0);
  });

  it("starts over when the server changed during the interruption", async () => {
    const { mirror, docs, server } = await mirrored({ pageSize: 20 });
    let pages = 0;
    server.intercept = (request, response) => {
      if (request.url?.endsWith("/scroll") !== true || ++pages !== 6) return false;
      response.destroy();
      return true;
    };
    await failure(() => mirror.sync(), "REMOTE_UNREACHABLE");
    await docs.upsert([{ id: "r0", vector: [9, 9, 9, 9], text: "changed" }]);
    await docs.delete({ ids: ["r1"] });
    expect(await mirror.sync()).toMatchObject({ scanned: 199, consistent: true, deleted: 1 });
    expect(await contents(mirror.local)).toEqual(await contents(docs));
  });

  it("reads again when the server changes meanwhile, and says when it never stood still", async () => {
    const { mirror, docs, server } = await mirrored({ pageSize: 50 });
    let pages = 0;
    const collection = server.collections.get("docs")!;
    server.intercept = (request) => {
      if (request.url?.endsWith("/scroll") === true && ++pages === 3) {
        collection.put("r0", [9, 9, 9, 9], { content: "changed behind the scroll" });
      }
      return false;
    };
    expect(await mirror.sync()).toMatchObject({ consistent: true, scanned: 400 });
    expect(await contents(mirror.local)).toEqual(await contents(docs));
    server.intercept = (request) => {
      if (request.url?.endsWith("/scroll") === true) collection.put("r0", [9, 9, 9, ++pages], null);
      return false;
    };
    expect(await mirror.sync({ force: true })).toMatchObject({ consistent: false });
    server.intercept = undefined;
    expect(await mirror.sync()).toMatchObject({ consistent: true });
    expect(await contents(mirror.local)).toEqual(await contents(docs));
  });

  it("reports what the copy cannot be", async () => {
    const server = await fake({ quirks: { reencodeWorks: false } });
    await remoteOf(server).upsert(records(5));
    const encrypted = {
      nonce: 1,
      tag: 1,
      encrypted_data: 1,
      ephemeral_public_key: 1,
      algorithm: 1,
    };
    server.collections.get("docs")!.put("secret", [1, 0, 0, 0], encrypted);
    server.collections.get("docs")!.put("zero", [0, 0, 0, 0], null);
    const client = clientOf(server.url);
    const mirror = await VectorizerMirror.open({
      client,
      name: "docs",
      database: await database(),
      pollMs: 0,
    });
    expect((await mirror.sync()).degraded).toEqual({
      quantized: "SQ { bits: 8 }",
      zeroVectors: 1,
      encrypted: 1,
    });
    expect(await mirror.local.get("secret")).toMatchObject({ metadata: encrypted });
  });

  it("refuses what it cannot mirror", async () => {
    const { server, open } = await mirrored();
    await failure(() => open({ name: "nobody" }), "NOT_FOUND", /nobody/);
    const db = await database();
    await db.collection("docs", { metric: "l2" });
    await failure(() => open({ database: db }), "ALREADY_EXISTS");
    const mirror = await open();
    server.collections.delete("docs");
    await failure(() => mirror.sync(), "NOT_FOUND");
    server.add("docs", 7, "cosine", "none");
    await failure(() => mirror.sync(), "DIMENSION_MISMATCH", /7 dimensions/);
    expect(await mirror.local.count()).toBe(0);
    await failure(() => open({ pollMS: 1 } as never), "UNKNOWN_OPTION");
  });

  it("stops when told to, and keeps what it has", async () => {
    const { mirror } = await mirrored({ pageSize: 20 });
    const controller = new AbortController();
    const onProgress = ({ done }: { done: number }) => {
      if (done >= 100) controller.abort();
    };
    await failure(() => mirror.sync({ signal: controller.signal, onProgress }), "ABORTED");
    expect(await mirror.local.count()).toBeGreaterThan(0);
    expect((await mirror.sync()).consistent).toBe(true);
    expect(await mirror.local.count()).toBe(200);
  });

  it("a damaged or foreign state file is refused", async () => {
    const statePath = path.join(await folder(), "state");
    const { mirror, open } = await mirrored({ statePath });
    await mirror.sync();
    await mirror.close();
    const text = await readFile(statePath, "utf8");
    for (const broken of [
      "",
      "{}",
      text.slice(0, text.length / 2),
      text.replace("docs", "other"),
      `${text}["x"]`,
    ]) {
      await writeFile(statePath, broken);
      await failure(() => open(), "STORAGE", /state/);
    }
    await writeFile(statePath, text);
    expect((await open()).status.fresh).toBe(true);
  });
});

describe("push", () => {
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
    const database_ = await database();
    const mirror = await VectorizerMirror.open({
      client,
      name: "docs",
      database: database_,
      pollMs: 5,
      onWarning,
    });
    const until = async (what: () => boolean | Promise<boolean>) => {
      while (!(await what())) {
        await new Promise((resolve) => {
          setTimeout(resolve, 5);
        });
      }
    };
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
    const embed = async () => [1, 0, 0, 0];
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
