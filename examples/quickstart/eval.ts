/**
 * Measures the ranking: is the package that answers a question among the first three results?
 *   node dist/examples/quickstart/eval.js
 */
import { fileURLToPath } from "node:url";
import type { Hit } from "./findings.js";
import type { Passage } from "./passage.js";
import { Pipeline } from "./pipeline.js";
import { HELD_OUT, TUNING, type EvaluationQuestion } from "./questions.js";

/** The right package must be among this many passages. */
export const TOP = 3;
export const REQUIRED_SHARE = 0.8;
const DEPTH = 20;

export interface EvaluationRow extends EvaluationQuestion {
  /** Place of the first passage of the expected package, from 1; undefined when beyond 20. */
  rank: number | undefined;
  /** Place of the passage that holds the answer itself; undefined when beyond 20. */
  answerRank: number | undefined;
  /** Package of the best passage. */
  first: string;
}

/** Place of the first hit that passes, counted from 1. */
function place(hits: readonly Hit[], passes: (passage: Passage) => boolean): number | undefined {
  const index = hits.findIndex(([passage]) => passes(passage));
  return index < 0 ? undefined : index + 1;
}

/** Ranks by the store alone: what is read closely afterwards does not count. */
export async function evaluate(
  pipeline: Pipeline,
  questions: readonly EvaluationQuestion[],
): Promise<EvaluationRow[]> {
  const rows: EvaluationRow[] = [];
  for (const entry of questions) {
    const hits = await pipeline.search(entry.question, DEPTH);
    const answer = entry.answer.toLowerCase();
    const isRight = (passage: Passage): boolean => passage.metadata.package === entry.expected;
    rows.push({
      ...entry,
      rank: place(hits, isRight),
      answerRank: place(
        hits,
        (passage) => isRight(passage) && passage.pageContent.toLowerCase().includes(answer),
      ),
      first: hits[0]?.[0].metadata.package ?? "",
    });
  }
  return rows;
}

/** Share of the questions whose package has a rank of at most `top`. */
export function shareWithin(rows: readonly EvaluationRow[], top: number): number {
  return rows.filter((row) => row.rank !== undefined && row.rank <= top).length / rows.length;
}

function rankText(rank: number | undefined): string {
  return rank === undefined ? `> ${DEPTH}` : String(rank);
}

export function table(rows: readonly EvaluationRow[]): string {
  const lines = rows.map((row) => {
    const instead = row.rank === 1 ? "" : row.first;
    const ranks = `${rankText(row.rank)} | ${rankText(row.answerRank)}`;
    return `| ${ranks} | ${row.question} | ${row.expected} | ${instead} |`;
  });
  const head = "| package | passage | question | expected | first instead |";
  return [head, "|---|---|---|---|---|", ...lines].join("\n");
}

function percent(share: number): string {
  return `${(share * 100).toFixed(0)} %`;
}

export function summary(name: string, rows: readonly EvaluationRow[]): string {
  const answered = rows.filter((row) => (row.answerRank ?? Infinity) <= 5).length / rows.length;
  const first = percent(shareWithin(rows, 1));
  const top = percent(shareWithin(rows, TOP));
  const shares = `right package first ${first}, in the top ${TOP} ${top}`;
  const passage = `answering passage in the top 5 ${percent(answered)}`;
  return `${name}: ${rows.length} questions, ${shares}, ${passage}`;
}

/** Questions whose package is among the dependencies; the others cannot be answered. */
export function answerable(
  pipeline: Pipeline,
  questions: readonly EvaluationQuestion[],
): EvaluationQuestion[] {
  const present = new Set(pipeline.corpus.passages.map((passage) => passage.metadata.package));
  return questions.filter((entry) => present.has(entry.expected));
}

/** Prints the table; true when the share of all questions is large enough. */
async function main(): Promise<boolean> {
  const pipeline = await Pipeline.open();
  try {
    const tuning = await evaluate(pipeline, answerable(pipeline, TUNING));
    const heldOut = await evaluate(pipeline, answerable(pipeline, HELD_OUT));
    const all = [...tuning, ...heldOut];
    const skipped = TUNING.length + HELD_OUT.length - all.length;
    console.log(table(all));
    console.log();
    if (skipped > 0) console.log(`skipped: ${skipped}, their package is not a dependency`);
    console.log(summary("used for tuning", tuning));
    console.log(summary("held out", heldOut));
    console.log(summary("all", all));
    return shareWithin(all, TOP) >= REQUIRED_SHARE;
  } finally {
    await pipeline.close();
  }
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  process.exitCode = (await main()) ? 0 : 1;
}
