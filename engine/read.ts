/** Reading records without searching: get, scan. */
import { hiveError, throwIfAborted } from "./errors.js";
import type { FilterNode } from "./filter-ast.js";
import { selectRows } from "./filter-run.js";
import { filterOf } from "./search-options.js";
import { partsOf, recordsInSlices } from "./hits.js";
import { checkId } from "./ids.js";
import { limits } from "./limits.js";
import { fromNative } from "./native-errors.js";
import { checkInteger, checkOptions, checkSignal } from "./options.js";
import { Slices } from "./slices.js";
import type { CollectionState } from "./state.js";
import type { ScanOptions, SelectOptions, StoredRecord } from "./types.js";

const getKeys = new Set(["select", "signal"]);
const scanKeys = new Set(["batchSize", "select", "signal", "filter"]);
const defaultBatch = 1000;
/** Ids looked up in one go: some tenths of a millisecond. */
const idsAtOnce = 1024;

/** Records of `ids`, in their order; undefined for unknown ones. */
export async function getRecords(
  state: CollectionState,
  ids: readonly unknown[],
  options: SelectOptions | undefined,
): Promise<(StoredRecord | undefined)[]> {
  state.assertOpen();
  checkOptions("get", options, getKeys);
  const parts = partsOf("get", options?.select);
  const signal = checkSignal("get", options?.signal);
  throwIfAborted(signal);
  const slices = new Slices(signal, () => state.assertOpen());
  const found: (StoredRecord | undefined)[] = [];
  for (let from = 0; from < ids.length; from += idsAtOnce) {
    await readSome(state, ids, from, parts, slices, found);
    if (slices.due) await slices.turn();
  }
  return found;
}

/** Appends the records of `ids` from `from` on, `idsAtOnce` at most, from one snapshot. */
async function readSome(
  state: CollectionState,
  ids: readonly unknown[],
  from: number,
  parts: number,
  slices: Slices,
  found: (StoredRecord | undefined)[],
): Promise<void> {
  const to = Math.min(from + idsAtOnce, ids.length);
  const { data } = state;
  const rows: number[] = [];
  const places: number[] = [];
  // Ids point to the newest rows, so they are looked up before the first turn of the loop, while
  // that is what the snapshot sees.
  for (let i = from; i < to; i++) {
    const id = ids[i];
    checkId(id, () => (ids.length === 1 ? "get: the id" : `get: ids[${i}]`));
    const row = data?.store.rowOf(id);
    found.push(undefined);
    if (row === undefined) continue;
    rows.push(row);
    places.push(i);
  }
  if (data === undefined || rows.length === 0) return;
  const snapshot = data.acquire();
  try {
    const records = await recordsInSlices(snapshot, Float64Array.from(rows), parts, slices);
    for (const [i, record] of records.entries()) found[places[i]!] = record;
  } catch (error) {
    throw fromNative(error);
  } finally {
    snapshot.release();
  }
}

/** All records in the order of their rows, as they were when the first one was asked for. */
export async function* scanRecords(
  state: CollectionState,
  options: ScanOptions | undefined,
): AsyncGenerator<StoredRecord, void, undefined> {
  state.assertOpen();
  checkOptions("scan", options, scanKeys);
  const parts = partsOf("scan", options?.select);
  const signal = checkSignal("scan", options?.signal);
  const given = options?.batchSize ?? defaultBatch;
  const batchSize = checkInteger("scan", "batchSize", given, 1, limits.kMax);
  const filter = filterOf("scan", options?.filter);
  throwIfAborted(signal);
  const snapshot = state.data?.acquire();
  if (snapshot === undefined) return;
  const check = (): void => state.assertOpen();
  const slices = new Slices(signal, check);
  try {
    const selection =
      filter === undefined ? undefined : await selectRows(snapshot, filter, signal, check);
    let from = 0;
    for (;;) {
      state.assertOpen();
      throwIfAborted(signal);
      const rows =
        selection?.rowsFrom(from, batchSize) ?? snapshot.native.liveRowsFrom(from, batchSize);
      if (rows.length === 0) return;
      from = rows.at(-1)! + 1;
      for (const record of await recordsInSlices(snapshot, rows, parts, slices)) {
        throwIfAborted(signal);
        yield record;
      }
    }
  } catch (error) {
    throw fromNative(error);
  } finally {
    snapshot.release();
  }
}

/** Refuses what `scan` is given before it is iterated. */
export function checkScan(options: ScanOptions | undefined): void {
  checkOptions("scan", options, scanKeys);
  partsOf("scan", options?.select);
  checkInteger("scan", "batchSize", options?.batchSize ?? defaultBatch, 1, limits.kMax);
  checkSignal("scan", options?.signal);
  filterOf("scan", options?.filter);
}

/** Number of records that pass. */
export async function countRecords(
  state: CollectionState,
  filter: FilterNode,
  signal: AbortSignal | undefined,
): Promise<number> {
  const snapshot = state.data?.acquire();
  if (snapshot === undefined) return 0;
  try {
    return (await selectRows(snapshot, filter, signal, () => state.assertOpen())).count;
  } finally {
    snapshot.release();
  }
}

/** Throws for a `get` without ids. */
export function notIds(value: unknown): Error {
  return hiveError("INVALID_ARGUMENT", `get takes an id or an array of ids, got ${typeof value}.`);
}
