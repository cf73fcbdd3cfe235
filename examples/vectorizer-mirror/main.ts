/**
 * Mirrors a collection of a hive-vectorizer server and answers from the device.
 *   node dist/examples/vectorizer-mirror/main.js ["a question"] [--url http://127.0.0.1:15002 --collection docs]
 * Without --url it starts a stand-in server (see fake/) and fills it with a few passages.
 */
import { parseArgs } from "node:util";
import { openDatabase } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/langchain";
import { RemoteCollection, VectorizerClient, VectorizerMirror } from "hive-gpu/vectorizer";
import { FakeServer } from "./fake/server.js";
import { passages } from "./passages.js";
import { WordEmbeddings } from "./words.js";

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { url: { type: "string" }, collection: { type: "string", default: "passages" } },
});
const question = positionals.join(" ") || "Which part keeps a record when the power fails?";
const embeddings = new WordEmbeddings();

async function fill(client: VectorizerClient, name: string): Promise<void> {
  const remote = new RemoteCollection({ client, name, metric: "cosine" });
  const store = new HiveVectorStore(embeddings, { collection: remote });
  const documents = passages.map(({ title, text }, i) => ({
    id: `passage-${i}`,
    pageContent: text,
    metadata: { title },
  }));
  await store.addDocuments(documents);
}

async function main(): Promise<void> {
  const standIn = values.url === undefined ? await FakeServer.start() : undefined;
  const client = new VectorizerClient({ url: values.url ?? standIn!.url });
  const database = await openDatabase();
  try {
    if (standIn !== undefined) await fill(client, values.collection);
    const { version } = await client.probe();
    const kind = standIn === undefined ? "server" : "stand-in server";
    console.log(`${kind} ${client.url}, version ${version}`);

    const mirror = await VectorizerMirror.open({ client, name: values.collection, database });
    const { upserted, consistent } = await mirror.sync();
    const { backend, name } = database.device;
    console.log(
      `mirrored ${upserted} records, consistent: ${consistent}, device ${backend}: ${name}`,
    );

    const store = new HiveVectorStore(embeddings, { collection: mirror });
    console.log(`\n${question}`);
    for (const [document, score] of await store.similaritySearchWithScore(question, 3)) {
      console.log(`  ${score.toFixed(3)}  ${document.metadata["title"]}: ${document.pageContent}`);
    }
    const { answeredHere, answeredByServer } = mirror.status;
    console.log(`\nanswered by the device: ${answeredHere}, by the server: ${answeredByServer}`);

    const { meanOverlap, k, queries } = await mirror.verify({ k: 3 });
    console.log(`overlap@${k} with the server over ${queries} queries: ${meanOverlap.toFixed(3)}`);
    await mirror.close();
  } finally {
    await database.close();
    await standIn?.close();
  }
}

await main();
