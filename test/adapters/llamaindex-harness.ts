/** LlamaIndex's side of the shared table, and what its own tests need. */
import {
  BaseEmbedding,
  type BaseNode,
  NodeRelationship,
  TextNode,
  VectorStoreQueryMode,
} from "llamaindex";
import { HiveVectorStore, type HiveVectorStoreOptions } from "hive-gpu/llamaindex";
import { embed, type Adapter, type Found, type Item, type Scored, type Store } from "./harness.js";

/** Embeds as the other adapters' test embeddings do; counts its calls. */
export class TestModel extends BaseEmbedding {
  calls = 0;

  // oxlint-disable-next-line no-useless-constructor -- the base class's is protected
  constructor() {
    super();
  }

  override async getTextEmbedding(text: string): Promise<number[]> {
    this.calls++;
    return embed(text);
  }
}

/** A node whose source document has the node's own id, so that both can name it. */
export function newNode({ id, text, metadata }: Item): TextNode {
  const node = new TextNode({
    text,
    ...(metadata === undefined ? {} : { metadata }),
    ...(id === undefined ? {} : { id_: id }),
  });
  node.relationships[NodeRelationship.SOURCE] = { nodeId: node.id_, metadata: {} };
  return node;
}

function read(node: BaseNode): Found {
  // getContent trims.
  return { id: node.id_, text: (node as TextNode).text, metadata: node.metadata };
}

function withId(node: TextNode, id: string | undefined, vector: number[]): TextNode {
  const { text, metadata } = node;
  const copy = newNode({ id: id ?? node.id_, text, metadata });
  copy.embedding = vector;
  return copy;
}

async function query(store: HiveVectorStore, vector: number[], k: number): Promise<Scored[]> {
  const mode = VectorStoreQueryMode.DEFAULT;
  const found = await store.query({ queryEmbedding: vector, similarityTopK: k, mode });
  return found.nodes!.map((node, i) =>
    Object.assign(read(node), { score: found.similarities[i]! }),
  );
}

/** A store as the cases see it. */
export function storeOf(store: HiveVectorStore): Store<TextNode> {
  const addVectors = (vectors: number[][], nodes: TextNode[], ids?: string[]) =>
    store.add(nodes.map((node, i) => withId(node, ids?.[i], vectors[i]!)));
  return {
    add: (nodes, ids) =>
      addVectors(
        nodes.map(({ text }) => embed(text)),
        nodes,
        ids,
      ),
    addVectors,
    search: (text, k) => query(store, embed(text), k),
    searchVector: (vector, k) => query(store, vector, k),
    get: async (ids) => {
      const all = new Map((await query(store, embed("any"), 1000)).map((one) => [one.id, one]));
      return ids.flatMap((id) => {
        const one = all.get(id);
        return one === undefined ? [] : [{ id, text: one.text, metadata: one.metadata }];
      });
    },
    delete: async (ids) => {
      for (const id of ids) await store.delete(id);
    },
    close: () => store.close(),
  };
}

export function newStore(options: HiveVectorStoreOptions = {}): HiveVectorStore {
  return new HiveVectorStore(options);
}

export const llamaindex: Adapter<TextNode> = {
  name: "LlamaIndex",
  skip: new Map([
    [
      "lists of different lengths are refused and nothing is stored",
      "a node carries its own id and embedding: there are no lists",
    ],
  ]),
  document: newNode,
  read,
  create: async () => storeOf(newStore()),
};
