// Writes until there is no space, then goes on as told:
//   node full-writer.mjs <folder> [ballast: removed once the disk is full]
import fs from "node:fs";
import { openDatabase } from "hive-gpu";

const [folder, ballast] = process.argv.slice(2);
const db = await openDatabase({ path: folder });
const collection = await db.collection("test", { dimensions: 64 });
const record = (n) => ({
  id: `id${n}`,
  vector: new Float32Array(64).fill(n + 1),
  text: `text ${n} ${"x".repeat(2000)}`,
});
const result = { written: 0 };
try {
  for (;;) {
    await collection.upsert([record(result.written)]);
    result.written++;
  }
} catch (error) {
  Object.assign(result, { code: error.code, retryable: error.retryable });
}
result.readable = (await collection.get("id0"))?.text === record(0).text;
result.count = await collection.count();
if (ballast !== undefined) {
  fs.rmSync(ballast);
  await collection.upsert([record(result.written)]);
  result.written++;
}
await db.close();
console.log(JSON.stringify(result));
