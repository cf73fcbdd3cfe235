#!/usr/bin/env node
/** The command line: `hive-gpu doctor`. */
import { readFileSync } from "node:fs";
import path from "node:path";
import { Command } from "commander";
import { doctor, formatReport } from "./doctor.js";

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

void program.parseAsync();
