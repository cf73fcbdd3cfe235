/** The shared table on a collection of a hive-vectorizer server, through every framework's adapter. */
import { RemoteCollection, VectorizerClient } from "hive-gpu/vectorizer";
import { HiveVectorStore as LlamaIndexStore } from "hive-gpu/llamaindex";
import { describe, it } from "vitest";
import { FakeServer } from "../../dist/examples/vectorizer-mirror/fake/server.js";
import { cases } from "./cases.js";
import type { Adapter, Store } from "./harness.js";
import * as onLangchain from "./langchain-harness.js";
import * as onLlamaindex from "./llamaindex-harness.js";

const ties = "the server ranks, and its order of equal scores is its own";

interface Framework {
  adapter: Adapter<any>;
  open: (collection: RemoteCollection) => Store<any>;
}

const langchain: Framework = {
  adapter: onLangchain.langchain,
  open: (collection) => onLangchain.storeOf(onLangchain.newStore({ collection })),
};

const llamaindex: Framework = {
  adapter: onLlamaindex.llamaindex,
  open: (collection) =>
    onLlamaindex.storeOf(
      new LlamaIndexStore({ collection, embedModel: new onLlamaindex.TestModel() }),
    ),
};

function remote(
  { adapter, open }: Framework,
  where: string,
  version: string,
  exact: boolean | "auto",
): Adapter<any> {
  const skip = new Map(adapter.skip);
  if (exact !== true) skip.set("equal scores come in the order of insertion", ties);
  return {
    ...adapter,
    name: `${adapter.name} on ${where}`,
    skip,
    async create() {
      const server = await FakeServer.start({ version });
      const client = new VectorizerClient({ url: server.url });
      const collection = new RemoteCollection({
        client,
        name: "docs",
        exact,
        onWarning: () => undefined,
      });
      return { ...open(collection), close: () => server.close() };
    },
  };
}

const adapters = [
  remote(langchain, "a server that says 3.5.0", "3.5.0", "auto"),
  remote(langchain, "a server that says 3.6.0, exact", "3.6.0", true),
  remote(langchain, "a server without defects", "fixed", "auto"),
  remote(llamaindex, "a server that says 3.5.0", "3.5.0", "auto"),
  remote(llamaindex, "a server that says 3.6.0, exact", "3.6.0", true),
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
