import { peerRequire } from "../lib/peer.mjs";

export default {
  name: "faiss-node (Flat)",
  async create({ dim }) {
    const faiss = peerRequire("faiss-node");
    const index = faiss.Index.fromFactory(dim, "Flat", faiss.MetricType.METRIC_INNER_PRODUCT);
    // No cosine metric: rows and queries are normalised by the caller.
    const normal = (values) => {
      const out = Array.from(values);
      for (let i = 0; i < out.length; i += dim) {
        let s = 0;
        for (let j = 0; j < dim; j++) s += out[i + j] ** 2;
        s = s > 0 ? 1 / Math.sqrt(s) : 0;
        for (let j = 0; j < dim; j++) out[i + j] *= s;
      }
      return out;
    };
    return {
      async load(rows, n) {
        for (let i = 0; i < n; i += 2000) {
          index.add(normal(rows.subarray(i * dim, Math.min(n, i + 2000) * dim)));
        }
      },
      search: async (query, k) => index.search(normal(query), k).labels,
      async batch(queries, count, k) {
        const { labels } = index.search(normal(queries), k);
        return (q) => labels.slice(q * k, (q + 1) * k);
      },
      close() {},
    };
  },
};
