/** Collections whose metadata a schema checks. */
import { type Database, type StandardSchema, hiveError } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/langchain";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { folder, openAt } from "../durable/helpers.js";
import { database, failure } from "../unit/helpers.js";

const film = z.object({
  title: z.string().trim(),
  year: z.number().int(),
  lang: z.enum(["en", "de"]).default("en"),
  author: z.object({ name: z.string() }).optional(),
  tags: z.array(z.string()).optional(),
});
const vector = [1, 0];
const alien = { title: " Alien ", year: 1979 };

type Validate<Output> = StandardSchema<unknown, Output>["~standard"]["validate"];

/** A schema of no library. */
function own<Output extends object>(validate: Validate<Output>): StandardSchema<unknown, Output> {
  return { "~standard": { version: 1, vendor: "own", validate } };
}

const isYear = (value: unknown): value is { year: number } =>
  typeof (value as { year?: unknown }).year === "number";
const yearOf: Validate<{ year: number; decade: number }> = (value) =>
  isYear(value)
    ? { value: { year: value.year, decade: Math.floor(value.year / 10) * 10 } }
    : { issues: [{ message: "wants a year", path: [{ key: "year" }] }, { message: "second" }] };
const later: Validate<{ year: number; decade: number }> = async (value) => {
  await new Promise((resolve) => setImmediate(resolve));
  return yearOf(value);
};

async function films(db: Database) {
  return db.collection("films", { schema: film });
}

describe.each([
  ["in memory", () => database()],
  ["in a folder", () => openAt(folder())],
])("a schema, %s", (_, open) => {
  it("stores its output and leaves the input alone", async () => {
    const collection = await films(await open());
    const given = Object.freeze({ ...alien, unknown: 1 });
    await collection.upsert([{ id: "a", vector, metadata: given }]);
    expect(given).toEqual({ title: " Alien ", year: 1979, unknown: 1 });
    const stored = { title: "Alien", year: 1979, lang: "en" };
    expect((await collection.get("a"))?.metadata).toEqual(stored);
    const [hit] = await collection.search(vector, { filter: { lang: "en", title: "Alien" } });
    expect(hit?.metadata).toEqual(stored);
    await collection.upsert({
      ids: ["b", "c"],
      vectors: Float32Array.of(1, 0, 0, 1),
      metadatas: [
        { title: "Solaris ", year: 1972, lang: "de" },
        { title: "x", year: 1, author: { name: "Lem" } },
      ],
    });
    expect(await collection.count({ title: "Solaris" })).toBe(1);
    expect(await collection.count({ "author.name": "Lem" })).toBe(1);
  });

  it("fails the whole call, naming the record and the path", async () => {
    const collection = await films(await open());
    const records = [
      { id: "a", vector, metadata: alien },
      { id: "b", vector, metadata: { ...alien, year: "x", author: { name: 3 } } as never },
    ];
    const error = await failure(
      () => collection.upsert(records),
      "SCHEMA_MISMATCH",
      /^upsert: record 1 \("b"\): metadata\.year: .*number.* \(and 1 more\)$/,
    );
    expect(error.name).toBe("InputError");
    expect(error.details).toMatchObject({
      index: 1,
      path: "metadata.year",
      issues: [{ path: "metadata.year" }, { path: "metadata.author.name" }],
    });
    expect(await collection.count()).toBe(0);
    const tags = { ...alien, tags: ["a", 3] } as never;
    const columns = { vectors: Float32Array.of(1, 0), metadatas: [tags] };
    await failure(() => collection.upsert(columns), "SCHEMA_MISMATCH", /metadata\.tags\[1\]/);
    const none = [{ vector, metadata: null as never }];
    await failure(() => collection.upsert(none), "SCHEMA_MISMATCH", / metadata: .*object/);
    // Without metadata there is no title either.
    await failure(() => collection.upsert([{ vector }]), "SCHEMA_MISMATCH", /metadata\.title/);
    await failure(
      () => collection.upsert([{ vector }], { onProgress: () => {} }),
      "SCHEMA_MISMATCH",
    );
    expect(await collection.count()).toBe(0);
  });

  it("checks updates, and text alone needs no check", async () => {
    const collection = await films(await open());
    await collection.upsert([{ id: "a", vector, metadata: alien }]);
    await collection.update([{ id: "a", text: "t" }]);
    await collection.update([{ id: "a", metadata: { title: " B ", year: 2 } }]);
    const stored = { id: "a", text: "t", metadata: { title: "B", year: 2, lang: "en" } };
    expect(await collection.get("a")).toEqual(stored);
    const wrong = [
      { id: "a", metadata: { title: "C", year: 3 } },
      { id: "a", metadata: { title: "C" } as never },
    ];
    const where = /^update: entry 1 \("a"\): metadata\.year/;
    await failure(() => collection.update(wrong), "SCHEMA_MISMATCH", where);
    await failure(() => collection.update([null as never]), "INVALID_ARGUMENT", /entry 0/);
    expect(await collection.get("a")).toEqual(stored);
  });

  it("answers each of several calls that become one write, in order", async () => {
    const collection = await (await open()).collection("x", { schema: own(later) });
    const calls = [1979, "no", 1985, undefined, 1991].map((year) =>
      collection.upsert([{ id: "same", vector, metadata: { year } as never }]).then(
        () => "ok",
        (error: { code: string }) => error.code,
      ),
    );
    const bad = "SCHEMA_MISMATCH";
    expect(await Promise.all(calls)).toEqual(["ok", bad, "ok", bad, "ok"]);
    expect((await collection.get("same"))?.metadata).toEqual({ year: 1991, decade: 1990 });
  });
});

describe("a schema of one's own", () => {
  it.each([
    ["at once", yearOf],
    ["later", later],
  ])("answers %s", async (_, validate) => {
    const collection = await (await database()).collection("x", { schema: own(validate) });
    const records = Array.from({ length: 500 }, (__, i) => ({
      id: `${i}`,
      vector,
      metadata: { year: 1900 + i, decade: 0 },
    }));
    await collection.upsert(records);
    expect(await collection.count({ decade: 1970 })).toBe(10);
    records[400]!.metadata = {} as never;
    const error = await failure(
      () => collection.upsert(records),
      "SCHEMA_MISMATCH",
      /record 400 \("400"\): metadata\.year: wants a year \(and 1 more\)/,
    );
    const issues = [
      { path: "metadata.year", message: "wants a year" },
      { path: "metadata", message: "second" },
    ];
    expect(error.details).toEqual({ index: 400, path: "metadata.year", issues });
    expect(await collection.count()).toBe(500);
  });

  const boom = new Error("boom");
  it.each<[string, unknown, RegExp]>([
    [
      "throws",
      () => {
        throw boom;
      },
      /threw: boom/,
    ],
    ["rejects", () => Promise.reject(boom), /rejected: boom/],
    ["answers nothing", () => undefined, /answered with/],
    ["answers no object", () => ({ value: "x" }), /answered with the value/],
    ["answers odd issues", () => ({ issues: 3 }), /issues that are no array/],
  ])("that %s fails the call", async (_, validate, message) => {
    const collection = await (
      await database()
    ).collection("x", {
      schema: own(validate as Validate<object>),
    });
    const call = () => collection.upsert([{ id: "a", vector, metadata: {} }]);
    const error = await failure(call, "SCHEMA_FAILED", message);
    expect(error.message).toMatch(/^upsert: record 0 \("a"\): /);
    expect([undefined, boom]).toContain(error.cause);
    expect(error.cause === boom).toBe(/boom/.test(String(message)));
    expect(await collection.count()).toBe(0);
  });

  it("reads foreign issues without trust", async () => {
    const odd = { issues: [null, { path: [0, "a b", Symbol("s"), {}] }] };
    const schema = own<object>(() => odd as never);
    const collection = await (await database()).collection("x", { schema });
    const error = await failure(() => collection.upsert([{ vector }]), "SCHEMA_MISMATCH");
    expect(error.details["issues"]).toEqual([
      { path: "metadata", message: "is refused by the schema" },
      { path: 'metadata[0]["a b"][Symbol(s)][undefined]', message: "is refused by the schema" },
    ]);
  });

  it("cannot make what is stored unstorable", async () => {
    const schema = own(() => ({ value: { big: 1n } }));
    const collection = await (await database()).collection("x", { schema });
    await failure(() => collection.upsert([{ vector }]), "INVALID_METADATA", /metadata\.big/);
  });

  it("may wait for ever: the signal stops the call, and the next write goes on", async () => {
    let waits = true;
    const validate = (value: unknown) =>
      waits ? new Promise<never>(() => undefined) : { value: value as object };
    const collection = await (await database()).collection("x", { schema: own(validate) });
    const stop = new AbortController();
    const call = collection.upsert([{ vector }], { signal: stop.signal });
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort();
    await failure(() => call, "ABORTED");
    waits = false;
    await collection.upsert([{ vector, metadata: { a: 1 } }]);
    expect(await collection.count()).toBe(1);
  });

  it("may see the collection close", async () => {
    const db = await database();
    const schema = own(async (value) => {
      await db.close();
      return { value: value as object };
    });
    const collection = await db.collection("x", { schema });
    await failure(() => collection.upsert([{ vector }]), "CLOSED");
  });

  it("reports an error of the engine that it throws as its cause", async () => {
    const inner = hiveError("NOT_FOUND", "inner");
    const schema = own<object>(() => {
      throw inner;
    });
    const collection = await (await database()).collection("x", { schema });
    const error = await failure(() => collection.upsert([{ vector }]), "SCHEMA_FAILED", /inner/);
    expect(error.cause).toBe(inner);
  });
});

describe("opening with a schema", () => {
  it("refuses what is none", async () => {
    const db = await database();
    const none = [null, 3, {}, { parse: () => 1 }, { "~standard": { version: 2 } }];
    for (const schema of none) {
      const call = () => db.collection("x", { schema } as never);
      await failure(call, "INVALID_ARGUMENT", /schema is no Standard Schema v1/);
    }
    expect(await db.collections()).toEqual([]);
    const callable = Object.assign(
      () => 1,
      own((value) => ({ value: value as object })),
    );
    await db.collection("x", { schema: callable });
  });

  it("holds for everyone until the database is closed or the collection dropped", async () => {
    const db = await database();
    const collection = await films(db);
    expect(await films(db)).toBe(collection);
    const bare = await db.collection("films");
    await failure(() => bare.upsert([{ vector }]), "SCHEMA_MISMATCH");
    const error = await failure(
      () => db.collection("films", { schema: film.clone() }),
      "ALREADY_EXISTS",
      /open with another schema/,
    );
    expect(error.details).toEqual({ option: "schema" });
    await failure(() => collection.upsert([{ vector }]), "SCHEMA_MISMATCH");
    await db.drop("films");
    await (await db.collection("films")).upsert([{ vector }]);
  });

  it("may come later, for the writes from then on; it is not stored", async () => {
    const at = folder();
    const first = await openAt(at);
    const early = await first.collection("films");
    await early.upsert([{ id: "old", vector, metadata: { any: 1 } }]);
    const collection = await films(first);
    await failure(() => early.upsert([{ vector }]), "SCHEMA_MISMATCH");
    expect((await collection.get("old"))?.metadata).toEqual({ any: 1 });
    await first.close();
    const second = await openAt(at);
    const reopened = await second.collection("films");
    await reopened.upsert([{ id: "free", vector, metadata: { any: 2 } }]);
    await second.collection("films", { schema: film.clone() });
    await failure(() => reopened.upsert([{ vector }]), "SCHEMA_MISMATCH");
    expect(await reopened.count()).toBe(2);
  });

  it("checks what a LangChain store adds to the collection", async () => {
    const collection = await films(await database());
    const embeddings = { embedQuery: async () => vector, embedDocuments: async () => [vector] };
    const store = new HiveVectorStore(embeddings, { collection });
    const document = { pageContent: "text", metadata: alien };
    await store.addVectors([vector], [document], { ids: ["a"] });
    expect((await collection.get("a"))?.metadata).toMatchObject({ title: "Alien", lang: "en" });
    const wrong = { pageContent: "text", metadata: {} };
    await failure(() => store.addVectors([vector], [wrong]), "SCHEMA_MISMATCH");
  });
});
