/** Export of collections as files that a hive-vectorizer server reads. */
import { createHash } from "node:crypto";
import { createWriteStream } from "node:fs";
import { mkdir, open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { Readable } from "node:stream";
import { pipeline } from "node:stream/promises";
import { hiveError, type VectorCollection } from "hive-gpu";
import yazl from "yazl";
import { z } from "zod";
import { Archive } from "./archive.js";
import { syncFolder } from "./mirror-state.js";
import { aFunction, aSignal, having, readOptions } from "./options.js";
import {
  checksumsEnd,
  metadataEnd,
  storedMetric,
  storeEnd,
  vecdbName,
  vecidxName,
} from "./vecdb-format.js";
import { chunkCharacters, configOf, type Part, storeText, type Written } from "./vecdb-text.js";

export interface ExportOptions {
  collections: readonly VectorCollection<object>[];
  /** Member of a payload that gets the text. Default "content". */
  textKey?: string | undefined;
  /** Scales vectors of cosine collections to length 1, as the server does. Default false: kept. */
  normalize?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { points: number }) => void) | undefined;
}

/** What an export wrote. */
export interface ExportReport {
  vecdb: string;
  vecidx: string;
  collections: {
    name: string;
    points: number;
    /** Of a cosine collection, vectors whose length is not 1. */
    nonUnit: number;
    zeroVectors: number;
    /** SHA-256 of the vector store. */
    sha256: string;
    bytes: number;
  }[];
}

const schema = z.strictObject({
  collections: z.array(having<VectorCollection<object>>("scan")).min(1),
  textKey: z.string().min(1).default("content"),
  normalize: z.boolean().default(false),
  signal: aSignal().optional(),
  onProgress: aFunction<(progress: { points: number }) => void>().optional(),
});
type Settings = z.output<typeof schema>;

/** A number takes about this many bytes; stores that could pass 4 GiB need the larger format. */
const bytesPerNumber = 24;

/**
 * Writes `vectorizer.vecdb` and `vectorizer.vecidx` into a folder, next to their final names first
 * and renamed when all of it is on disk; files of those names are replaced.
 * @throws NOT_SUPPORTED for metrics that the server lacks; ALREADY_EXISTS for two of one name
 */
export async function exportVecdb(folder: string, options: ExportOptions): Promise<ExportReport> {
  const settings = readOptions("exportVecdb", schema, options);
  check(settings);
  await mkdir(folder, { recursive: true });
  const vecdb = path.join(folder, vecdbName);
  const vecidx = path.join(folder, vecidxName);
  const [newVecdb, newVecidx] = [vecdb, vecidx].map((file) => `${file}.${process.pid}.tmp`) as [
    string,
    string,
  ];
  try {
    const written = await writeArchive(newVecdb, settings);
    await writeIndex(newVecidx, newVecdb, written);
    await rename(newVecdb, vecdb);
    await rename(newVecidx, vecidx);
    await syncFolder(folder);
    return { vecdb, vecidx, collections: written.map(reportOf) };
  } catch (error) {
    await rm(newVecdb, { force: true });
    await rm(newVecidx, { force: true });
    throw error;
  }
}

function reportOf({ name, points, nonUnit, zeroVectors, parts }: Written) {
  const { checksum: sha256, size: bytes } = parts[0]!;
  return { name, points, nonUnit, zeroVectors, sha256, bytes };
}

function check({ collections }: Settings): void {
  const names = new Set<string>();
  for (const { name, metric } of collections) {
    if (storedMetric(metric) === undefined) {
      throw hiveError(
        "NOT_SUPPORTED",
        `hive-vectorizer has no metric ${metric} (${JSON.stringify(name)}).`,
      );
    }
    if (names.has(name)) {
      throw hiveError(
        "ALREADY_EXISTS",
        `exportVecdb: two collections are called ${JSON.stringify(name)}.`,
      );
    }
    if (/[/\\\0]/.test(name)) {
      const message = `exportVecdb: the name ${JSON.stringify(name)} cannot be that of a file.`;
      throw hiveError("INVALID_ARGUMENT", message, {
        hint: "Copy it under a name without slashes.",
      });
    }
    names.add(name);
  }
}

async function writeArchive(file: string, settings: Settings): Promise<Written[]> {
  const zip = new yazl.ZipFile();
  // Its types know less of the stream than it is.
  const output = pipeline(zip.outputStream as Readable, createWriteStream(file, { flush: true }));
  // A failure of the disk is thrown by whichever of the two is waited for.
  output.catch(() => undefined);
  const written: Written[] = [];
  for (const collection of settings.collections) {
    written.push(
      await Promise.race([writeCollection(zip, collection, settings), failureOf(output)]),
    );
  }
  zip.end();
  await output;
  return written;
}

/** Settles only when the output fails. */
async function failureOf(output: Promise<void>): Promise<never> {
  await output;
  return new Promise(() => undefined);
}

async function writeCollection(
  zip: yazl.ZipFile,
  collection: VectorCollection<object>,
  settings: Settings,
): Promise<Written> {
  const { name } = collection;
  const written: Written = {
    name,
    dimensions: collection.dimensions ?? 0,
    points: 0,
    nonUnit: 0,
    zeroVectors: 0,
    parts: [],
  };
  const forceZip64Format =
    (await collection.count()) * (collection.dimensions ?? 0) * bytesPerNumber > 2 ** 31;
  await addStream(zip, name + storeEnd, forceZip64Format, "vectors", written, (part) =>
    storeText(collection, settings, written, part),
  );
  const now = new Date().toISOString();
  const config = configOf(collection);
  const metadata = {
    name,
    config,
    created_at: now,
    modified_at: now,
    vector_count: written.points,
  };
  addText(zip, name + metadataEnd, JSON.stringify(metadata), "metadata", written);
  const sums = Object.fromEntries(written.parts.map((part) => [part.path, part.checksum]));
  addText(zip, name + checksumsEnd, JSON.stringify(sums), "other", written);
  return written;
}

function addStream(
  zip: yazl.ZipFile,
  name: string,
  forceZip64Format: boolean,
  type: Part["type"],
  written: Written,
  text: (part: Part) => AsyncGenerator<Buffer>,
): Promise<void> {
  const part: Part = { path: name, type, size: 0, checksum: "" };
  written.parts.push(part);
  return new Promise((resolve, reject) => {
    const stream = Readable.from(text(part), { objectMode: false, highWaterMark: chunkCharacters });
    stream.once("end", resolve);
    stream.once("error", reject);
    zip.addReadStream(stream, name, { forceZip64Format, compressionLevel: 1 });
  });
}

function addText(
  zip: yazl.ZipFile,
  name: string,
  text: string,
  type: Part["type"],
  written: Written,
): void {
  const bytes = Buffer.from(text);
  const checksum = createHash("sha256").update(bytes).digest("hex");
  written.parts.push({ path: name, type, size: bytes.length, checksum });
  zip.addBuffer(bytes, name);
}

/** The index, with the sizes that the archive really has. */
async function writeIndex(file: string, vecdb: string, written: readonly Written[]): Promise<void> {
  const archive = await Archive.open(vecdb, { maxBytes: Infinity, maxRatio: Infinity });
  const packed = new Map(archive.entries().map((entry) => [entry.name, entry.compressedSize]));
  archive.close();
  const now = new Date().toISOString();
  let total = 0;
  let compressed = 0;
  const collections = written.map(({ name, dimensions, points, parts }) => {
    const files = parts.map(({ path: entry, size, checksum, type }) => {
      const compressedSize = packed.get(entry) ?? 0;
      total += size;
      compressed += compressedSize;
      return { path: entry, size, compressed_size: compressedSize, checksum, type };
    });
    return { name, files, vector_count: points, dimension: dimensions, metadata: {} };
  });
  const index = {
    version: "1.0",
    created_at: now,
    updated_at: now,
    collections,
    total_size: total,
    compressed_size: compressed,
    compression_ratio: total === 0 ? 1 : compressed / total,
  };
  const handle = await open(file, "w");
  try {
    await handle.writeFile(JSON.stringify(index));
    await handle.sync();
  } finally {
    await handle.close();
  }
}
