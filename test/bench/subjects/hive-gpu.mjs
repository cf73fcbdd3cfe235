import { openDatabase } from "hive-gpu";

export default {
  name: "hive-gpu",
  async create({ dim }) {
    const db = await openDatabase();
    const collection = await db.collection("bench", { dimensions: dim, metric: "cosine" });
    return {
      // Ids are the caller's; making them is part of the load, as for every subject.
      async load(rows, n) {
        const ids = Array.from({ length: n }, (_, i) => String(i));
        await collection.upsert({ ids, vectors: rows, dimensions: dim });
      },
      search: async (query, k) => (await collection.search(query, { k })).map((h) => Number(h.id)),
      async batch(queries, count, k) {
        const out = await collection.searchMany(queries, { k, output: "arrays" });
        return (q) => out.ids.slice(q * k, q * k + out.counts[q]).map(Number);
      },
      async batchHits(queries, count, k) {
        return collection.searchMany(queries, { k });
      },
      close: () => db.close(),
    };
  },
};
