/**
 * Commits, one group at a time: whatever arrived while a group was under way makes the next one.
 * A group appends and syncs the frames of all its jobs, then makes them durable in one transaction
 * of the manifest; so concurrent writes share their syncs, and sequences become durable in order.
 */
import { type HiveGpuError, StorageError, hiveError } from "../errors.js";
import { fromNative } from "../native-errors.js";
import type {
  CollectionEvent,
  CollectionManifest,
  DatabaseManifest,
  Manifest,
} from "./manifest.js";

/** What a job changes in the manifest. */
export interface JobChange {
  /** The collection that changes, if one does; a manifest of undefined removes it. */
  number?: number;
  manifest?: CollectionManifest | undefined;
  database?: Partial<DatabaseManifest>;
  event?: CollectionEvent;
}

/** One write on its way to the disk. */
export interface CommitJob {
  /** Jobs of one target start from each other's result, so a group has one of them at most. */
  target: object;
  /** Appends and syncs. A rejection fails this job alone. */
  append(sequence: number): Promise<JobChange>;
  /** Undoes `append`; must not reject. */
  abandon(): Promise<void>;
  /** After the commit; nothing can stop it any more. */
  committed(change: JobChange): Promise<void> | void;
}

interface Waiting {
  job: CommitJob;
  resolve: () => void;
  reject: (error: unknown) => void;
}

interface Appended extends Waiting {
  sequence: number;
  change: JobChange;
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Runs the commits of a database. */
export class Committer {
  readonly #manifest: Manifest;
  #database: DatabaseManifest;
  #waiting: Waiting[] = [];
  #running: Promise<void> | undefined;
  #failure: HiveGpuError | undefined;

  constructor(manifest: Manifest, database: DatabaseManifest) {
    this.#manifest = manifest;
    this.#database = database;
  }

  /** What is committed. */
  get database(): Readonly<DatabaseManifest> {
    return this.#database;
  }

  /** Resolves when the job is durable and `committed` is done. */
  commit(job: CommitJob): Promise<void> {
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    return new Promise((resolve, reject) => {
      this.#waiting.push({ job, resolve, reject });
      this.#running ??= this.#run();
    });
  }

  /** No commit succeeds any more: what is in memory and what is on the disk may differ. */
  fail(cause: unknown): void {
    this.#failure ??= hiveError(
      "STORAGE",
      "An earlier write failed in a way that leaves the state of the files unknown.",
      { hint: "Close the database and open it again; what was acknowledged is there.", cause },
    );
  }

  /** Resolves when nothing is under way, and the writers have taken notice. */
  async drain(): Promise<void> {
    while (this.#running !== undefined) await this.#running;
    await nextTurn();
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      await this.#commitGroup(this.#takeGroup());
      // Writers publish before the next group starts, and others get to join it.
      if (this.#waiting.length > 0) await nextTurn();
    }
    this.#running = undefined;
  }

  /** The first waiting job of each target. */
  #takeGroup(): Waiting[] {
    const targets = new Set<object>();
    const group: Waiting[] = [];
    const rest: Waiting[] = [];
    for (const one of this.#waiting) {
      const { target } = one.job;
      (targets.has(target) ? rest : group).push(one);
      targets.add(target);
    }
    this.#waiting = rest;
    return group;
  }

  async #commitGroup(group: Waiting[]): Promise<void> {
    if (this.#failure !== undefined) {
      for (const one of group) one.reject(this.#failure);
      return;
    }
    const database = { ...this.#database };
    const appending = group.map((one) => this.#append(one, ++database.sequence));
    const appended = (await Promise.all(appending)).filter((one) => one !== undefined);
    if (appended.length === 0) return;
    const collections = new Map<number, CollectionManifest | undefined>();
    const events = new Map<number, CollectionEvent>();
    for (const { change, sequence } of appended) {
      if (change.number !== undefined) collections.set(change.number, change.manifest);
      if (change.event !== undefined) events.set(sequence, change.event);
      Object.assign(database, change.database);
    }
    try {
      await this.#manifest.commit({ database, collections, events });
    } catch (error) {
      await this.#undo(appended, database.sequence, error);
      return;
    }
    this.#database = database;
    for (const { job, change, resolve, reject } of appended) {
      try {
        await job.committed(change);
        resolve();
      } catch (error) {
        this.fail(error);
        reject(this.#failure);
      }
    }
  }

  async #append(waiting: Waiting, sequence: number): Promise<Appended | undefined> {
    try {
      return { ...waiting, sequence, change: await waiting.job.append(sequence) };
    } catch (error) {
      await waiting.job.abandon();
      waiting.reject(fromNative(error));
      return undefined;
    }
  }

  /** The transaction failed. As long as the old state can be read back, nothing happened. */
  async #undo(appended: Appended[], sequence: number, error: unknown): Promise<void> {
    let stored: number | undefined;
    try {
      stored = this.#manifest.database()?.sequence ?? 0;
    } catch {
      stored = undefined;
    }
    if (stored === undefined || stored >= sequence) this.fail(error);
    else for (const { job } of appended) await job.abandon();
    const reported = error instanceof StorageError ? error : fromNative(error);
    for (const { reject } of appended) reject(reported);
  }
}
