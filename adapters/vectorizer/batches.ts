/** Writes to the server: many points per request, one result per point. */
import type { HiveErrorCode, HiveGpuError } from "hive-gpu";
import { type ItemAnswer, itemsShape, readAnswer } from "./answers.js";
import { protocolError, readErrorBody } from "./errors.js";
import type { VectorizerHttp } from "./http.js";

/** A record on its way to the server: ids and payloads as the server sees them. */
export interface OutgoingPoint {
  id: string;
  vector: ArrayLike<number>;
  payload: unknown;
}

/** What became of one item of a batch. */
export interface ItemResult {
  id: string;
  ok: boolean;
  /** Of items that failed. */
  code?: HiveErrorCode;
  message?: string;
}

/** What stops a call. */
export interface CallOptions {
  signal?: AbortSignal | undefined;
}

/** Points in one request; the server inserts them one by one anyway. */
const itemsPerRequest = 500;
const idsPerRequest = 1000;

/** The batch routes of one server. */
export class Batches {
  readonly #http: VectorizerHttp;
  readonly #maxRequestBytes: number;

  constructor(http: VectorizerHttp, maxRequestBytes: number) {
    this.#http = http;
    this.#maxRequestBytes = maxRequestBytes;
  }

  /** Inserts or replaces points, in requests of bounded size; one result per point, in order. */
  async insert(
    name: string,
    points: readonly OutgoingPoint[],
    options: CallOptions & { onProgress?: (done: number) => void } = {},
  ): Promise<ItemResult[]> {
    const items = points.map(({ id, vector, payload }) =>
      JSON.stringify({ id, embedding: Array.from(vector), payload }),
    );
    const results: ItemResult[] = [];
    for (const [from, to] of this.#requests(items, itemsPerRequest)) {
      const ids = points.slice(from, to).map(({ id }) => id);
      results.push(...(await this.#insertSome(name, ids, items.slice(from, to), options)));
      options.onProgress?.(results.length);
    }
    return results;
  }

  /** Replaces vector and payload of points that exist, whatever their ids. */
  async update(
    name: string,
    points: readonly OutgoingPoint[],
    options: CallOptions = {},
  ): Promise<ItemResult[]> {
    const items = points.map(({ id, vector, payload }) =>
      JSON.stringify({ id, vector: Array.from(vector), payload }),
    );
    const results: ItemResult[] = [];
    for (const [from, to] of this.#requests(items, itemsPerRequest)) {
      const ids = points.slice(from, to).map(({ id }) => id);
      const body = `{"collection":${JSON.stringify(name)},"updates":[${items.slice(from, to).join(",")}]}`;
      results.push(...(await this.#batch("/batch_update", body, ids, options)));
    }
    return results;
  }

  /** Deletes points; one result per id. An unknown id is a result with the code NOT_FOUND. */
  async delete(
    name: string,
    ids: readonly string[],
    options: CallOptions = {},
  ): Promise<ItemResult[]> {
    const results: ItemResult[] = [];
    for (let from = 0; from < ids.length; from += idsPerRequest) {
      const some = ids.slice(from, from + idsPerRequest);
      const body = JSON.stringify({ collection: name, ids: some });
      results.push(...(await this.#batch("/batch_delete", body, some, options)));
    }
    return results;
  }

  async #insertSome(
    name: string,
    ids: readonly string[],
    items: readonly string[],
    options: CallOptions,
  ): Promise<ItemResult[]> {
    const body = `{"collection":${JSON.stringify(name)},"vectors":[${items.join(",")}]}`;
    try {
      return await this.#batch("/insert_vectors", body, ids, options);
    } catch (error) {
      // The server's limit is a setting of its own that it does not tell.
      const isTooLarge = (error as HiveGpuError).details?.["status"] === 413;
      if (!isTooLarge || items.length === 1) throw error;
      const half = items.length >> 1;
      return [
        ...(await this.#insertSome(name, ids.slice(0, half), items.slice(0, half), options)),
        ...(await this.#insertSome(name, ids.slice(half), items.slice(half), options)),
      ];
    }
  }

  async #batch(
    path: string,
    body: string,
    ids: readonly string[],
    { signal }: CallOptions,
  ): Promise<ItemResult[]> {
    const where = `POST ${path}`;
    const answer = await this.#http.json({ method: "POST", path, body, signal });
    const { results } = readAnswer(where, itemsShape, answer);
    if (results.length !== ids.length) {
      throw protocolError(where, `${results.length} results for ${ids.length} items`);
    }
    return results.map((result, i) => itemResult(where, ids[i]!, result));
  }

  /** Ranges of items that fit into one request each. */
  *#requests(items: readonly string[], most: number): Generator<[number, number]> {
    const maxRequestBytes = this.#maxRequestBytes;
    let from = 0;
    let bytes = 0;
    for (const [i, item] of items.entries()) {
      const size = Buffer.byteLength(item) + 1;
      if (i > from && (i - from >= most || bytes + size > maxRequestBytes - 512)) {
        yield [from, i];
        from = i;
        bytes = 0;
      }
      bytes += size;
    }
    if (items.length > from) yield [from, items.length];
  }
}

function itemResult(where: string, id: string, answer: ItemAnswer): ItemResult {
  if (answer.status === "error" || answer.error !== undefined) {
    const text = JSON.stringify({ error_type: answer.error_type, message: answer.error });
    const { type, message } = readErrorBody(text);
    const isUnknown = type === "vector_not_found" || /not.?found/i.test(answer.error ?? "");
    const isDimension = type?.includes("dimension") === true;
    const code = isUnknown ? "NOT_FOUND" : isDimension ? "DIMENSION_MISMATCH" : "REMOTE_REFUSED";
    return { id, ok: false, code, message };
  }
  const [stored] = answer.vector_ids ?? [];
  if (stored !== undefined && stored !== id) {
    throw protocolError(
      where,
      `the server stored ${JSON.stringify(id)} as ${JSON.stringify(stored)}`,
    );
  }
  return { id, ok: true };
}
