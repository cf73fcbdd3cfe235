import { describe, it } from "vitest";
import { cases } from "./cases.js";
import { llamaindex as adapter } from "./llamaindex-harness.js";

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
