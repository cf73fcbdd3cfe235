/** What `delete` was given, as ids: the server knows no filters. */
import { type FilterInput, hiveError, kit, type StoredRecord } from "hive-gpu";

const deleteKeys = new Set(["ids", "filter"]);

/** Where the records that pass a filter are found. */
interface Scanned<M extends object> {
  scan(options: {
    filter: FilterInput<M>;
    select: readonly [];
    signal: AbortSignal | undefined;
  }): AsyncIterableIterator<StoredRecord<M>>;
}

/**
 * The ids to delete. A filter is decided on the records as they are read, which on a server is no
 * one moment's state.
 */
export async function idsOf<M extends object>(
  source: Scanned<M>,
  what: { ids: readonly string[] } | { filter: FilterInput<M> },
  signal: AbortSignal | undefined,
): Promise<string[]> {
  kit.checkOptions("delete", what ?? null, deleteKeys);
  const { ids, filter } = what as { ids?: unknown; filter?: FilterInput<M> };
  if (filter !== undefined && ids !== undefined) {
    throw hiveError("INVALID_ARGUMENT", "delete: ids and filter are mutually exclusive.");
  }
  if (filter !== undefined) {
    if (kit.filterOf("delete", filter) === undefined) {
      throw hiveError("INVALID_FILTER", "delete: an empty filter would remove every record.", {
        hint: "Call clear() to remove everything.",
      });
    }
    const found: string[] = [];
    for await (const { id } of source.scan({ filter, select: [], signal })) found.push(id);
    return found;
  }
  if (!Array.isArray(ids)) {
    throw hiveError("INVALID_ARGUMENT", `delete: ids must be an array, got ${kit.show(ids)}.`);
  }
  for (const [i, id] of ids.entries()) kit.checkId(id, () => `delete: ids[${i}]`);
  return ids as string[];
}
