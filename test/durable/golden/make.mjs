// Makes the golden database of format 1 and what it holds. Run once, by the version that introduced
// the format:  node test/durable/golden/make.mjs
import fs from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { openDatabase } from "hive-gpu";
import { apply } from "../operations.mjs";

const here = path.dirname(fileURLToPath(import.meta.url));
const at = path.join(here, "format-1");
fs.rmSync(at, { recursive: true, force: true });
const db = await openDatabase({ path: at, retainChanges: true });
const expected = {};
for (const dtype of ["f32", "f16", "bf16", "i8"]) {
  const name = `${dtype} «∆»`;
  const metric = { f32: "dot", f16: "l2", bf16: "cosine", i8: "l1" }[dtype];
  const collection = await db.collection(name, { metric, dtype, dimensions: 8 });
  for (let n = 0; n < 12; n++) await apply(collection, n);
  if (dtype === "f32") await db.compact();
  const special = { when: new Date(86_400_000), tags: ["a", null, 1.5], $date: 7, __proto__x: {} };
  await collection.upsert([
    { id: "ïd", vector: [0, 0, 0, 0, 0, 0, 0, 1], text: "", metadata: special },
  ]);
  await collection.delete({ ids: ["id1", "id2", "id3"] });
  const records = [];
  for await (const one of collection.scan({ select: ["vector", "text", "metadata"] })) {
    records.push({ ...one, vector: [...one.vector] });
  }
  const { digest, sequence } = await collection.stats();
  expected[name] = { metric, dtype, digest, sequence, records };
}
await db.collection("empty", { dimensions: 3 });
await db.close();
fs.rmSync(path.join(at, "index", "lock.mdb"));
fs.writeFileSync(path.join(here, "format-1.json"), `${JSON.stringify(expected)}\n`);
