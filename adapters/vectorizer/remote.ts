/** A collection of a running server behind the engine's interface. */
import {
  type ColumnsInput,
  type FilterInput,
  type Hit,
  hiveError,
  kit,
  limits,
  type Metadata,
  type Metric,
  type RecordInput,
  type ScanOptions,
  type SearchOptions,
  type SelectOptions,
  type StoredRecord,
  type VectorCollection,
  type VectorInput,
  type WriteOptions,
} from "hive-gpu";
import { z } from "zod";
import type { CollectionInfo } from "./answers.js";
import type { ItemResult } from "./batches.js";
import { VectorizerClient } from "./client.js";
import { idsOf } from "./delete-what.js";
import { serverIdsOf } from "./id-codec.js";
import { aFunction, having, readOptions } from "./options.js";
import { pointsOf } from "./points.js";
import { f32Of, outgoingPoints, recordOfPoint, selectParts } from "./records.js";
import { passesOf, RemoteSearch } from "./remote-search.js";
import { RemoteWriter, throwFailures } from "./remote-write.js";
import { noCollection, scrollPoints } from "./scroll.js";

/** Options of {@link RemoteCollection}. */
export interface RemoteCollectionOptions {
  client: VectorizerClient;
  /** Name of the collection on the server. */
  name: string;
  /** Of a collection that is to be created; one that exists must have it. */
  metric?: Metric | undefined;
  /** As `metric`; default: what the first record has. */
  dimensions?: number | undefined;
  /** Whether the first record creates the collection when there is none. Default true. */
  create?: boolean | undefined;
  /** Member of a payload that holds the text. Default "content". */
  textKey?: string | undefined;
  /**
   * "auto" (default): the server ranks, unless its scores show that it ignores the metric. true:
   * every search scans the whole collection, so it is exact. false: the server always ranks.
   */
  exact?: boolean | "auto" | undefined;
  /** Points per request of a scan; default 1000. */
  pageSize?: number | undefined;
  /** Gets a sentence when the server stores less than it was given; default: a process warning. */
  onWarning?: ((message: string) => void) | undefined;
}

const schema = z.strictObject({
  client: having<VectorizerClient>("probe"),
  name: z.string().min(1),
  metric: z.enum(["cosine", "dot", "l2"]).optional(),
  dimensions: z.number().int().min(1).max(limits.dimensionsMax).optional(),
  create: z.boolean().default(true),
  textKey: z.string().min(1).default("content"),
  exact: z.union([z.boolean(), z.literal("auto")]).default("auto"),
  pageSize: z.number().int().min(1).max(100_000).default(1000),
  onWarning: aFunction<(message: string) => void>().optional(),
});

/** Options with defaults filled in. */
export type RemoteSettings = z.output<typeof schema>;

const scanKeys = new Set(["batchSize", "select", "signal", "filter"]);
const getKeys = new Set(["select", "signal"]);
const writeKeys = new Set(["signal", "onProgress"]);
const signalKeys = new Set(["signal"]);

/**
 * Records of a server, with the methods and meanings of the engine's `Collection`, except that a
 * write of many records is not one step: when it fails half way, the error says what was stored.
 * Ranking is the server's, which is approximate; scores, filters and ids are ours, which are exact.
 */
export class RemoteCollection<M extends object = Metadata> implements VectorCollection<M> {
  readonly #settings: RemoteSettings;
  readonly #search = new RemoteSearch();
  readonly #writer: RemoteWriter;
  #known: CollectionInfo | undefined;

  /** Nothing is sent yet. */
  constructor(options: RemoteCollectionOptions) {
    this.#settings = readOptions("RemoteCollection", schema, options);
    this.#writer = new RemoteWriter(this.#settings);
  }

  get name(): string {
    return this.#settings.name;
  }

  /** As last heard from the server; before that, as given in the options. */
  get dimensions(): number | undefined {
    return this.#known?.dimensions ?? this.#settings.dimensions;
  }

  /** As last heard from the server; before that, as given in the options, else cosine. */
  get metric(): Metric {
    return this.#known?.metric ?? this.#settings.metric ?? "cosine";
  }

  get textKey(): string {
    return this.#settings.textKey;
  }

  get client(): VectorizerClient {
    return this.#settings.client;
  }

  /** What the server says of the collection now; undefined when it does not exist. */
  async info(
    options: { signal?: AbortSignal | undefined } = {},
  ): Promise<CollectionInfo | undefined> {
    const { client, name } = this.#settings;
    const info = await client.collection(name, options);
    this.#known = info;
    if (info !== undefined) this.#writer.check(info);
    return info;
  }

  /**
   * Stores records; see `Collection.upsert`. All are checked before the first is sent.
   * @throws the first failure, with `details.results` for each record
   */
  async upsert(
    records: readonly RecordInput<M>[] | ColumnsInput<M>,
    options?: WriteOptions,
  ): Promise<string[]> {
    const results = await this.upsertEach(records, options);
    throwFailures("upsert", results);
    return results.map(({ id }) => id);
  }

  /** As `upsert`, with the server's word on every record instead of an error for some. */
  async upsertEach(
    records: readonly RecordInput<M>[] | ColumnsInput<M>,
    options?: WriteOptions,
  ): Promise<ItemResult[]> {
    kit.checkOptions("upsert", options, writeKeys);
    const signal = kit.checkSignal("upsert", options?.signal);
    kit.throwIfAborted(signal);
    if (Array.isArray(records) && records.length === 0) return [];
    const info = await this.info({ signal });
    const fixed = info?.dimensions ?? this.#settings.dimensions;
    const outgoing = outgoingPoints(records, fixed, this.#settings.textKey);
    if (outgoing.length === 0) return [];
    const dimensions = outgoing[0]!.point.vector.length;
    // Asked each time: an insert into a collection that is gone would create one of 512 dimensions.
    this.#known = info ?? (await this.#writer.create(dimensions));
    return this.#writer.write(outgoing, this.#known, { signal, onProgress: options?.onProgress });
  }

  /** See `Collection.search`. */
  async search(query: VectorInput | { id: string }, options?: SearchOptions<M>): Promise<Hit<M>[]> {
    const read = kit.readSearchOptions("search", options);
    const { signal, k, offset, minScore, parts } = read;
    const info = await this.info({ signal });
    const vector = await this.#vectorOf(query, info, signal);
    if (info === undefined) return [];
    const { client, name, textKey, exact, pageSize } = this.#settings;
    const target = { ...info, client, name, textKey, exact, pageSize };
    const request = {
      query: vector,
      k,
      offset,
      minScore,
      parts,
      signal,
      passes: passesOf(read.filter),
    };
    return (await this.#search.search(target, request)) as Hit<M>[];
  }

  get(id: string, options?: SelectOptions): Promise<StoredRecord<M> | undefined>;
  get(ids: readonly string[], options?: SelectOptions): Promise<(StoredRecord<M> | undefined)[]>;
  async get(
    ids: string | readonly string[],
    options?: SelectOptions,
  ): Promise<StoredRecord<M> | undefined | (StoredRecord<M> | undefined)[]> {
    kit.checkOptions("get", options, getKeys);
    const parts = kit.partsOf("get", options?.select);
    const signal = kit.checkSignal("get", options?.signal);
    kit.throwIfAborted(signal);
    const list = typeof ids === "string" ? [ids] : ids;
    if (!Array.isArray(list)) {
      throw hiveError("INVALID_ARGUMENT", `get takes an id or ids, got ${kit.show(ids)}.`);
    }
    const found = await this.#recordsOf(list as string[], signal);
    const records = (list as string[]).map((id) => {
      const record = found.get(id);
      return record === undefined ? undefined : (selectParts(record, parts) as StoredRecord<M>);
    });
    return typeof ids === "string" ? records[0] : records;
  }

  /** Removes records; unknown ids are fine; by filter it is no one step. */
  async delete(
    what: { ids: readonly string[] } | { filter: FilterInput<M> },
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number> {
    kit.checkOptions("delete", options, signalKeys);
    const signal = kit.checkSignal("delete", options?.signal);
    kit.throwIfAborted(signal);
    return this.#writer.delete(await idsOf(this, what, signal), signal);
  }

  /** Removes all records; the collection and its settings stay. */
  async clear(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    kit.checkOptions("clear", options, signalKeys);
    const signal = kit.checkSignal("clear", options?.signal);
    const { client, name } = this.#settings;
    const ids: string[] = [];
    for await (const block of this.#blocks(signal)) ids.push(...block.ids);
    const results = await client.delete(name, ids, { signal });
    throwFailures(
      "clear",
      results.filter(({ code }) => code !== "NOT_FOUND"),
    );
  }

  async count(filter?: FilterInput<M>): Promise<number> {
    let count = 0;
    if (kit.filterOf("count", filter) !== undefined) {
      for await (const _ of this.scan({ filter, select: [] })) count++;
      return count;
    }
    return (await this.info())?.count ?? 0;
  }

  /**
   * All records in the server's order: that of first insertion. It is not one moment's state: what
   * is written meanwhile may or may not be seen.
   */
  async *scan(options?: ScanOptions<M>): AsyncIterableIterator<StoredRecord<M>> {
    kit.checkOptions("scan", options, scanKeys);
    const parts = kit.partsOf("scan", options?.select);
    const signal = kit.checkSignal("scan", options?.signal);
    const passes = passesOf(kit.filterOf("scan", options?.filter));
    const batch = options?.batchSize ?? this.#settings.pageSize;
    kit.checkInteger("scan", "batchSize", batch, 1, limits.kMax);
    kit.throwIfAborted(signal);
    for await (const block of this.#blocks(signal, batch)) {
      for (const point of pointsOf(block)) {
        kit.throwIfAborted(signal);
        const record = recordOfPoint(point, this.#settings.textKey);
        if (passes === undefined || passes(record))
          yield selectParts(record, parts) as StoredRecord<M>;
      }
    }
  }

  async *#blocks(signal: AbortSignal | undefined, pageSize = this.#settings.pageSize) {
    const { client, name } = this.#settings;
    const info = await this.info({ signal });
    if (info === undefined) return;
    const { dimensions, count: expected } = info;
    const blockSize = Math.min(1024, pageSize);
    yield* scrollPoints(client, name, { dimensions, pageSize, blockSize, expected, signal });
  }

  async #recordsOf(ids: readonly string[], signal: AbortSignal | undefined) {
    const { client, name, textKey } = this.#settings;
    for (const [i, id] of ids.entries()) kit.checkId(id, () => `get: ids[${i}]`);
    const found = new Map<string, StoredRecord & { vector: Float32Array }>();
    const info = ids.length === 0 ? undefined : await this.info({ signal });
    if (info === undefined) return found;
    const asked = [...new Set(ids.flatMap(serverIdsOf))];
    const points = await client.retrieve(name, asked, info.dimensions, { signal });
    for (const point of points) {
      const record = recordOfPoint(point, textKey);
      // Ours wins over one that somebody else stored under the plain id.
      if (!found.has(record.id) || point.id !== record.id) found.set(record.id, record);
    }
    return found;
  }

  async #vectorOf(
    query: unknown,
    info: CollectionInfo | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Float32Array> {
    const isId = typeof query === "object" && query !== null && "id" in query;
    if (!isId || Array.isArray(query)) {
      return f32Of(query, info?.dimensions ?? this.#settings.dimensions, () => "search: the query");
    }
    const { id } = query as { id: string };
    kit.checkId(id, () => "search: the query's id");
    const record = info === undefined ? undefined : (await this.#recordsOf([id], signal)).get(id);
    if (record !== undefined) return record.vector;
    if (info === undefined && !this.#settings.create) throw noCollection(this.name);
    throw hiveError("NOT_FOUND", `search: there is no record with the id ${kit.show(id)}.`, {
      details: { id },
    });
  }
}
