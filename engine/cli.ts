#!/usr/bin/env node
/** The command line: `hive-gpu doctor | verify | inspect | backup | import`. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { Command } from "commander";
import {
  type StorageOptions,
  backupCommand,
  inspectCommand,
  verifyCommand,
} from "./cli-storage.js";
import { doctor, formatReport } from "./doctor.js";
import type { HiveGpuError } from "./errors.js";

function version(): string {
  const file = path.join(__dirname, "..", "..", "..", "package.json");
  return (JSON.parse(readFileSync(file, "utf8")) as { version: string }).version;
}

const program = new Command("hive-gpu")
  .description("GPU vector store for Node.js")
  .version(version())
  .showHelpAfterError();

program
  .command("doctor")
  .description("say per backend whether it is built, loads and is chosen, and what to do if not")
  .option("--json", "print the report as JSON")
  .action(async (options: { json?: boolean }) => {
    const report = await doctor();
    console.log(
      options.json === true ? JSON.stringify(report, undefined, 2) : formatReport(report),
    );
    process.exitCode = report.ok ? 0 : 1;
  });

function print({ text, exitCode }: { text: string; exitCode: number }): void {
  console.log(text);
  process.exitCode = exitCode;
}

program
  .command("verify <dir>")
  .description("read a database that is not open and compare everything with its checksums")
  .option("--json", "print the report as JSON")
  .option("--salvage <to>", "copy everything undamaged into a new database")
  .option("--rebuild", "make a new index from the segment files")
  .action(async (dir: string, options: StorageOptions) => {
    print(await verifyCommand(dir, options));
  });

program
  .command("inspect <dir>")
  .description("say what a database that is not open holds")
  .option("--json", "print it as JSON")
  .action(async (dir: string, options: StorageOptions) => {
    print(await inspectCommand(dir, options));
  });

program
  .command("backup <dir> <to>")
  .description("copy a database that is not open into an empty folder; restores a copy as well")
  .action(async (dir: string, to: string) => {
    print(await backupCommand(dir, to));
  });

const importing = program
  .command("import")
  .description("copy records from another store into a database");

/** Adapters that add a command to `import`; they are loaded when that is asked for. */
const importers = ["vectorizer"];

interface Importer {
  addCommands(parent: Command, print: (line: string) => void): void;
}

/** Only adapters know other stores, and the engine does not depend on them: found by their place. */
function loadImporters(): void {
  const load = createRequire(__filename);
  for (const name of importers) {
    const file = path.join(__dirname, "..", "adapters", name, "cli.js");
    (load(file) as Importer).addCommands(importing, (line) => console.log(line));
  }
}

if (process.argv.includes("import")) loadImporters();

program.parseAsync().catch((error: unknown) => {
  const { message, code, hint } = error as Partial<HiveGpuError>;
  console.error(code === undefined ? error : `${code}: ${message}\n${hint}`);
  process.exitCode = 1;
});
