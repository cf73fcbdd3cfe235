/** The text of a vector store, as the server's own format has it. */
import { createHash } from "node:crypto";
import { kit, type StoredRecord, type VectorCollection } from "hive-gpu";
import { decodeId, encodeId } from "./id-codec.js";
import { encodePayload } from "./payload-codec.js";
import { storedMetric } from "./vecdb-format.js";

/** How to write. */
export interface StoreTextOptions {
  textKey: string;
  normalize: boolean;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { points: number }) => void) | undefined;
}

/** A file of the archive; size and SHA-256 are known when it is written. */
export interface Part {
  path: string;
  type: "vectors" | "metadata" | "other";
  size: number;
  checksum: string;
}

/** A collection of the archive. */
export interface Written {
  name: string;
  dimensions: number;
  points: number;
  nonUnit: number;
  zeroVectors: number;
  parts: Part[];
}

/** Characters that are handed on at a time. */
export const chunkCharacters = 1 << 18;
/** What the server calls a unit vector. */
const unitTolerance = 1e-6;

/** How the server is to keep the collection. */
export function configOf({ dimensions, metric }: VectorCollection<object>): object {
  return {
    dimension: dimensions ?? 0,
    metric: storedMetric(metric),
    hnsw_config: { m: 16, ef_construction: 200, ef_search: 100, seed: null },
    quantization: { type: "none" },
  };
}

/** The JSON of a vector store, in pieces; counts and hashes on the way. */
export async function* storeText(
  collection: VectorCollection<object>,
  settings: StoreTextOptions,
  written: Written,
  part: Part,
): AsyncGenerator<Buffer> {
  const hash = createHash("sha256");
  const take = (text: string): Buffer => {
    const bytes = Buffer.from(text);
    hash.update(bytes);
    part.size += bytes.length;
    return bytes;
  };
  const { name } = collection;
  const config = JSON.stringify(configOf(collection));
  let text = `{"version":1,"collections":[{"name":${JSON.stringify(name)},"config":${config},"vectors":[`;
  const { signal, onProgress } = settings;
  const slices = new kit.Slices(signal);
  for await (const record of collection.scan({ select: ["text", "metadata", "vector"], signal })) {
    if (written.points++ > 0) text += ",";
    text += pointText(
      record as StoredRecord & { vector: Float32Array },
      collection,
      settings,
      written,
    );
    if (text.length < chunkCharacters) continue;
    yield take(text);
    text = "";
    onProgress?.({ points: written.points });
    if (slices.due) await slices.turn();
  }
  yield take(`${text}],"hnsw_dump_basename":null}]}`);
  part.checksum = hash.digest("hex");
  onProgress?.({ points: written.points });
}

function pointText(
  record: StoredRecord & { vector: Float32Array },
  { metric }: VectorCollection<object>,
  { textKey, normalize }: StoreTextOptions,
  written: Written,
): string {
  let { vector } = record;
  const isCosine = metric === "cosine";
  const norm = Math.sqrt(vector.reduce((sum, value) => sum + value * value, 0));
  if (norm === 0) written.zeroVectors++;
  else if (isCosine && normalize) vector = vector.map((value) => value / norm);
  const isUnit = Math.abs((isCosine && normalize && norm > 0 ? 1 : norm) - 1) <= unitTolerance;
  if (isCosine && !isUnit && norm > 0) written.nonUnit++;
  // An id that would be read as the code of another is written as its own code.
  const id = decodeId(record.id) === record.id ? record.id : encodeId(record.id);
  const hasContent = record.text !== undefined || record.metadata !== undefined;
  const payload = hasContent
    ? encodePayload(record, textKey, undefined, () => record.id)
    : undefined;
  return JSON.stringify({
    id,
    data: Array.from(vector),
    payload_json: payload === undefined ? null : JSON.stringify(payload),
    normalized: isUnit,
  });
}
