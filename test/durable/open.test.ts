/** Opening, closing, locking, reading only; writes that survive. */
import { execFileSync } from "node:child_process";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { failure, noise } from "../unit/helpers.js";
import { type Plain, expectContents, folder, openAt, root, segmentFiles } from "./helpers.js";

const rows = (n: number, from = 0): [string, Plain][] =>
  Array.from({ length: n }, (_, i) => [
    `id${from + i}`,
    { vector: [from + i, 1, 2, 3], text: `text ${from + i}`, metadata: { n: from + i } },
  ]);

const records = (entries: [string, Plain][]) =>
  entries.map(([id, plain]) => ({ id, ...plain, metadata: plain.metadata as never }));

describe("a database in a folder", () => {
  it("holds its records after closing and opening", async () => {
    const at = folder();
    const db = await openAt(path.join(at, "new", "folder"));
    const c = await db.collection("a", { metric: "l2" });
    const model = new Map(rows(3000));
    await c.upsert(records([...model]));
    await c.delete({ ids: ["id7", "none"] });
    model.delete("id7");
    await c.update([{ id: "id9", text: "changed" }]);
    const nine = { ...model.get("id9")!, text: "changed" };
    model.delete("id9");
    model.set("id9", nine);
    await expectContents(c, model);
    const { digest, sequence } = await c.stats();
    await db.close();
    await failure(() => c.count(), "CLOSED");

    const again = await openAt(path.join(at, "new", "folder"));
    expect(await again.collections()).toEqual(["a"]);
    expect((await again.stats()).records).toBe(2999);
    const reopened = await again.collection("a");
    expect([reopened.dimensions, reopened.metric, reopened.dtype]).toEqual([4, "l2", "f32"]);
    await expectContents(reopened, model);
    expect(await reopened.stats()).toMatchObject({ digest, sequence });
    await failure(() => again.collection("a", { metric: "dot" }), "ALREADY_EXISTS");
  });

  it.each(["f32", "f16", "bf16", "i8"] as const)("keeps %s vectors bit by bit", async (dtype) => {
    const at = folder();
    const vectors = noise(500 * 33, 5);
    const db = await openAt(at);
    const c = await db.collection("a", { dtype, metric: "cosine" });
    await c.upsert({ vectors, dimensions: 33, ids: rows(500).map(([id]) => id) });
    const before = await c.search(vectors.slice(0, 33), { k: 500, select: ["vector"] });
    await db.close();
    const reopened = await (await openAt(at)).collection("a");
    const after = await reopened.search(vectors.slice(0, 33), { k: 500, select: ["vector"] });
    expect(after).toEqual(before);
  });

  it("keeps empty collections, cleared ones, and forgets dropped ones", async () => {
    const at = folder();
    let db = await openAt(at);
    await db.collection("empty", { dimensions: 3, metric: "l1", dtype: "f16" });
    await db.collection("../../etc/passwd");
    const cleared = await db.collection("cleared");
    await cleared.upsert(records(rows(10)));
    await cleared.clear();
    const dropped = await db.collection("dropped");
    await dropped.upsert(records(rows(10)));
    expect(await db.drop("dropped")).toBe(true);
    await failure(() => dropped.count(), "CLOSED", /dropped/);
    await db.close();
    db = await openAt(at);
    expect(await db.collections()).toEqual(["empty", "../../etc/passwd", "cleared"]);
    const empty = await db.collection("empty");
    expect([empty.dimensions, empty.metric, empty.dtype]).toEqual([3, "l1", "f16"]);
    const c = await db.collection("cleared");
    await expectContents(c, new Map());
    await c.upsert(records(rows(3, 20)));
    await db.close();
    const last = await openAt(at);
    await expectContents(await last.collection("cleared"), new Map(rows(3, 20)));
    expect(segmentFiles(at).map((file) => path.basename(file).slice(0, 8))).not.toContain(
      "00000004",
    );
  });

  it("keeps what concurrent writers wrote, each with its own answer", async () => {
    const at = folder();
    const db = await openAt(at);
    const c = await db.collection("a", { dimensions: 4 });
    const writes = rows(300).map(([id, plain], i) =>
      i === 77
        ? failure(() => c.upsert([{ id, vector: [1, Number.NaN, 2, 3] }]), "NON_FINITE", /id77/)
        : c.upsert(records([[id, plain]])),
    );
    const ids = await Promise.all(writes);
    expect(ids[5]).toEqual(["id5"]);
    const model = new Map(rows(300));
    model.delete("id77");
    expect((await c.stats()).sequence).toBeLessThan(600);
    await db.close();
    const reopened = await (await openAt(at)).collection("a");
    expect(await reopened.count()).toBe(299);
    expect((await reopened.get("id5"))?.text).toBe("text 5");
    expect(await reopened.get("id77")).toBeUndefined();
  });

  it("waits for writes under way when it closes", async () => {
    const at = folder();
    const db = await openAt(at);
    const c = await db.collection("a");
    const write = c.upsert(records(rows(2000))).then(
      () => true,
      () => false,
    );
    await new Promise((resolve) => setTimeout(resolve, 2));
    await db.close();
    const acknowledged = await write;
    const reopened = await (await openAt(at)).collection("a");
    const count = await reopened.count();
    expect(acknowledged ? count === 2000 : count === 0).toBe(true);
  });

  it("with durability os survives the end of the process", async () => {
    const at = folder();
    const db = await openAt(at, { durability: "os" });
    const c = await db.collection("a");
    for (let i = 0; i < 20; i++) await c.upsert(records(rows(5, i * 5)));
    await db.close();
    await expectContents(await (await openAt(at)).collection("a"), new Map(rows(100)));
  });
});

describe("one writer", () => {
  it("of this process or another one; readers beside it", async () => {
    const at = folder();
    const db = await openAt(at);
    const c = await db.collection("a");
    await c.upsert(records(rows(5)));
    await failure(() => openAt(at), "DATABASE_LOCKED", /writer/);
    const code = `
      import { openDatabase } from "hive-gpu";
      const [at] = process.argv.slice(1);
      await openDatabase({ path: at }).catch((e) => console.log(e.code));
      const db = await openDatabase({ path: at, readOnly: true });
      const c = await db.collection("a");
      const hits = await c.search([2, 1, 2, 3], { k: 1 });
      const refused = await c.upsert([{ vector: [1, 2, 3, 4] }]).catch((e) => e.code);
      console.log(await c.count(), hits[0].text, refused);
      await db.close();`;
    const args = ["--input-type=module", "--eval", code, at];
    const out = execFileSync(process.execPath, args, { cwd: root, encoding: "utf8" });
    expect(out).toBe("DATABASE_LOCKED\n5 text 2 READ_ONLY\n");
    await c.upsert(records(rows(5, 5)));
    await db.close();
    await expectContents(await (await openAt(at)).collection("a"), new Map(rows(10)));
  });

  it("readers refuse every write and see the state of their opening", async () => {
    const at = folder();
    const db = await openAt(at);
    await (await db.collection("a")).upsert(records(rows(3)));
    const reader = await openAt(at, { readOnly: true });
    const c = await reader.collection("a");
    await (await db.collection("a")).upsert(records(rows(3, 3)));
    await expectContents(c, new Map(rows(3)));
    for (const write of [
      () => c.upsert(records(rows(1))),
      () => c.update([{ id: "id1", text: "x" }]),
      () => c.delete({ ids: ["id1"] }),
      () => c.clear(),
      () => reader.collection("new"),
      () => reader.drop("a"),
    ]) {
      await failure(write, "READ_ONLY");
    }
    await failure(() => openAt(folder(), { readOnly: true }), "STORAGE", /no database/);
  });
});

describe("what a crash leaves", () => {
  it("is cut off or removed, and a folder without its index is not taken for a new one", async () => {
    const at = folder();
    let db = await openAt(at);
    await (await db.collection("a")).upsert(records(rows(3)));
    await db.close();
    const [file] = segmentFiles(at);
    fs.appendFileSync(file!, Buffer.alloc(1000, 7));
    const orphan = path.join(at, "segments", "00000001-00000009.seg");
    fs.writeFileSync(orphan, "junk");
    db = await openAt(at);
    await expectContents(await db.collection("a"), new Map(rows(3)));
    await db.close();
    expect(segmentFiles(at)).toEqual([file]);
    fs.rmSync(path.join(at, "index"), { recursive: true });
    const error = await failure(() => openAt(at), "CORRUPT", /no index/);
    expect(error.hint).toMatch(/--rebuild/);
  });

  it("missing or foreign files are named", async () => {
    const at = folder();
    let db = await openAt(at);
    await (await db.collection("a")).upsert(records(rows(3)));
    await db.close();
    const other = folder();
    db = await openAt(other);
    await (await db.collection("a")).upsert(records(rows(3)));
    await db.close();
    const [file] = segmentFiles(at);
    fs.copyFileSync(segmentFiles(other)[0]!, file!);
    db = await openAt(at);
    const error = await failure(() => db.collection("a"), "CORRUPT", /another database/);
    expect(error.details["file"]).toBe(file);
    await db.close();
    fs.rmSync(file!);
    // Other collections are not affected.
    db = await openAt(at);
    await failure(() => db.collection("a"), "CORRUPT", /missing/);
    expect(await (await db.collection("b")).count()).toBe(0);
  });
});
