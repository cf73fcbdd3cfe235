// The scenario of the power-loss test: operations [0, count), each acknowledged by a line in
// <folder>/marks, with a compaction now and then.
//   node power-writer.mjs <folder> <count>
import fs from "node:fs";
import path from "node:path";
import { openDatabase } from "hive-gpu";
import { apply } from "./operations.mjs";

const [folder, count] = process.argv.slice(2);
const marks = fs.openSync(path.join(folder, "marks"), "w");
const db = await openDatabase({ path: path.join(folder, "db") });
const collection = await db.collection("test", { metric: "dot", dimensions: 8 });
for (let n = 0; n < Number(count); n++) {
  await apply(collection, n);
  fs.writeSync(marks, `${n}\n`);
  if (n % 30 === 29) await db.compact();
}
await db.close();
