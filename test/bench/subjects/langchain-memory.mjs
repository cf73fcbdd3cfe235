import { peerImport } from "../lib/peer.mjs";

export default {
  name: "LangChain MemoryVectorStore",
  async create({ dim }) {
    const { MemoryVectorStore } = await peerImport("@langchain/classic/vectorstores/memory");
    const store = new MemoryVectorStore({
      embedDocuments: async () => [],
      embedQuery: async () => [],
    });
    return {
      async load(rows, n) {
        for (let i = 0; i < n; i += 10000) {
          const vectors = [];
          const docs = [];
          for (let j = i; j < Math.min(n, i + 10000); j++) {
            vectors.push(Array.from(rows.subarray(j * dim, (j + 1) * dim)));
            docs.push({ pageContent: "", metadata: { row: j } });
          }
          await store.addVectors(vectors, docs);
        }
      },
      search: async (query, k) =>
        (await store.similaritySearchVectorWithScore(Array.from(query), k)).map(
          ([doc]) => doc.metadata.row,
        ),
      close() {},
    };
  },
};
