/** Removing records by id and by filter. */
import type { FilterNode } from "./filter-ast.js";
import { rowsOf, selectRows } from "./filter-run.js";
import { checkId } from "./ids.js";
import type { Write } from "./write.js";

/** Steps between two looks at the clock. */
const stride = 64;

/** Removes the records that pass, and says how many they were. */
export async function fillPassing(
  filter: FilterNode,
  { data, batch, slices }: Write,
  signal: AbortSignal | undefined,
  check: () => void,
): Promise<number> {
  const snapshot = data.acquire();
  try {
    let removed = 0;
    for (const rows of rowsOf(await selectRows(snapshot, filter, signal, check))) {
      for (const row of rows) if (batch.remove(row)) removed++;
      if (slices.due) await slices.turn();
    }
    return removed;
  } finally {
    snapshot.release();
  }
}

/** Removes by id, and says how many were there. */
export async function fillRemovals(
  ids: readonly string[],
  { data, batch, slices }: Write,
): Promise<number> {
  let known = 0;
  for (let i = 0; i < ids.length; i++) {
    const id = ids[i]!;
    checkId(id, () => `delete: ids[${i}]`);
    const row = data.store.rowOf(id);
    if (row !== undefined && batch.remove(row)) known++;
    if (i % stride === 0 && slices.due) await slices.turn();
  }
  return known;
}
