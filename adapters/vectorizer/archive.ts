/**
 * Reading a ZIP archive that may be hostile. Nothing is unpacked to disk; entries are streams. What is
 * refused: names that are paths, two entries of one name or in one place, encryption, sizes and
 * checksums that are not true, and entries that unpack to far more than their length.
 */
import { createHash } from "node:crypto";
import { crc32 } from "node:zlib";
import { type HiveGpuError, hiveError } from "hive-gpu";
import yauzl from "yauzl";

/** Bounds of what an archive may unpack to. */
export interface ArchiveLimits {
  /** Unpacked bytes of all entries. */
  maxBytes: number;
  /** Unpacked bytes per packed byte of an entry; small entries are not measured. */
  maxRatio: number;
}

/** One file of an archive. */
export interface ArchiveEntry {
  name: string;
  /** Unpacked, as the directory says; a stream of another length fails. */
  size: number;
  compressedSize: number;
}

const entriesMax = 100_000;
/** Below this an entry may have any ratio. */
const smallBytes = 1 << 20;
/** Packed bytes of a local header without its name. */
const localHeaderBytes = 30;

/** The error of a file that cannot be used. */
export function damaged(file: string, problem: string, cause?: unknown): HiveGpuError {
  return hiveError("STORAGE", `${file}: ${problem}.`, {
    hint: "Get the file from its source again; if it is meant to be like this, raise the limit named.",
    details: { file, problem },
    ...(cause === undefined ? {} : { cause }),
  });
}

export class Archive {
  readonly #file: string;
  readonly #zip: yauzl.ZipFile;
  readonly #entries: ReadonlyMap<string, yauzl.Entry>;

  private constructor(file: string, zip: yauzl.ZipFile, entries: ReadonlyMap<string, yauzl.Entry>) {
    this.#file = file;
    this.#zip = zip;
    this.#entries = entries;
  }

  /** Opens a file and checks its directory. @throws STORAGE */
  static async open(file: string, limits: ArchiveLimits): Promise<Archive> {
    let zip: yauzl.ZipFile;
    try {
      zip = await yauzl.openPromise(file, { autoClose: false, strictFileNames: true });
    } catch (cause) {
      throw damaged(file, `it cannot be opened as an archive (${messageOf(cause)})`, cause);
    }
    try {
      return new Archive(file, zip, await readDirectory(file, zip, limits));
    } catch (error) {
      zip.close();
      throw error;
    }
  }

  entries(): ArchiveEntry[] {
    return [...this.#entries.values()].map((entry) => ({
      name: entry.fileName,
      size: entry.uncompressedSize,
      compressedSize: entry.compressedSize,
    }));
  }

  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /**
   * The bytes of an entry. Its length and CRC are checked, and its SHA-256 when one is given; what
   * is wrong is thrown after the last byte.
   */
  async *read(name: string, sha256?: string): AsyncGenerator<Uint8Array, void, undefined> {
    const entry = this.#entries.get(name);
    if (entry === undefined) throw damaged(this.#file, `it has no entry ${JSON.stringify(name)}`);
    const hash = sha256 === undefined ? undefined : createHash("sha256");
    let crc = 0;
    try {
      const stream = await this.#zip.openReadStreamPromise(entry);
      for await (const chunk of stream as AsyncIterable<Buffer>) {
        crc = crc32(chunk, crc);
        hash?.update(chunk);
        yield chunk;
      }
    } catch (cause) {
      if (typeof (cause as HiveGpuError).hint === "string") throw cause;
      throw damaged(
        this.#file,
        `the entry ${JSON.stringify(name)} is broken (${messageOf(cause)})`,
        cause,
      );
    }
    if (crc !== entry.crc32)
      throw damaged(this.#file, `the CRC of ${JSON.stringify(name)} is wrong`);
    if (hash !== undefined && hash.digest("hex") !== sha256?.toLowerCase()) {
      throw damaged(this.#file, `the SHA-256 of ${JSON.stringify(name)} is not that of the index`);
    }
  }

  close(): void {
    this.#zip.close();
  }
}

async function readDirectory(
  file: string,
  zip: yauzl.ZipFile,
  limits: ArchiveLimits,
): Promise<Map<string, yauzl.Entry>> {
  const entries = new Map<string, yauzl.Entry>();
  let total = 0;
  try {
    if (zip.entryCount > entriesMax) throw damaged(file, `it has more than ${entriesMax} entries`);
    for await (const entry of zip.eachEntry()) {
      checkEntry(file, entry, limits);
      if (entries.has(entry.fileName)) {
        throw damaged(file, `it has two entries ${JSON.stringify(entry.fileName)}`);
      }
      total += entry.uncompressedSize;
      if (total > limits.maxBytes) {
        throw damaged(file, `it unpacks to more than maxBytes, ${limits.maxBytes}`);
      }
      entries.set(entry.fileName, entry);
    }
  } catch (cause) {
    if (typeof (cause as HiveGpuError).hint === "string") throw cause;
    throw damaged(file, `its directory is broken (${messageOf(cause)})`, cause);
  }
  checkPlaces(file, [...entries.values()], zip.fileSize);
  return entries;
}

function checkEntry(file: string, entry: yauzl.Entry, limits: ArchiveLimits): void {
  const name = JSON.stringify(entry.fileName);
  // A collection's name may hold nearly anything, but its files lie in no folder.
  const isPath = /[/\\\0]/.test(entry.fileName) || /^\.\.?$/.test(entry.fileName);
  if (isPath || entry.fileName === "") throw damaged(file, `the entry name ${name} is a path`);
  if (entry.isEncrypted()) throw damaged(file, `the entry ${name} is encrypted`);
  if (entry.compressionMethod !== 0 && entry.compressionMethod !== 8) {
    throw damaged(file, `the entry ${name} is compressed in an unknown way`);
  }
  const ratio = entry.uncompressedSize / Math.max(1, entry.compressedSize);
  if (entry.uncompressedSize > smallBytes && ratio > limits.maxRatio) {
    const times = Math.round(ratio);
    throw damaged(
      file,
      `the entry ${name} unpacks to ${times} times its size, over maxRatio, ${limits.maxRatio}`,
    );
  }
}

/** Entries that share bytes make a small file unpack to a huge one. */
function checkPlaces(file: string, entries: yauzl.Entry[], fileSize: number): void {
  const sorted = entries.toSorted(
    (a, b) => a.relativeOffsetOfLocalHeader - b.relativeOffsetOfLocalHeader,
  );
  for (const [i, entry] of sorted.entries()) {
    const name = Buffer.byteLength(entry.fileName);
    const end = entry.relativeOffsetOfLocalHeader + localHeaderBytes + name + entry.compressedSize;
    const next = sorted[i + 1]?.relativeOffsetOfLocalHeader ?? fileSize;
    if (end > next)
      throw damaged(file, `the entry ${JSON.stringify(entry.fileName)} overlaps another`);
  }
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
