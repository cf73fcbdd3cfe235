/**
 * A stand-in for a hive-vectorizer server, for tests, benchmarks and the example. It answers the
 * routes that the bridge uses, with the shapes and the defects found in the server's source (see
 * quirks.ts); its ranking is exact where a server's graph index is approximate.
 */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { NativeRoutes } from "./native-routes.js";
import { QdrantRoutes } from "./qdrant-routes.js";
import { quirksOf, type FakeQuirks } from "./quirks.js";
import { FakeCollection, type FakeMetric, type Point } from "./store.js";
import {
  notFound,
  PlainRefusal,
  readBody,
  Refusal,
  send,
  type Answer,
  type Request,
} from "./wire.js";

export interface FakeOptions {
  /** "3.5.0" (default), "3.6.0" for the unreleased head, or "fixed". */
  version?: string;
  quirks?: Partial<FakeQuirks>;
  apiKey?: string;
  /** Accepted as `Authorization: Bearer`; also what a login answers. */
  jwt?: string;
  login?: { username: string; password: string };
  /** Bytes of a request body; larger ones get 413. Default 16 MiB. */
  maxBodyBytes?: number;
  /** Every n-th request is refused with 429 and this Retry-After, in seconds. */
  rateLimit?: { every: number; retryAfter: string };
  /** Delay of what the server does after it has answered, milliseconds. Default 30. */
  asyncDelayMs?: number;
}

export class FakeServer {
  readonly quirks: FakeQuirks;
  readonly collections = new Map<string, FakeCollection>();
  /** Every request so far, as `METHOD /path`. */
  readonly requests: string[] = [];
  /** May answer a request in the server's place, or break the connection. */
  intercept: ((request: IncomingMessage, response: ServerResponse) => boolean) | undefined;
  readonly reported: string;
  private readonly http: Server;
  private readonly native = new NativeRoutes(this);
  private readonly qdrant = new QdrantRoutes(this);
  private readonly positions = new WeakMap<
    FakeCollection,
    { at: string; all: Point[]; index: Map<string, number> }
  >();
  private readonly timers = new Set<NodeJS.Timeout>();
  private jwt: string | undefined;

  private constructor(private readonly options: FakeOptions) {
    const { version = "3.5.0", quirks } = options;
    this.quirks = { ...quirksOf(version), ...quirks };
    this.reported = version === "fixed" ? "9.0.0" : version;
    this.jwt = options.jwt;
    this.http = createServer((request, response) => {
      void this.serve(request, response);
    });
  }

  /** Starts on a free port of the loopback interface. */
  static async start(options: FakeOptions = {}): Promise<FakeServer> {
    const server = new FakeServer(options);
    await new Promise<void>((resolve) => {
      server.http.listen(0, "127.0.0.1", resolve);
    });
    return server;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.http.address() as AddressInfo).port}`;
  }

  async close(): Promise<void> {
    for (const timer of this.timers) clearTimeout(timer);
    this.http.closeAllConnections();
    await new Promise((resolve) => {
      this.http.close(resolve);
    });
  }

  add(
    name: string,
    dimension: number,
    metric: FakeMetric,
    quantization: "none" | "sq8",
  ): FakeCollection {
    if (this.collections.has(name)) {
      throw new Refusal(409, "collection_already_exists", `Collection '${name}' already exists`);
    }
    const collection = new FakeCollection(name, dimension, metric, quantization, this.quirks);
    this.collections.set(name, collection);
    return collection;
  }

  need(name: string): FakeCollection {
    const found = this.collections.get(name);
    if (found === undefined) throw notFound(name);
    return found;
  }

  /** Runs after the answer was sent; what it throws is lost. */
  later(work: () => void): void {
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      try {
        work();
      } catch {
        // A background error of the server reaches nobody: that is the defect.
      }
    }, this.options.asyncDelayMs ?? 30);
    this.timers.add(timer);
  }

  /** Runs a filter; a shape it does not know is the server's parse error. */
  filter<T>(run: () => T): T {
    try {
      return run();
    } catch (error) {
      if (error instanceof SyntaxError) throw new Refusal(400, "parse_error", error.message);
      throw error;
    }
  }

  /** All points in their order, kept until the collection changes. */
  pointsOf(collection: FakeCollection): Point[] {
    return this.ordered(collection).all;
  }

  positionOf(collection: FakeCollection, id: string): number {
    return this.ordered(collection).index.get(id) ?? -1;
  }

  private ordered(collection: FakeCollection): { all: Point[]; index: Map<string, number> } {
    const known = this.positions.get(collection);
    if (known?.at === collection.updatedAt) return known;
    const all = [...collection.points.values()];
    const index = new Map(all.map(({ id }, i) => [id, i]));
    const fresh = { at: collection.updatedAt, all, index };
    this.positions.set(collection, fresh);
    return fresh;
  }

  private async serve(incoming: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(incoming.url ?? "/", this.url);
    this.requests.push(`${incoming.method} ${url.pathname}`);
    if (this.intercept?.(incoming, response) === true) return;
    try {
      send(response, await this.answer(incoming, url));
    } catch (error) {
      if (error instanceof Refusal) send(response, error.answer());
      else if (error instanceof PlainRefusal) this.sendPlain(response, error);
      else send(response, new Refusal(500, "internal_error", String(error)).answer());
    }
  }

  private async answer(incoming: IncomingMessage, url: URL): Promise<Answer> {
    const { every, retryAfter } = this.options.rateLimit ?? {};
    if (every !== undefined && this.requests.length % every === 0) {
      const { body } = new Refusal(429, "rate_limit_exceeded", "Too many requests").answer();
      return { status: 429, body, headers: { "retry-after": retryAfter! } };
    }
    const bytes = await readBody(incoming, this.options.maxBodyBytes ?? 16 << 20);
    const path = url.pathname.split("/").slice(1).map(decodeURIComponent);
    const request: Request = {
      method: incoming.method ?? "GET",
      path,
      query: url.searchParams,
      headers: incoming.headers,
      body: this.parse(bytes),
    };
    if (url.pathname === "/auth/login") return this.login(request);
    if (url.pathname !== "/health") this.authorize(request);
    const routes = path[0] === "qdrant" ? this.qdrant : this.native;
    const answer = routes.handle(request);
    if (answer === undefined) return { status: 404, body: "" };
    if (answer.body === undefined || isBytes(answer.body)) return answer;
    const text = JSON.stringify(answer.body).replace(/"\\u0001(\d+)\\u0001"/g, "$1");
    return { ...answer, body: Buffer.from(text) };
  }

  private parse(bytes: Buffer): Record<string, unknown> {
    if (bytes.length === 0) return {};
    let value: unknown;
    try {
      value = JSON.parse(bytes.toString());
    } catch (error) {
      throw new PlainRefusal(400, `Failed to parse the request body as JSON: ${String(error)}`);
    }
    // A Rust string cannot hold half a surrogate pair.
    if (/\\ud[89a-f]/.test(JSON.stringify(value))) {
      throw new PlainRefusal(
        400,
        "Failed to parse the request body as JSON: lone leading surrogate",
      );
    }
    return value as Record<string, unknown>;
  }

  private login({ body }: Request): Answer {
    const { login } = this.options;
    if (
      login === undefined ||
      body["username"] !== login.username ||
      body["password"] !== login.password
    ) {
      const message = "Invalid username or password";
      return { status: 401, body: { error: "invalid_credentials", message } };
    }
    this.jwt ??= "a.b.c";
    const user = { user_id: "1", username: login.username, roles: [] };
    return {
      status: 200,
      body: { access_token: this.jwt, token_type: "Bearer", expires_in: 3600, user },
    };
  }

  /** Makes the token of earlier logins worthless. */
  expire(): void {
    this.jwt = `a.b.${this.requests.length}`;
  }

  private authorize({ headers }: Request): void {
    const { apiKey, login } = this.options;
    if (apiKey === undefined && login === undefined && this.options.jwt === undefined) return;
    const { authorization } = headers;
    // A bearer token is only ever read as a JWT: an API key in that place is refused.
    if (this.jwt !== undefined && authorization === `Bearer ${this.jwt}`) return;
    if (apiKey !== undefined && (headers["x-api-key"] === apiKey || authorization === apiKey))
      return;
    throw new Refusal(
      401,
      "unauthorized",
      "Authentication required. Provide a valid JWT token or API key.",
    );
  }

  private sendPlain(response: ServerResponse, { status, message }: PlainRefusal): void {
    if (this.quirks.badBodiesArePlainText) send(response, { status, body: message });
    else send(response, new Refusal(status, "parse_error", message).answer());
  }
}

function isBytes(body: unknown): boolean {
  return Buffer.isBuffer(body) || (Array.isArray(body) && Buffer.isBuffer(body[0]));
}
