import { peerImport } from "../lib/peer.mjs";

export default {
  name: "Orama",
  async create({ dim }) {
    const orama = await peerImport("@orama/orama", "orama");
    const db = await orama.create({ schema: { v: `vector[${dim}]` } });
    return {
      async load(rows, n) {
        for (let i = 0; i < n; i += 5000) {
          const docs = [];
          for (let j = i; j < Math.min(n, i + 5000); j++) {
            docs.push({ id: String(j), v: Array.from(rows.subarray(j * dim, (j + 1) * dim)) });
          }
          await orama.insertMultiple(db, docs, 2000);
        }
      },
      search: async (query, k) => {
        // The default similarity of 0.8 would drop every row below it.
        const found = await orama.search(db, {
          mode: "vector",
          vector: { value: query, property: "v" },
          similarity: 0,
          limit: k,
          includeVectors: false,
        });
        return found.hits.map((hit) => Number(hit.id));
      },
      close() {},
    };
  },
};
