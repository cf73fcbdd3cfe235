/** What the tests of the mirror share. */
import { mkdtemp, rm } from "node:fs/promises";
import os from "node:os";
import path from "node:path";
import { VectorizerMirror, type MirrorOptions } from "hive-gpu/vectorizer";
import { afterEach } from "vitest";
import { database } from "../unit/helpers.js";
import { clientOf, fake, records, remoteOf } from "./helpers.js";

const folders: string[] = [];
afterEach(async () => {
  for (const folder of folders.splice(0)) await rm(folder, { recursive: true, force: true });
});

export async function newFolder(): Promise<string> {
  folders.push(await mkdtemp(path.join(os.tmpdir(), "mirror-")));
  return folders.at(-1)!;
}

/** A server with records of its own, and a mirror of it that is not synced yet. */
export async function mirrored(options: Partial<MirrorOptions> = {}, count = 200) {
  const server = await fake();
  const docs = remoteOf(server);
  if (count > 0) await docs.upsert(records(count));
  else await docs.upsert(records(1));
  const open = async (more: Partial<MirrorOptions> = {}) =>
    VectorizerMirror.open({
      client: clientOf(server.url),
      name: "docs",
      database: await database(),
      pollMs: 0,
      onWarning: () => undefined,
      ...options,
      ...more,
    });
  return { server, docs, open, mirror: await open() };
}

const all = { select: ["text", "metadata", "vector"] } as const;

/** Everything of a collection, by id. */
export async function contents(collection: {
  scan(options: typeof all): AsyncIterable<{ id: string }>;
}): Promise<Map<string, unknown>> {
  const found = new Map<string, unknown>();
  for await (const record of collection.scan(all)) found.set(record.id, record);
  return found;
}

/** Waits until something is so. */
export async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await what())) {
    await new Promise((resolve) => {
      setTimeout(resolve, 5);
    });
  }
}
