import { peerRequire } from "../lib/peer.mjs";

const ids = (matches) => Array.from(matches.keys, Number);

export default {
  name: "usearch (exactSearch)",
  async create({ dim }) {
    const usearch = peerRequire("usearch");
    let held;
    return {
      // exactSearch scans an array of the caller's; the copy stands for the load.
      async load(rows) {
        held = rows.slice();
      },
      // A subarray view would give wrong rows in 2.25.3, so the query is copied.
      search: async (query, k) => ids(usearch.exactSearch(held, query.slice(), dim, k, "cos", 1)),
      batchMax: 64,
      async batch(queries, count, k) {
        const all = ids(usearch.exactSearch(held, queries.slice(), dim, k, "cos", 2));
        return (q) => all.slice(q * k, (q + 1) * k);
      },
      close() {},
    };
  },
};
