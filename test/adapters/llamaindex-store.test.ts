/** The store under LlamaIndex's own machinery: indexes, doc-store strategies, modes, round trips. */
import {
  Document,
  DocStoreStrategy,
  ImageNode,
  IndexNode,
  IngestionPipeline,
  NodeRelationship,
  SentenceSplitter,
  Settings,
  SimpleDocumentStore,
  storageContextFromDefaults,
  TextNode,
  VectorStoreIndex,
  VectorStoreQueryMode,
} from "llamaindex";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { openDatabase } from "hive-gpu";
import { HiveVectorStore } from "hive-gpu/llamaindex";
import { cosine, embed } from "./harness.js";
import { newStore, TestModel } from "./llamaindex-harness.js";

const { DEFAULT, MMR } = VectorStoreQueryMode;
const withModel = (): HiveVectorStore => new HiveVectorStore({ embedModel: new TestModel() });

function documentsOf(...texts: string[]): Document[] {
  return texts.map((text, i) => {
    const excludedEmbedMetadataKeys = ["n"];
    return new Document({ text, id_: `d${i}`, metadata: { n: i }, excludedEmbedMetadataKeys });
  });
}

async function textsIn(store: HiveVectorStore): Promise<string[]> {
  const query = { queryEmbedding: embed("any"), similarityTopK: 1000, mode: DEFAULT };
  const { nodes } = await store.query(query);
  return nodes!.map((node) => (node as TextNode).text).toSorted((a, b) => (a < b ? -1 : 1));
}

const nodeOf = (id_: string, source: string) => {
  const node = new TextNode({ id_, text: id_, embedding: embed(id_) });
  node.relationships[NodeRelationship.SOURCE] = { nodeId: source, metadata: {} };
  return node;
};

describe("without an embedding model", () => {
  it("stores and finds nodes that carry their embeddings", async () => {
    await using store = newStore();
    expect(() => Settings.embedModel).toThrow();
    const ids = await store.add([new TextNode({ id_: "1", text: "x", embedding: [1, 0] })]);
    expect(ids).toEqual(["1"]);
    const found = await store.query({ queryEmbedding: [1, 0], similarityTopK: 1, mode: DEFAULT });
    expect(found.ids).toEqual(["1"]);
    await expect(store.embedModel.getTextEmbedding("a")).rejects.toMatchObject({
      hint: expect.stringContaining("Settings.embedModel"),
    });
  });

  it("refuses a node without an embedding, by its id", async () => {
    await using store = newStore();
    const nodes = [new TextNode({ id_: "7", text: "x" })];
    await expect(store.add(nodes)).rejects.toMatchObject({ details: { id: "7" } });
  });
});

describe("with a model", () => {
  beforeEach(() => {
    Settings.embedModel = new TestModel();
  });
  afterEach(() => {
    Settings.embedModel = undefined as never;
  });

  it("follows Settings, also when they are set after the store was made", () => {
    const store = newStore();
    expect(store.embedModel).toBe(Settings.embedModel);
    Settings.embedModel = new TestModel();
    expect(store.embedModel).toBe(Settings.embedModel);
    const own = new TestModel();
    expect(new HiveVectorStore({ embedModel: own }).embedModel).toBe(own);
  });

  it("backs an index from documents, and one on a store that is filled already", async () => {
    await using store = withModel();
    const texts = ["likes tea", "has a dog", "plays chess"];
    const storageContext = await storageContextFromDefaults({ vectorStore: store });
    await VectorStoreIndex.fromDocuments(documentsOf(...texts), { storageContext });
    const index = await VectorStoreIndex.fromVectorStore(store);
    const retriever = index.asRetriever({ similarityTopK: 2 });
    const found = await retriever.retrieve("has a dog");
    expect((found[0]!.node as TextNode).text).toBe("has a dog");
    expect(found[0]!.score).toBeCloseTo(1, 4);
    expect(found).toHaveLength(2);
    const filters = { filters: [{ key: "n", operator: "==", value: 2 } as const] };
    const only = await index.asRetriever({ similarityTopK: 5, filters }).retrieve("tea");
    expect(only.map(({ node }) => (node as TextNode).text)).toEqual(["plays chess"]);
  });

  for (const strategy of [
    DocStoreStrategy.UPSERTS,
    DocStoreStrategy.UPSERTS_AND_DELETE,
    DocStoreStrategy.DUPLICATES_ONLY,
  ]) {
    it(`works with the doc-store strategy ${strategy}`, async () => {
      await using store = withModel();
      const docStore = new SimpleDocumentStore();
      const run = (...texts: string[]) => {
        const pipeline = new IngestionPipeline({
          transformations: [new SentenceSplitter(), new TestModel()],
          docStore,
          docStoreStrategy: strategy,
          vectorStore: store,
        });
        return pipeline.run({ documents: documentsOf(...texts) });
      };
      await run("one", "two");
      expect(await textsIn(store)).toEqual(["one", "two"]);
      await run("one", "two");
      expect(await textsIn(store)).toEqual(["one", "two"]);
      await run("changed");
      const after = {
        [DocStoreStrategy.UPSERTS]: ["changed", "two"],
        [DocStoreStrategy.UPSERTS_AND_DELETE]: ["changed"],
        [DocStoreStrategy.DUPLICATES_ONLY]: ["changed", "one", "two"],
      }[strategy as string];
      expect(await textsIn(store)).toEqual(after);
    });
  }
});

describe("modes", () => {
  it("mmr chooses what differs, by LlamaIndex's own rule, among what passes", async () => {
    await using store = newStore();
    const vectors = { a: [1, 0, 0], b: [0.99, 0.1, 0], c: [0.7, 0, 0.7], d: [1, 0.01, 0] };
    await store.add(
      Object.entries(vectors).map(
        ([id_, embedding]) => new TextNode({ id_, text: id_, embedding, metadata: { id: id_ } }),
      ),
    );
    const query = { queryEmbedding: [1, 0, 0], similarityTopK: 2 };
    expect((await store.query({ ...query, mode: DEFAULT })).ids).toEqual(["a", "d"]);
    expect((await store.query({ ...query, mode: MMR, mmrThreshold: 0.4 })).ids).toEqual(["a", "c"]);
    const relevant = { ...query, mode: MMR, customParams: { mmrThreshold: 1 } };
    expect((await store.query(relevant)).ids).toEqual(["a", "d"]);
    const filters = { filters: [{ key: "id", operator: "!=", value: "c" } as const] };
    const passing = await store.query({ ...query, mode: MMR, mmrThreshold: 0.4, filters });
    expect(passing.ids).toEqual(["a", "b"]);
    expect((await store.query({ ...query, similarityTopK: 0, mode: MMR })).ids).toEqual([]);
  });

  it("refuses the others, and a query without an embedding", async () => {
    await using store = newStore();
    for (const mode of ["sparse", "hybrid", "semantic_hybrid", "svm", "linear_regression"]) {
      const query = { queryEmbedding: [1], similarityTopK: 1, mode: mode as never };
      await expect(store.query(query)).rejects.toMatchObject({ code: "NOT_SUPPORTED" });
    }
    const bare = { queryStr: "a", similarityTopK: 1, mode: DEFAULT };
    await expect(store.query(bare)).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

describe("documents", () => {
  it("are deleted, found and cleared by the id of their source", async () => {
    await using store = newStore();
    await store.add([nodeOf("1", "a"), nodeOf("2", "a"), nodeOf("3", "b")]);
    expect([await store.exists("a"), await store.exists("z")]).toEqual([true, false]);
    const query = { queryEmbedding: embed("1"), similarityTopK: 9, mode: DEFAULT };
    expect((await store.query({ ...query, docIds: ["b"] })).ids).toEqual(["3"]);
    await store.delete("a");
    await store.delete("unknown");
    expect(await textsIn(store)).toEqual(["3"]);
    await store.clear();
    expect([await store.exists("b"), await textsIn(store)]).toEqual([false, []]);
  });

  it("come back as the nodes they were", async () => {
    await using store = newStore();
    const full = nodeOf("text", "source");
    full.metadata = { doc_id: "mine", _node_type: 1, deep: { er: [1, null] }, when: new Date(7) };
    full.excludedLlmMetadataKeys = ["deep"];
    full.startCharIdx = 3;
    full.relationships[NodeRelationship.NEXT] = { nodeId: "next", metadata: { a: 1 }, hash: "h" };
    full.relationships[NodeRelationship.CHILD] = [{ nodeId: "child", metadata: {} }];
    const nodes = [
      full,
      new IndexNode({ id_: "index", text: "i", indexId: "other", embedding: [1] }),
      new Document({ id_: "document", text: " d ", embedding: [1] }),
      new ImageNode({ id_: "image", image: new URL("https://example.com/a.png"), embedding: [1] }),
    ];
    for (const node of nodes) node.embedding = embed(node.id_);
    await store.add(nodes);
    const query = { queryEmbedding: embed("x"), similarityTopK: 9, mode: DEFAULT };
    const back = new Map((await store.query(query)).nodes!.map((node) => [node.id_, node]));
    for (const node of nodes) {
      const { embedding: _, ...expected } = node.toJSON();
      const { embedding: __, ...found } = back.get(node.id_)!.toJSON();
      expect(found).toEqual(expected);
      expect(back.get(node.id_)!.constructor).toBe(node.constructor);
    }
    const blob = new ImageNode({ id_: "b", image: new Blob(["x"]), embedding: embed("b") });
    await expect(store.add([blob])).rejects.toMatchObject({ code: "INVALID_ARGUMENT" });
  });
});

it("shares a collection and reports similarities, higher for closer", async () => {
  await using db = await openDatabase();
  const collection = await db.collection("shared");
  const store = new HiveVectorStore({ collection });
  await store.add([new TextNode({ id_: "1", text: "a", embedding: embed("a") })]);
  expect(await collection.count()).toBe(1);
  expect(await store.client()).toBe(collection);
  const query = { queryEmbedding: embed("b"), similarityTopK: 1, mode: DEFAULT };
  const [similarity] = (await store.query(query)).similarities;
  expect(similarity).toBeCloseTo(cosine(embed("a"), embed("b")), 5);
  await store.close();
  expect(await collection.count()).toBe(1);
});
