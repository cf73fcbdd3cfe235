import {
  openDatabase,
  StateError,
  type Database,
  type DatabaseOptions,
  type VectorCollection,
} from "hive-gpu";
import type { StoreOptions } from "./options.js";

/**
 * The collection of a store: opened on first use, so that a constructor never waits, and closed
 * only as far as it was opened here.
 */
export class CollectionHandle {
  private opening: Promise<VectorCollection> | undefined;
  /** The database opened here; never one that the caller passed in. */
  private owned: Promise<Database> | undefined;
  private closed = false;

  /** @param defaultName name of the collection when the caller gives none */
  constructor(
    private readonly options: StoreOptions,
    private readonly defaultName: string,
  ) {}

  /** The open collection. Callers that come while it is being opened share the one attempt. */
  open(): Promise<VectorCollection> {
    if (this.closed) return Promise.reject(storeClosed());
    if (this.opening === undefined) {
      const attempt = this.openOnce();
      this.opening = attempt;
      // A failure is not kept: the cause, such as a busy device, may be gone on the next call.
      attempt.catch(() => {
        if (this.opening === attempt) this.opening = undefined;
      });
    }
    return this.opening;
  }

  /** Idempotent. Waits for an opening that is under way, so that no database is left behind. */
  async close(): Promise<void> {
    const owned = this.owned;
    if (this.options.collection !== undefined || this.options.database !== undefined) return;
    this.closed = true;
    // An opening that failed has reported its error to those who asked for it.
    const database = await owned?.catch(() => undefined);
    await database?.close();
  }

  private async openOnce(): Promise<VectorCollection> {
    if (this.options.collection !== undefined) return this.options.collection as VectorCollection;
    const { database, name = this.defaultName, metric, dtype } = this.options;
    const db = database ?? (await this.openOwned());
    return db.collection(name, { metric, dtype });
  }

  /** Folder of the private database, if it has one. */
  get path(): string | undefined {
    return this.privateOptions().path;
  }

  private privateOptions(): DatabaseOptions {
    if (this.options.collection !== undefined) return {};
    const { device, path, readOnly } = this.options;
    return { device, ...(path === undefined ? {} : { path, readOnly }) };
  }

  private openOwned(): Promise<Database> {
    if (this.owned !== undefined) return this.owned;
    const attempt = openDatabase(this.privateOptions());
    this.owned = attempt;
    attempt.catch(() => {
      if (this.owned === attempt) this.owned = undefined;
    });
    return attempt;
  }
}

function storeClosed(): StateError {
  return new StateError("CLOSED", "The vector store is closed.", {
    hint: "Create another HiveVectorStore; a private database ends with its store.",
  });
}
