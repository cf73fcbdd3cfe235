import { openDatabase } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, database, failure } from "./helpers.js";

async function filled() {
  const c = await collection();
  await c.upsert([{ id: "a", vector: [1, 0, 0] }]);
  return c;
}

describe("options", () => {
  it("names a misspelled option and the nearest one", async () => {
    const c = await filled();
    const error = await failure(
      () => c.search([1, 0, 0], { topK: 3 } as never),
      "UNKNOWN_OPTION",
      /"topK"/,
    );
    expect(error.details).toMatchObject({ option: "topK" });
    await failure(() => c.search([1, 0, 0], { ofset: 1 } as never), "UNKNOWN_OPTION", /"offset"/);
    await failure(() => c.search([1, 0, 0], { output: "hits" } as never), "UNKNOWN_OPTION");
    await failure(
      () => c.search([1, 0, 0], { select: ["txt"] } as never),
      "INVALID_ARGUMENT",
      /text/,
    );
    await failure(() => c.search([1, 0, 0], { minScore: "x" } as never), "INVALID_ARGUMENT");
    await failure(() => c.search([1, 0, 0], { signal: {} } as never), "INVALID_ARGUMENT");
    await failure(() => c.search([1, 0, 0], null as never), "INVALID_ARGUMENT");
    await failure(() => c.upsert([{ vektor: [1] } as never]), "UNKNOWN_OPTION", /"vector"/);
    await failure(() => c.upsert([], { onprogress: 1 } as never), "UNKNOWN_OPTION", /onProgress/);
    await failure(() => c.delete({ id: ["a"] } as never), "UNKNOWN_OPTION", /"ids"/);
    await failure(() => c.delete({ filter: {} }), "INVALID_FILTER", /clear|every/);
    await failure(() => c.delete(["a"] as never), "INVALID_ARGUMENT");
    await failure(
      () => c.update([{ id: "a", metadta: {} } as never]),
      "UNKNOWN_OPTION",
      /metadata/,
    );
    await failure(() => c.get(["a"], { selec: [] } as never), "UNKNOWN_OPTION", /select/);
    await failure(() => c.scan({ batch: 1 } as never), "UNKNOWN_OPTION");
    await failure(() => c.explain({ query: 1 } as never), "UNKNOWN_OPTION", /queries/);
  });

  it("refuses wrong options of databases and collections", async () => {
    await failure(() => openDatabase({ path: "" }), "INVALID_ARGUMENT", /path/);
    await failure(() => openDatabase({ path: "a\0b" }), "INVALID_ARGUMENT", /path/);
    await failure(() => openDatabase({ durability: "sync" }), "INVALID_ARGUMENT", /needs a path/);
    const wrong = { path: "x", durability: "never" as never };
    await failure(() => openDatabase(wrong), "INVALID_ARGUMENT", /durability/);
    await failure(
      () => openDatabase({ path: "x", readOnly: 1 as never }),
      "INVALID_ARGUMENT",
      /readOnly/,
    );
    await failure(() => openDatabase({ devise: "cpu" } as never), "UNKNOWN_OPTION", /"device"/);
    await failure(() => openDatabase({ device: "cude" } as never), "INVALID_ARGUMENT", /"cuda"/);
    await failure(() => openDatabase({ device: "cpu:x" } as never), "INVALID_ARGUMENT", /index/);
    await failure(
      () => openDatabase({ device: { backend: "cpu", busId: "x" } } as never),
      "INVALID_ARGUMENT",
      /busId.*"x"/,
    );
    const db = await database();
    await failure(() => db.collection(""), "INVALID_ARGUMENT");
    await failure(() => db.collection("x".repeat(256)), "LIMIT_EXCEEDED", /255/);
    await failure(() => db.collection("\udc00"), "INVALID_ARGUMENT");
    await failure(
      () => db.collection("a", { metric: "cosin" } as never),
      "INVALID_ARGUMENT",
      /cosine/,
    );
    await failure(() => db.collection("a", { dtype: "f64" } as never), "INVALID_ARGUMENT");
    await failure(() => db.collection("a", { dimensions: 0 }), "INVALID_ARGUMENT");
    await failure(
      () => db.collection("a", { dimension: 3 } as never),
      "UNKNOWN_OPTION",
      /dimensions/,
    );
  });
});
