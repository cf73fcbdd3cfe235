/** The shared table on a collection of a hive-vectorizer server, through the LangChain adapter. */
import type { Document } from "@langchain/core/documents";
import { RemoteCollection, VectorizerClient } from "hive-gpu/vectorizer";
import { describe, it } from "vitest";
import { FakeServer } from "../../dist/examples/vectorizer-mirror/fake/server.js";
import { cases } from "./cases.js";
import type { Adapter } from "./harness.js";
import { langchain, newStore, storeOf } from "./langchain-harness.js";

const ties = "the server ranks, and its order of equal scores is its own";

function remote(name: string, version: string, exact: boolean | "auto"): Adapter<Document> {
  return {
    ...langchain,
    name,
    skip: new Map(exact === true ? [] : [["equal scores come in the order of insertion", ties]]),
    async create() {
      const server = await FakeServer.start({ version });
      const client = new VectorizerClient({ url: server.url });
      const collection = new RemoteCollection({
        client,
        name: "docs",
        exact,
        onWarning: () => undefined,
      });
      const store = storeOf(newStore({ collection }));
      return { ...store, close: () => server.close() };
    },
  };
}

const adapters = [
  remote("LangChain on a server that says 3.5.0", "3.5.0", "auto"),
  remote("LangChain on a server that says 3.6.0, exact", "3.6.0", true),
  remote("LangChain on a server without defects", "fixed", "auto"),
];

for (const adapter of adapters) {
  describe(`${adapter.name}: the cases that all adapters share`, () => {
    for (const one of cases) {
      const reason = adapter.skip.get(one.name);
      if (reason !== undefined) {
        it.skip(`${one.name} (${reason})`);
        continue;
      }
      it(one.name, async () => {
        const store = await adapter.create();
        try {
          await one.run(store, adapter);
        } finally {
          await store.close();
        }
      });
    }
  });
}
