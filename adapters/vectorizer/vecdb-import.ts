/** Import of files that a hive-vectorizer server wrote: an archive, or stores of older versions. */
import { createReadStream } from "node:fs";
import { readdir, readFile, stat } from "node:fs/promises";
import path from "node:path";
import { createGunzip } from "node:zlib";
import { type Database, hiveError, kit, type VectorCollection } from "hive-gpu";
import { z } from "zod";
import { Archive, damaged } from "./archive.js";
import { firstBytes, isZip, parseOr } from "./files.js";
import { aFunction, aSignal, having, readOptions } from "./options.js";
import {
  indexShape,
  metadataEnd,
  metadataShape,
  sha256Of,
  storeEnd,
  type StoredConfig,
  vecdbName,
  type VecIndex,
  vecidxName,
} from "./vecdb-format.js";
import { type CollectionReport, readStore, type StoreHead } from "./vecdb-store.js";

export interface ImportOptions {
  /** Where collections of the files' names and metrics are opened or created. */
  database: Database;
  /** Names of the collections wanted; default: all. */
  collections?: readonly string[] | undefined;
  /** Name of ours for a name of theirs; default: the same. */
  rename?: ((name: string) => string) | undefined;
  /** Member of a payload that holds the text. Default "content". */
  textKey?: string | undefined;
  /** Unpacked bytes that are read at most; default 1 TiB. */
  maxBytes?: number | undefined;
  /** Unpacked bytes per packed byte at most; default 200. Archives of all-zero vectors need more. */
  maxRatio?: number | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: ImportProgress) => void) | undefined;
}

/** How far an import is. */
export interface ImportProgress {
  /** Unpacked bytes read, of all if that is known. */
  bytes: number;
  totalBytes: number | undefined;
  points: number;
}

/** What an import did. */
export interface ImportReport {
  collections: CollectionReport[];
  /** About the files as a whole. */
  warnings: string[];
}

const schema = z.strictObject({
  database: having<Database>("collection"),
  collections: z.array(z.string()).readonly().optional(),
  rename: aFunction<(name: string) => string>().default(() => (name: string) => name),
  textKey: z.string().min(1).default("content"),
  maxBytes: z
    .number()
    .min(1)
    .default(2 ** 40),
  maxRatio: z.number().min(1).default(200),
  signal: aSignal().optional(),
  onProgress: aFunction<(progress: ImportProgress) => void>().optional(),
});
type Settings = z.output<typeof schema>;

/** Bytes of small files that are read whole. */
const smallFileMax = 64 << 20;

/**
 * Imports a folder of a server, a `.vecdb` archive, or one `_vector_store.bin` of an older version
 * (gzip or plain). Everything is read as a stream: memory does not depend on the files' sizes.
 * @throws STORAGE for files that are damaged or hostile. Collections that the import created are
 * dropped again then; records that it had added to others stay.
 */
export async function importVecdb(source: string, options: ImportOptions): Promise<ImportReport> {
  const settings = readOptions("importVecdb", schema, options);
  kit.throwIfAborted(settings.signal);
  const run = new Import(settings);
  try {
    await run.from(source);
  } catch (error) {
    await run.undo();
    throw error;
  }
  run.checkWanted();
  return run.report;
}

class Import {
  readonly report: ImportReport = { collections: [], warnings: [] };
  readonly #settings: Settings;
  readonly #created: string[] = [];
  readonly #progress: ImportProgress = { bytes: 0, totalBytes: undefined, points: 0 };

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  async from(source: string): Promise<void> {
    const info = await stat(source).catch((cause: unknown) => {
      throw damaged(source, "it cannot be read", cause);
    });
    if (!info.isDirectory()) {
      return (await isZip(source)) ? this.#archive(source) : this.#legacy(source);
    }
    const names = await readdir(source);
    if (names.includes(vecdbName)) return this.#archive(path.join(source, vecdbName));
    const stores = names.filter((name) => name.endsWith(storeEnd)).toSorted();
    if (stores.length === 0) throw damaged(source, `it has neither ${vecdbName} nor *${storeEnd}`);
    for (const name of stores) await this.#legacy(path.join(source, name));
  }

  /** Drops what was created; nothing else was there before. */
  async undo(): Promise<void> {
    for (const name of this.#created) await this.#settings.database.drop(name);
  }

  checkWanted(): void {
    const found = new Set(this.report.collections.map(({ name }) => name));
    const missing = (this.#settings.collections ?? []).filter((name) => !found.has(name));
    if (missing.length === 0) return;
    throw hiveError("NOT_FOUND", `The files have no collection ${JSON.stringify(missing[0])}.`, {
      details: { missing, found: [...found] },
    });
  }

  async #archive(file: string): Promise<void> {
    const index = await this.#index(file);
    const archive = await Archive.open(file, this.#settings);
    try {
      const stores = archive.entries().filter(({ name }) => name.endsWith(storeEnd));
      this.#progress.totalBytes = stores.reduce((sum, { size }) => sum + size, 0);
      if (stores.length === 0) this.report.warnings.push("the archive has no vector store");
      for (const { files } of index?.collections ?? []) {
        const lost = files.find((part) => part.type === "vectors" && !archive.has(part.path));
        if (lost !== undefined)
          throw damaged(file, `it lacks ${JSON.stringify(lost.path)} of its index`);
      }
      for (const { name, size } of stores) await this.#store(file, archive, name, size, index);
    } finally {
      archive.close();
    }
  }

  async #store(
    file: string,
    archive: Archive,
    entry: string,
    size: number,
    index: VecIndex | undefined,
  ): Promise<void> {
    const name = entry.slice(0, -storeEnd.length);
    if (!this.#wants(name)) return;
    const listed = index?.collections.find((one) => one.files.some((part) => part.path === entry));
    const part = listed?.files.find((one) => one.path === entry);
    if (index !== undefined && part === undefined) {
      this.report.warnings.push(`${vecidxName} does not list ${JSON.stringify(entry)}`);
    }
    if (part?.size !== undefined && part.size !== size) {
      throw damaged(
        file,
        `${JSON.stringify(entry)} has ${size} bytes, its index says ${part.size}`,
      );
    }
    const config = await this.#config(file, archive, name);
    const reports = await this.#read(
      file,
      name,
      config,
      archive.read(entry, sha256Of(part?.checksum)),
    );
    const [report] = reports;
    const expected = listed?.vector_count;
    if (report === undefined || reports.length > 1 || expected === undefined) return;
    if (expected === report.imported + report.skipped) return;
    report.warnings.push(
      `the index says ${expected} vectors, the store has ${report.imported + report.skipped}`,
    );
  }

  /** Stores without an archive: gzip, or plain JSON. */
  async #legacy(file: string): Promise<void> {
    const name = path.basename(file).replace(storeEnd, "");
    const { size } = await stat(file);
    await this.#read(file, name, undefined, this.#unzipped(file, size));
  }

  async *#unzipped(file: string, size: number): AsyncGenerator<Uint8Array, void, undefined> {
    const { maxRatio, maxBytes } = this.#settings;
    const input = createReadStream(file, { highWaterMark: 1 << 18 });
    const isGzip = (await firstBytes(file, 2)).equals(Buffer.of(0x1f, 0x8b));
    const source = isGzip ? input.pipe(createGunzip({ chunkSize: 1 << 18 })) : input;
    if (isGzip) input.on("error", (error) => source.destroy(error));
    let bytes = 0;
    try {
      for await (const chunk of source as AsyncIterable<Buffer>) {
        bytes += chunk.length;
        if (bytes > maxBytes) throw damaged(file, `it unpacks to more than maxBytes, ${maxBytes}`);
        if (bytes > 1 << 20 && bytes / size > maxRatio) {
          throw damaged(file, `it unpacks to over maxRatio, ${maxRatio}, times its size`);
        }
        yield chunk;
      }
    } catch (cause) {
      if (typeof (cause as { hint?: unknown }).hint === "string") throw cause;
      throw damaged(file, `it cannot be unpacked (${(cause as Error).message})`, cause);
    } finally {
      input.destroy();
    }
  }

  async #read(
    file: string,
    name: string,
    config: StoredConfig | undefined,
    source: AsyncIterable<Uint8Array>,
  ): Promise<CollectionReport[]> {
    const { textKey, signal, onProgress } = this.#settings;
    const progress = this.#progress;
    async function* counted(): AsyncGenerator<Uint8Array, void, undefined> {
      for await (const chunk of source) {
        progress.bytes += chunk.length;
        yield chunk;
      }
    }
    const reports = await readStore(counted(), {
      file,
      name,
      config,
      textKey,
      signal,
      target: (head) => this.#target(head),
      onBlock: (points) => {
        progress.points += points;
        onProgress?.({ ...progress });
      },
    });
    this.report.collections.push(...reports);
    return reports;
  }

  async #target({ name, dimensions, metric }: StoreHead): Promise<VectorCollection | undefined> {
    if (!this.#wants(name)) return undefined;
    const { database, rename } = this.#settings;
    const ours = rename(name);
    const isNew = !(await database.collections()).includes(ours);
    const collection = await database.collection(ours, { metric, dimensions });
    if (isNew) this.#created.push(ours);
    return collection;
  }

  #wants(name: string): boolean {
    const { collections } = this.#settings;
    return collections === undefined || collections.includes(name);
  }

  async #config(file: string, archive: Archive, name: string): Promise<StoredConfig | undefined> {
    const entry = name + metadataEnd;
    if (!archive.has(entry)) return undefined;
    const parts: Uint8Array[] = [];
    let size = 0;
    for await (const part of archive.read(entry)) {
      size += part.length;
      if (size > smallFileMax) throw damaged(file, `${JSON.stringify(entry)} is too long`);
      parts.push(part);
    }
    const read = metadataShape.safeParse(parseOr(Buffer.concat(parts).toString()));
    if (read.success) return read.data.config ?? undefined;
    this.report.warnings.push(`${JSON.stringify(entry)} cannot be read`);
    return undefined;
  }

  async #index(file: string): Promise<VecIndex | undefined> {
    const indexFile = file.replace(/\.vecdb$/, "") + path.extname(vecidxName);
    let text: string;
    try {
      if ((await stat(indexFile)).size > smallFileMax) throw damaged(indexFile, "it is too long");
      text = await readFile(indexFile, "utf8");
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
      this.report.warnings.push("there is no index, so checksums could not be verified");
      return undefined;
    }
    const read = indexShape.safeParse(parseOr(text));
    if (!read.success) throw damaged(indexFile, "it is not an index of vectors");
    if (read.data.version !== "1.0")
      throw damaged(indexFile, `it has version ${read.data.version}`);
    return read.data;
  }
}
