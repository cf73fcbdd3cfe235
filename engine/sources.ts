/** Records on their way into a collection, given as an array or as columns. */
import { randomUUID } from "node:crypto";
import type { ColumnBatch } from "./column-batch.js";
import { hiveError } from "./errors.js";
import { checkId, recordName } from "./ids.js";
import type { NativeBatch } from "./native-types.js";
import { checkOptions, show } from "./options.js";
import { encodeRecord } from "./record-codec.js";
import type { StoreBatch } from "./store/store.js";
import type { ColumnsInput, RecordInput } from "./types.js";
import { checkDimensions, checkVector, copyVector } from "./vectors.js";

/** Bytes of vectors that one native call may copy: about 0.2 ms. */
const pushBytes = 1 << 20;

/** What a write needs of its records; position i is the i-th record of the call. */
export interface RecordSource {
  /** Known after `dimensions`. */
  readonly count: number;
  /** Nothing was given. */
  readonly isEmpty: boolean;
  /** Elements per vector when the collection does not say; the first record decides. */
  dimensions(fixed: number | undefined): number;
  /** The metadata as it was given. */
  metadata(position: number): unknown;
  /**
   * Checks record i, stages it and returns its id.
   * @param metadata what a schema made of the record's own
   */
  stage(position: number, batch: StoreBatch, columns: ColumnBatch, metadata?: object): string;
  /** Hands the vectors [from, to) over; the caller keeps that below `maxPush` vectors. */
  push(batch: NativeBatch, from: number, to: number): void;
  readonly maxPush: number;
  /** The record, for messages. */
  name(position: number): string;
}

const recordKeys = new Set(["id", "vector", "text", "metadata"]);
const columnKeys = new Set(["ids", "vectors", "dimensions", "texts", "metadatas"]);

function rowsPerPush(dimensions: number): number {
  return Math.max(1, Math.floor(pushBytes / (dimensions * 4)));
}

class RecordsSource implements RecordSource {
  readonly #records: readonly RecordInput<object>[];
  readonly count: number;
  #dimensions = 0;
  #block = new Float32Array(0);

  constructor(records: readonly RecordInput<object>[]) {
    this.#records = records;
    this.count = records.length;
  }

  get isEmpty(): boolean {
    return this.count === 0;
  }

  get maxPush(): number {
    return rowsPerPush(this.#dimensions);
  }

  name(position: number): string {
    return recordName(position, this.#records[position]?.id);
  }

  dimensions(fixed: number | undefined): number {
    const first = this.#record(0);
    checkVector(first.vector, fixed, () => `upsert: the vector of ${this.name(0)}`);
    this.#dimensions = first.vector.length;
    return this.#dimensions;
  }

  metadata(position: number): unknown {
    return this.#record(position).metadata;
  }

  stage(position: number, batch: StoreBatch, columns: ColumnBatch, checked?: object): string {
    const record = this.#record(position);
    const { id = randomUUID() } = record;
    checkId(id, () => `upsert: the id of record ${position}`);
    checkVector(
      record.vector,
      this.#dimensions,
      () => `upsert: the vector of ${this.name(position)}`,
    );
    const name = (): string => `upsert: ${this.name(position)}`;
    const metadata = checked ?? record.metadata;
    batch.add(id, encodeRecord(record.text, metadata, name));
    columns.add(batch.size - 1, metadata);
    return id;
  }

  push(batch: NativeBatch, from: number, to: number): void {
    const dimensions = this.#dimensions;
    if (this.#block.length < (to - from) * dimensions) {
      this.#block = new Float32Array(Math.min(this.maxPush, this.count) * dimensions);
    }
    for (let i = from; i < to; i++) {
      const vector = this.#records[i]?.vector;
      if (vector?.length !== dimensions) {
        const message = `upsert: the vector of ${this.name(i)} changed its length during the call.`;
        throw hiveError("DETACHED", message, { details: { index: i } });
      }
      const name = (): string => `upsert: the vector of ${this.name(i)}`;
      copyVector(vector, this.#block, (i - from) * dimensions, name);
    }
    batch.push(this.#block, 0, to - from);
  }

  #record(position: number): RecordInput<object> {
    const record: unknown = this.#records[position];
    if (typeof record !== "object" || record === null || Array.isArray(record)) {
      throw hiveError(
        "INVALID_ARGUMENT",
        `upsert: record ${position} must be an object, got ${show(record)}.`,
        { details: { index: position } },
      );
    }
    for (const key in record) {
      if (!recordKeys.has(key)) checkOptions(`upsert: record ${position}`, record, recordKeys);
    }
    return record as RecordInput<object>;
  }
}

class ColumnsSource implements RecordSource {
  readonly #columns: ColumnsInput<object>;
  readonly #length: number;
  count = 0;
  #dimensions = 0;

  constructor(columns: ColumnsInput<object>) {
    this.#columns = columns;
    this.#length = columns.vectors.length;
    // Without ids the count follows from the dimensions, which may only be known later.
    this.count = columns.ids?.length ?? columns.texts?.length ?? columns.metadatas?.length ?? -1;
  }

  get isEmpty(): boolean {
    return this.#length === 0 && this.count <= 0;
  }

  get maxPush(): number {
    return rowsPerPush(this.#dimensions);
  }

  name(position: number): string {
    return recordName(position, this.#columns.ids?.[position]);
  }

  dimensions(fixed: number | undefined): number {
    const given = this.#columns.dimensions;
    if (given !== undefined && (!Number.isInteger(given) || given < 1)) {
      const message = `upsert: dimensions must be an integer above 0, got ${show(given)}.`;
      throw hiveError("INVALID_ARGUMENT", message);
    }
    if (fixed !== undefined && given !== undefined && fixed !== given) {
      const message = `upsert: dimensions is ${given}, the collection has ${fixed} dimensions.`;
      throw hiveError("DIMENSION_MISMATCH", message, {
        details: { expected: fixed, actual: given },
      });
    }
    if (given === undefined && fixed === undefined && this.count < 1) {
      const message = "upsert: the first columns of a collection need dimensions, or ids.";
      throw hiveError("INVALID_ARGUMENT", message);
    }
    const dimensions = given ?? fixed ?? this.#length / this.count;
    if (this.count < 0) this.count = this.#length / dimensions;
    this.#dimensions = dimensions;
    this.#checkLengths(dimensions);
    checkDimensions(dimensions, () => "upsert: a vector");
    return dimensions;
  }

  metadata(position: number): unknown {
    return this.#columns.metadatas?.[position];
  }

  stage(position: number, batch: StoreBatch, columns: ColumnBatch, checked?: object): string {
    const { ids, texts, metadatas } = this.#columns;
    let id: string;
    if (ids === undefined) {
      id = randomUUID();
    } else {
      const given: unknown = ids[position];
      checkId(given, () => `upsert: ids[${position}]`);
      id = given;
    }
    const text = texts?.[position];
    const metadata = checked ?? metadatas?.[position];
    const json =
      text === undefined && metadata === undefined
        ? ""
        : encodeRecord(text, metadata, () => `upsert: ${this.name(position)}`);
    batch.add(id, json);
    columns.add(batch.size - 1, metadata);
    return id;
  }

  push(batch: NativeBatch, from: number, to: number): void {
    const { vectors } = this.#columns;
    if (vectors.length !== this.#length) {
      const message = "upsert: the buffer of vectors was detached or resized during the call.";
      throw hiveError("DETACHED", message);
    }
    batch.push(vectors, from, to - from);
  }

  #checkLengths(dimensions: number): void {
    const { count } = this;
    if (Number.isInteger(count) && this.#length === count * dimensions) {
      const { ids, texts, metadatas } = this.#columns;
      for (const [name, column] of Object.entries({ ids, texts, metadatas })) {
        if (column === undefined || column.length === count) continue;
        const message = `upsert: ${name} has ${column.length} entries for ${count} vectors.`;
        throw hiveError("INVALID_ARGUMENT", message, { details: { column: name } });
      }
      return;
    }
    const known = Number.isInteger(count) ? `${count} records` : "whole records";
    throw hiveError(
      "DIMENSION_MISMATCH",
      `upsert: vectors has ${this.#length} elements, which is not ${known} of ${dimensions}.`,
      { details: { elements: this.#length, dimensions } },
    );
  }
}

/** Looks at the shape of what was given to `upsert`; records are checked one by one later. */
export function recordSource(input: unknown): RecordSource {
  if (Array.isArray(input)) return new RecordsSource(input as RecordInput<object>[]);
  if (typeof input !== "object" || input === null) {
    const message = `upsert takes an array of records, or columns, got ${show(input)}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  checkOptions("upsert: columns", input, columnKeys);
  const columns = input as Record<string, unknown>;
  if (!(columns["vectors"] instanceof Float32Array)) {
    const message = `upsert: vectors must be a Float32Array, got ${show(columns["vectors"])}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  for (const name of ["ids", "texts", "metadatas"]) {
    const column = columns[name];
    if (column === undefined || Array.isArray(column)) continue;
    throw hiveError("INVALID_ARGUMENT", `upsert: ${name} must be an array, got ${show(column)}.`);
  }
  return new ColumnsSource(columns as unknown as ColumnsInput<object>);
}
