/** From a filter to the rows of a snapshot that pass. */
import { throwIfAborted } from "./errors.js";
import type { FilterNode, FilterRecord } from "./filter-ast.js";
import { Compiler, type Program, type Residual } from "./filter-compile.js";
import { matches } from "./filter-match.js";
import { fromNative } from "./native-errors.js";
import type { NativeSelection } from "./native-types.js";
import { Slices } from "./slices.js";
import type { Snapshot } from "./snapshot.js";

/** Rows fetched at a time. */
const rowsAtOnce = 4096;
/** Records decided between two looks at the clock. */
const stride = 32;

async function run(snapshot: Snapshot, program: Program): Promise<NativeSelection> {
  return snapshot.native.select(program.words, program.rows);
}

/** Whether an unread record passes is unknown, so no answer would be right while it is there. */
function assertAllRead({ data, native }: Snapshot): void {
  for (const [row, error] of data.columns.unread) {
    if (native.liveRowsFrom(row, 1)[0] === row) throw error;
  }
}

/** Rows of a selection, ascending, in pieces. */
export function* rowsOf(selection: NativeSelection): Generator<Float64Array, void, undefined> {
  let from = 0;
  for (;;) {
    const rows = selection.rowsFrom(from, rowsAtOnce);
    if (rows.length === 0) return;
    yield rows;
    from = rows.at(-1)! + 1;
  }
}

/** Decides a leaf on the records that columns could not decide. */
async function decide(
  snapshot: Snapshot,
  { node, candidates }: Residual,
  slices: Slices,
): Promise<Float64Array> {
  const { store } = snapshot.data;
  const selection = await run(snapshot, { words: Float64Array.from(candidates), rows: [] });
  const passing: number[] = [];
  let looked = 0;
  for (const rows of rowsOf(selection)) {
    for (const row of rows) {
      const record: FilterRecord = { id: store.idOf(row), ...store.contentOf(row) };
      if (matches(node, record)) passing.push(row);
      if (++looked % stride === 0 && slices.due) await slices.turn();
    }
  }
  return Float64Array.from(passing);
}

/**
 * The rows of a snapshot that pass a filter. Throws CORRUPT while a live record cannot be read.
 * @param signal stops the evaluation between two slices
 * @param check throws when the collection was closed meanwhile
 */
export async function selectRows(
  snapshot: Snapshot,
  filter: FilterNode,
  signal: AbortSignal | undefined,
  check: () => void,
): Promise<NativeSelection> {
  const slices = new Slices(signal, check);
  const compiler = new Compiler(snapshot.data.columns, slices);
  try {
    assertAllRead(snapshot);
    for (const residual of compiler.residuals(filter)) {
      compiler.decided.set(residual.node, await decide(snapshot, residual, slices));
    }
    const selection = await run(snapshot, await compiler.program(filter));
    throwIfAborted(signal);
    check();
    return selection;
  } catch (error) {
    throw fromNative(error);
  }
}
