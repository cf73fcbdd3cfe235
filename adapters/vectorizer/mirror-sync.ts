/** Brings the device's copy up to the server: every record, or only those that changed. */
import { hiveError, kit, type StoredRecord, type VectorCollection } from "hive-gpu";
import type { CollectionInfo } from "./answers.js";
import type { VectorizerClient } from "./client.js";
import { hashRecord } from "./hash.js";
import { serverIdsOf } from "./id-codec.js";
import type { MirrorState } from "./mirror-state.js";
import { isEncrypted } from "./payload-codec.js";
import { type PointBlock, payloadOf, pointsOf } from "./points.js";
import { recordOf } from "./records.js";
import { noCollection, scrollPoints } from "./scroll.js";

/** A record with its vector. */
export type FullRecord = StoredRecord & { vector: Float32Array };

/** Who wins when a record changed on both sides. */
export type ConflictPolicy = "server-wins" | "local-wins" | "fail";

export interface SyncOptions {
  /** Compares everything even when the server says that nothing changed. */
  force?: boolean | undefined;
  signal?: AbortSignal | undefined;
  onProgress?: ((progress: { done: number; total: number }) => void) | undefined;
}

/** What a sync did. */
export interface SyncReport {
  /** Points compared; 0 when the server said that nothing changed. */
  scanned: number;
  /** Records stored because they are new on the server, or changed there. */
  upserted: number;
  deleted: number;
  /** Records that changed here and there; the local ones were kept or replaced, as the policy says. */
  conflicts: number;
  /** Whether the server stood still meanwhile, so that the copy is one state of it. */
  consistent: boolean;
  /** What the copy cannot be: see docs/vectorizer.md. */
  degraded: { quantized: string | undefined; zeroVectors: number; encrypted: number };
}

/** The mirror's parts that a sync works with. */
export interface SyncContext {
  client: VectorizerClient;
  name: string;
  local: VectorCollection;
  state: MirrorState;
  textKey: string;
  pageSize: number;
  conflicts: "server-wins" | "local-wins";
  /** Ids written through the mirror while a pass is under way: what it read before is older. */
  touched: ReadonlySet<string>;
  /** A pass begins: only writes that are still under way count as touched. */
  beginPass: () => void;
  /** Keeps the state now and then, so that an import can go on after an interruption. */
  save: () => Promise<void>;
}

const roundsMax = 3;
/** Records between two savings of the state of an import. */
const saveEvery = 100_000;
const blockMax = 2048;
const idsPerCheck = 1000;

/** See {@link SyncReport}. */
export async function syncMirror(context: SyncContext, options: SyncOptions): Promise<SyncReport> {
  const { client, name, state } = context;
  const report: SyncReport = {
    scanned: 0,
    upserted: 0,
    deleted: 0,
    conflicts: 0,
    consistent: false,
    degraded: { quantized: undefined, zeroVectors: 0, encrypted: 0 },
  };
  for (let round = 0; round < roundsMax && !report.consistent; round++) {
    const before = await infoOf(context, options.signal);
    report.degraded = { quantized: before.quantization, zeroVectors: 0, encrypted: 0 };
    context.beginPass();
    if (options.force !== true && round === 0 && state.matches(before)) {
      return { ...report, consistent: true };
    }
    await new Round(context, before, options, report).run();
    const after = await client.collection(name, { signal: options.signal });
    report.consistent =
      after?.updatedAt !== undefined &&
      after.updatedAt === before.updatedAt &&
      after.count === before.count;
    if (report.consistent) {
      state.checkpoint = { updatedAt: before.updatedAt!, count: before.count };
    }
  }
  if (!report.consistent) state.checkpoint = undefined;
  await context.save();
  return report;
}

/** What the server has under that name; throws when it cannot be mirrored into the collection. */
export async function infoOf(
  { client, name, local }: Pick<SyncContext, "client" | "name" | "local">,
  signal: AbortSignal | undefined,
): Promise<CollectionInfo> {
  const info = await client.collection(name, { signal });
  if (info === undefined) throw noCollection(name);
  const { metric, dimensions } = local;
  if (metric === info.metric && (dimensions ?? info.dimensions) === info.dimensions) return info;
  const message = `The server's ${JSON.stringify(name)} has ${info.dimensions} dimensions and metric ${info.metric}; the local collection has ${dimensions ?? "no"} dimensions and metric ${metric}.`;
  throw hiveError("DIMENSION_MISMATCH", message, {
    hint: "Mirror into a collection of the same metric and dimensions.",
    details: { server: info, local: { metric, dimensions } },
  });
}

/** One pass over all points of the server. */
class Round {
  readonly #seen = new Set<string>();
  #isImport = false;
  #unsaved = 0;
  #pending: Promise<unknown> = Promise.resolve();

  constructor(
    readonly context: SyncContext,
    readonly info: CollectionInfo,
    readonly options: SyncOptions,
    readonly report: SyncReport,
  ) {}

  async run(): Promise<void> {
    const { client, name, state, pageSize } = this.context;
    const { dimensions, count: expected } = this.info;
    const { signal } = this.options;
    const resumed = state.resumeAfter(this.info);
    const known = new Set(state.hashes.keys());
    // Only a first import can be resumed: a later pass must see everything to find what is gone.
    this.#isImport = resumed !== undefined || known.size === 0;
    const slices = new kit.Slices(signal);
    const blockSize = Math.min(blockMax, pageSize);
    const scroll = { dimensions, pageSize, blockSize, expected, signal, after: resumed };
    try {
      for await (const block of scrollPoints(client, name, scroll)) {
        await this.#take(block);
        if (slices.due) await slices.turn();
      }
      await this.#pending;
    } catch (error) {
      await this.#pending.catch(() => undefined);
      throw error;
    }
    if (!this.#isImport) await this.#deleteMissing(known);
    state.cursor = undefined;
  }

  /** Compares a block and stores what changed, while the next one is read. */
  async #take(block: PointBlock): Promise<void> {
    const { state, touched, textKey } = this.context;
    const { degraded } = this.report;
    const changed: { record: FullRecord; hash: number; isKnown: boolean }[] = [];
    for (const point of pointsOf(block)) {
      const payload = payloadOf(point.members);
      const record = recordOf(point.id, payload, point.vector, textKey);
      this.#seen.add(record.id);
      if (isEncrypted(payload)) degraded.encrypted++;
      if (point.vector[0] === 0 && point.vector.every((value) => value === 0))
        degraded.zeroVectors++;
      const hash = hashRecord(record);
      const before = state.hashes.get(record.id);
      if (before !== hash && !touched.has(record.id)) {
        changed.push({ record, hash, isKnown: before !== undefined });
      }
    }
    const wanted = await this.#withoutConflicts(changed);
    // One write at a time, so that no more than two blocks are in memory.
    await this.#pending;
    this.#pending = this.#storeAndNote(wanted, block);
    // Its failure is thrown where it is awaited.
    this.#pending.catch(() => undefined);
  }

  async #storeAndNote(
    wanted: readonly { record: FullRecord; hash: number }[],
    block: PointBlock,
  ): Promise<void> {
    await this.#store(wanted, block);
    const { state } = this.context;
    const { updatedAt, count } = this.info;
    const after = block.ids.at(-1)!;
    const canResume = this.#isImport && updatedAt !== undefined;
    state.cursor = canResume ? { after, updatedAt, count } : undefined;
    this.report.scanned += block.ids.length;
    this.#unsaved += wanted.length;
    this.options.onProgress?.({ done: this.report.scanned, total: count });
    if (this.#unsaved < saveEvery) return;
    this.#unsaved = 0;
    await this.context.save();
  }

  async #store(
    changed: readonly { record: FullRecord; hash: number }[],
    block: PointBlock,
  ): Promise<void> {
    const { local, state } = this.context;
    if (changed.length === 0) return;
    const { dimensions } = block;
    let { vectors } = block;
    if (changed.length < block.ids.length) {
      vectors = new Float32Array(changed.length * dimensions);
      for (const [i, { record }] of changed.entries()) vectors.set(record.vector, i * dimensions);
    }
    const columns = {
      ids: changed.map(({ record }) => record.id),
      vectors,
      dimensions,
      texts: changed.map(({ record }) => record.text),
      metadatas: changed.map(({ record }) => record.metadata),
    };
    await local.upsert(columns, { signal: this.options.signal });
    for (const { record, hash } of changed) state.hashes.set(record.id, hash);
    this.report.upserted += changed.length;
  }

  /** Leaves out records that were also changed here, when those win. */
  async #withoutConflicts<T extends { record: FullRecord; isKnown: boolean }>(
    changed: readonly T[],
  ): Promise<readonly T[]> {
    const { local, state, conflicts } = this.context;
    const known = changed.filter(({ isKnown }) => isKnown).map(({ record }) => record.id);
    if (known.length === 0) return changed;
    const select = ["text", "metadata", "vector"] as const;
    const records = await local.get(known, { select });
    const dirty = new Set(
      known.filter((id, i) => {
        const record = records[i];
        return record === undefined || hashRecord(record as FullRecord) !== state.hashes.get(id);
      }),
    );
    this.report.conflicts += dirty.size;
    return conflicts === "server-wins"
      ? changed
      : changed.filter(({ record }) => !dirty.has(record.id));
  }

  /** Deletes what the server no longer has; it is asked again for each, as a scan may miss some. */
  async #deleteMissing(known: ReadonlySet<string>): Promise<void> {
    const { client, name, local, state, touched } = this.context;
    const missing = [...known].filter((id) => !this.#seen.has(id) && !touched.has(id));
    for (let from = 0; from < missing.length; from += idsPerCheck) {
      const ids = missing.slice(from, from + idsPerCheck);
      const asked = ids.flatMap(serverIdsOf);
      const { signal } = this.options;
      const points = await client.retrieve(name, asked, this.info.dimensions, { signal });
      const there = new Set(points.map(({ id }) => id));
      const gone = ids.filter((id) => !serverIdsOf(id).some((serverId) => there.has(serverId)));
      this.report.deleted += await local.delete({ ids: gone }, { signal });
      for (const id of gone) state.hashes.delete(id);
    }
  }
}
