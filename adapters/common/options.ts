/** Where the records of a framework's store live: the options that all adapters share. */
import type { Database, DeviceChoice, Dtype, Metric, VectorCollection } from "hive-gpu";
import { invalidArgument, quoteAll, unknownOption } from "./errors.js";

/**
 * Where the records live. `{}` is a private in-memory database and `{ path }` one in a folder,
 * opened on first use; a `database` or a `collection` stays the caller's to close.
 */
export type StoreOptions =
  | {
      /**
       * An open collection: the engine's, or another that answers like it, such as a server's
       * (`hive-gpu/vectorizer`). Its metric is settled, so no other option goes with it.
       */
      collection: VectorCollection<object>;
    }
  | {
      collection?: undefined;
      /** An open database; without it the store opens a private one in memory. */
      database?: Database | undefined;
      /** Name of the collection, created when the database lacks it. Default: the framework's. */
      name?: string | undefined;
      /** Default: "cosine". See the docs of the adapter for what a score means under each. */
      metric?: Metric | undefined;
      /** How vectors are stored. Default: "f32". */
      dtype?: Dtype | undefined;
      /** Forces a device for the private database, as `openDatabase({ device })` does. */
      device?: DeviceChoice | undefined;
      /** Folder of the private database; without it, records are kept in memory. */
      path?: string | undefined;
      /** Opens the folder beside its writer; then every write is refused. */
      readOnly?: boolean | undefined;
    };

type Bag = Readonly<Record<string, unknown>>;

const kPrivateOptions = ["device", "path", "readOnly"];
const kDatabaseOptions = ["database", "name", "metric", "dtype", ...kPrivateOptions];

/** Checks the options of the constructor and returns a copy that no caller can change. */
export function readStoreOptions(options: unknown): StoreOptions {
  const bag = readBag(options ?? {}, "HiveVectorStore", ["collection", ...kDatabaseOptions]);
  if (bag["collection"] !== undefined) {
    refuseForeign(bag["collection"], "collection", "upsert");
    refuseTogether(bag, "collection", kDatabaseOptions);
  }
  if (bag["database"] !== undefined) {
    refuseForeign(bag["database"], "database", "collection");
    refuseTogether(bag, "database", kPrivateOptions);
  }
  return { ...bag };
}

/** An object all of whose keys are known. A key that is present but undefined counts as left out. */
export function readBag(value: unknown, where: string, known: readonly string[]): Bag {
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw invalidArgument(`${where}: options must be an object.`, `Known: ${known.join(", ")}.`);
  }
  const unknown = Object.keys(value).filter((name) => !known.includes(name));
  if (unknown.length > 0) throw unknownOption(where, unknown, known);
  return value as Bag;
}

/** Checks by method, not by class: two builds of the package may be loaded in one process. */
function refuseForeign(value: unknown, option: "collection" | "database", method: string): void {
  const found = value as Record<string, unknown> | null;
  if (typeof found === "object" && typeof found?.[method] === "function") return;
  throw invalidArgument(
    `HiveVectorStore: "${option}" is not a ${option} of hive-gpu.`,
    option === "database" ? "Pass what openDatabase() resolves to." : "Await db.collection(name).",
    { option },
  );
}

function refuseTogether(bag: Bag, option: string, others: readonly string[]): void {
  const given = others.filter((name) => bag[name] !== undefined);
  if (given.length === 0) return;
  throw invalidArgument(
    `HiveVectorStore: "${option}" was given together with ${quoteAll(given)}.`,
    `An open ${option} has these already: pass it alone, or set them where it is opened.`,
    { options: [option, ...given] },
  );
}
