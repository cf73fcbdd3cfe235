/** Reads of points: by id, by vector, page by page. */
import type { CallOptions } from "./batches.js";
import { protocolError } from "./errors.js";
import type { VectorizerHttp } from "./http.js";
import { type Point, type PointBlock, pointsOf, readPoints, scoreOf } from "./points.js";

/** A point of an answer; search hits have a score, as the server counts it. */
export interface RemotePoint extends Point {
  score?: number;
}

/** Which part of all points to read. */
export interface PageOptions {
  /** Id of the first point wanted; undefined: the first of all. */
  offset: string | undefined;
  /** Points of the page, 2 or more: with one, a page would only repeat its offset. */
  limit: number;
  dimensions: number;
  /** Points of a block. */
  blockSize: number;
}

interface PointsCall {
  path: string;
  body: string;
  /** Members that lead to the points. */
  at: readonly string[];
  dimensions: number;
  maxPoints: number;
  blockSize: number;
  maxResponseBytes?: number;
  onValue?: (path: readonly string[], json: string) => void;
}

const idsPerRequest = 1000;
const blockMax = 1024;

/** The reading routes of one server. */
export class Queries {
  readonly #http: VectorizerHttp;

  constructor(http: VectorizerHttp) {
    this.#http = http;
  }

  /** Points by id, with vectors and payloads; unknown ids are left out. */
  async retrieve(
    name: string,
    ids: readonly string[],
    dimensions: number,
    options: CallOptions = {},
  ): Promise<RemotePoint[]> {
    const path = `/qdrant/collections/${encodeURIComponent(name)}/points`;
    const found: RemotePoint[] = [];
    for (let from = 0; from < ids.length; from += idsPerRequest) {
      const some = ids.slice(from, from + idsPerRequest);
      const body = JSON.stringify({ ids: some, with_payload: true, with_vector: true });
      const size = some.length;
      const blockSize = Math.min(blockMax, size);
      const call = { path, body, at: ["result"], dimensions, maxPoints: size, blockSize };
      const answer = this.#points(call, options);
      for await (const block of answer) found.push(...pointsOf(block));
    }
    return found;
  }

  /**
   * The points that the server ranks first, with vectors and payloads. Up to its limit the native
   * route is asked, above it the Qdrant one, which turns some ids into numbers.
   */
  async search(
    name: string,
    vector: ArrayLike<number>,
    limit: number,
    searchLimitMax: number,
    options: CallOptions = {},
  ): Promise<RemotePoint[]> {
    const isNative = limit <= searchLimitMax;
    const base = `/collections/${encodeURIComponent(name)}`;
    const path = isNative ? `${base}/search` : `/qdrant${base}/points/search`;
    const switches = isNative ? {} : { with_payload: true, with_vector: true };
    const body = JSON.stringify({ vector: Array.from(vector), limit, ...switches });
    const at = [isNative ? "results" : "result"];
    const hits: RemotePoint[] = [];
    const blockSize = Math.min(blockMax, Math.max(1, limit));
    const call = { path, body, at, dimensions: vector.length, maxPoints: limit, blockSize };
    const answer = this.#points(call, options);
    for await (const block of answer) {
      for (const point of pointsOf(block)) {
        hits.push({ ...point, score: scoreOf(`POST ${path}`, point.members) });
      }
    }
    return hits;
  }

  /**
   * One page of all points in the server's order, in blocks. `offset` is the id of the first point
   * wanted; a server that does not know it begins at its first point.
   * @returns after the blocks, the id that the next page begins with, or undefined
   */
  async *page(
    name: string,
    page: PageOptions,
    options: CallOptions = {},
  ): AsyncGenerator<PointBlock, string | undefined, undefined> {
    const { offset, limit, dimensions, blockSize } = page;
    const path = `/qdrant/collections/${encodeURIComponent(name)}/points/scroll`;
    const body = JSON.stringify({ limit, ...(offset === undefined ? {} : { offset }) });
    let next: unknown;
    const call: PointsCall = {
      path,
      body,
      at: ["result", "points"],
      dimensions,
      maxPoints: limit,
      blockSize,
      // A page is as long as its points; they are read one by one.
      maxResponseBytes: Infinity,
      onValue: (where, json) => {
        if (where.at(-1) === "next_page_offset") next = JSON.parse(json) as unknown;
      },
    };
    yield* this.#points(call, options);
    if (next === null || next === undefined) return undefined;
    if (typeof next === "string" || typeof next === "number") return String(next);
    throw protocolError(`POST ${path}`, "next_page_offset is neither an id nor null");
  }

  async *#points(
    call: PointsCall,
    options: CallOptions,
  ): AsyncGenerator<PointBlock, void, undefined> {
    const { path, body, at, maxResponseBytes } = call;
    const where = `POST ${path}`;
    let isThere = false;
    const limit = maxResponseBytes === undefined ? {} : { maxResponseBytes };
    yield* readPoints(this.#http.stream({ method: "POST", path, body, ...options, ...limit }), {
      where,
      paths: [at],
      vectorKey: "vector",
      dimensions: call.dimensions,
      blockSize: call.blockSize,
      maxPoints: call.maxPoints,
      ...(call.onValue === undefined ? {} : { onValue: call.onValue }),
      onEnter: (entered) => {
        isThere ||= entered.length === at.length;
      },
    });
    if (!isThere) throw protocolError(where, `the answer has no "${at.join(".")}"`);
  }
}
