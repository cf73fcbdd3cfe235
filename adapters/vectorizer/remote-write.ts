/** Writes to a server collection: creation with a check of what came out, inserts, deletions. */
import { type HiveGpuError, hiveError, type WriteOptions } from "hive-gpu";
import type { CollectionInfo } from "./answers.js";
import type { ItemResult } from "./batches.js";
import { serverIdsOf } from "./id-codec.js";
import type { Outgoing } from "./records.js";
import type { RemoteSettings } from "./remote.js";
import { noCollection } from "./scroll.js";

export class RemoteWriter {
  readonly #settings: RemoteSettings;
  #creating: Promise<CollectionInfo> | undefined;
  #hasWarned = false;

  constructor(settings: RemoteSettings) {
    this.#settings = settings;
  }

  /** Throws ALREADY_EXISTS when the collection is not what the options say; warns of quantization. */
  check(info: CollectionInfo): void {
    for (const key of ["dimensions", "metric"] as const) {
      const wanted = this.#settings[key];
      if (wanted === undefined || wanted === info[key]) continue;
      const message = `The server's collection ${JSON.stringify(info.name)} has ${key} ${info[key]}; it was asked for with ${wanted}.`;
      throw hiveError("ALREADY_EXISTS", message, {
        details: { option: key, existing: info[key], wanted },
      });
    }
    if (info.quantization === undefined || this.#hasWarned) return;
    this.#hasWarned = true;
    const message = `the server stores ${JSON.stringify(info.name)} quantized (${info.quantization}): vectors come back changed`;
    if (this.#settings.onWarning === undefined) {
      process.emitWarning(`hive-gpu: ${message}`, {
        type: "HiveGpuWarning",
        code: "HIVE_GPU_LOSSY",
      });
    } else {
      this.#settings.onWarning(message);
    }
  }

  /** Creates the collection; callers that come meanwhile share the one attempt. */
  async create(dimensions: number): Promise<CollectionInfo> {
    const { client, name, metric = "cosine", create } = this.#settings;
    if (!create) throw noCollection(name);
    this.#creating ??= client.createCollection(name, dimensions, metric).finally(() => {
      this.#creating = undefined;
    });
    const info = await this.#creating.catch(async (error: unknown) => {
      // Somebody else was faster; what they made is checked like any other.
      const existing = await client.collection(name);
      if ((error as HiveGpuError).code === "ALREADY_EXISTS" && existing !== undefined)
        return existing;
      throw error;
    });
    this.check(info);
    if (info.dimensions === dimensions) return info;
    throw hiveError(
      "DIMENSION_MISMATCH",
      `upsert: the vectors have ${dimensions} elements, the collection has ${info.dimensions} dimensions.`,
      { details: { expected: info.dimensions, actual: dimensions } },
    );
  }

  /** Sends the points. Records that somebody stored under an id that cannot be inserted are
   * replaced where they are. */
  async write(
    outgoing: readonly Outgoing[],
    info: CollectionInfo,
    { signal, onProgress }: WriteOptions,
  ): Promise<ItemResult[]> {
    const { client, name } = this.#settings;
    const foreign = await this.#foreign(outgoing, info, signal);
    const inserts = outgoing.filter(({ id }) => !foreign.has(id));
    const updates = outgoing.filter(({ id }) => foreign.has(id));
    const total = outgoing.length;
    const inserted = await client.insert(
      name,
      inserts.map(({ point }) => point),
      { signal, onProgress: (done) => onProgress?.({ done, total }) },
    );
    const updated = await client.update(
      name,
      updates.map(({ id, point }) => ({ ...point, id })),
      { signal },
    );
    if (updates.length > 0) onProgress?.({ done: total, total });
    const byId = new Map<Outgoing, ItemResult>();
    for (const [i, one] of inserts.entries()) byId.set(one, inserted[i]!);
    for (const [i, one] of updates.entries()) byId.set(one, updated[i]!);
    return outgoing.map((one) => ({ ...byId.get(one)!, id: one.id }));
  }

  async delete(ids: readonly string[], signal: AbortSignal | undefined): Promise<number> {
    const { client, name } = this.#settings;
    if (ids.length === 0 || (await client.collection(name, { signal })) === undefined) return 0;
    const unique = [...new Set(ids)];
    const owners = unique.flatMap((id) => serverIdsOf(id).map((serverId) => ({ id, serverId })));
    const results = await client.delete(
      name,
      owners.map(({ serverId }) => serverId),
      { signal },
    );
    throwFailures(
      "delete",
      results.filter(({ code }) => code !== "NOT_FOUND"),
    );
    const gone = owners.filter((_, i) => results[i]!.ok).map(({ id }) => id);
    return new Set(gone).size;
  }

  /** Ids that the server has under a spelling that it would refuse in an insert. */
  async #foreign(
    outgoing: readonly Outgoing[],
    { dimensions }: CollectionInfo,
    signal: AbortSignal | undefined,
  ): Promise<Set<string>> {
    const { client, name } = this.#settings;
    const odd = outgoing.filter(({ id, point }) => id !== point.id).map(({ id }) => id);
    if (odd.length === 0) return new Set();
    const found = await client.retrieve(name, [...new Set(odd)], dimensions, { signal });
    return new Set(found.map(({ id }) => id));
  }
}

/** Throws when an item failed, with the first one's reason and all results. */
export function throwFailures(where: string, results: readonly ItemResult[]): void {
  const failed = results.filter(({ ok }) => !ok);
  const [first] = failed;
  if (first === undefined) return;
  const message = `${where}: the server refused ${failed.length} of ${results.length} records, first ${JSON.stringify(first.id)}: ${first.message ?? "no reason given"}`;
  throw hiveError(first.code ?? "REMOTE_REFUSED", message, {
    details: { failed: failed.length, results },
  });
}
