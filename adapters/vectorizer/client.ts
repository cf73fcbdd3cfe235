/** The calls of a hive-vectorizer server that can be trusted, one method each. */
import { type HiveGpuError, type Metric, hiveError } from "hive-gpu";
import {
  type CollectionInfo,
  healthShape,
  infoOf,
  infoShape,
  listShape,
  readAnswer,
  statsShape,
} from "./answers.js";
import { Batches, type CallOptions, type ItemResult, type OutgoingPoint } from "./batches.js";
import { VectorizerHttp } from "./http.js";
import { type HttpSettings, readClientOptions, type VectorizerClientOptions } from "./options.js";
import type { PointBlock } from "./points.js";
import { type PageOptions, Queries, type RemotePoint } from "./queries.js";
import { type VectorizerQuirks, quirksOfVersion, wordsOfMetric } from "./quirks.js";

/** A connection to one server. Methods reject with typed errors; see docs/vectorizer.md. */
export class VectorizerClient {
  readonly #http: VectorizerHttp;
  readonly #settings: HttpSettings;
  readonly #batches: Batches;
  readonly #queries: Queries;
  #quirks: Promise<VectorizerQuirks> | undefined;

  /** @throws INVALID_ARGUMENT, UNKNOWN_OPTION. Nothing is sent yet. */
  constructor(options: VectorizerClientOptions) {
    this.#settings = readClientOptions(options);
    this.#http = new VectorizerHttp(this.#settings);
    this.#batches = new Batches(this.#http, this.#settings.maxRequestBytes);
    this.#queries = new Queries(this.#http);
  }

  /** The server's address. */
  get url(): string {
    return this.#settings.url;
  }

  /** The server's version and what is known of it; asked for once. */
  probe(): Promise<VectorizerQuirks> {
    if (this.#quirks === undefined) {
      const attempt = this.#get("/health").then((body) =>
        quirksOfVersion(readAnswer("GET /health", healthShape, body).version),
      );
      this.#quirks = attempt;
      attempt.catch(() => {
        this.#quirks = undefined;
      });
    }
    return this.#quirks;
  }

  /** Dimensions of the embedding provider that new collections get; undefined when not told. */
  async providerDimensions(): Promise<number | undefined> {
    const stats = readAnswer("GET /stats", statsShape, await this.#get("/stats"));
    const provider = stats.providers?.find(
      ({ name, default: isDefault }) => isDefault === true || name === stats.default_provider,
    );
    return provider?.dimension;
  }

  async collections(options: CallOptions = {}): Promise<CollectionInfo[]> {
    const where = "GET /collections";
    const body = readAnswer(where, listShape, await this.#get("/collections", options));
    return body.collections.map((one) => infoOf(where, one.name ?? "", one, true));
  }

  /** What the server says of a collection; undefined when there is none of that name. */
  async collection(name: string, options: CallOptions = {}): Promise<CollectionInfo | undefined> {
    const path = `/collections/${encodeURIComponent(name)}`;
    let body: unknown;
    try {
      body = await this.#get(path, options);
    } catch (error) {
      if ((error as HiveGpuError).details?.["status"] === 404) return undefined;
      throw error;
    }
    const where = `GET ${path}`;
    return infoOf(where, name, readAnswer(where, infoShape, body), false);
  }

  /**
   * Creates a collection and checks that it is what was asked for. The server's own route takes only
   * its embedding provider's dimensions; the other one stores 8-bit values unless told otherwise
   * afterwards. Whether vectors end up quantized is in the answer.
   * @throws NOT_SUPPORTED for metrics that the server lacks; REMOTE_FAILED when it made another one
   */
  async createCollection(
    name: string,
    dimensions: number,
    metric: Metric,
  ): Promise<CollectionInfo> {
    const words = wordsOfMetric(metric);
    if (words === undefined) {
      throw hiveError("NOT_SUPPORTED", `hive-vectorizer has no metric ${metric}.`, {
        hint: "Use cosine, l2 or dot.",
        details: { metric },
      });
    }
    const base = `/collections/${encodeURIComponent(name)}`;
    if ((await this.providerDimensions()) === dimensions) {
      await this.#send("POST", "/collections", {
        name,
        dimension: dimensions,
        metric: words.native,
      });
    } else {
      const vectors = { size: dimensions, distance: words.qdrant };
      await this.#send("PUT", `/qdrant${base}`, { vectors });
      const info = await this.collection(name);
      if (info?.quantization !== undefined) {
        await this.#send("POST", `${base}/reencode`, { target_encoding: "fp32" });
      }
    }
    const info = await this.collection(name);
    if (info?.dimensions === dimensions && info.metric === metric) return info;
    const got = info === undefined ? "nothing" : `${info.dimensions} dimensions, ${info.metric}`;
    const message = `The server created ${got} for ${JSON.stringify(name)}, not ${dimensions} dimensions, ${metric}.`;
    throw hiveError("REMOTE_FAILED", message, { details: { name, dimensions, metric } });
  }

  async deleteCollection(name: string): Promise<boolean> {
    if ((await this.collection(name)) === undefined) return false;
    await this.#http.json({ method: "DELETE", path: `/collections/${encodeURIComponent(name)}` });
    return true;
  }

  /** Inserts or replaces points, in requests of bounded size; one result per point, in order. */
  insert(
    name: string,
    points: readonly OutgoingPoint[],
    options: CallOptions & { onProgress?: (done: number) => void } = {},
  ): Promise<ItemResult[]> {
    return this.#batches.insert(name, points, options);
  }

  /** Replaces vector and payload of points that exist, whatever their ids. */
  update(
    name: string,
    points: readonly OutgoingPoint[],
    options: CallOptions = {},
  ): Promise<ItemResult[]> {
    return this.#batches.update(name, points, options);
  }

  /** Deletes points; one result per id. An unknown id is a result with the code NOT_FOUND. */
  delete(name: string, ids: readonly string[], options: CallOptions = {}): Promise<ItemResult[]> {
    return this.#batches.delete(name, ids, options);
  }

  /** Points by id, with vectors and payloads; unknown ids are left out. */
  retrieve(
    name: string,
    ids: readonly string[],
    dimensions: number,
    options: CallOptions = {},
  ): Promise<RemotePoint[]> {
    return this.#queries.retrieve(name, ids, dimensions, options);
  }

  /** The points that the server ranks first, with vectors, payloads and the server's scores. */
  async search(
    name: string,
    vector: ArrayLike<number>,
    limit: number,
    options: CallOptions = {},
  ): Promise<RemotePoint[]> {
    const { searchLimitMax } = await this.probe();
    return this.#queries.search(name, vector, limit, searchLimitMax, options);
  }

  /**
   * One page of all points in the server's order, in blocks. A server that does not know the offset
   * begins at its first point.
   * @returns after the blocks, the id that the next page begins with, or undefined
   */
  page(
    name: string,
    page: PageOptions,
    options: CallOptions = {},
  ): AsyncGenerator<PointBlock, string | undefined, undefined> {
    return this.#queries.page(name, page, options);
  }

  #get(path: string, { signal }: CallOptions = {}): Promise<unknown> {
    return this.#http.json({ method: "GET", path, signal });
  }

  #send(method: "POST" | "PUT", path: string, body: object): Promise<unknown> {
    return this.#http.json({ method, path, body: JSON.stringify(body) });
  }
}
