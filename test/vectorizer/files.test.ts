/** Import of the server's files; archives are made by hand, as the format describes. */
import { createHash } from "node:crypto";
import { writeFile } from "node:fs/promises";
import path from "node:path";
import { gzipSync } from "node:zlib";
import { importVecdb, type ImportOptions } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { failure } from "./helpers.js";
import { contents, newFolder } from "./mirror-helpers.js";
import { type Entry, storeOf, stored, zipOf } from "./zip.js";

/** A server's folder with these entries in its archive. */
async function folderOf(entries: readonly Entry[], index?: unknown): Promise<string> {
  const folder = await newFolder();
  await writeFile(path.join(folder, "vectorizer.vecdb"), zipOf(entries));
  if (index !== undefined) {
    const text = typeof index === "string" ? index : JSON.stringify(index);
    await writeFile(path.join(folder, "vectorizer.vecidx"), text);
  }
  return folder;
}

function indexOf(name: string, data: string, more: object = {}, count = 1): object {
  const file = { path: `${name}_vector_store.bin`, size: data.length, type: "vectors", ...more };
  const collection = { name, files: [file], vector_count: count, dimension: 2 };
  return { version: "1.0", collections: [collection] };
}

const half = Math.SQRT1_2;
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

async function imported(source: string, options: Partial<ImportOptions> = {}) {
  const db = await database();
  const report = await importVecdb(source, { database: db, ...options });
  return { db, report };
}

describe("an archive of a server", () => {
  const data = storeOf("docs", [
    stored("a", [1, 0], { content: "A", n: 1, deep: { x: [1, null] } }),
    stored("b", [half, half], { title: "no content" }),
    stored("doc#1", [0, 1]),
    stored("odd", [0, -1], [1, 2]),
  ]);
  const entry = { name: "docs_vector_store.bin", data };
  const metadata = { name: "docs", config: { dimension: 2, metric: "cosine" }, vector_count: 4 };
  const other = { name: "docs_metadata.json", data: JSON.stringify(metadata) };

  it("comes in with ids, texts, payloads and vectors", async () => {
    const index = indexOf("docs", data, { checksum: sha256(data).toUpperCase() }, 4);
    const seen: unknown[] = [];
    const { db, report } = await imported(await folderOf([entry, other], index), {
      onProgress: (progress) => seen.push(progress),
    });
    expect(report.warnings).toEqual([]);
    expect(report.collections).toMatchObject([
      {
        name: "docs",
        dimensions: 2,
        metric: "cosine",
        imported: 4,
        replaced: 0,
        skipped: 0,
        warnings: [],
      },
    ]);
    expect(seen).toEqual([{ bytes: data.length, totalBytes: data.length, points: 4 }]);
    const docs = await db.collection("docs");
    expect([...(await contents(docs)).values()]).toEqual([
      {
        id: "a",
        text: "A",
        metadata: { n: 1, deep: { x: [1, null] } },
        vector: Float32Array.of(1, 0),
      },
      { id: "b", metadata: { title: "no content" }, vector: Float32Array.of(half, half) },
      { id: "doc#1", vector: Float32Array.of(0, 1) },
      { id: "odd", metadata: { _payload: [1, 2] }, vector: Float32Array.of(0, -1) },
    ]);
  });

  it("may lack an index, or list nothing about it, or have empty checksums", async () => {
    const none = await imported(await folderOf([entry]));
    expect(none.report.warnings).toEqual([expect.stringMatching(/no index/)]);
    const empty = await imported(
      await folderOf([entry], indexOf("docs", data, { checksum: "" }, 4)),
    );
    expect(empty.report.warnings).toEqual([]);
    const nothing = { version: "1.0", collections: [] };
    const foreign = await imported(await folderOf([entry], nothing));
    expect(foreign.report.warnings).toEqual([expect.stringMatching(/does not list/)]);
    const wrong = await imported(await folderOf([entry], indexOf("docs", data, {}, 9)));
    expect(wrong.report.collections[0]!.warnings).toEqual([expect.stringMatching(/9 vectors.*4/)]);
  });

  it("may hold several collections, of which some are wanted, under other names", async () => {
    const l2 = { dimension: 2, metric: "euclidean", quantization: { type: "sq", bits: 8 } };
    const dot = { dimension: 3, metric: "dotproduct" };
    const source = await folderOf([
      { name: "a_vector_store.bin", data: storeOf("a", [stored("1", [3, 4])], l2), store: true },
      { name: "b_vector_store.bin", data: storeOf("b", [stored("1", [1, 2, 3])], dot) },
      { name: "c_vector_store.bin", data: storeOf("c", [], dot) },
    ]);
    const { db, report } = await imported(source, { rename: (name) => `old ${name}` });
    expect(report.collections.map(({ name, metric, imported: n }) => [name, metric, n])).toEqual([
      ["a", "l2", 1],
      ["b", "dot", 1],
      ["c", "dot", 0],
    ]);
    expect(report.collections[0]!.degraded.quantized).toBe("sq, 8 bits");
    expect(await db.collections()).toEqual(["old a", "old b", "old c"]);
    expect((await db.collection("old c")).dimensions).toBe(3);
    const some = await imported(source, { collections: ["b"] });
    expect(await some.db.collections()).toEqual(["b"]);
    await failure(() => imported(source, { collections: ["b", "z"] }), "NOT_FOUND", /"z"/);
  });

  it("takes the metric from the metadata file when the store does not say", async () => {
    const bare = {
      name: "docs_vector_store.bin",
      data: storeOf("docs", [stored("a", [3, 4])], null),
    };
    const config = { config: { dimension: 2, metric: "Euclidean" } };
    const told = { name: "docs_metadata.json", data: JSON.stringify(config) };
    expect((await imported(await folderOf([bare, told]))).report.collections[0]!.metric).toBe("l2");
    const [guessed] = (await imported(await folderOf([bare]))).report.collections;
    expect(guessed).toMatchObject({
      metric: "cosine",
      warnings: [expect.stringMatching(/cosine was taken/)],
    });
  });

  it("reports what is degraded, and leaves out only what has no place", async () => {
    const encrypted = {
      nonce: 1,
      tag: 1,
      encrypted_data: 1,
      ephemeral_public_key: 1,
      algorithm: 1,
    };
    const { report, db } = await imported(
      await folderOf([
        {
          name: "docs_vector_store.bin",
          data: storeOf("docs", [
            stored("zero", [0, 0]),
            stored("long", [3, 4]),
            stored("secret", [1, 0], encrypted),
            { id: "text", data: [1, 0], payload_json: "not JSON", normalized: true },
            stored("nan", [null, 1]),
            stored("three", [1, 2, 3]),
            stored("huge", [1e39, 0]),
            stored("long", [0, 1]),
          ]),
        },
      ]),
    );
    expect(report.collections[0]).toMatchObject({
      imported: 5,
      replaced: 1,
      skipped: 3,
      skippedReasons: [
        { id: "nan", problem: expect.stringMatching(/no finite number at element 0/) },
        { id: "three", problem: expect.stringMatching(/3 elements where 2/) },
        { id: "huge", problem: expect.stringMatching(/no finite/) },
      ],
      degraded: {
        zeroVectors: 1,
        nonUnit: 1,
        encrypted: 1,
        unreadablePayloads: 1,
        quantized: undefined,
      },
    });
    const docs = await db.collection("docs");
    expect(await docs.get(["secret", "text"])).toMatchObject([
      { metadata: encrypted },
      { metadata: { _payload: "not JSON" } },
    ]);
  });
});

describe("stores of older versions", () => {
  const vectors = [stored("a", [3, 4], { content: "A" })];

  it.each(["gzip", "plain"])("are read from %s JSON, and nothing is normalized", async (kind) => {
    const folder = await newFolder();
    const config = { dimension: 2, metric: "dotproduct" };
    const text = storeOf("docs", vectors, config).replace(
      '"normalized":true',
      '"normalized":false',
    );
    const bytes = kind === "gzip" ? gzipSync(text) : Buffer.from(text);
    await writeFile(path.join(folder, "docs_vector_store.bin"), bytes);
    await writeFile(path.join(folder, "more_vector_store.bin"), storeOf("more", vectors, config));
    const { db, report } = await imported(folder);
    expect(report.collections.map(({ name }) => name)).toEqual(["docs", "more"]);
    const found = await (await db.collection("docs")).get("a", { select: ["vector"] });
    expect(found!.vector).toEqual(Float32Array.of(3, 4));
    const one = await imported(path.join(folder, "docs_vector_store.bin"));
    expect(one.report.collections).toHaveLength(1);
  });

  it("that are damaged or bombs are refused", async () => {
    const file = path.join(await newFolder(), "docs_vector_store.bin");
    await writeFile(file, gzipSync(storeOf("docs", vectors)).subarray(0, 60));
    await failure(() => imported(file), "STORAGE", /unpacked/);
    await writeFile(file, gzipSync(storeOf("docs", [stored("a".repeat(8 << 20), [1, 0])])));
    await failure(() => imported(file), "STORAGE", /maxRatio/);
    await failure(() => imported(file, { maxRatio: 1e9, maxBytes: 1e6 }), "STORAGE", /maxBytes/);
  });
});
