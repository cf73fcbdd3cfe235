import type { Database } from "hive-gpu";
import { bold, cyan, dim, printNote, wrap } from "../common/terminal.js";
import type { Answer } from "./answer.js";
import type { CachedEncoder } from "./cache.js";
import type { Corpus } from "./corpus.js";
import { cite } from "./passage.js";

export interface Overview {
  corpus: Corpus;
  /** Undefined when the cache is switched off. */
  cache: CachedEncoder | undefined;
  database: Database;
}

/** What was read, how much of it was encoded, and where it is searched. */
export function printOverview({ corpus, cache, database }: Overview, seconds: number): void {
  const total = corpus.passages.length;
  const { hits, wasCorrupt } = cache ?? { hits: 0, wasCorrupt: false };
  const source = hits === total ? "all from the cache" : `${total - hits} encoded, ${hits} cached`;
  for (const note of corpus.notes) printNote(note);
  if (wasCorrupt) printNote("the cache was damaged and has been written anew");
  const { backend, name } = database.device;
  console.log(`${dim("documents")}  ${corpus.files} files of ${corpus.packages} packages`);
  console.log(`${dim("passages ")}  ${total}, ${source}, ready after ${seconds.toFixed(1)} s`);
  console.log(`${dim("device   ")}  ${backend}: ${name}`);
}

/** A question, its answer, and the numbered passages that the answer cites. */
export function printAnswer(question: string, { text, sources }: Answer): void {
  console.log(`\n${bold(question)}\n\n${wrap(text)}\n`);
  for (const [index, { passage, score }] of sources.entries()) {
    const { metadata } = passage;
    const section = metadata.section === "" ? "" : ` › ${metadata.section}`;
    console.log(`  ${cyan(`[${index + 1}]`)} ${metadata.package}${section}`);
    console.log(`      ${dim(`${cite(metadata)}  score ${score.toFixed(3)}`)}`);
  }
}
