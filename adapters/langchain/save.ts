/** Saving a store into a folder of its own. */
import { openDatabase, type Collection, type VectorCollection } from "hive-gpu";

/** Records copied at a time. */
const kBatch = 1000;

/**
 * Makes the collection `name` of the database in `directory` hold what `source` holds. What was
 * saved there before stays readable until the new records are stored; what is no longer in the
 * source is removed last.
 */
export async function saveCollection(
  source: VectorCollection,
  directory: string,
  name: string,
): Promise<void> {
  const { metric } = source;
  const { dtype } = source as Partial<Pick<Collection, "dtype">>;
  const database = await openDatabase({ path: directory, device: "cpu" });
  try {
    const target = await database.collection(name, { metric, dtype });
    const saved = new Set<string>();
    let batch: Parameters<typeof target.upsert>[0] & unknown[] = [];
    const select = ["vector", "text", "metadata"] as const;
    for await (const { vector, ...record } of source.scan({ select, batchSize: kBatch })) {
      saved.add(record.id);
      batch.push({ ...record, vector: vector! });
      if (batch.length < kBatch) continue;
      await target.upsert(batch);
      batch = [];
    }
    await target.upsert(batch);
    const stale: string[] = [];
    for await (const { id } of target.scan({ select: [] })) if (!saved.has(id)) stale.push(id);
    await target.delete({ ids: stale });
  } finally {
    await database.close();
  }
}
