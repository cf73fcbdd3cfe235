// A stand-in hive-vectorizer server in a process of its own, filled before it says that it is ready.
//   node vectorizer-server.mjs <points> <dimensions>
// Points are written as JSON once, when they are made, so that what is measured is the client.
import { FakeServer } from "../../../dist/examples/vectorizer-mirror/fake/server.js";

const [count, dimensions] = process.argv.slice(2).map(Number);
const server = await FakeServer.start();
const collection = server.add("bench", dimensions, "cosine", "none");

let x = 12345;
const next = () => {
  x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
  return x / 2 ** 31 - 1;
};
let bytes = 0;
for (let i = 0; i < count; i++) {
  let norm = 0;
  const vector = Float32Array.from({ length: dimensions }, () => {
    const value = next();
    norm += value * value;
    return value;
  });
  norm = Math.sqrt(norm);
  // Nine digits read back as the same f32, as the server's own decimals do.
  const numbers = Array.from(vector, (value) => Number((value / norm).toPrecision(9)));
  const payload = { content: `This is the text of passage ${i}.`, n: i, tag: `t${i % 7}` };
  const id = `passage-${i}`;
  const json = Buffer.from(JSON.stringify({ id, vector: numbers, payload }));
  bytes += json.length;
  collection.points.set(id, { id, vector: Float32Array.from(numbers), payload, json });
}
collection.touch();
process.send({ url: server.url, bytes });
process.on("disconnect", () => process.exit(0));
