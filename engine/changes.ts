/** The ordered log of changes: what replication and mirrors follow. */
import { hiveError, throwIfAborted } from "./errors.js";
import { fromNative } from "./native-errors.js";
import { checkInteger, checkOptions, checkSignal } from "./options.js";
import { decodeRecord } from "./record-codec.js";
import type { CollectionEvent } from "./store/manifest.js";
import type { NativeChangeBlock } from "./store/native-log.js";
import type { CollectionStorage } from "./store/collection-storage.js";
import type { DatabaseStorage } from "./store/storage.js";
import type { Metadata, StoredRecord } from "./types.js";

/** Options of `Database.changes`. */
export interface ChangesOptions {
  /** The first commit wanted; 1 is the first of all. */
  fromSeq: number;
  signal?: AbortSignal | undefined;
}

/** One change. Changes of one commit have the same sequence and come one after another. */
export type Change<M extends object = Metadata> = {
  /** Number of the commit. */
  sequence: number;
  collection: string;
} & (
  | { type: "upsert"; record: StoredRecord<M> & { vector: Float32Array } }
  | { type: "delete"; id: string }
  | { type: "clear" }
  | ({ type: "create" } & Omit<CollectionEvent & { type: "create" }, "name">)
  | { type: "drop" }
);

const keys = new Set(["fromSeq", "signal"]);
/** Bytes of frames read at a time. */
const blockBytes = 4 << 20;
const kindUpsert = 1;
const kindDelete = 2;

/** The changes of one collection, block by block. */
async function* changesOf(storage: CollectionStorage, from: number): AsyncGenerator<Change> {
  const { dimensions, name, files } = storage.manifest;
  if (dimensions === null || files.length === 0) return;
  const log = await storage.log(dimensions);
  const reader = log.changes(from);
  for (;;) {
    const block = await reader.next(blockBytes);
    if (block.sequences.length === 0) return;
    yield* changesIn(block, name, dimensions);
  }
}

function* changesIn(
  block: NativeChangeBlock,
  collection: string,
  dimensions: number,
): Generator<Change> {
  let vector = 0;
  for (const [i, sequence] of block.sequences.entries()) {
    const kind = block.kinds[i];
    const id = block.ids[i]!;
    if (kind === kindUpsert) {
      const at = vector++ * dimensions;
      const record = {
        id,
        ...decodeRecord(block.records[i]!),
        vector: block.vectors.slice(at, at + dimensions),
      };
      yield { sequence, collection, type: "upsert", record };
    } else if (kind === kindDelete) {
      yield { sequence, collection, type: "delete", id };
    } else {
      yield { sequence, collection, type: "clear" };
    }
  }
}

async function* eventChanges(events: readonly [number, CollectionEvent][]): AsyncGenerator<Change> {
  for (const [sequence, { name, ...event }] of events) {
    yield { sequence, collection: name, ...event };
  }
}

/** A source and its next change. */
interface Head {
  source: AsyncGenerator<Change>;
  change: Change;
}

function checkHorizon(storage: DatabaseStorage, fromSeq: number): void {
  for (const { manifest } of storage.collections()) {
    if (fromSeq > manifest.horizon) continue;
    throw hiveError(
      "CHANGES_TRUNCATED",
      `Changes from ${fromSeq} on are not complete: compaction of collection ` +
        `${JSON.stringify(manifest.name)} dropped some up to ${manifest.horizon}.`,
      { details: { fromSeq, horizon: manifest.horizon, collection: manifest.name } },
    );
  }
}

/** All changes from `fromSeq` to what is committed when the first one is asked for. */
export async function* readChanges(
  storage: DatabaseStorage,
  options: ChangesOptions,
  assertOpen: () => void,
): AsyncGenerator<Change, void, undefined> {
  const { fromSeq, signal } = options;
  assertOpen();
  const { sequence: last } = storage.committer.database;
  checkHorizon(storage, fromSeq);
  // What is read is pinned: files that are replaced meanwhile stay readable.
  const sources = storage.collections().map((one) => changesOf(one, fromSeq));
  sources.push(eventChanges(storage.eventsFrom(fromSeq)));
  const heads: Head[] = [];
  try {
    for (const source of sources) {
      const first = await source.next();
      if (first.done !== true) heads.push({ source, change: first.value });
    }
    while (heads.length > 0) {
      let best = heads[0]!;
      for (const head of heads) if (head.change.sequence < best.change.sequence) best = head;
      assertOpen();
      throwIfAborted(signal);
      if (best.change.sequence > last) return;
      yield best.change;
      const next = await best.source.next();
      if (next.done === true) heads.splice(heads.indexOf(best), 1);
      else best.change = next.value;
    }
  } catch (error) {
    throw fromNative(error);
  }
}

/** Throws for wrong options. */
export function checkChanges(options: unknown): ChangesOptions {
  checkOptions("changes", options ?? {}, keys);
  const { fromSeq, signal } = (options ?? {}) as Partial<ChangesOptions>;
  return {
    fromSeq: checkInteger("changes", "fromSeq", fromSeq, 1, Number.MAX_SAFE_INTEGER),
    signal: checkSignal("changes", signal),
  };
}
