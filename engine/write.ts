/** What the steps of one write share. */
import type { ColumnBatch } from "./column-batch.js";
import type { NativeBatch } from "./native-types.js";
import type { Slices } from "./slices.js";
import type { CollectionData } from "./snapshot.js";
import type { StoreBatch } from "./store/store.js";

/** One write under way. */
export interface Write {
  readonly data: CollectionData;
  readonly native: NativeBatch;
  readonly batch: StoreBatch;
  /** Takes the metadata of every record that is pushed. */
  readonly columns: ColumnBatch;
  readonly slices: Slices;
}
