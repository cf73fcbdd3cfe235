/** Parts of searches with a filter. */
import { hiveError, throwIfAborted } from "./errors.js";
import { rowsOf, selectRows } from "./filter-run.js";
import { recordsInSlices } from "./hits.js";
import { fromNative } from "./native-errors.js";
import type { NativeSearchResult, NativeSelection } from "./native-types.js";
import type { SearchPlanOptions } from "./search-options.js";
import { Slices } from "./slices.js";
import type { Snapshot } from "./snapshot.js";
import type { CollectionState } from "./state.js";
import type { Hit } from "./types.js";

/** Without a vector: the records that pass, in order of insertion. */
export async function listPassing(
  state: CollectionState,
  options: SearchPlanOptions,
): Promise<Hit[]> {
  const { k, offset, filter, parts, signal, minScore } = options;
  if (minScore > -Infinity) {
    throw hiveError("INVALID_ARGUMENT", "search: minScore needs a vector to compare with.");
  }
  const snapshot = state.data?.acquire();
  if (snapshot === undefined) return [];
  try {
    const check = (): void => state.assertOpen();
    const selection = await selectRows(snapshot, filter ?? { kind: "true" }, signal, check);
    const wanted: number[] = [];
    for (const rows of rowsOf(selection)) {
      for (const row of rows) if (wanted.length < k + offset) wanted.push(row);
      if (wanted.length >= k + offset) break;
    }
    const slices = new Slices(signal, check);
    const found = Float64Array.from(wanted.slice(offset));
    const records = await recordsInSlices(snapshot, found, parts, slices);
    return records.map((record) => Object.assign(record, { score: 0, distance: 0 }));
  } finally {
    snapshot.release();
  }
}

/** One search on the engine's threads among the rows of a selection. */
export async function filteredJob(
  snapshot: Snapshot,
  vector: Float32Array,
  k: number,
  selection: NativeSelection,
  signal: AbortSignal | undefined,
  check: () => void,
): Promise<NativeSearchResult> {
  let cancel: (() => void) | undefined;
  try {
    const job = snapshot.native.search(vector, 1, k, selection);
    cancel = (): void => job.cancel();
    signal?.addEventListener("abort", cancel, { once: true });
    return await job.promise;
  } catch (error) {
    throwIfAborted(signal);
    check();
    throw fromNative(error, () => ({ name: "search: the query", details: {} }));
  } finally {
    if (cancel !== undefined) signal?.removeEventListener("abort", cancel);
  }
}
