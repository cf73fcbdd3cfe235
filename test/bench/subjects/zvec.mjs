import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { peerRequire } from "../lib/peer.mjs";

export default {
  name: "zvec (FLAT)",
  async create({ dim }) {
    const z = peerRequire("@zvec/zvec", "zvec");
    z.ZVecInitialize({ logLevel: z.ZVecLogLevel.ERROR });
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "bench-zvec-"));
    const indexParams = { indexType: z.ZVecIndexType.FLAT, metricType: z.ZVecMetricType.COSINE };
    const schema = new z.ZVecCollectionSchema({
      name: "bench",
      vectors: { name: "v", dataType: z.ZVecDataType.VECTOR_FP32, dimension: dim, indexParams },
      fields: [],
    });
    const collection = z.ZVecCreateAndOpen(path.join(folder, "c"), schema);
    return {
      async load(rows, n) {
        for (let i = 0; i < n; i += 1000) {
          const docs = [];
          for (let j = i; j < Math.min(n, i + 1000); j++) {
            const v = rows.subarray(j * dim, (j + 1) * dim);
            docs.push({ id: String(j), vectors: { v }, fields: {} });
          }
          collection.insertSync(docs);
        }
        await collection.optimize();
      },
      search: async (query, k) => {
        const hits = await collection.query({
          fieldName: "v",
          vector: query,
          topk: k,
          outputFields: [],
        });
        return hits.map((hit) => Number(hit.id));
      },
      close() {
        collection.closeSync();
        fs.rmSync(folder, { recursive: true, force: true });
      },
    };
  },
};
