/**
 * The writes of a collection: check and stage in slices, let the native side convert on its
 * threads, then publish everything in one synchronous step. A write that fails or is aborted
 * leaves nothing behind.
 */
import { ColumnBatch } from "./column-batch.js";
import { hiveError, throwIfAborted } from "./errors.js";
import type { FilterNode } from "./filter-ast.js";
import { limits } from "./limits.js";
import { type VectorNamer, fromNative } from "./native-errors.js";
import type { NativeBatch } from "./native-types.js";
import { Join } from "./join.js";
import { show } from "./options.js";
import { fillPassing, fillRemovals } from "./removals.js";
import { checkMetadata, checkUpdates, type SchemaRun } from "./schema.js";
import { Slices } from "./slices.js";
import type { CollectionData } from "./snapshot.js";
import type { RecordSource } from "./sources.js";
import type { CollectionState } from "./state.js";
import type { StoreBatch } from "./store/store.js";
import type { RecordUpdate, WriteOptions } from "./types.js";
import { checkUpdate, fillUpdates } from "./updates.js";
import { type WriteOutcome, WriteQueue } from "./write-queue.js";
import type { Write } from "./write.js";

/** Steps between two looks at the clock. */
const stride = 64;

/** Fills a write's two batches. */
type Fill<T> = (write: Write) => Promise<T>;

/** Runs the writes of one collection. */
export class Writer {
  readonly #state: CollectionState;
  readonly #queue = new WriteQueue();
  /** Upserts that wait for their turn and may be joined by others. */
  #join: Join | undefined;

  constructor(state: CollectionState) {
    this.#state = state;
  }

  upsert(source: RecordSource, options: WriteOptions): Promise<string[]> {
    if (Join.takes(source, options)) return this.#joinedUpsert(source);
    this.#join = undefined;
    return this.#queue.run(() => this.#upsert(source, options), options.signal);
  }

  /** Small upserts that wait for the same turn become one write and share its syncs. */
  #joinedUpsert(source: RecordSource): Promise<string[]> {
    if (this.#join?.hasRoom(source) === true) return this.#join.add(source);
    const join = new Join();
    this.#join = join;
    const ids = join.add(source);
    const run = this.#queue.run(async () => {
      if (this.#join === join) this.#join = undefined;
      let tail: Promise<void> | undefined;
      await join.run(async (joined) => {
        await tail;
        const outcome = await this.#upsert(joined, {});
        ({ tail } = outcome);
        return outcome.value;
      });
      return { value: undefined, tail };
    });
    void run;
    return ids;
  }

  async #upsert(source: RecordSource, options: WriteOptions): Promise<WriteOutcome<string[]>> {
    this.#begin(options.signal);
    const state = this.#state;
    const dimensions = source.dimensions(state.dimensions);
    checkCount(source.count, state.data?.store.count ?? 0);
    const checked = await this.#checked(source, options);
    const data = state.data ?? (await state.createData(dimensions));
    try {
      const namer =
        (write: Write): VectorNamer =>
        (index) =>
          nameVector(source, write, index);
      const fill: Fill<string[]> = (write) => fillFrom(source, write, options, checked);
      return await this.#write(data, source.count, options, fill, namer);
    } catch (error) {
      if (data !== state.data) data.close();
      throw error;
    }
  }

  update(updates: readonly RecordUpdate<object>[], options: WriteOptions): Promise<void> {
    this.#join = undefined;
    return this.#queue.run(async () => {
      this.#begin(options.signal);
      const { data } = this.#state;
      if (data === undefined) {
        const id = checkUpdate(updates[0], 0);
        const message = `update: there is no record with the id ${show(id)} (entry 0).`;
        throw hiveError("NOT_FOUND", message, { details: { id, index: 0 } });
      }
      const run = this.#schemaRun(options.signal);
      const checked = run === undefined ? updates : await checkUpdates(run, updates);
      this.#begin(options.signal);
      const fill: Fill<void> = (write) => fillUpdates(checked, write, options);
      return this.#write(data, updates.length, options, fill);
    }, options.signal);
  }

  remove(ids: readonly string[], signal: AbortSignal | undefined): Promise<number> {
    this.#join = undefined;
    return this.#queue.run(async () => {
      this.#begin(signal);
      const { data } = this.#state;
      if (data === undefined) return { value: 0 };
      return this.#write(data, ids.length, { signal }, (write) => fillRemovals(ids, write));
    }, signal);
  }

  /** Removes the records that pass, as they are when the write's turn has come. */
  removeWhere(filter: FilterNode, signal: AbortSignal | undefined): Promise<number> {
    this.#join = undefined;
    return this.#queue.run(async () => {
      this.#begin(signal);
      const { data } = this.#state;
      if (data === undefined) return { value: 0 };
      const fill: Fill<number> = (write) =>
        fillPassing(filter, write, signal, () => this.#state.assertOpen());
      return this.#write(data, 0, { signal }, fill);
    }, signal);
  }

  clear(signal: AbortSignal | undefined): Promise<void> {
    this.#join = undefined;
    return this.#queue.run(async () => {
      this.#begin(signal);
      await this.#state.clear();
      return { value: undefined };
    }, signal);
  }

  /** What the schema makes of the records' metadata; undefined when there is no schema. */
  async #checked(source: RecordSource, { signal }: WriteOptions): Promise<object[] | undefined> {
    const run = this.#schemaRun(signal);
    if (run === undefined) return undefined;
    const name = (index: number): string => `upsert: ${source.name(index)}`;
    const checked = await checkMetadata(run, source.count, (i) => source.metadata(i), name);
    this.#begin(signal);
    return checked;
  }

  #schemaRun(signal: AbortSignal | undefined): SchemaRun | undefined {
    const { schema } = this.#state;
    if (schema === undefined) return undefined;
    return { schema, signal, slices: new Slices(signal, () => this.#state.assertOpen()) };
  }

  #begin(signal: AbortSignal | undefined): void {
    throwIfAborted(signal);
    this.#state.assertWritable();
  }

  async #write<T>(
    data: CollectionData,
    expected: number,
    options: WriteOptions,
    fill: Fill<T>,
    namer?: (write: Write) => VectorNamer,
  ): Promise<WriteOutcome<T>> {
    const state = this.#state;
    const { signal } = options;
    const slices = new Slices(signal, () => state.assertOpen());
    const native = startBatch(data);
    const batch = data.store.begin(expected);
    const columns = new ColumnBatch(data.columns);
    const write: Write = { data, native, batch, columns, slices };
    let value: T;
    try {
      value = await fill(write);
      await columns.flush(native, batch, slices);
      const range = native.tryFinish() ?? (await native.finish());
      throwIfAborted(signal);
      state.assertFits(data);
      const preparing = batch.prepare(range.firstRow, slices);
      if (preparing !== undefined) {
        await preparing;
        throwIfAborted(signal);
        state.assertFits(data);
      }
      // Once this has resolved, the write has happened: nothing may stop it any more.
      const committing = batch.commit(native);
      if (committing !== undefined) await committing;
      native.commit(batch.tombstones());
    } catch (error) {
      const nameOf = namer?.(write);
      const reported = fromNative(error, nameOf);
      await forget(native);
      await batch.abort();
      throw reported;
    }
    const tail = batch.publish();
    state.data = data;
    state.dimensions = data.dimensions;
    data.changed();
    return { value, tail };
  }
}

/** Refuses a batch that would take the collection beyond its limits. */
function checkCount(count: number, stored: number): void {
  const { batchRecordsMax, recordsMax } = limits;
  const max = Math.min(batchRecordsMax, recordsMax - stored);
  if (count <= max) return;
  const message = `upsert: ${count} records are too many; there is room for ${max} in this call.`;
  throw hiveError("LIMIT_EXCEEDED", message, { details: { count, max } });
}

function startBatch(data: CollectionData): NativeBatch {
  try {
    return data.native.begin();
  } catch (error) {
    throw fromNative(error);
  }
}

/** Aborts a native batch once its conversions are done: aborting earlier would wait for them on
 * this thread. */
async function forget(native: NativeBatch): Promise<void> {
  try {
    if (native.tryFinish() === undefined) await native.finish();
  } catch {
    // The failure that led here is reported; another one of the same batch adds nothing.
  }
  native.abort();
}

/** The record that the native side's `index`-th vector belongs to: void ones were not pushed. */
function nameVector(
  source: RecordSource,
  { batch }: Write,
  index: number,
): ReturnType<VectorNamer> {
  let position = index;
  if (batch.hasVoid) {
    let pushed = -1;
    for (position = -1; pushed < index;) if (!batch.isVoid(++position)) pushed++;
  }
  return {
    name: `upsert: the vector of ${source.name(position)}`,
    details: { index: position },
  };
}

async function fillFrom(
  source: RecordSource,
  { native, batch, columns, slices }: Write,
  options: WriteOptions,
  checked: readonly object[] | undefined,
): Promise<string[]> {
  const { count } = source;
  const ids: string[] = [];
  for (let i = 0; i < count; i++) {
    ids.push(source.stage(i, batch, columns, checked?.[i]));
    if (i % stride === stride - 1 && slices.due) await slices.turn();
  }
  const { maxPush } = source;
  let from = 0;
  while (from < count) {
    let to = Math.min(from + maxPush, count);
    if (batch.hasVoid) to = endOfRun(batch, from, to);
    if (to > from) source.push(native, from, to);
    from = to > from ? to : from + 1;
    if (slices.due) {
      options.onProgress?.({ done: from, total: count });
      await slices.turn();
    }
  }
  options.onProgress?.({ done: count, total: count });
  return ids;
}

/** First void position in [from, to), else `to`. */
function endOfRun(batch: StoreBatch, from: number, to: number): number {
  for (let i = from; i < to; i++) if (batch.isVoid(i)) return i;
  return to;
}
