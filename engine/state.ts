/** What the parts of one collection share. */
import { restoreColumns } from "./column-restore.js";
import { hiveError } from "./errors.js";
import { callNative, fromNative } from "./native-errors.js";
import type { NativeDevice } from "./native-types.js";
import type { Metric } from "./result.js";
import type { MetadataSchema } from "./schema.js";
import { CollectionData } from "./snapshot.js";
import type { CollectionStorage } from "./store/collection-storage.js";
import { DurableStore } from "./store/durable.js";
import { MemoryStore } from "./store/memory.js";
import type { Dtype, SearchPlan } from "./types.js";

/** A collection's fixed properties and its current data. */
export class CollectionState {
  readonly name: string;
  readonly metric: Metric;
  readonly dtype: Dtype;
  /** Undefined until it is given, or fixed by the first record. */
  dimensions: number | undefined;
  /** Undefined while nothing was ever stored. */
  data: CollectionData | undefined;
  /** Its files; undefined when the database is in memory. */
  readonly storage: CollectionStorage | undefined;
  /** Checks the metadata of every write; belongs to the process and is not stored. */
  schema: MetadataSchema | undefined;
  readonly #device: NativeDevice;
  #closedBy: string | undefined;
  #rowBase = 0;

  constructor(
    device: NativeDevice,
    name: string,
    dimensions: number | undefined,
    metric: Metric,
    dtype: Dtype,
    storage?: CollectionStorage,
  ) {
    this.storage = storage;
    this.#device = device;
    this.name = name;
    this.dimensions = dimensions;
    this.metric = metric;
    this.dtype = dtype;
  }

  /** Data of its own for the first records; it becomes `data` when they are published. */
  async createData(dimensions: number): Promise<CollectionData> {
    const { metric, dtype, storage } = this;
    if (storage === undefined) {
      const native = callNative(() => this.#device.createCollection({ dimensions, metric, dtype }));
      return new CollectionData(native, new MemoryStore(), dimensions, this.#rowBase);
    }
    const log = await storage.log(dimensions);
    const firstRow = log.state().endRow;
    const options = { dimensions, metric, dtype, firstRow };
    const native = callNative(() => this.#device.createCollection(options));
    return new CollectionData(native, new DurableStore(storage, log), dimensions, 0);
  }

  /** Fixes the dimensions of a collection that has none yet; durably when it is on disk. */
  async setDimensions(dimensions: number | undefined): Promise<void> {
    if (dimensions === undefined || this.dimensions !== undefined) return;
    this.dimensions = dimensions;
    await this.storage?.commitManifest((manifest) => ({ ...manifest, dimensions }));
  }

  /** Takes a schema for the writes from now on; the one that it has stays. */
  useSchema(schema: MetadataSchema | undefined): void {
    if (schema === undefined || schema === this.schema) return;
    if (this.schema !== undefined) {
      const name = JSON.stringify(this.name);
      throw hiveError("ALREADY_EXISTS", `Collection ${name} is open with another schema.`, {
        hint: "Make the schema once and pass the same object, or leave the option out.",
        details: { option: "schema" },
      });
    }
    this.schema = schema;
  }

  /** Reads what is stored, when there is something. Once, before anything else. */
  async load(): Promise<void> {
    const { storage } = this;
    if (storage === undefined || storage.manifest.files.length === 0) return;
    const data = await this.createData(storage.manifest.dimensions!);
    try {
      await (data.store as DurableStore).load(data.native);
      await restoreColumns(data, () => this.assertOpen());
    } catch (error) {
      data.close();
      throw fromNative(error);
    }
    this.data = data;
  }

  /** Before data becomes visible: the collection is open, and was not given other dimensions. */
  assertFits(data: CollectionData): void {
    this.assertOpen();
    const { dimensions } = this;
    if (dimensions === undefined || dimensions === data.dimensions) return;
    throw hiveError(
      "DIMENSION_MISMATCH",
      `The vectors have ${data.dimensions} elements, the collection has ${dimensions} dimensions.`,
      { details: { expected: dimensions, actual: data.dimensions } },
    );
  }

  /** Puts empty data in place; rows go on counting. */
  async clear(): Promise<void> {
    const { data } = this;
    if (data === undefined) return;
    if (data.store instanceof DurableStore) await data.store.clear();
    const snapshot = data.acquire();
    this.#rowBase += snapshot.native.endRow;
    snapshot.release();
    this.data = undefined;
    data.close();
  }

  /** @param reason as in "The collection "a" was closed: <reason>". */
  close(reason: string): void {
    if (this.#closedBy !== undefined) return;
    this.#closedBy = reason;
    this.data?.close();
    this.data = undefined;
  }

  /** Throws CLOSED, or READ_ONLY when the database was opened for reading only. */
  assertWritable(): void {
    this.assertOpen();
    this.storage?.assertWritable();
  }

  /** What `explain` says when there is nothing to search. */
  emptyPlan(): SearchPlan {
    const { backend, name } = this.#device.info;
    return {
      backend,
      device: name,
      path: "inline",
      strategy: "nothing to search",
      segments: 0,
      rows: 0,
      liveRows: 0,
      bytes: 0,
      estimatedMicros: 0,
      reasons: ["The collection has no records."],
    };
  }

  /** Throws CLOSED once the collection was dropped or the database closed. */
  assertOpen(): void {
    if (this.#closedBy === undefined) return;
    throw hiveError("CLOSED", `Collection ${JSON.stringify(this.name)}: ${this.#closedBy}.`);
  }
}
