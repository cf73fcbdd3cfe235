/** Export to the server's files, and back. */
import { createWriteStream } from "node:fs";
import { readdir, readFile } from "node:fs/promises";
import path from "node:path";
import type { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import type { VectorCollection } from "hive-gpu";
import { exportVecdb, importVecdb } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import yazl from "yazl";
import { database } from "../unit/helpers.js";
import { failure, noise } from "./helpers.js";
import { contents, newFolder } from "./mirror-helpers.js";
import { storeOf, stored } from "./zip.js";

async function imported(source: string) {
  const db = await database();
  return { db, report: await importVecdb(source, { database: db }) };
}

describe("export", () => {
  it("and import again lose nothing", async () => {
    const db = await database();
    const values = noise(500 * 16, 3);
    for (const metric of ["cosine", "l2", "dot"] as const) {
      const collection = await db.collection(metric, { metric });
      const odd = { at: new Date(5), __proto__: 1, s: " x\r\n", z: 1, a: { content: "c" } };
      await collection.upsert(
        Array.from({ length: 500 }, (_, i) => ({
          id: i === 3 ? "hv1_YSMx" : i === 4 ? "007" : `id ${i}#`,
          vector: values.slice(i * 16, (i + 1) * 16),
          ...(i % 3 === 0 ? {} : { text: i % 2 === 0 ? ` t\t\n${i}\ud800` : `text ${i}` }),
          ...(i % 5 === 0 ? {} : { metadata: i % 5 === 1 ? {} : { ...odd, i } }),
        })),
      );
    }
    await db.collection("empty", { dimensions: 7 });
    const names = await db.collections();
    const collections: VectorCollection[] = await Promise.all(
      names.map((name) => db.collection(name)),
    );
    const folder = await newFolder();
    const written = await exportVecdb(folder, { collections });
    expect((await readdir(folder)).toSorted()).toEqual(["vectorizer.vecdb", "vectorizer.vecidx"]);
    expect(written.collections.map(({ points }) => points)).toEqual([500, 500, 500, 0]);
    expect(written.collections[0]).toMatchObject({ nonUnit: 500, zeroVectors: 0 });
    const { db: again, report } = await imported(folder);
    expect(report.warnings).toEqual([]);
    expect(report.collections.flatMap(({ warnings }) => warnings)).toEqual([]);
    for (const collection of collections) {
      const copy = await again.collection(collection.name);
      expect([copy.metric, copy.dimensions]).toEqual([collection.metric, collection.dimensions]);
      expect([...(await contents(copy))]).toStrictEqual([...(await contents(collection))]);
    }
    const index = JSON.parse(await readFile(path.join(folder, "vectorizer.vecidx"), "utf8"));
    expect(index.collections[0].files[0]).toMatchObject({
      path: "cosine_vector_store.bin",
      checksum: written.collections[0]!.sha256,
      type: "vectors",
    });
  });

  it("can scale cosine vectors to length 1, as the server keeps them", async () => {
    const db = await database();
    const docs = await db.collection("docs");
    await docs.upsert([
      { id: "a", vector: [3, 4] },
      { id: "zero", vector: [0, 0] },
    ]);
    const folder = await newFolder();
    const report = await exportVecdb(folder, { collections: [docs], normalize: true });
    expect(report.collections[0]).toMatchObject({ nonUnit: 0, zeroVectors: 1 });
    const { db: again } = await imported(folder);
    const copy = await (await again.collection("docs")).get(["a", "zero"], { select: ["vector"] });
    expect(copy.map((record) => record!.vector)).toEqual([
      Float32Array.of(0.6, 0.8),
      Float32Array.of(0, 0),
    ]);
  });

  it("replaces older files in one step, and leaves them alone when it fails", async () => {
    const db = await database();
    const docs = await db.collection("docs");
    await docs.upsert([{ id: "a", vector: [1, 0] }]);
    const folder = await newFolder();
    await exportVecdb(folder, { collections: [docs] });
    const before = await readFile(path.join(folder, "vectorizer.vecdb"));
    await docs.upsert([{ id: "b", vector: [1, 0] }]);
    const failing = {
      name: "docs",
      metric: "cosine",
      dimensions: 2,
      count: () => docs.count(),
      async *scan() {
        yield { id: "a", vector: Float32Array.of(1, 0) };
        throw new Error("the disk burns");
      },
    } as unknown as VectorCollection;
    await expect(exportVecdb(folder, { collections: [failing] })).rejects.toThrow(/disk burns/);
    const signal = AbortSignal.abort();
    await failure(() => exportVecdb(folder, { collections: [docs], signal }), "ABORTED");
    expect(await readdir(folder)).toHaveLength(2);
    expect(await readFile(path.join(folder, "vectorizer.vecdb"))).toEqual(before);
    await exportVecdb(folder, { collections: [docs] });
    const { db: again } = await imported(folder);
    expect(await (await again.collection("docs")).count()).toBe(2);
  });

  it("refuses what the format cannot hold", async () => {
    const db = await database();
    const folder = await newFolder();
    const l1 = await db.collection("l1", { metric: "l1" });
    await failure(() => exportVecdb(folder, { collections: [l1] }), "NOT_SUPPORTED", /l1/);
    const docs = await db.collection("docs");
    await failure(() => exportVecdb(folder, { collections: [docs, docs] }), "ALREADY_EXISTS");
    const slash = await db.collection("../docs");
    await failure(() => exportVecdb(folder, { collections: [slash] }), "INVALID_ARGUMENT");
    await failure(() => exportVecdb(folder, { collections: [] }), "INVALID_ARGUMENT");
  });
});

it("archives in the format for more than 4 GiB (ZIP64) are read", async () => {
  const folder = await newFolder();
  const zip = new yazl.ZipFile();
  const store = Buffer.from(storeOf("docs", [stored("a", [1, 0]), stored("b", [0, 1])]));
  zip.addBuffer(store, "docs_vector_store.bin", { forceZip64Format: true });
  zip.end({ forceZip64Format: true, comment: "" });
  const output = createWriteStream(path.join(folder, "vectorizer.vecdb"));
  await pipeline(zip.outputStream as Readable, output);
  const { report } = await imported(folder);
  expect(report.collections).toMatchObject([{ name: "docs", imported: 2 }]);
});
