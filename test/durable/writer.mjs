// Writes operation after operation and says each one that was acknowledged:
//   node writer.mjs <folder> <first operation> <number of operations>
import fs from "node:fs";
import { openDatabase } from "hive-gpu";
import { apply } from "./operations.mjs";

const [folder, first, count] = process.argv.slice(2);
const db = await openDatabase({ path: folder });
const collection = await db.collection("test", { metric: "dot", dimensions: 8 });
fs.writeSync(1, "open\n");
for (let n = Number(first); n < Number(first) + Number(count); n++) {
  await apply(collection, n);
  fs.writeSync(1, `${n}\n`);
}
await db.close();
