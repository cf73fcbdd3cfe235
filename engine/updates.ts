/** Changing text and metadata of stored records. */
import { hiveError } from "./errors.js";
import { checkId } from "./ids.js";
import { checkOptions, show } from "./options.js";
import { encodeRecord } from "./record-codec.js";
import { IdMap } from "./store/id-map.js";
import type { RecordUpdate, WriteOptions } from "./types.js";
import type { Write } from "./write.js";

/** Steps between two looks at the clock. */
const stride = 64;
/** Rows that one native call may copy within the native side. */
const copiesPerPush = 1024;
const updateKeys = new Set(["id", "text", "metadata"]);

/** Later entries of the same id change what earlier ones made of it. */
export async function fillUpdates(
  updates: readonly RecordUpdate<object>[],
  write: Write,
  options: WriteOptions,
): Promise<void> {
  const { native, slices } = write;
  const count = updates.length;
  const last = new IdMap(count);
  const earlier = new Map<number, number>();
  for (let i = 0; i < count; i++) {
    const id = checkUpdate(updates[i], i);
    const before = last.replace(id, i);
    if (before !== undefined) earlier.set(i, before);
    if (i % stride === 0 && slices.due) await slices.turn();
  }
  let rows: number[] = [];
  for (let i = 0; i < count; i++) {
    const { id } = updates[i]!;
    if (last.get(id) !== i) continue;
    rows.push(stageUpdate(write, id, i, mergedUpdate(updates, earlier, i)));
    if (rows.length === copiesPerPush) {
      native.pushCopies(Float64Array.from(rows));
      rows = [];
    }
    if (i % 16 === 0 && slices.due) {
      options.onProgress?.({ done: i + 1, total: count });
      await slices.turn();
    }
  }
  if (rows.length > 0) native.pushCopies(Float64Array.from(rows));
  options.onProgress?.({ done: count, total: count });
}

/** Throws unless entry `index` is an object with an id and known keys; returns the id. */
export function checkUpdate(entry: unknown, index: number): string {
  if (typeof entry !== "object" || entry === null) {
    const message = `update: entry ${index} must be an object, got ${show(entry)}.`;
    throw hiveError("INVALID_ARGUMENT", message, { details: { index } });
  }
  checkOptions(`update: entry ${index}`, entry, updateKeys);
  const { id } = entry as { id: unknown };
  checkId(id, () => `update: the id of entry ${index}`);
  return id;
}

/** Stages the changed record and returns the row whose vector it keeps. */
function stageUpdate(
  { data, batch, columns }: Write,
  id: string,
  index: number,
  change: { text: unknown; metadata: unknown },
): number {
  const row = data.store.rowOf(id);
  if (row === undefined) {
    const message = `update: there is no record with the id ${show(id)} (entry ${index}).`;
    throw hiveError("NOT_FOUND", message, { details: { id, index } });
  }
  const content = data.store.contentOf(row);
  const text = change.text ?? content.text;
  const metadata = change.metadata ?? content.metadata;
  batch.add(
    id,
    encodeRecord(text, metadata, () => `update: entry ${index}`),
  );
  columns.add(batch.size - 1, metadata);
  return row;
}

function mergedUpdate(
  updates: readonly RecordUpdate<object>[],
  earlier: ReadonlyMap<number, number>,
  index: number,
): { text: unknown; metadata: unknown } {
  let text: unknown;
  let metadata: unknown;
  for (let i: number | undefined = index; i !== undefined; i = earlier.get(i)) {
    text ??= updates[i]!.text;
    metadata ??= updates[i]!.metadata;
  }
  return { text, metadata };
}
