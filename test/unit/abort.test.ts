import { AbortError } from "hive-gpu";
import { describe, expect, it } from "vitest";
import { collection, failure, forced, noise, turns } from "./helpers.js";

const reason = new Error("enough");

async function large() {
  const c = await collection({ dimensions: 128 });
  await c.upsert({ vectors: noise(40_000 * 128) });
  return c;
}

describe("abort", () => {
  it("before: nothing happens", async () => {
    const c = await collection();
    await c.upsert([{ id: "a", vector: [1, 0] }]);
    const signal = AbortSignal.abort(reason);
    const calls = [
      () => c.search([1, 0], { signal }),
      () => c.searchMany([[1, 0]], { signal }),
      () => c.upsert([{ vector: [1, 0] }], { signal }),
      () => c.update([{ id: "a", text: "x" }], { signal }),
      () => c.delete({ ids: ["a"] }, { signal }),
      () => c.clear({ signal }),
      () => c.get("a", { signal }),
      () => c.scan({ signal }).next(),
    ];
    for (const call of calls) {
      const error = await failure(call, "ABORTED");
      expect(error).toBeInstanceOf(AbortError);
      expect(error.name).toBe("AbortError");
      expect(error.cause).toBe(reason);
    }
    expect(await c.get("a")).toEqual({ id: "a" });
    expect(await c.count()).toBe(1);
  });

  it("during an upsert: nothing of it is stored, and the next one works", async () => {
    const c = await collection({ dimensions: 128 });
    for (const wait of [0, 1, 5, 20]) {
      const controller = new AbortController();
      const load = c.upsert(
        {
          vectors: noise(40_000 * 128),
          metadatas: Array.from({ length: 40_000 }, (_, n) => ({ n })),
        },
        { signal: controller.signal },
      );
      const caught = failure(() => load, "ABORTED");
      if (wait > 0) await turns(wait);
      controller.abort(reason);
      expect((await caught).cause).toBe(reason);
      expect(await c.count()).toBe(0);
    }
    await c.upsert([{ id: "a", vector: noise(128) }]);
    expect((await c.search(noise(128))).map((hit) => hit.id)).toEqual(["a"]);
    expect((await c.stats()).recordBytes).toBe(0);
  });

  it("while waiting for another write: rejects at once", async () => {
    const c = await collection({ dimensions: 128 });
    const first = c.upsert({ vectors: noise(40_000 * 128) });
    let firstDone = false;
    void first.then(() => (firstDone = true));
    const controller = new AbortController();
    const second = c.upsert([{ vector: noise(128) }], { signal: controller.signal });
    const caught = failure(() => second, "ABORTED");
    controller.abort(reason);
    await caught;
    expect(firstDone).toBe(false);
    await first;
    expect(await c.count()).toBe(40_000);
  });

  it("during a search, and after it", async () => {
    const c = await large();
    const controller = new AbortController();
    const search = c.search(noise(128), { signal: controller.signal });
    const many = c.searchMany(noise(500 * 128), { signal: controller.signal });
    const caught = Promise.all([failure(() => search, "ABORTED"), failure(() => many, "ABORTED")]);
    controller.abort(reason);
    for (const error of await caught) expect(error.cause).toBe(reason);
    const late = new AbortController();
    const hits = await c.search(noise(128), { signal: late.signal });
    late.abort();
    expect(hits).toHaveLength(10);
    const scanned = new AbortController();
    const step = async () => {
      for await (const record of c.scan({ signal: scanned.signal })) {
        expect(record.id).not.toBe("");
        scanned.abort(reason);
      }
    };
    await failure(step, "ABORTED");
  });
});

describe("joined searches", () => {
  it("are bit-identical to searches alone", async () => {
    const c = await large();
    if (!forced) expect((await c.explain()).path).toBe("threads");
    const queries = Array.from({ length: 12 }, (_, i) => noise(128, i + 1));
    const alone = [];
    for (const query of queries) alone.push(await c.search(query, { k: 7 }));
    const joined = await Promise.all(queries.map((query) => c.search(query, { k: 7 })));
    expect(joined).toEqual(alone);
    const mixed = await Promise.all(queries.map((query, i) => c.search(query, { k: 5 + (i % 3) })));
    for (const [i, hits] of mixed.entries()) expect(hits).toEqual(alone[i]!.slice(0, 5 + (i % 3)));
  });

  it("reject only the caller that aborts", async () => {
    const c = await large();
    const expected = await c.search(noise(128, 4), { k: 3 });
    const controller = new AbortController();
    const ahead = c.search(noise(128, 9), { k: 3 });
    const stays = c.search(noise(128, 4), { k: 3 });
    const leaves = c.search(noise(128, 5), { k: 3, signal: controller.signal });
    const caught = failure(() => leaves, "ABORTED");
    await ahead;
    controller.abort(reason);
    expect((await caught).cause).toBe(reason);
    expect(await stays).toEqual(expected);
  });

  it("can all be aborted", async () => {
    const c = await large();
    const controllers = Array.from({ length: 6 }, () => new AbortController());
    const all = controllers.map(({ signal }, i) => c.search(noise(128, i), { signal }));
    const settled = Promise.allSettled(all);
    for (const controller of controllers) controller.abort(reason);
    for (const one of await settled) expect(one).toMatchObject({ reason: { code: "ABORTED" } });
    expect(await c.search(noise(128))).toHaveLength(10);
  });

  it("reject only the caller whose query is bad", async () => {
    const c = await large();
    const bad = noise(128);
    bad[3] = NaN;
    const expected = await c.search(noise(128, 4));
    const calls = [
      c.search(noise(128, 9)),
      c.search(noise(128, 4)),
      c.search(bad),
      c.search(noise(128, 4)),
    ];
    const [, second, third, fourth] = await Promise.allSettled(calls);
    expect(third).toMatchObject({ status: "rejected", reason: { code: "NON_FINITE" } });
    expect(second).toEqual({ status: "fulfilled", value: expected });
    expect(fourth).toEqual({ status: "fulfilled", value: expected });
  });
});
