/** Servers that answer nonsense, or never stop: typed errors, within bounded time and memory. */
import { describe, expect, it } from "vitest";
import type { IncomingMessage, ServerResponse } from "node:http";
import { VectorizerClient } from "hive-gpu/vectorizer";
import { clientOf, failure, fake, hostile, remoteOf, reply } from "./helpers.js";

const info = { vector_count: 3, dimension: 2, metric: "Cosine", updated_at: "2026" };
const hit = (score?: unknown) => ({ ...point("a"), ...(score === undefined ? {} : { score }) });
const point = (id: string) => ({ id, vector: [1, 0], payload: null });

/** An honest server but for one kind of request. */
function except(
  wanted: string,
  answer: (response: ServerResponse, body: string) => void,
): Promise<string> {
  return hostile((request: IncomingMessage, response, body) => {
    const path = request.url ?? "";
    if (path.endsWith(wanted)) answer(response, body);
    else if (path === "/health") reply(response, { status: "healthy", version: "3.5.0" });
    else reply(response, info);
  });
}

async function scanAll(url: string, options: object = {}): Promise<number> {
  let count = 0;
  const client = clientOf(url, options);
  for await (const _ of remoteOf({ url }, { client, pageSize: 100 }).scan()) count++;
  return count;
}

describe("answers that are wrong", () => {
  const bodies: Record<string, string> = {
    "not JSON": "<html>It works!</html>",
    "an empty body": "",
    "another JSON": '{"hello": "world"}',
    "a list": "[]",
    null: "null",
    "a negative count": JSON.stringify({ ...info, vector_count: -1 }),
    "a huge count": JSON.stringify({ ...info, vector_count: 1e300 }),
    "a metric of another kind": JSON.stringify({ ...info, metric: "Manhattan" }),
    "a dimension that is text": JSON.stringify({ ...info, dimension: "2" }),
  };
  it.each(Object.entries(bodies))("about a collection: %s", async (_, body) => {
    const url = await hostile((_request, response) => reply(response, body));
    await failure(() => remoteOf({ url }).count(), "REMOTE_PROTOCOL");
  });

  const pages: Record<string, string> = {
    "not JSON": "<html>It works!</html>",
    "cut short": '{"result":{"points":[{"id":"a","vector":[1,0],"payload":null},{"id":"b","vec',
    "cut short in a number": '{"result":{"points":[{"id":"a","vector":[1,0.',
    "without points": '{"result":{}}',
    "another JSON": '{"points":[]}',
    "two documents": '{"result":{"points":[]}} {}',
    "a point without an id": '{"result":{"points":[{"vector":[1,0]}]}}',
    "a point without a vector": '{"result":{"points":[{"id":"a"}]}}',
    "a vector of another length": '{"result":{"points":[{"id":"a","vector":[1,0,0]}]}}',
    "a number beyond f32": '{"result":{"points":[{"id":"a","vector":[1e39,0]}]}}',
    "null in a vector": '{"result":{"points":[{"id":"a","vector":[null,0]}]}}',
    "text in a vector": '{"result":{"points":[{"id":"a","vector":["1",0]}]}}',
    "a broken number": '{"result":{"points":[{"id":"a","vector":[1.,0]}]}}',
    "a missing comma": '{"result":{"points":[{"id":"a" "vector":[1,0]}]}}',
    "a point that is a number": '{"result":{"points":[7]}}',
    "an id that is an object": '{"result":{"points":[{"id":{},"vector":[1,0]}]}}',
    "a deep payload": `{"result":{"points":[{"id":"a","payload":${"[".repeat(1e5)}`,
    "an offset of another kind":
      '{"result":{"points":[{"id":"a","vector":[1,0]}],"next_page_offset":{}}}',
  };
  it.each(Object.entries(pages))("a page: %s", async (_, body) => {
    const url = await except("/scroll", (response) => reply(response, body));
    await failure(() => scanAll(url), "REMOTE_PROTOCOL", /scroll/);
  });

  it("a string that is not UTF-8", async () => {
    const url = await except("/scroll", (response) => {
      const head = '{"result":{"points":[{"id":"a","vector":[1,0],"payload":{"content":"';
      response.end(
        Buffer.concat([Buffer.from(head), Buffer.of(0xff, 0xfe), Buffer.from('"}}]}}')]),
      );
    });
    await failure(() => scanAll(url), "REMOTE_PROTOCOL", /UTF-8/);
  });

  it("fewer results than items, or results for others", async () => {
    const none = await except("/insert_vectors", (response) => reply(response, { results: [] }));
    const one = [{ id: "a", vector: [1, 0] }];
    await failure(() => remoteOf({ url: none }).upsert(one), "REMOTE_PROTOCOL", /0 results for 1/);
    const results = [{ index: 0, status: "ok", vector_ids: ["b"] }];
    const other = await except("/insert_vectors", (response) => reply(response, { results }));
    await failure(() => remoteOf({ url: other }).upsert(one), "REMOTE_PROTOCOL", /"a" as "b"/);
  });

  it("more hits than asked for, hits without scores, scores that are no numbers", async () => {
    for (const results of [Array.from({ length: 20 }, () => hit(1)), [hit()], [hit("high")]]) {
      const url = await except("/search", (response) => reply(response, { results }));
      await failure(() => remoteOf({ url }).search([1, 0], { k: 2 }), "REMOTE_PROTOCOL");
    }
  });

  it("a login without a token", async () => {
    const url = await except("/auth/login", (response) => reply(response, {}));
    const client = clientOf(url, { login: { username: "a", password: "b" } });
    await failure(() => client.collections(), "REMOTE_PROTOCOL", /no token/);
  });
});

describe("servers that go somewhere else or nowhere", () => {
  it("redirects are not followed, and credentials go nowhere else", async () => {
    const seen: string[] = [];
    const other = await hostile((request, response) => {
      seen.push(JSON.stringify(request.headers));
      reply(response, info);
    });
    for (const status of [301, 302, 307, 308]) {
      const url = await hostile((_request, response) => {
        response.writeHead(status, { location: `${other}/collections` });
        response.end();
      });
      const client = clientOf(url, { apiKey: "secret-key", retries: 2 });
      await failure(() => client.collections(), "REMOTE_PROTOCOL", /redirects to/);
    }
    expect(seen).toEqual([]);
  });

  it("a connection that is refused or dropped", async () => {
    const server = await fake();
    const { url } = server;
    await server.close();
    const error = await failure(() => clientOf(url).collections(), "REMOTE_UNREACHABLE");
    expect(error.retryable).toBe(true);
    const dropping = await hostile((_request, response) => response.destroy());
    await failure(() => clientOf(dropping).collections(), "REMOTE_UNREACHABLE");
    const cut = await except("/scroll", (response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write('{"result":{"points":[');
      response.flushHeaders();
      setTimeout(() => response.destroy(), 5);
    });
    await failure(() => scanAll(cut), "REMOTE_UNREACHABLE");
  });

  it("a dropped connection is tried again", async () => {
    let calls = 0;
    const url = await hostile((_request, response) => {
      if (calls++ === 0) response.destroy();
      else reply(response, { collections: [] });
    });
    expect(await clientOf(url, { retries: 1 }).collections()).toEqual([]);
  });

  it("an overloaded server is tried again, an internal error is not", async () => {
    for (const [status, expected] of [
      [503, 3],
      [500, 1],
    ] as const) {
      let calls = 0;
      const url = await hostile((_request, response) => {
        calls++;
        reply(response, "oops", status);
      });
      await failure(() => clientOf(url, { retries: 2 }).collections(), "REMOTE_FAILED", /oops/);
      expect(calls).toBe(expected);
    }
  });
});

describe("time", () => {
  it("no answer", async () => {
    const url = await hostile(() => undefined);
    const client = clientOf(url, { timeoutMs: 50 });
    await failure(() => client.collections(), "REMOTE_TIMEOUT", /50 ms/);
  });

  it("an answer that drips", async () => {
    const url = await except("/scroll", (response) => {
      response.write('{"result":{"points":[');
      const timer = setInterval(() => response.write(" "), 5);
      response.on("close", () => clearInterval(timer));
    });
    await failure(() => scanAll(url, { timeoutMs: 200 }), "REMOTE_TIMEOUT");
  });

  it("an abort, while waiting, while reading and while paused", async () => {
    const silent = await hostile(() => undefined);
    const busy = await hostile((_request, response) => {
      response.writeHead(429, { "retry-after": "20" });
      response.end();
    });
    const dripping = await except("/scroll", (response) => void response.write('{"result":'));
    for (const url of [silent, busy, dripping]) {
      const docs = remoteOf({ url }, { client: clientOf(url, { retries: 2 }) });
      const controller = new AbortController();
      setTimeout(() => controller.abort(new Error("enough")), 20);
      const call = async () => {
        for await (const _ of docs.scan({ signal: controller.signal }));
      };
      const error = await failure(call, "ABORTED");
      expect(error.cause).toMatchObject({ message: "enough" });
    }
    const early = remoteOf({ url: silent });
    const signal = AbortSignal.abort();
    await failure(() => early.search([1, 0], { signal }), "ABORTED");
    await failure(() => early.upsert([{ vector: [1] }], { signal }), "ABORTED");
    await failure(() => early.get("a", { signal }), "ABORTED");
    await failure(() => early.delete({ ids: ["a"] }, { signal }), "ABORTED");
  });
});

describe("size", () => {
  it("a body without end", async () => {
    const url = await hostile((_request, response) => {
      response.writeHead(200);
      const chunk = Buffer.alloc(1 << 16, 32);
      const more = (): void => {
        while (!response.destroyed && response.write(chunk));
      };
      response.on("drain", more);
      more();
    });
    const client = clientOf(url, { maxResponseBytes: 4 << 20 });
    await failure(() => client.collections(), "REMOTE_PROTOCOL", /longer than 4194304 bytes/);
  });

  it("a body that says it is too long", async () => {
    const url = await hostile((_request, response) => {
      response.writeHead(200, { "content-length": String(2 ** 40) });
      response.write("{");
    });
    await failure(() => clientOf(url).collections(), "REMOTE_PROTOCOL", /longer than/);
  });

  it("an error message without end", async () => {
    const url = await hostile((_request, response) => {
      response.writeHead(400);
      response.end("x".repeat(10 << 20));
    });
    const error = await failure(() => clientOf(url).collections(), "REMOTE_REFUSED");
    expect(error.message.length).toBeLessThan(500);
  });

  it("a scroll without end", async () => {
    let n = 0;
    const url = await except("/scroll", (response) => {
      const points = Array.from({ length: 100 }, () => point(`p${n++}`));
      reply(response, { result: { points, next_page_offset: `p${n}` } });
    });
    await failure(() => scanAll(url), "REMOTE_PROTOCOL", /points came from a collection of 3/);
    expect(n).toBeLessThan(11_000);
  });

  it("a scroll that repeats itself, and one that goes in circles", async () => {
    const same = await except("/scroll", (response) => {
      const points = [point("a"), point("b")];
      reply(response, { result: { points, next_page_offset: "b" } });
    });
    expect(await scanAll(same)).toBe(2);
    let page = 0;
    // Three groups of points, each page ending where the next begins.
    const groups = ["a", "b", "c"].map((letter) =>
      Array.from({ length: 98 }, (_, i) => point(`${letter}${i}`)),
    );
    const circle = await except("/scroll", (response) => {
      const points = [...groups[page % 3]!, groups[(page + 1) % 3]![0]!];
      page++;
      reply(response, { result: { points, next_page_offset: points.at(-1)!.id } });
    });
    await failure(() => scanAll(circle), "REMOTE_PROTOCOL");
    expect(page).toBeLessThan(120);
  });

  it("a page longer than was asked for", async () => {
    const url = await except("/scroll", (response) => {
      const points = Array.from({ length: 200 }, (_, i) => point(`p${i}`));
      reply(response, { result: { points, next_page_offset: null } });
    });
    await failure(() => scanAll(url), "REMOTE_PROTOCOL", /more than 100 points/);
  });
});

describe("options", () => {
  it.each([
    [{ url: "ftp://x" }, "INVALID_ARGUMENT"],
    [{ url: "no address" }, "INVALID_ARGUMENT"],
    [{ url: "http://user:pw@x" }, "INVALID_ARGUMENT"],
    [{ url: "http://x/?api_key=1" }, "INVALID_ARGUMENT"],
    [{ url: "http://x", apiKey: "a", token: "b" }, "INVALID_ARGUMENT"],
    [{ url: "http://x", retries: -1 }, "INVALID_ARGUMENT"],
    [{ url: "http://x", timeoutMS: 1 }, "UNKNOWN_OPTION"],
    [undefined, "INVALID_ARGUMENT"],
  ])("are checked: %j", async (options, code) => {
    await failure(() => new VectorizerClient(options as never), code);
  });
});
