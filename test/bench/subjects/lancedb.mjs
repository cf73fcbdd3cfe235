import fs from "node:fs";
import os from "node:os";
import path from "node:path";
import { peerRequire } from "../lib/peer.mjs";

export default {
  name: "LanceDB (no index)",
  async create({ dim }) {
    const lance = peerRequire("@lancedb/lancedb", "lancedb");
    const arrow = peerRequire("apache-arrow", "lancedb");
    const folder = fs.mkdtempSync(path.join(os.tmpdir(), "bench-lance-"));
    const db = await lance.connect(folder);
    const item = new arrow.Field("item", new arrow.Float32());
    const schema = new arrow.Schema([
      new arrow.Field("id", new arrow.Int32()),
      new arrow.Field("v", new arrow.FixedSizeList(dim, item)),
    ]);
    const batch = (rows, first, count) => {
      const ids = Int32Array.from({ length: count }, (_, i) => first + i);
      const child = arrow.makeData({ type: new arrow.Float32(), data: rows });
      const columns = [
        arrow.makeData({ type: new arrow.Int32(), data: ids }),
        arrow.makeData({ type: schema.fields[1].type, length: count, nullCount: 0, child }),
      ];
      const type = new arrow.Struct(schema.fields);
      const data = arrow.makeData({ type, length: count, nullCount: 0, children: columns });
      return new arrow.Table(schema, new arrow.RecordBatch(schema, data));
    };
    let table;
    return {
      async load(rows, n) {
        for (let i = 0; i < n; i += 20000) {
          const count = Math.min(20000, n - i);
          const part = batch(rows.slice(i * dim, (i + count) * dim), i, count);
          if (table) await table.add(part);
          else table = await db.createTable("t", part);
        }
        await table.optimize();
      },
      search: async (query, k) => {
        const found = await table
          .vectorSearch(query)
          .distanceType("cosine")
          .bypassVectorIndex()
          .limit(k)
          .select(["id", "_distance"])
          .toArrow();
        return Array.from(found.getChild("id").toArray());
      },
      close() {
        table?.close();
        db.close();
        fs.rmSync(folder, { recursive: true, force: true });
      },
    };
  },
};
