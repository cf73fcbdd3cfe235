/** Builds hits and records from rows, from the same snapshot that was searched. */
import { hiveError } from "./errors.js";
import { checkWord, show } from "./options.js";
import { type Metric, distanceOf, scoreOf } from "./result.js";
import type { Slices } from "./slices.js";
import type { Snapshot } from "./snapshot.js";
import type { Hit, RecordPart, StoredRecord } from "./types.js";

/** Parts as bits. */
export const partText = 1;
export const partMetadata = 2;
export const partVector = 4;
/** What is returned when nothing is selected. */
export const defaultParts = partText | partMetadata;

const partNames: readonly RecordPart[] = ["text", "metadata", "vector"];
/** Bytes of vectors read in one native call. */
const readBytes = 1 << 20;
/** Hits built between two looks at the clock. */
const stride = 32;

/** `select` as bits. */
export function partsOf(where: string, select: unknown): number {
  if (select === undefined) return defaultParts;
  if (!Array.isArray(select)) {
    const message = `${where}: select must be an array of ${partNames.join(", ")}; got ${show(select)}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  let parts = 0;
  for (const part of select)
    parts |= 1 << partNames.indexOf(checkWord(where, "select", part, partNames));
  return parts;
}

function addContent(target: StoredRecord, snapshot: Snapshot, row: number, parts: number): void {
  if ((parts & defaultParts) === 0) return;
  const content = snapshot.data.store.contentOf(row);
  if ((parts & partText) !== 0 && content.text !== undefined) target.text = content.text;
  if ((parts & partMetadata) !== 0 && content.metadata !== undefined) {
    target.metadata = content.metadata;
  }
}

/** One hit, without its vector. */
function hitOf(snapshot: Snapshot, metric: Metric, row: number, value: number, parts: number): Hit {
  const hit: Hit = {
    id: snapshot.data.store.idOf(row),
    score: scoreOf(metric, value),
    distance: distanceOf(metric, value),
  };
  addContent(hit, snapshot, row, parts);
  return hit;
}

/** A run of native results: values and rows from `from` to `to`. */
export interface HitRange {
  values: Float32Array;
  rows: Float64Array;
  from: number;
  to: number;
}

/** Hits of a range, best first, up to the first whose score is below `minScore`. */
export function hitsNow(
  snapshot: Snapshot,
  metric: Metric,
  range: HitRange,
  parts: number,
  minScore: number,
): Hit[] {
  const { values, rows, from, to } = range;
  const hits: Hit[] = [];
  for (let i = from; i < to; i++) {
    const hit = hitOf(snapshot, metric, rows[i]!, values[i]!, parts);
    if (hit.score < minScore) break;
    hits.push(hit);
  }
  if ((parts & partVector) !== 0) addVectorsNow(snapshot, hits, rows, from);
  return hits;
}

/** As `hitsNow`, giving the event loop a turn when a slice is used up. */
export async function hitsInSlices(
  snapshot: Snapshot,
  metric: Metric,
  range: HitRange,
  parts: number,
  minScore: number,
  slices: Slices,
): Promise<Hit[]> {
  const { values, rows, from, to } = range;
  const hits: Hit[] = [];
  for (let i = from; i < to; i++) {
    const hit = hitOf(snapshot, metric, rows[i]!, values[i]!, parts);
    if (hit.score < minScore) break;
    hits.push(hit);
    if (hits.length % stride === 0 && slices.due) await slices.turn();
  }
  if ((parts & partVector) !== 0) await addVectors(snapshot, hits, rows.subarray(from), slices);
  return hits;
}

function addVectorsNow(snapshot: Snapshot, hits: Hit[], rows: Float64Array, from: number): void {
  if (hits.length === 0) return;
  const all = snapshot.native.readVectors(rows.slice(from, from + hits.length));
  const dimensions = all.length / hits.length;
  // Each vector gets memory of its own, so that keeping one does not keep them all.
  hits.forEach((hit, i) => {
    hit.vector = all.slice(i * dimensions, (i + 1) * dimensions);
  });
}

/** Reads the vectors of `records`, whose rows are the first of `rows`. */
async function addVectors(
  snapshot: Snapshot,
  records: StoredRecord[],
  rows: Float64Array,
  slices: Slices,
): Promise<void> {
  const { dimensions } = snapshot.data;
  const step = Math.max(1, Math.floor(readBytes / (dimensions * 4)));
  for (let from = 0; from < records.length; from += step) {
    const to = Math.min(from + step, records.length);
    const block = snapshot.native.readVectors(rows.slice(from, to));
    for (let i = from; i < to; i++) {
      const at = (i - from) * dimensions;
      records[i]!.vector = block.slice(at, at + dimensions);
    }
    if (slices.due) await slices.turn();
  }
}

/** Records of rows that the snapshot sees, in the order of the rows. */
export async function recordsInSlices(
  snapshot: Snapshot,
  rows: Float64Array,
  parts: number,
  slices: Slices,
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  for (let i = 0; i < rows.length; i++) {
    const row = rows[i]!;
    const record: StoredRecord = { id: snapshot.data.store.idOf(row) };
    addContent(record, snapshot, row, parts);
    records.push(record);
    if (records.length % stride === 0 && slices.due) await slices.turn();
  }
  if ((parts & partVector) !== 0) await addVectors(snapshot, records, rows, slices);
  return records;
}
