/** A database of format 1, made once: every later version must open it. */
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { failure } from "../unit/helpers.js";
import { folder, openAt, root, segmentFiles } from "./helpers.js";

const golden = path.join(root, "test", "durable", "golden");

interface Expected {
  metric: string;
  dtype: string;
  digest: string;
  sequence: number;
  records: unknown[];
}

const expected = JSON.parse(fs.readFileSync(path.join(golden, "format-1.json"), "utf8")) as Record<
  string,
  Expected
>;

function copied(): string {
  const at = path.join(folder(), "format-1");
  fs.cpSync(path.join(golden, "format-1"), at, { recursive: true });
  return at;
}

describe("format 1", () => {
  it.each([true, false])("opens, readOnly %s, and holds what it held", async (readOnly) => {
    const db = await openAt(copied(), { readOnly });
    expect(await db.collections()).toEqual([...Object.keys(expected), "empty"]);
    for (const [name, one] of Object.entries(expected)) {
      const collection = await db.collection(name);
      expect([collection.metric, collection.dtype]).toEqual([one.metric, one.dtype]);
      expect(await collection.stats()).toMatchObject({
        digest: one.digest,
        sequence: one.sequence,
      });
      const records: unknown[] = [];
      for await (const record of collection.scan({ select: ["vector", "text", "metadata"] })) {
        records.push({ ...record, vector: [...record.vector!] });
      }
      expect(JSON.parse(JSON.stringify(records))).toEqual(one.records);
    }
    let last = 0;
    for await (const change of db.changes({ fromSeq: 1 })) last = change.sequence;
    expect(last).toBe((await db.stats()).sequence);
    if (readOnly) return;
    const collection = await db.collection(Object.keys(expected)[0]!);
    await collection.upsert([{ id: "new", vector: [1, 2, 3, 4, 5, 6, 7, 8] }]);
    await db.compact();
    expect(await collection.count()).toBe(Object.values(expected)[0]!.records.length + 1);
  });

  it("another version is named, not misread", async () => {
    const at = copied();
    const [file] = segmentFiles(at);
    const bytes = fs.readFileSync(file!);
    bytes.writeUInt32LE(2, 8);
    fs.writeFileSync(file!, bytes);
    // The checksum covers the version, so a flipped bit is damage and not a version.
    const db = await openAt(at, { readOnly: true });
    await failure(() => db.collection(Object.keys(expected)[0]!), "CORRUPT", /checksum/);
  });
});
