/** Metadata of a batch on its way into columns. */
import { types } from "node:util";
import {
  type ColumnType,
  type Columns,
  type PathColumns,
  elementKey,
  nativeKinds,
} from "./columns.js";
import { limits } from "./limits.js";
import type { NativeBatch } from "./native-types.js";
import { isPlainObject } from "./options.js";
import type { Slices } from "./slices.js";
import type { StoreBatch } from "./store/store.js";

/** Values handed over in one native call: some tenths of a millisecond. */
const valuesPerCall = 1 << 15;

/** Values of one column. */
interface Staged {
  kind: 0 | 1 | 2 | 3;
  positions: number[];
  /** Numbers or codes; of lists, all codes one after the other. */
  values: number[];
  /** Of lists. */
  lengths: number[];
}

let records = 0;

export class ColumnBatch {
  readonly #columns: Columns;
  readonly #staged = new Map<number, Staged>();

  constructor(columns: Columns) {
    this.#columns = columns;
  }

  /**
   * Stages the metadata of the record at a position of the batch; positions ascend. The metadata
   * was found valid by the codec.
   */
  add(position: number, metadata: unknown): void {
    if (metadata === undefined) return;
    records++;
    this.#object("", metadata as Record<string, unknown>, position, 1);
  }

  /** Hands everything over; void positions of the store's batch are left out. */
  async flush(
    native: Pick<NativeBatch, "setColumn">,
    batch: Pick<StoreBatch, "hasVoid" | "isVoid">,
    slices: Slices,
  ): Promise<void> {
    for (const [id, staged] of this.#staged) {
      const voids = batch.hasVoid ? batch : undefined;
      let skipped = 0;
      let looked = 0;
      let value = 0;
      for (let from = 0; from < staged.positions.length; from += valuesPerCall) {
        const call = new ColumnCall(staged);
        const to = Math.min(from + valuesPerCall, staged.positions.length);
        for (let i = from; i < to; i++) {
          const position = staged.positions[i]!;
          const length = staged.kind === 3 ? staged.lengths[i]! : 1;
          if (voids !== undefined) {
            for (; looked < position; looked++) if (voids.isVoid(looked)) skipped++;
          }
          if (voids?.isVoid(position) !== true) call.take(position - skipped, i, value, length);
          value += length;
        }
        call.send(native, id);
        if (slices.due) await slices.turn();
      }
    }
  }

  #object(prefix: string, object: Record<string, unknown>, position: number, depth: number): void {
    for (const key of Object.keys(object)) {
      const value = object[key];
      if (value !== undefined) this.#value(prefix + key, value, position, depth);
    }
  }

  #value(path: string, value: unknown, position: number, depth: number): void {
    const columns = this.#columns.of(path);
    if (columns === undefined) {
      this.#mark(this.#columns.overflow(), position);
      return;
    }
    if (columns.seen === records) {
      // "a.b" beside { a: { b } }: which one counts is decided on the record.
      this.#put(columns, "opaque", position);
      return;
    }
    columns.seen = records;
    switch (typeof value) {
      case "number":
        this.#put(columns, "number", position).values.push(value === 0 ? 0 : value);
        return;
      case "boolean":
        this.#put(columns, "boolean", position).values.push(value ? 1 : 0);
        return;
      case "string":
        this.#string(columns, value, position);
        return;
      default:
        this.#other(path, columns, value, position, depth);
    }
  }

  #string(columns: PathColumns, value: string, position: number): void {
    const short = value.length <= limits.columnStringMax;
    const code = short ? columns.strings.add(value, limits.columnStringsMax) : undefined;
    if (code === undefined) this.#put(columns, "opaque", position);
    else this.#put(columns, "string", position).values.push(code);
  }

  #other(
    path: string,
    columns: PathColumns,
    value: unknown,
    position: number,
    depth: number,
  ): void {
    if (value === null) {
      this.#put(columns, "null", position);
    } else if (Array.isArray(value)) {
      this.#list(columns, value, position);
    } else if (types.isDate(value)) {
      this.#put(columns, "date", position).values.push(value.getTime());
    } else if (typeof value === "object" && isPlainObject(value)) {
      this.#put(columns, "object", position);
      if (depth < limits.columnDepthMax) this.#object(`${path}.`, value, position, depth + 1);
      else if (Object.keys(value).length > 0) this.#mark(this.#columns.overflow(), position);
    }
  }

  #list(columns: PathColumns, list: readonly unknown[], position: number): void {
    const codes: number[] = [];
    if (list.length <= limits.columnListMax) {
      for (const item of list) {
        const key = elementKey(item);
        const code =
          key === undefined ? undefined : columns.elements.add(key, limits.columnStringsMax);
        if (code === undefined) break;
        codes.push(code);
      }
    }
    if (codes.length < list.length) {
      this.#put(columns, "opaque", position);
      return;
    }
    const staged = this.#put(columns, "list", position);
    for (const code of codes) staged.values.push(code);
    staged.lengths.push(codes.length);
  }

  /** Notes that the path has a value of a type; the caller appends it. */
  #put(columns: PathColumns, type: ColumnType, position: number): Staged {
    const id = columns.ids[type] ?? this.#columns.idOf(columns, type);
    return this.#at(id, nativeKinds[type], position);
  }

  #mark(id: number, position: number): void {
    this.#at(id, 0, position);
  }

  #at(id: number, kind: 0 | 1 | 2 | 3, position: number): Staged {
    let staged = this.#staged.get(id);
    if (staged === undefined) {
      staged = { kind, positions: [], values: [], lengths: [] };
      this.#staged.set(id, staged);
    }
    // Marks may be set twice for one record.
    if (staged.positions.at(-1) !== position) staged.positions.push(position);
    return staged;
  }
}

/** The values of one native call. */
class ColumnCall {
  readonly #staged: Staged;
  readonly #positions: number[] = [];
  readonly #values: number[] = [];
  readonly #lengths: number[] = [];

  constructor(staged: Staged) {
    this.#staged = staged;
  }

  take(position: number, index: number, value: number, length: number): void {
    const { kind, values } = this.#staged;
    this.#positions.push(position);
    if (kind === 3) {
      for (let i = 0; i < length; i++) this.#values.push(values[value + i]!);
      this.#lengths.push(length);
    } else if (kind !== 0) {
      this.#values.push(values[index]!);
    }
  }

  send(native: Pick<NativeBatch, "setColumn">, id: number): void {
    if (this.#positions.length === 0) return;
    const { kind } = this.#staged;
    const positions = Uint32Array.from(this.#positions);
    const numbers = Float64Array.from(kind === 1 ? this.#values : []);
    const codes = Uint32Array.from(kind === 1 ? [] : this.#values);
    native.setColumn(id, kind, positions, numbers, codes, Uint32Array.from(this.#lengths));
  }
}
