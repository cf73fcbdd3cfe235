import crypto from "node:crypto";
import fs from "node:fs/promises";
import path from "node:path";
import { ROOT } from "../common/root.js";
import { type EncodeOptions, type Encoder, encoderVersion } from "./encoder.js";

/**
 * File: SHA-256 of the rest (32 bytes), count and dimensions (u32, little endian), count keys of
 * 32 bytes, count vectors of f32. A key is the SHA-256 of the encoder's version and the text, so
 * an edited passage or another model is simply not found.
 */
const DIGEST_BYTES = 32;
const HEADER_BYTES = DIGEST_BYTES + 8;
/** About 100 MB. Beyond it only the texts of the current run are kept. */
const MAX_ENTRIES = 50_000;

type Entries = Map<string, Float32Array>;

function sha256(data: string | Uint8Array): Buffer {
  return crypto.createHash("sha256").update(data).digest();
}

function serialize(entries: Entries, dimensions: number): Buffer {
  const keys = [...entries.keys()].map((key) => Buffer.from(key, "hex"));
  const vectors = [...entries.values()].map((vector) =>
    Buffer.from(vector.buffer, vector.byteOffset, vector.byteLength),
  );
  const sizes = Buffer.alloc(8);
  sizes.writeUInt32LE(entries.size, 0);
  sizes.writeUInt32LE(dimensions, 4);
  const body = Buffer.concat([sizes, ...keys, ...vectors]);
  return Buffer.concat([sha256(body), body]);
}

/** Undefined when the file is not exactly what {@link serialize} wrote. */
function parse(file: Buffer): Entries | undefined {
  if (file.length < HEADER_BYTES) return undefined;
  const count = file.readUInt32LE(DIGEST_BYTES);
  const dimensions = file.readUInt32LE(DIGEST_BYTES + 4);
  if (file.length !== HEADER_BYTES + count * (DIGEST_BYTES + dimensions * 4)) return undefined;
  if (!sha256(file.subarray(DIGEST_BYTES)).equals(file.subarray(0, DIGEST_BYTES))) return undefined;
  const entries: Entries = new Map();
  const firstVector = HEADER_BYTES + count * DIGEST_BYTES;
  for (let i = 0; i < count; i++) {
    const key = HEADER_BYTES + i * DIGEST_BYTES;
    const start = firstVector + i * dimensions * 4;
    // Copied, because a Float32Array must start at a multiple of four bytes.
    const bytes = Uint8Array.from(file.subarray(start, start + dimensions * 4));
    entries.set(file.toString("hex", key, key + DIGEST_BYTES), new Float32Array(bytes.buffer));
  }
  return entries;
}

/** An encoder that remembers on disk what it has encoded. A broken file is the same as none. */
export class CachedEncoder implements Encoder {
  /** How many texts the last call found in the cache. */
  hits = 0;
  /** Set when the file was there but unusable; the vectors were computed again. */
  wasCorrupt = false;

  constructor(
    private readonly inner: Encoder,
    private readonly file: string,
    private readonly version: string,
  ) {}

  async encode(texts: readonly string[], options: EncodeOptions = {}): Promise<Float32Array[]> {
    const known = await this.load();
    const keys = texts.map((text) => sha256(`${this.version}\0${text}`).toString("hex"));
    const missing = [...new Map(texts.map((text, i) => [keys[i]!, text]))].filter(
      ([key]) => !known.has(key),
    );
    this.hits = keys.filter((key) => known.has(key)).length;
    if (missing.length > 0) {
      const fresh = await this.inner.encode(
        missing.map(([, text]) => text),
        options,
      );
      for (const [i, [key]] of missing.entries()) known.set(key, fresh[i]!);
      await this.save(known, new Set(keys));
    }
    return keys.map((key) => known.get(key)!);
  }

  private async load(): Promise<Entries> {
    const file = await fs.readFile(this.file).catch(() => undefined);
    if (file === undefined) return new Map();
    const entries = parse(file);
    this.wasCorrupt = entries === undefined;
    return entries ?? new Map();
  }

  /** Writes beside the file and renames, so that a reader sees the old file or the new one. */
  private async save(entries: Entries, current: ReadonlySet<string>): Promise<void> {
    const kept =
      entries.size <= MAX_ENTRIES
        ? entries
        : new Map([...entries].filter(([key]) => current.has(key)));
    const dimensions = kept.values().next().value?.length ?? 0;
    const temporary = `${this.file}.${process.pid}.${crypto.randomUUID()}`;
    await fs.mkdir(path.dirname(this.file), { recursive: true });
    try {
      await fs.writeFile(temporary, serialize(kept, dimensions));
      await fs.rename(temporary, this.file);
    } finally {
      await fs.rm(temporary, { force: true });
    }
  }
}

/** The sentence encoder with the cache that the examples share. */
export function cachedEncoder(encoder: Encoder): CachedEncoder {
  return new CachedEncoder(
    encoder,
    path.join(ROOT, ".cache/quickstart/encoder.bin"),
    encoderVersion(),
  );
}
