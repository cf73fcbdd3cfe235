/** Options of a mirror, checked once. */
import type { Database } from "hive-gpu";
import { z } from "zod";
import type { VectorizerClient } from "./client.js";
import { aFunction, having, readOptions } from "./options.js";

/** Options of `VectorizerMirror.open`. */
export interface MirrorOptions {
  client: VectorizerClient;
  /** Name of the collection on the server; it must exist. */
  name: string;
  /** Where the copy lives; the collection is created when it does not exist. */
  database: Database;
  /** Name of the copy; default: `name`. */
  localName?: string | undefined;
  /** File that keeps what the mirror knows of the server, for a database that outlives the process. */
  statePath?: string | undefined;
  /** Member of a payload that holds the text. Default "content". */
  textKey?: string | undefined;
  /** Points per request; bounds the memory of an import. Default 4096. */
  pageSize?: number | undefined;
  /** Who wins in a sync when a record changed on both sides. Default "server-wins". */
  conflicts?: "server-wins" | "local-wins" | undefined;
  /** How often the server is asked whether it changed, milliseconds; 0: never. Default 5000. */
  pollMs?: number | undefined;
  /** Age, in milliseconds, of the last good answer to that, from which on searches go to the server.
   * Default: any age is fine, so the copy answers while the server is down. */
  maxStalenessMs?: number | undefined;
  /** Gets a sentence when searches begin to go to the server, or a poll fails. */
  onWarning?: ((message: string) => void) | undefined;
}

const schema = z.strictObject({
  client: having<VectorizerClient>("probe"),
  name: z.string().min(1),
  database: having<Database>("collection"),
  localName: z.string().min(1).optional(),
  statePath: z.string().min(1).optional(),
  textKey: z.string().min(1).default("content"),
  pageSize: z.number().int().min(2).max(100_000).default(4096),
  conflicts: z.enum(["server-wins", "local-wins"]).default("server-wins"),
  pollMs: z.number().int().min(0).max(86_400_000).default(5000),
  maxStalenessMs: z.number().min(0).default(Infinity),
  onWarning: aFunction<(message: string) => void>().optional(),
});
/** Options with defaults filled in. */
export type Settings = z.output<typeof schema>;

/** Reads the options of a mirror. */
export function readMirrorOptions(given: unknown): Settings {
  return readOptions("VectorizerMirror", schema, given);
}
