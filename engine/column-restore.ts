/** Columns of records that were read back from a store: built anew, as they were at first. */
import { ColumnBatch } from "./column-batch.js";
import { HiveGpuError } from "./errors.js";
import type { NativeBatch } from "./native-types.js";
import { Slices } from "./slices.js";
import type { CollectionData } from "./snapshot.js";

/** Records taken in at a time. */
const recordsAtOnce = 16_384;
const stride = 64;
const noVoids = { hasVoid: false, isVoid: (): boolean => false };

/**
 * Gives the stored records of `data` their columns. Before the first batch.
 * @param check throws when the work must not go on
 */
export async function restoreColumns(data: CollectionData, check: () => void): Promise<void> {
  const snapshot = data.acquire();
  try {
    const slices = new Slices(undefined, check);
    let from = 0;
    for (;;) {
      const rows = snapshot.native.liveRowsFrom(from, recordsAtOnce);
      if (rows.length === 0) return;
      from = rows.at(-1)! + 1;
      const batch = new ColumnBatch(data.columns);
      for (let i = 0; i < rows.length; i++) {
        addRecord(data, rows[i]!, i, batch);
        if (i % stride === 0 && slices.due) await slices.turn();
      }
      await batch.flush({ setColumn: intoRows(data, rows) }, noVoids, slices);
    }
  } finally {
    snapshot.release();
    // The view of before has no columns.
    data.changed();
  }
}

/** A damaged record must not keep the others from being opened; filters refuse while it is there. */
function addRecord(data: CollectionData, row: number, position: number, batch: ColumnBatch): void {
  try {
    batch.add(position, data.store.contentOf(row).metadata);
  } catch (error) {
    if (!(error instanceof HiveGpuError) || error.code !== "CORRUPT") throw error;
    data.columns.unread.set(row, error);
  }
}

function intoRows(data: CollectionData, rows: Float64Array): NativeBatch["setColumn"] {
  return (id, kind, positions, numbers, codes, lengths) => {
    const at = Float64Array.from(positions, (position) => rows[position]!);
    data.native.restoreColumn(id, kind, at, numbers, codes, lengths);
  };
}
