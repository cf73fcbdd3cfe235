/** Pieces of the native routes' answers. */
import type { FakeCollection, Scored } from "./store.js";
import { Refusal } from "./wire.js";

/** Ids as the insert routes accept them. */
export function checkId(id: string): void {
  const problem =
    id === ""
      ? "must not be empty"
      : Buffer.byteLength(id) > 256
        ? "must be at most 256 bytes"
        : id.trim() !== id
          ? "must not begin or end with a space"
          : id.includes("#")
            ? "must not contain '#'"
            : undefined;
  if (problem !== undefined) throw new Refusal(400, "validation_error", `id ${problem}`);
}

export function shownHit(collection: FakeCollection, { point, score }: Scored): object {
  const { id, vector, payload } = point;
  return { id, score, vector: [...vector], payload: collection.shown(payload) };
}

export function stringify(metadata: unknown): Record<string, string> {
  return Object.fromEntries(
    Object.entries(metadata as object).map(([key, value]) => [
      key,
      typeof value === "string" ? value : JSON.stringify(value),
    ]),
  );
}

export function tally(results: readonly { status: string }[], verb: string): object {
  const failed = results.filter(({ status }) => status !== "ok").length;
  return { [verb]: results.length - failed, failed, count: results.length };
}
