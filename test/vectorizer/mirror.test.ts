/** A collection of a server kept on the device: import, sync, resume. */
import { readFile, writeFile } from "node:fs/promises";
import path from "node:path";
import { VectorizerMirror } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { clientOf, failure, fake, ids, remoteOf, records } from "./helpers.js";
import { contents, mirrored, newFolder } from "./mirror-helpers.js";

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
    const statePath = path.join(await newFolder(), "state");
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

  it("a state that is newer than the copy is not believed", async () => {
    const statePath = path.join(await newFolder(), "state");
    const { mirror, open } = await mirrored({ statePath });
    await mirror.sync();
    await mirror.close();
    const empty = await open();
    expect(empty.status.fresh).toBe(false);
    expect(await empty.sync()).toMatchObject({ scanned: 200, upserted: 200, consistent: true });
    expect(await empty.local.count()).toBe(200);
  });

  it("a damaged or foreign state file is refused", async () => {
    const statePath = path.join(await newFolder(), "state");
    const { mirror, open } = await mirrored({ statePath, database: await database() });
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
