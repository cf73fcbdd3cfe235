/**
 * Compaction in the background: files whose rows are mostly dead are written anew, on a thread of
 * the engine, one run at a time. A crash at any moment leaves either the old files or the new one
 * in the manifest; what it does not name is removed at the next open.
 */
import { fromNative } from "../native-errors.js";
import type { CollectionStorage } from "./collection-storage.js";
import type { CollectionManifest } from "./manifest.js";
import type { NativeCompaction, NativeLogFile, NativeLogState } from "./native-log.js";

/** Files below this many bytes are merged with mostly dead neighbours, but not for their own sake. */
const smallBytes = 1 << 20;
/** The tail is closed, so that it can be compacted, when it has that many bytes and is mostly dead. */
const sealBytes = 8 << 20;
/** Rows of one run: they move within one turn of the event loop. */
const runRows = 65_536;
const runBytes = 256 << 20;

type File = NativeLogState["files"][number];

interface Run {
  first: number;
  count: number;
}

const mostlyDead = (file: File): boolean => file.rows > 0 && file.releasedRows * 2 > file.rows;

/** Compacts one collection. */
export class Compactor {
  readonly #storage: CollectionStorage;
  #running: Promise<void> | undefined;
  #stopped = false;
  #held = 0;
  /** Files that compaction wrote and that still hold dead rows, because they are retained. */
  readonly #settled = new Set<number>();
  /** The last failure; compaction is tried again after the next write. */
  failure: unknown;

  constructor(storage: CollectionStorage) {
    this.#storage = storage;
  }

  /** Starts when something is worth it. */
  consider(): void {
    if (this.#running !== undefined || this.#stopped || this.#held > 0) return;
    if (this.#storage.database.readOnly || this.#next(false) === undefined) return;
    this.#running = this.#work(false).finally(() => {
      this.#running = undefined;
    });
  }

  /** Compacts every file that has dead rows, the tail too. */
  async compactAll(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    if (this.#stopped) return;
    this.failure = undefined;
    this.#settled.clear();
    this.#storage.openLog?.seal();
    this.#running = this.#work(true).finally(() => {
      this.#running = undefined;
    });
    await this.#running;
    if (this.failure !== undefined) throw this.failure;
  }

  /** No file is replaced until `release`. */
  async hold(): Promise<void> {
    this.#held++;
    while (this.#running !== undefined) await this.#running;
  }

  release(): void {
    this.#held--;
    this.consider();
  }

  async stop(): Promise<void> {
    this.#stopped = true;
    while (this.#running !== undefined) await this.#running;
  }

  async #work(all: boolean): Promise<void> {
    try {
      while (!this.#stopped && this.#held === 0) {
        const run = this.#next(all);
        if (run === undefined) return;
        await this.#compact(run);
      }
    } catch (error) {
      this.failure = fromNative(error);
    }
  }

  /** The first run of neighbouring files worth rewriting. */
  #next(all: boolean): Run | undefined {
    const log = this.#storage.openLog;
    if (log === undefined) return undefined;
    const { files } = log.state();
    const closed = this.#closedFiles(files, all);
    const worth = (file: File): boolean =>
      !this.#settled.has(file.number) && (all ? file.releasedRows > 0 : mostlyDead(file));
    for (let first = 0; first < closed.length; first++) {
      if (!worth(closed[first]!)) continue;
      let count = 0;
      let rows = 0;
      let bytes = 0;
      for (const file of closed.slice(first)) {
        const joins = worth(file) || file.length < smallBytes;
        rows += file.rows - file.releasedRows;
        bytes += file.length;
        if (!joins || (count > 0 && (rows > runRows || bytes > runBytes))) break;
        count++;
      }
      return { first, count };
    }
    return undefined;
  }

  /** All but the tail; a tail that is large and mostly dead stops being one. */
  #closedFiles(files: File[], all: boolean): File[] {
    const tail = files.at(-1);
    if (tail === undefined || all) return files;
    if (tail.length < sealBytes || !mostlyDead(tail)) return files.slice(0, -1);
    this.#storage.openLog!.seal();
    return files;
  }

  async #compact({ first, count }: Run): Promise<void> {
    const storage = this.#storage;
    const log = storage.openLog!;
    const retainFrom = storage.database.retainFrom ?? Number.MAX_SAFE_INTEGER;
    const made = await log.compact(first, count, retainFrom);
    // What is retained in it stays as it is until less has to be retained.
    if (made.target !== undefined) this.#settled.add(made.target.number);
    const { number } = storage.manifest;
    await storage.database.committer.commit({
      target: storage,
      append: async (sequence) => {
        storage.assertThere();
        return { number, manifest: replaced(storage.manifest, made, sequence) };
      },
      abandon: () => made.abandon().catch(() => undefined),
      committed: async (change) => {
        storage.manifest = change.manifest!;
        // A source that cannot be removed is not named any more; the next open removes it.
        await made.swap().catch((error: unknown) => {
          this.failure = fromNative(error);
        });
      },
    });
  }
}

/** The manifest with the sources replaced by the target. */
function replaced(
  manifest: CollectionManifest,
  { sources, target, droppedThrough }: NativeCompaction,
  sequence: number,
): CollectionManifest {
  const gone = new Set(sources.map((file) => file.number));
  const files: NativeLogFile[] = [];
  let placed = false;
  for (const file of manifest.files) {
    if (!gone.has(file.number)) {
      files.push(file);
      continue;
    }
    if (!placed && target !== undefined) files.push(target);
    placed = true;
  }
  const highest = target === undefined ? 0 : target.number + 1;
  return {
    ...manifest,
    files,
    sequence,
    nextFile: Math.max(manifest.nextFile, highest),
    horizon: Math.max(manifest.horizon, droppedThrough),
  };
}
