/** `hive-gpu import vectorizer`: a server's collections, or its files, into a database of ours. */
import { SingleBar } from "cli-progress";
import type { Command } from "commander";
import { type Database, hiveError, openDatabase } from "hive-gpu";
import { VectorizerClient } from "./client.js";
import { VectorizerMirror } from "./mirror.js";
import { exportVecdb } from "./vecdb-export.js";
import { importVecdb } from "./vecdb-import.js";

interface Options {
  database?: string;
  toFiles?: string;
  apiKey?: string;
  token?: string;
  textKey: string;
  state?: string;
  maxRatio?: number;
  json?: boolean;
}

type Print = (line: string) => void;

/** Adds the command below `hive-gpu import`. */
export function addCommands(parent: Command, print: Print): void {
  parent
    .command("vectorizer")
    .description("import from a hive-vectorizer server (http://…) or from its files (a path)")
    .argument("<source>", "address of the server, its data folder, or a .vecdb file")
    .argument("[collections...]", "names of the collections wanted; default: all")
    .option("--database <folder>", "the database to import into")
    .option("--to-files <folder>", "also write what was imported as .vecdb and .vecidx, a backup")
    .option("--api-key <key>", "API key; default: the environment's VECTORIZER_API_KEY")
    .option("--token <jwt>", "JWT, in place of an API key")
    .option("--text-key <name>", "member of a payload that holds the text", "content")
    .option("--state <file>", "keeps what is known of the server, so that a later run only syncs")
    .option("--max-ratio <number>", "unpacked bytes per packed byte of a file", Number)
    .option("--json", "print the report as JSON")
    .action((source: string, collections: string[], options: Options) =>
      run(source, collections, options, print),
    );
}

async function run(
  source: string,
  collections: readonly string[],
  options: Options,
  print: Print,
): Promise<void> {
  if (options.database === undefined && options.toFiles === undefined) {
    throw hiveError("INVALID_ARGUMENT", "import: nothing says where the records are to go.", {
      hint: "Give --database <folder>, --to-files <folder>, or both.",
    });
  }
  const database = await openDatabase({ path: options.database });
  try {
    const isServer = /^https?:\/\//.test(source);
    const report = isServer
      ? await fromServer(source, collections, options, database)
      : await fromFiles(source, collections, options, database);
    if (options.toFiles !== undefined) await writeFiles(database, report, options);
    if (options.json === true) print(JSON.stringify(report, undefined, 2));
    else for (const line of linesOf(report)) print(line);
  } finally {
    await database.close();
  }
}

interface Line {
  name: string;
  imported: number;
  deleted?: number;
  skipped?: number;
  degraded: Readonly<Record<string, string | number | undefined>>;
  warnings: readonly string[];
}

interface Report {
  collections: Line[];
  warnings: readonly string[];
}

async function fromServer(
  url: string,
  names: readonly string[],
  options: Options,
  database: Database,
): Promise<Report> {
  const { apiKey = process.env["VECTORIZER_API_KEY"], token, textKey, state } = options;
  const client = new VectorizerClient({
    url,
    ...(token === undefined ? { apiKey: apiKey === "" ? undefined : apiKey } : { token }),
  });
  const wanted = names.length > 0 ? names : (await client.collections()).map(({ name }) => name);
  if (state !== undefined && wanted.length > 1) {
    throw hiveError("INVALID_ARGUMENT", "import: --state is for one collection at a time.");
  }
  const report: Report = { collections: [], warnings: [] };
  for (const name of wanted) {
    const warnings: string[] = [];
    const mirror = await VectorizerMirror.open({
      client,
      name,
      database,
      textKey,
      statePath: state,
      pollMs: 0,
      onWarning: (message) => warnings.push(message),
    });
    const bar = new Bar(name);
    try {
      const sync = await mirror.sync({ onProgress: ({ done, total }) => bar.show(done, total) });
      if (!sync.consistent)
        warnings.push("the server changed all the while; run again to catch up");
      const { upserted: imported, deleted, degraded } = sync;
      report.collections.push({ name, imported, deleted, degraded, warnings });
    } finally {
      bar.stop();
      await mirror.close();
    }
  }
  return report;
}

async function fromFiles(
  source: string,
  names: readonly string[],
  { textKey, maxRatio }: Options,
  database: Database,
): Promise<Report> {
  const bar = new Bar("bytes");
  try {
    return await importVecdb(source, {
      database,
      textKey,
      maxRatio,
      collections: names.length > 0 ? names : undefined,
      onProgress: ({ bytes, totalBytes }) => bar.show(bytes, totalBytes ?? bytes),
    });
  } finally {
    bar.stop();
  }
}

async function writeFiles(database: Database, report: Report, options: Options): Promise<void> {
  const names = report.collections.map(({ name }) => name);
  const collections = await Promise.all(names.map((name) => database.collection(name)));
  await exportVecdb(options.toFiles!, { collections, textKey: options.textKey });
}

function* linesOf({ collections, warnings }: Report): Generator<string> {
  for (const { name, imported, deleted = 0, skipped = 0, degraded, warnings: own } of collections) {
    const more = [
      deleted > 0 ? `${deleted} deleted` : "",
      skipped > 0 ? `${skipped} skipped` : "",
      ...Object.entries(degraded).map(([what, value]) =>
        value === undefined || value === 0 ? "" : `${what}: ${value}`,
      ),
    ].filter((part) => part !== "");
    yield [`${name}: ${imported} imported`, ...more].join(", ");
    for (const warning of own) yield `  warning: ${warning}`;
  }
  for (const warning of warnings) yield `warning: ${warning}`;
}

/** A progress bar on a terminal; nothing where there is none. */
class Bar {
  readonly #bar: SingleBar;
  #isStarted = false;

  constructor(what: string) {
    const format = `${what} [{bar}] {percentage} % {value}/{total}`;
    this.#bar = new SingleBar({ format, hideCursor: true, clearOnComplete: true });
  }

  show(done: number, total: number): void {
    if (!process.stderr.isTTY) return;
    if (!this.#isStarted) this.#bar.start(total, done);
    else this.#bar.update(done);
    this.#isStarted = true;
    this.#bar.setTotal(Math.max(total, done));
  }

  stop(): void {
    if (this.#isStarted) this.#bar.stop();
  }
}
