/** A server's collection kept on the device: searches here, writes there. */
import {
  type Collection,
  type ColumnsInput,
  type FilterInput,
  type Hit,
  kit,
  type Metadata,
  type Metric,
  type RecordInput,
  type ScanOptions,
  type SearchOptions,
  type SelectOptions,
  type StoredRecord,
  type VectorCollection,
  type VectorInput,
  type WriteOptions,
} from "hive-gpu";
import { Freshness, type MirrorStatus } from "./freshness.js";
import { hashRecord } from "./hash.js";
import { adopt, pushMirror, type PushOptions, type PushReport } from "./mirror-push.js";
import { MirrorState } from "./mirror-state.js";
import {
  type FullRecord,
  type SyncContext,
  type SyncOptions,
  type SyncReport,
  syncMirror,
} from "./mirror-sync.js";
import { type MirrorOptions, readMirrorOptions, type Settings } from "./mirror-options.js";
import { idsOf } from "./delete-what.js";
import { RemoteCollection } from "./remote.js";
import { noCollection } from "./scroll.js";
import { verifyMirror, type VerifyOptions, type VerifyReport } from "./verify.js";

/**
 * A collection whose records live on a server and whose searches run on the device. Reads go to the
 * copy while it is fresh and to the server otherwise; writes go to the server, and what it made of
 * them into the copy. `local` may be changed directly; {@link VectorizerMirror.push} sends that back.
 */
export class VectorizerMirror<M extends object = Metadata> implements VectorCollection<M> {
  /** The copy. */
  readonly local: Collection<M>;
  /** The original. */
  readonly remote: RemoteCollection<M>;
  readonly #settings: Settings;
  readonly #context: SyncContext;
  readonly #freshness: Freshness;
  /** Ids whose writes have begun and not ended, and those of the pass under way. */
  readonly #underWay = new Set<string>();
  readonly #touched = new Set<string>();
  #timer: NodeJS.Timeout | undefined;
  #syncing: Promise<SyncReport> | undefined;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(settings: Settings, local: Collection<M>, state: MirrorState) {
    const { client, name, textKey, pageSize, conflicts, statePath, onWarning } = settings;
    this.#settings = settings;
    this.local = local;
    this.remote = new RemoteCollection<M>({ client, name, textKey, create: false, onWarning });
    const save = async (): Promise<void> => {
      if (statePath === undefined) return;
      state.sequence = (await local.stats()).sequence;
      await state.save(statePath);
    };
    const touched = this.#touched;
    const beginPass = (): void => {
      touched.clear();
      for (const id of this.#underWay) touched.add(id);
    };
    this.#context = {
      client,
      name,
      local: local as unknown as VectorCollection,
      state,
      textKey,
      pageSize,
      conflicts,
      touched,
      beginPass,
      save,
    };
    this.#freshness = new Freshness(settings, state.checkpoint !== undefined);
  }

  /**
   * Opens the copy and reads what is known of the server; imports nothing yet: see `sync`.
   * @throws NOT_FOUND when the server has no such collection; ALREADY_EXISTS when there is a local
   * one of another metric; STORAGE for a damaged state file
   */
  static async open<M extends object = Metadata>(
    options: MirrorOptions,
  ): Promise<VectorizerMirror<M>> {
    const settings = readMirrorOptions(options);
    const { client, name, database, localName = name, statePath } = settings;
    const info = await client.collection(name);
    if (info === undefined) throw noCollection(name);
    const { dimensions, metric } = info;
    const local = await database.collection<M>(localName, { dimensions, metric, dtype: "f32" });
    const state = new MirrorState(client.url, name);
    let isKnown = statePath !== undefined && (await state.load(statePath));
    // A copy older than the state, such as an empty one, lacks what the state says is there.
    if (isKnown && state.sequence > (await local.stats()).sequence) {
      state.reset();
      isKnown = false;
    }
    // Records that are here before the first sync count as what the server last had.
    if (!isKnown && (await local.count()) > 0) {
      for await (const record of local.scan({ select: ["text", "metadata", "vector"] })) {
        state.hashes.set(record.id, hashRecord(record as unknown as FullRecord));
      }
    }
    const mirror = new VectorizerMirror<M>(settings, local, state);
    mirror.#schedule();
    return mirror;
  }

  get name(): string {
    return this.#settings.name;
  }

  get dimensions(): number | undefined {
    return this.local.dimensions;
  }

  get metric(): Metric {
    return this.local.metric;
  }

  get status(): MirrorStatus {
    return this.#freshness.status();
  }

  /**
   * Imports the collection, or brings in what changed since. A call while another is under way joins
   * it. After an interruption the next call goes on where it stopped, when the server stood still.
   */
  async sync(options: SyncOptions = {}): Promise<SyncReport> {
    this.#syncing ??= this.#sync(options).finally(() => {
      this.#syncing = undefined;
    });
    return this.#syncing;
  }

  async #sync(options: SyncOptions): Promise<SyncReport> {
    const report = await syncMirror(this.#context, options);
    this.#freshness.synced(report.consistent);
    return report;
  }

  /** Asks the server whether it changed; true when the copy is up to date, as far as it tells. */
  async check(): Promise<boolean> {
    const info = await this.remote.info();
    if (info === undefined) throw noCollection(this.name);
    return this.#freshness.checked(this.#context.state.matches(info));
  }

  /** Sends what was changed in `local` to the server; see {@link PushReport}. */
  async push(options: PushOptions): Promise<PushReport> {
    const known = ["server-wins", "local-wins", "fail"] as const;
    kit.checkWord("push", "conflicts", options?.conflicts, known);
    return this.#write(() =>
      pushMirror(this.#context, this.remote as unknown as RemoteCollection, options),
    );
  }

  /** Compares searches here with the server's; see {@link VerifyReport}. */
  verify(options?: VerifyOptions): Promise<VerifyReport> {
    const { client, name, local, textKey } = this.#context;
    return verifyMirror(client, name, local, textKey, options);
  }

  async search(query: VectorInput | { id: string }, options?: SearchOptions<M>): Promise<Hit<M>[]> {
    return this.#reader().search(query, options);
  }

  get(id: string, options?: SelectOptions): Promise<StoredRecord<M> | undefined>;
  get(ids: readonly string[], options?: SelectOptions): Promise<(StoredRecord<M> | undefined)[]>;
  async get(
    ids: string | readonly string[],
    options?: SelectOptions,
  ): Promise<StoredRecord<M> | undefined | (StoredRecord<M> | undefined)[]> {
    return this.#reader().get(ids as string, options);
  }

  scan(options?: ScanOptions<M>): AsyncIterableIterator<StoredRecord<M>> {
    return this.#reader().scan(options);
  }

  async count(filter?: FilterInput<M>): Promise<number> {
    return this.#reader().count(filter);
  }

  async upsert(
    records: readonly RecordInput<M>[] | ColumnsInput<M>,
    options?: WriteOptions,
  ): Promise<string[]> {
    const given = Array.isArray(records)
      ? (records as readonly RecordInput<M>[]).map((record) => record?.id)
      : (records as ColumnsInput<M>)?.ids;
    return this.#write(async () => {
      const ids = await this.remote.upsert(records, options);
      this.#touch(ids);
      const remote = this.remote as unknown as RemoteCollection;
      await adopt(this.#context, remote, ids, options?.signal);
      return ids;
    }, given);
  }

  async delete(
    given: { ids: readonly string[] } | { filter: FilterInput<M> },
    options?: { signal?: AbortSignal | undefined },
  ): Promise<number> {
    const what = { ids: await idsOf(this.remote, given, options?.signal) };
    return this.#write(async () => {
      const count = await this.remote.delete(what, options);
      await this.local.delete(what, options);
      for (const id of what.ids) this.#context.state.hashes.delete(id);
      return count;
    }, what.ids);
  }

  async clear(options?: { signal?: AbortSignal | undefined }): Promise<void> {
    await this.#write(async () => {
      await this.remote.clear(options);
      this.#touch(this.#context.state.hashes.keys());
      await this.local.clear(options);
      this.#context.state.hashes.clear();
    });
  }

  /** Stops polling and keeps the state; the database stays open. */
  async close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#freshness.close();
    await this.#syncing?.catch(() => undefined);
    await this.#writing.catch(() => undefined);
    await this.#context.save();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #reader(): VectorCollection<M> {
    return this.#freshness.isFresh() ? this.local : this.remote;
  }

  #touch(ids: Iterable<string>): void {
    for (const id of ids) this.#touched.add(id);
  }

  /** Writes run one after another; the server's state changes by them, which is no staleness. */
  #write<T>(work: () => Promise<T>, given?: readonly (string | undefined)[]): Promise<T> {
    const ids = Array.isArray(given) ? given.filter((id) => typeof id === "string") : [];
    for (const id of ids) this.#underWay.add(id);
    this.#touch(ids);
    const run = this.#writing.then(work, work).finally(() => {
      for (const id of ids) this.#underWay.delete(id);
      this.#freshness.wrote();
    });
    this.#writing = run.catch(() => undefined);
    return run;
  }

  #schedule(): void {
    const { pollMs } = this.#settings;
    if (pollMs === 0) return;
    this.#timer = setTimeout(() => void this.#poll(), pollMs);
    this.#timer.unref();
  }

  async #poll(): Promise<void> {
    try {
      if (!(await this.check())) await this.sync();
    } catch (error) {
      this.#freshness.failed(error);
    }
    if (this.#timer !== undefined) this.#schedule();
  }
}
