/** The files of one collection: opening, committing, compacting, dropping. */
import path from "node:path";
import { hiveError } from "../errors.js";
import { fromNative } from "../native-errors.js";
import type { NativeBatch } from "../native-types.js";
import { Slices } from "../slices.js";
import type { JobChange } from "./committer.js";
import { Compactor } from "./compactor.js";
import type { CollectionManifest } from "./manifest.js";
import type { NativeAppended, NativeLog, NativeLogBatch, NativeLogFile } from "./native-log.js";
import { fileName } from "./directories.js";
import type { DatabaseStorage } from "./storage.js";

/** How often a reader follows a writer that compacts. */
const readAttempts = 20;
/** Rows made known natively between two looks at the clock. */
const step = 2048;

/** `files` with the lengths of `touched`; new ones at the end. */
function withTouched(files: readonly NativeLogFile[], touched: readonly NativeLogFile[]) {
  const lengths = new Map(touched.map((file) => [file.number, file.length]));
  const out = files.map(({ number, length }) => ({
    number,
    length: lengths.get(number) ?? length,
  }));
  const known = new Set(files.map((file) => file.number));
  for (const file of touched) if (!known.has(file.number)) out.push({ ...file });
  return out;
}

/** Files and manifest of a collection. */
export class CollectionStorage {
  readonly database: DatabaseStorage;
  /** What is committed. */
  manifest: CollectionManifest;
  readonly compactor: Compactor;
  #log: NativeLog | undefined;
  #opening: Promise<NativeLog> | undefined;
  #dropped = false;
  /** Of the log; the first commit makes them durable. */
  #dimensions: number | undefined;

  constructor(database: DatabaseStorage, manifest: CollectionManifest) {
    this.database = database;
    this.manifest = manifest;
    this.compactor = new Compactor(this);
  }

  /** The open log, when there is one. */
  get openLog(): NativeLog | undefined {
    return this.#log;
  }

  /** The log; opened, and its frames checked, on first use. */
  log(dimensions: number): Promise<NativeLog> {
    // A first write that failed fixed no dimensions.
    if (this.#dimensions !== dimensions && this.manifest.files.length === 0) {
      this.#opening = undefined;
    }
    this.#opening ??= this.#open(dimensions).catch((error: unknown) => {
      this.#opening = undefined;
      throw fromNative(error);
    });
    return this.#opening;
  }

  /**
   * After a crash: takes over a commit that is whole in the files and not in the manifest.
   * @param newer numbers of files that the manifest does not name
   */
  async recover(newer: number[]): Promise<void> {
    const { native, directories } = this.database;
    let dimensions = this.manifest.dimensions ?? undefined;
    if (dimensions === undefined && newer.length > 0) {
      const file = path.join(directories.segments, fileName(this.manifest.number, newer[0]!));
      dimensions = await native.describeFile(file, newer[0]!).then(
        (header) => header.dimensions,
        () => undefined,
      );
    }
    if (dimensions === undefined) return;
    const log = await this.#openNative(dimensions, newer);
    const { sequence, count, endRow, nextFile, digest, files } = log.state();
    log.close();
    if (sequence <= this.manifest.sequence) return;
    const lengths = files.map(({ number, length }) => ({ number, length }));
    const found = { dimensions, count, endRow, nextFile, digest, files: lengths };
    await this.database.committer.commit({
      target: this,
      append: async (next) => ({
        number: this.manifest.number,
        manifest: { ...this.manifest, ...found, sequence },
        // The recovered commit keeps its number, and later ones are above it.
        database: { sequence: Math.max(next, sequence) },
      }),
      abandon: async () => undefined,
      committed: (made) => {
        this.manifest = made.manifest!;
      },
    });
  }

  async #open(dimensions: number): Promise<NativeLog> {
    const log = this.database.readOnly
      ? await this.#openBesideWriter(dimensions)
      : await this.#openNative(dimensions, []);
    this.#check(log);
    this.#log = log;
    this.#dimensions = dimensions;
    return log;
  }

  /** The writer may have replaced files since the manifest was read; then the new ones are read. */
  async #openBesideWriter(dimensions: number): Promise<NativeLog> {
    for (let attempt = 0; ; attempt++) {
      try {
        return await this.#openNative(dimensions, []);
      } catch (error) {
        const now = this.database.reread(this.manifest.number);
        const same = now === undefined || now.sequence === this.manifest.sequence;
        if (same || attempt === readAttempts) throw error;
        this.manifest = now;
      }
    }
  }

  #openNative(dimensions: number, newer: number[]): Promise<NativeLog> {
    const { number, name, dtype, metric, files, nextFile, endRow, sequence } = this.manifest;
    const { native, directories, readOnly, committer } = this.database;
    return native.openLog({
      directory: directories.segments,
      database: committer.database.id,
      collection: number,
      name,
      dimensions,
      dtype,
      metric,
      files,
      nextFile,
      endRow,
      sequence,
      newer,
      writable: !readOnly,
    });
  }

  /** The files and the manifest tell the same; either could be older than the other by damage. */
  #check(log: NativeLog): void {
    const { count, digest } = log.state();
    const { manifest } = this;
    if (count === manifest.count && digest === manifest.digest) return;
    log.close();
    const name = JSON.stringify(manifest.name);
    throw hiveError(
      "CORRUPT",
      `Collection ${name}: its files hold ${count} records (digest ${digest}), its manifest says ` +
        `${manifest.count} (digest ${manifest.digest}).`,
      { details: { collection: manifest.name, count, expected: manifest.count } },
    );
  }

  assertWritable(): void {
    this.database.assertWritable();
  }

  /** Makes a prepared batch durable. */
  async commitBatch(batch: NativeLogBatch, vectors: NativeBatch | undefined): Promise<void> {
    const { committer, sync } = this.database;
    await committer.commit({
      target: this,
      append: async (sequence) => {
        this.assertThere();
        const appended = await batch.append(vectors, sequence, sync);
        return this.#changed(sequence, appended);
      },
      abandon: () => batch.abandon().catch(() => undefined),
      committed: async (change) => {
        this.manifest = change.manifest!;
        const slices = new Slices();
        while (!batch.install(step)) if (slices.due) await slices.turn();
      },
    });
  }

  /** What the files are once the batch is committed. */
  #changed(sequence: number, appended: NativeAppended): JobChange {
    const { touched, count, endRow, nextFile, digest } = appended;
    const { manifest } = this;
    const files = withTouched(manifest.files, touched);
    const dimensions = this.#dimensions ?? manifest.dimensions;
    return {
      number: manifest.number,
      manifest: { ...manifest, dimensions, files, count, endRow, nextFile, digest, sequence },
    };
  }

  /** Commits a change of the manifest alone. */
  async commitManifest(
    change: (manifest: CollectionManifest, sequence: number) => CollectionManifest,
  ): Promise<void> {
    const { number } = this.manifest;
    this.assertWritable();
    await this.database.committer.commit({
      target: this,
      append: async (sequence) => {
        this.assertThere();
        return { number, manifest: { ...change(this.manifest, sequence), sequence } };
      },
      abandon: async () => undefined,
      committed: (made) => {
        this.manifest = made.manifest!;
      },
    });
  }

  /** Removes the collection, then its files. */
  async drop(): Promise<void> {
    const { number } = this.manifest;
    await this.database.committer.commit({
      target: this,
      append: async () => {
        this.assertThere();
        const event = { type: "drop", name: this.manifest.name } as const;
        return { number, manifest: undefined, event };
      },
      abandon: async () => undefined,
      committed: () => {
        this.#dropped = true;
      },
    });
    await this.compactor.stop();
    await this.database.removeFiles(number, this.manifest.files);
  }

  /** Figures of what is committed. */
  stats(): { digest: string; fileBytes: number } {
    const { digest, files } = this.manifest;
    return { digest, fileBytes: files.reduce((sum, file) => sum + file.length, 0) };
  }

  assertThere(): void {
    if (!this.#dropped) return;
    throw hiveError("CLOSED", `Collection ${JSON.stringify(this.manifest.name)}: it was dropped.`);
  }

  /** Runs work on the log unless it is closed. */
  whenOpen(work: () => void): void {
    if (this.#log === undefined) return;
    work();
    this.considerCompaction();
  }

  /** Starts to compact when that pays. */
  considerCompaction(): void {
    if (!this.#dropped && this.#log !== undefined) this.compactor.consider();
  }

  /** See {@link Committer.fail}. */
  fail(): void {
    this.database.committer.fail(new Error("A durable batch could not be published."));
  }

  async close(): Promise<void> {
    await this.compactor.stop();
    this.#log?.close();
    this.#log = undefined;
  }
}
