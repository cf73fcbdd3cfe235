/** Between the engine's records and the server's points. */
import { randomUUID } from "node:crypto";
import { type ColumnsInput, hiveError, kit, type RecordInput, type StoredRecord } from "hive-gpu";
import type { OutgoingPoint } from "./batches.js";
import { decodeId, encodeId, isHashedId } from "./id-codec.js";
import { decodePayload, encodePayload } from "./payload-codec.js";
import { type Point, payloadOf } from "./points.js";

/** A record and the point that it becomes. */
export interface Outgoing {
  id: string;
  point: OutgoingPoint;
}

const recordKeys = new Set(["id", "vector", "text", "metadata"]);
const columnKeys = new Set(["ids", "vectors", "dimensions", "texts", "metadatas"]);

/**
 * The points of what was given to `upsert`, all of it checked before the first one is sent.
 * @param dimensions what the collection has; undefined: what the first record has
 */
export function outgoingPoints(
  given: unknown,
  dimensions: number | undefined,
  textKey: string,
): Outgoing[] {
  const records = Array.isArray(given)
    ? (given as RecordInput<object>[])
    : recordsOfColumns(given, dimensions);
  let fixed = dimensions;
  return records.map((record, i) => {
    const name = (): string => `upsert: record ${i}`;
    if (typeof record !== "object" || record === null) {
      throw hiveError("INVALID_ARGUMENT", `${name()} must be an object, got ${kit.show(record)}.`);
    }
    kit.checkOptions(name(), record, recordKeys);
    const { id = randomUUID() } = record;
    kit.checkId(id, () => `upsert: the id of record ${i}`);
    const vectorName = (): string => `upsert: the vector of record ${i} (${kit.show(id)})`;
    const vector = f32Of(record.vector, fixed, vectorName);
    fixed = vector.length;
    const serverId = encodeId(id);
    const carried = isHashedId(serverId) ? id : undefined;
    const payload = encodePayload(record, textKey, carried, name);
    return { id, point: { id: serverId, vector, payload } };
  });
}

/** A checked copy in f32; throws DIMENSION_MISMATCH, INVALID_ARGUMENT or NON_FINITE. */
export function f32Of(
  vector: unknown,
  dimensions: number | undefined,
  name: () => string,
): Float32Array {
  const check: typeof kit.checkVector = kit.checkVector;
  check(vector, dimensions, name);
  const copy = new Float32Array(vector.length);
  kit.copyVector(vector, copy, 0, name);
  kit.checkFinite(copy, name);
  return copy;
}

function recordsOfColumns(given: unknown, fixed: number | undefined): RecordInput<object>[] {
  if (typeof given !== "object" || given === null) {
    const message = `upsert takes an array of records, or columns, got ${kit.show(given)}.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
  kit.checkOptions("upsert: columns", given, columnKeys);
  const { ids, vectors, texts, metadatas, dimensions: asked } = given as ColumnsInput<object>;
  if (!(vectors instanceof Float32Array)) {
    throw hiveError("INVALID_ARGUMENT", "upsert: vectors must be a Float32Array.");
  }
  const dimensions = asked ?? fixed ?? vectors.length / (ids?.length ?? NaN);
  const count = vectors.length / dimensions;
  if (!Number.isInteger(dimensions) || dimensions < 1 || !Number.isInteger(count)) {
    const message = `upsert: ${vectors.length} elements are not whole vectors of ${dimensions}.`;
    throw hiveError("DIMENSION_MISMATCH", message, { details: { dimensions } });
  }
  for (const [name, column] of Object.entries({ ids, texts, metadatas })) {
    if (column === undefined || column.length === count) continue;
    const message = `upsert: ${name} has ${column.length} entries for ${count} vectors.`;
    throw hiveError("INVALID_ARGUMENT", message, { details: { column: name } });
  }
  return Array.from({ length: count }, (_, i) => ({
    id: ids?.[i],
    vector: vectors.subarray(i * dimensions, (i + 1) * dimensions),
    text: texts?.[i],
    metadata: metadatas?.[i],
  }));
}

/** The record that a point stands for. */
export function recordOfPoint(
  point: Point,
  textKey: string,
): StoredRecord & { vector: Float32Array } {
  return recordOf(point.id, payloadOf(point.members), point.vector, textKey);
}

/** The record of an id and a payload of the server. */
export function recordOf(
  serverId: string,
  payload: unknown,
  vector: Float32Array,
  textKey: string,
): StoredRecord & { vector: Float32Array } {
  const { text, metadata, id } = decodePayload(payload, textKey);
  const record: StoredRecord & { vector: Float32Array } = { id: decodeId(serverId, id), vector };
  if (text !== undefined) record.text = text;
  if (metadata !== undefined) record.metadata = metadata;
  return record;
}

/** A copy with the selected parts only. */
export function selectParts(
  record: StoredRecord & { vector: Float32Array },
  parts: number,
): StoredRecord {
  const out: StoredRecord = { id: record.id };
  if ((parts & kit.partText) !== 0 && record.text !== undefined) out.text = record.text;
  if ((parts & kit.partMetadata) !== 0 && record.metadata !== undefined) {
    out.metadata = record.metadata;
  }
  // A vector of its own, so that keeping one does not keep the answer it came in.
  if ((parts & kit.partVector) !== 0) out.vector = record.vector.slice();
  return out;
}
