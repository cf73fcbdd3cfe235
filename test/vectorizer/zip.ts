/** ZIP archives byte by byte, so that a test can lie in any field. */
import { crc32, deflateRawSync } from "node:zlib";

export interface Entry {
  name: string;
  data: Buffer | string;
  /** What the directory says, when that is not true. */
  size?: number;
  compressedSize?: number;
  crc?: number;
  method?: number;
  flags?: number;
  /** Where the directory says that the entry begins. */
  offset?: number;
  store?: boolean;
}

function header(entry: Entry, packed: Buffer, isCentral: boolean, offset: number): Buffer {
  const name = Buffer.from(entry.name);
  const data = Buffer.from(entry.data);
  const bytes = Buffer.alloc(isCentral ? 46 : 30);
  let at = bytes.writeUInt32LE(isCentral ? 0x0201_4b50 : 0x0403_4b50, 0);
  if (isCentral) at = bytes.writeUInt16LE(20, at);
  at = bytes.writeUInt16LE(20, at);
  at = bytes.writeUInt16LE(entry.flags ?? 0x800, at);
  at = bytes.writeUInt16LE(entry.method ?? (entry.store === true ? 0 : 8), at);
  at = bytes.writeUInt32LE(0, at);
  at = bytes.writeUInt32LE(entry.crc ?? crc32(data), at);
  at = bytes.writeUInt32LE(entry.compressedSize ?? packed.length, at);
  at = bytes.writeUInt32LE(entry.size ?? data.length, at);
  bytes.writeUInt16LE(name.length, at);
  if (isCentral) bytes.writeUInt32LE(entry.offset ?? offset, 42);
  return Buffer.concat([bytes, name]);
}

/** The archive's bytes. */
export function zipOf(entries: readonly Entry[]): Buffer {
  const parts: Buffer[] = [];
  const directory: Buffer[] = [];
  let offset = 0;
  for (const entry of entries) {
    const data = Buffer.from(entry.data);
    const packed = entry.store === true ? data : deflateRawSync(data);
    const local = header(entry, packed, false, 0);
    directory.push(header(entry, packed, true, offset));
    parts.push(local, packed);
    offset += local.length + packed.length;
  }
  const size = directory.reduce((sum, { length }) => sum + length, 0);
  const end = Buffer.alloc(22);
  end.writeUInt32LE(0x0605_4b50, 0);
  end.writeUInt16LE(entries.length, 8);
  end.writeUInt16LE(entries.length, 10);
  end.writeUInt32LE(size, 12);
  end.writeUInt32LE(offset, 16);
  return Buffer.concat([...parts, ...directory, end]);
}

/** A vector store file as the server writes it. */
export function storeOf(
  name: string,
  vectors: readonly unknown[],
  config: unknown = { dimension: 2, metric: "cosine", quantization: { type: "none" } },
): string {
  const collection = { name, config, vectors, hnsw_dump_basename: null };
  return JSON.stringify({ version: 1, collections: [collection] });
}

/** A point of such a file. */
export function stored(id: string, data: readonly unknown[], payload?: unknown): object {
  const payloadJson = payload === undefined ? null : JSON.stringify(payload);
  return { id, data, payload_json: payloadJson, normalized: true };
}
