/** Stand-in servers for the tests of the bridge. They are derived from source: see their quirks.ts. */
import {
  RemoteCollection,
  VectorizerClient,
  type RemoteCollectionOptions,
} from "hive-gpu/vectorizer";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { afterEach } from "vitest";
import { FakeServer, type FakeOptions } from "../../dist/examples/vectorizer-mirror/fake/server.js";

import { noise } from "../unit/helpers.js";

export { failure, noise } from "../unit/helpers.js";
export { FakeServer };

const closing: (() => Promise<unknown>)[] = [];

afterEach(async () => {
  for (const close of closing.splice(0)) await close();
});

/** A stand-in server that is closed after the test. */
export async function fake(options?: FakeOptions): Promise<FakeServer> {
  const server = await FakeServer.start(options);
  closing.push(() => server.close());
  return server;
}

/** A client that waits for nothing longer than a test can. */
export function clientOf(url: string, options: object = {}): VectorizerClient {
  return new VectorizerClient({ url, retries: 0, ...options });
}

/** A collection of a server, which is silent about quantization. */
export function remoteOf(
  server: { url: string },
  options: Partial<RemoteCollectionOptions> = {},
): RemoteCollection {
  const client = clientOf(server.url);
  return new RemoteCollection({ client, name: "docs", onWarning: () => undefined, ...options });
}

/** A server that answers every request as `answer` says; for answers no honest server gives. */
export async function hostile(
  answer: (request: IncomingMessage, response: ServerResponse, body: string) => void,
): Promise<string> {
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on("data", (chunk: Buffer) => chunks.push(chunk));
    request.on("end", () => answer(request, response, Buffer.concat(chunks).toString()));
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  closing.push(async () => {
    server.closeAllConnections();
    await new Promise((resolve) => {
      server.close(resolve);
    });
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

/** Answers with JSON. */
export function reply(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { "content-type": "application/json" });
  response.end(typeof body === "string" ? body : JSON.stringify(body));
}

/** A call past the bridge, as a naive client would make it. */
export async function raw(
  server: FakeServer,
  method: string,
  path: string,
  body?: unknown,
): Promise<any> {
  const response = await fetch(server.url + path, {
    method,
    headers: { "content-type": "application/json" },
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
  });
  const text = await response.text();
  return text.startsWith("{") || text.startsWith("[") ? JSON.parse(text) : text;
}

/** The ids of hits or records, in order. */
export const ids = (hits: readonly { id: string }[]): string[] => hits.map(({ id }) => id);

/** `count` records of 4 dimensions under ids of their own. */
export function records(count: number, dimensions = 4) {
  const values = noise(count * dimensions, 7);
  return Array.from({ length: count }, (_, i) => ({
    id: `r${i}`,
    vector: values.slice(i * dimensions, (i + 1) * dimensions),
    text: `text ${i}`,
    metadata: { n: i },
  }));
}
