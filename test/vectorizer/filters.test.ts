/** Filters on a server's collection give what they give in the engine; the server's are not used. */
import { describe, expect, it } from "vitest";
import { database } from "../unit/helpers.js";
import { failure, fake, ids, noise, remoteOf } from "./helpers.js";
import { mirrored } from "./mirror-helpers.js";

const dimensions = 8;

/** Records with metadata of many kinds, some of it missing. */
function varied(count: number) {
  const values = noise(count * dimensions, 11);
  return Array.from({ length: count }, (_, i) => ({
    id: `v${i}`,
    vector: values.slice(i * dimensions, (i + 1) * dimensions),
    text: `text ${i}`,
    metadata: {
      n: i,
      even: i % 2 === 0,
      tag: `t${i % 7}`,
      list: [`l${i % 3}`, i % 5],
      deep: { x: i % 11 },
      ...(i % 4 === 0 ? {} : { maybe: i % 3 === 0 ? null : i }),
      at: new Date(i * 1000),
    },
  }));
}

const filters: Record<string, unknown>[] = [
  {},
  { n: 17 },
  { n: 10_000 },
  { even: true, tag: "t3" },
  { n: { $gte: 50, $lt: 60 } },
  { tag: { $in: ["t1", "t2"] } },
  { tag: { $nin: ["t1", "t2"] } },
  { list: "l2" },
  { list: { $all: ["l0", 0] } },
  { "deep.x": { $ne: 3 } },
  { maybe: null },
  { maybe: { $exists: false } },
  { at: { $lte: new Date(20_000) } },
  { $or: [{ n: 1 }, { tag: "t6" }] },
  { $not: { even: true } },
  { $nor: [{ even: true }, { tag: "t1" }] },
  { tag: { $regex: "^t[0-2]$" } },
  { list: { $size: 2 } },
];

describe("filters", () => {
  it.each([
    ["3.5.0", "cosine"],
    ["3.5.0", "l2"],
    ["3.6.0", "dot"],
  ] as const)("give what they give in the engine: %s, %s", async (version, metric) => {
    const server = await fake({ version });
    const docs = remoteOf(server, { metric });
    const local = await (await database()).collection("docs", { metric });
    const given = varied(300);
    await docs.upsert(given);
    await local.upsert(given);
    const query = noise(dimensions, 5);
    for (const filter of filters) {
      const here = await local.search(query, { k: 20, filter });
      const there = await docs.search(query, { k: 20, filter });
      expect(ids(there), JSON.stringify(filter)).toEqual(ids(here));
      there.forEach((hit, i) => expect(hit.score).toBeCloseTo(here[i]!.score, 4));
      const scanned: string[] = [];
      for await (const { id } of docs.scan({ filter })) scanned.push(id);
      expect(scanned).toHaveLength(await local.count(filter));
      expect(await docs.count(filter)).toBe(scanned.length);
    }
  });

  it("may be functions, and see dates as dates", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(varied(40));
    const hits = await docs.search(varied(1)[0]!.vector, {
      k: 40,
      filter: ({ metadata }) => (metadata!["at"] as Date).getTime() < 3000,
    });
    expect(ids(hits).toSorted()).toEqual(["v0", "v1", "v2"]);
  });

  it("delete exactly what passes, on the server and in a mirror", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(varied(40));
    expect(await docs.delete({ filter: { n: { $lt: 10 } } })).toBe(10);
    expect(await docs.count()).toBe(30);
    await failure(() => docs.delete({ filter: {} }), "INVALID_FILTER");
    await failure(() => docs.delete({ ids: ["a"], filter: { n: 1 } }), "INVALID_ARGUMENT");
    expect(server.requests.filter((one) => one.endsWith("delete_by_filter"))).toEqual([]);
    const { mirror, docs: original } = await mirrored({}, 20);
    await mirror.sync();
    expect(await mirror.delete({ filter: { n: { $gte: 15 } } })).toBe(5);
    expect([await mirror.local.count(), await original.count(), await mirror.count()]).toEqual([
      15, 15, 15,
    ]);
    expect(await mirror.count({ n: 3 })).toBe(1);
    expect(
      ids(await mirror.search(varied(1)[0]!.vector.slice(0, 4), { filter: { n: 3 } })),
    ).toEqual(["r3"]);
  });

  it("that are wrong are refused before anything is sent", async () => {
    const server = await fake();
    const docs = remoteOf(server);
    await docs.upsert(varied(3));
    server.requests.length = 0;
    const filter = { n: { $near: 3 } } as never;
    await failure(() => docs.search(noise(dimensions), { filter }), "INVALID_FILTER");
    await failure(() => docs.count(filter), "INVALID_FILTER");
    await failure(() => docs.delete({ filter }), "INVALID_FILTER");
    expect(server.requests).toEqual([]);
  });
});
