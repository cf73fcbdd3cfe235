/** Sends what changed in the local collection back to the server. */
import { hiveError } from "hive-gpu";
import { hashRecord } from "./hash.js";
import { serverIdsOf } from "./id-codec.js";
import { type ConflictPolicy, type FullRecord, infoOf, type SyncContext } from "./mirror-sync.js";
import { pointsOf } from "./points.js";
import { recordOfPoint } from "./records.js";
import type { RemoteCollection } from "./remote.js";

export interface PushOptions {
  /** What to do with records that changed on both sides. There is no default. */
  conflicts: ConflictPolicy;
  signal?: AbortSignal | undefined;
}

/** What a push did. */
export interface PushReport {
  /** Records sent. */
  upserted: number;
  /** Records deleted on the server. */
  deleted: number;
  /** Ids of records that changed on both sides, in the order found. */
  conflicts: string[];
  /** Conflicts for which the server's record, or its absence, was taken over. */
  takenOver: number;
}

interface Change {
  id: string;
  /** undefined: deleted here. */
  record: FullRecord | undefined;
  /** As the server has it now. */
  server: FullRecord | undefined;
  isConflict: boolean;
}

const batchSize = 512;
/** Up to so many changed records are asked for one by one, by a page that begins with each. */
const singlesMax = 64;

/** See {@link PushReport}. `remote` writes to the collection that `context` mirrors. */
export async function pushMirror(
  context: SyncContext,
  remote: RemoteCollection,
  { conflicts: policy, signal }: PushOptions,
): Promise<PushReport> {
  const { dimensions } = await infoOf(context, signal);
  const changes = await localChanges(context, signal);
  const report: PushReport = { upserted: 0, deleted: 0, conflicts: [], takenOver: 0 };
  for (let from = 0; from < changes.length; from += batchSize) {
    await compare(context, changes.slice(from, from + batchSize), dimensions, signal);
  }
  report.conflicts = changes.filter(({ isConflict }) => isConflict).map(({ id }) => id);
  if (policy === "fail" && report.conflicts.length > 0) {
    const message = `push: ${report.conflicts.length} records changed here and on the server, first ${JSON.stringify(report.conflicts[0])}.`;
    throw hiveError("CONFLICT", message, {
      hint: 'Decide with conflicts: "server-wins" or "local-wins". Nothing was sent.',
      details: { ids: report.conflicts },
    });
  }
  for (let from = 0; from < changes.length; from += batchSize) {
    const some = changes.slice(from, from + batchSize);
    const isOurs = ({ isConflict }: Change): boolean => !isConflict || policy === "local-wins";
    await send(context, remote, some.filter(isOurs), report, signal);
    const taken = some.filter((change) => !isOurs(change));
    await takeOver(context, taken, signal);
    report.takenOver += taken.length;
  }
  return report;
}

/** Records whose content is not what the server last had. */
async function localChanges(
  { local, state }: SyncContext,
  signal: AbortSignal | undefined,
): Promise<Change[]> {
  const changes: Change[] = [];
  const missing = new Set(state.hashes.keys());
  const select = ["text", "metadata", "vector"] as const;
  for await (const record of local.scan({ select, signal })) {
    missing.delete(record.id);
    if (hashRecord(record as FullRecord) === state.hashes.get(record.id)) continue;
    changes.push({
      id: record.id,
      record: record as FullRecord,
      server: undefined,
      isConflict: false,
    });
  }
  for (const id of missing)
    changes.push({ id, record: undefined, server: undefined, isConflict: false });
  return changes;
}

/** Finds what the server has now, and whether it changed since it was last seen. */
async function compare(
  context: SyncContext,
  changes: readonly Change[],
  dimensions: number,
  signal: AbortSignal | undefined,
): Promise<void> {
  const { client, name, state, textKey } = context;
  const asked = changes.flatMap(({ id }) => serverIdsOf(id));
  const points = await client.retrieve(name, asked, dimensions, { signal });
  const found = new Map(points.map((point) => [point.id, recordOfPoint(point, textKey)]));
  let singles = 0;
  for (const change of changes) {
    const { id } = change;
    const serverId = serverIdsOf(id).find((one) => found.has(one));
    const base = state.hashes.get(id);
    change.server = serverId === undefined ? undefined : found.get(serverId);
    if (change.server === undefined || serverId === undefined) {
      // Gone on both sides is no conflict.
      change.isConflict = base !== undefined && change.record !== undefined;
      continue;
    }
    if (hashRecord(change.server) === base) continue;
    // What is asked for by id comes with other white space than what a page brings.
    if (singles++ < singlesMax) {
      change.server = (await asStored(context, serverId, dimensions, signal)) ?? change.server;
    }
    const now = hashRecord(change.server);
    const isSame = change.record !== undefined && now === hashRecord(change.record);
    change.isConflict = now !== base && !isSame;
  }
}

/** A record as a page brings it: the page that begins with it has it first. */
async function asStored(
  { client, name, textKey }: SyncContext,
  serverId: string,
  dimensions: number,
  signal: AbortSignal | undefined,
): Promise<FullRecord | undefined> {
  const page = { offset: serverId, limit: 2, dimensions, blockSize: 2 };
  for await (const block of client.page(name, page, { signal })) {
    for (const point of pointsOf(block)) {
      if (point.id === serverId) return recordOfPoint(point, textKey);
    }
  }
  return undefined;
}

async function send(
  context: SyncContext,
  remote: RemoteCollection,
  changes: readonly Change[],
  report: PushReport,
  signal: AbortSignal | undefined,
): Promise<void> {
  const records = changes.flatMap(({ record }) => (record === undefined ? [] : [record]));
  const gone = changes.filter(({ record }) => record === undefined).map(({ id }) => id);
  await remote.upsert(records, { signal });
  await adopt(
    context,
    remote,
    records.map(({ id }) => id),
    signal,
  );
  report.upserted += records.length;
  report.deleted += await remote.delete({ ids: gone }, { signal });
  for (const id of gone) context.state.hashes.delete(id);
}

/** Stores here what the server made of records that were just written to it. */
export async function adopt(
  { local, state }: SyncContext,
  remote: RemoteCollection,
  ids: readonly string[],
  signal: AbortSignal | undefined,
): Promise<void> {
  if (ids.length === 0) return;
  const select = ["text", "metadata", "vector"] as const;
  const found = await remote.get([...new Set(ids)], { select, signal });
  const records = found.filter((record) => record !== undefined) as FullRecord[];
  await local.upsert(records, { signal });
  for (const record of records) state.hashes.set(record.id, hashRecord(record));
}

/** The server's side of a conflict becomes ours. */
async function takeOver(
  { local, state }: SyncContext,
  changes: readonly Change[],
  signal: AbortSignal | undefined,
): Promise<void> {
  const records = changes.flatMap(({ server }) => (server === undefined ? [] : [server]));
  const gone = changes.filter(({ server }) => server === undefined).map(({ id }) => id);
  if (records.length > 0) await local.upsert(records, { signal });
  for (const record of records) state.hashes.set(record.id, hashRecord(record));
  await local.delete({ ids: gone }, { signal });
  for (const id of gone) state.hashes.delete(id);
}
