import { peerRequire } from "../lib/peer.mjs";

export default {
  name: "hnswlib-node (BruteforceSearch)",
  async create({ dim, n }) {
    const hnswlib = peerRequire("hnswlib-node");
    const index = new hnswlib.BruteforceSearch("cosine", dim);
    index.initIndex(n);
    return {
      async load(rows) {
        for (let i = 0; i < n; i++) {
          index.addPoint(Array.from(rows.subarray(i * dim, (i + 1) * dim)), i);
        }
      },
      search: async (query, k) => index.searchKnn(Array.from(query), k).neighbors,
      close() {},
    };
  },
};
