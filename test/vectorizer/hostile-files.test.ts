/** Archives that lie: refused with a typed error, and nothing that was created stays. */
import { open, writeFile } from "node:fs/promises";
import path from "node:path";
import { importVecdb } from "hive-gpu/vectorizer";
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { failure } from "./helpers.js";
import { newFolder } from "./mirror-helpers.js";
import { type Entry, storeOf, stored, zipOf } from "./zip.js";

const data = storeOf("docs", [stored("a", [1, 0]), stored("b", [0, 1])]);
const good: Entry = { name: "docs_vector_store.bin", data };

/** Imports an archive of these bytes; expects a refusal that leaves no collection behind. */
async function refused(bytes: Buffer, message: RegExp, index?: unknown): Promise<void> {
  const folder = await newFolder();
  await writeFile(path.join(folder, "vectorizer.vecdb"), bytes);
  if (index !== undefined) {
    const text = typeof index === "string" ? index : JSON.stringify(index);
    await writeFile(path.join(folder, "vectorizer.vecidx"), text);
  }
  const db = await database();
  await failure(() => importVecdb(folder, { database: db }), "STORAGE", message);
  expect(await db.collections()).toEqual([]);
}

describe("entries", () => {
  const names = [
    "../docs_vector_store.bin",
    "/etc/x_vector_store.bin",
    "a/b",
    "a\\b",
    "C:\\x",
    "..",
    ".",
  ];
  it.each([...names, "", "a\0b"])("with a path for a name: %j", async (name) => {
    await refused(zipOf([good, { name, data: "x" }]), /path|directory is broken|entry name/);
  });

  const big = Buffer.alloc(64 << 20, 48);
  const lies: Record<string, [Entry[], RegExp]> = {
    "of one name": [[good, good], /two entries/],
    encrypted: [[{ ...good, flags: 1 }], /encrypted/],
    "compressed in an unknown way": [[{ ...good, method: 99 }], /unknown way/],
    "longer than they say": [[{ ...good, size: data.length - 1 }], /broken|directory/],
    "shorter than they say": [[{ ...good, size: data.length + 1 }], /broken|directory/],
    "of another checksum": [[{ ...good, crc: 1 }], /CRC/],
    "that overlap": [[good, { name: "x_vector_store.bin", data, offset: 0 }], /overlaps|broken/],
    "beyond the end": [[{ ...good, compressedSize: 1e6 }], /overlaps|broken/],
    "that unpack to a thousand times their size": [
      [{ name: "x_vector_store.bin", data: big }],
      /maxRatio/,
    ],
    "that say little and unpack to much": [
      [{ name: "x_vector_store.bin", data: big, size: 1000 }],
      /broken/,
    ],
  };
  it.each(Object.entries(lies))("%s", async (_, [entries, message]) => {
    await refused(zipOf(entries), message);
  });

  it("that together unpack to more than allowed", async () => {
    const folder = await newFolder();
    await writeFile(path.join(folder, "vectorizer.vecdb"), zipOf([good]));
    const options = { database: await database(), maxBytes: 10 };
    await failure(() => importVecdb(folder, options), "STORAGE", /maxBytes/);
  });
});

describe("files", () => {
  const whole = zipOf([good]);
  it.each([
    ["empty", Buffer.alloc(0)],
    ["no archive", Buffer.from("hello, world, this is no archive at all")],
    ["cut short", whole.subarray(0, whole.length - 10)],
    ["without a directory", whole.subarray(0, 60)],
  ])("%s", async (_, bytes) => {
    await refused(bytes, /archive|directory/);
  });

  it("with every byte changed once, never crash", async () => {
    const db = await database();
    const folder = await newFolder();
    const file = path.join(folder, "vectorizer.vecdb");
    const listed = { path: good.name, size: data.length, type: "vectors" };
    const index = { version: "1.0", collections: [{ name: "docs", files: [listed] }] };
    await writeFile(path.join(folder, "vectorizer.vecidx"), JSON.stringify(index));
    let survived = 0;
    for (let at = 0; at < whole.length; at++) {
      const bytes = Buffer.from(whole);
      bytes[at] = bytes[at]! ^ 0x55;
      await writeFile(file, bytes);
      try {
        const { collections } = await importVecdb(folder, { database: db });
        expect(collections).toMatchObject([{ name: "docs", imported: 2, skipped: 0 }]);
        survived++;
      } catch (error) {
        expect((error as { code?: string }).code ?? error).toBe("STORAGE");
      }
      for (const name of await db.collections()) await db.drop(name);
    }
    // Times, versions and attributes mean nothing to us; all of the content is checked.
    expect(survived).toBeLessThan(whole.length / 3);
  });

  it("that do not exist, or are of another kind", async () => {
    const db = await database();
    const folder = await newFolder();
    await failure(() => importVecdb(folder, { database: db }), "STORAGE", /neither/);
    await failure(() => importVecdb(path.join(folder, "x"), { database: db }), "STORAGE", /read/);
    await failure(() => importVecdb(folder, {} as never), "INVALID_ARGUMENT", /database/);
  });
});

describe("stores", () => {
  const wrong: Record<string, [string, RegExp]> = {
    "of another version": [data.replace('"version":1', '"version":2'), /version 2/],
    "without a version": [data.replace('"version":1,', ""), /no version/],
    "cut short": [data.slice(0, -20), /ends too early/],
    "that are no JSON": ["hello", /no version/],
    "that are empty": ["", /ends too early/],
    "with a broken number": [data.replace("[1,0]", "[1,0x]"), /no number/],
    "with a config that is text": [data.replace(/"config":\{.*?\}\}/, '"config":"x"'), /config/],
    "nested without end": [`{"version":1,"x":${"[".repeat(1e6)}`, /nested/],
    "with a point without an id": [data.replace('"id":"b",', ""), /no id/],
  };
  it.each(Object.entries(wrong))("%s", async (_, [text, message]) => {
    await refused(zipOf([{ ...good, data: text }]), message);
  });

  it("with more in one value than memory should hold", async () => {
    const text = data.replace('"payload_json":null', `"payload_json":"${"x".repeat(40 << 20)}"`);
    await refused(zipOf([{ ...good, data: text, store: true }]), /longer than/);
  });
});

describe("indexes", () => {
  const file = { path: "docs_vector_store.bin", size: data.length };
  const indexOf = (more: object) => ({
    version: "1.0",
    collections: [{ name: "docs", files: [{ ...file, ...more }] }],
  });
  it("with another checksum, another size, another version, or no sense", async () => {
    const bytes = zipOf([good]);
    await refused(bytes, /SHA-256/, indexOf({ checksum: "0".repeat(64) }));
    await refused(bytes, /its index says/, indexOf({ size: 3 }));
    await refused(bytes, /version 2.0/, { ...indexOf({}), version: "2.0" });
    await refused(bytes, /not an index/, "hello");
    await refused(bytes, /not an index/, "[]");
  });

  it("that are too long", async () => {
    const folder = await newFolder();
    await writeFile(path.join(folder, "vectorizer.vecdb"), zipOf([good]));
    const handle = await open(path.join(folder, "vectorizer.vecidx"), "w");
    await handle.truncate(100 << 20);
    await handle.close();
    const options = { database: await database() };
    await failure(() => importVecdb(folder, options), "STORAGE", /too long/);
  });
});

it("records of a collection that was there before stay", async () => {
  const db = await database();
  const docs = await db.collection("docs");
  await docs.upsert([{ id: "mine", vector: [1, 0] }]);
  const folder = await newFolder();
  await writeFile(path.join(folder, "vectorizer.vecdb"), zipOf([{ ...good, crc: 1 }]));
  await failure(() => importVecdb(folder, { database: db }), "STORAGE", /CRC/);
  expect(await docs.get("mine")).toBeDefined();
});
