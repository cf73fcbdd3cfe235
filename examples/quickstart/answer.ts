import type { Finding, Quote, Reader } from "./findings.js";
import { joinTitles, splitTitle } from "./passage.js";

export interface Answer {
  /** Text with citations: [n] is the n-th source, counted from 1. */
  text: string;
  sources: Finding[];
}

export interface Answerer {
  /** Says who answers, for the first lines of the output. */
  readonly label: string;
  /** Answers from findings, the best first, and names at most k of them as sources. */
  answer(question: string, findings: readonly Finding[], k: number): Promise<Answer>;
}

/**
 * Share of the encoder's cosine, of the words in common and of the passage's own score. Cosines and
 * scores are stretched to 0…1 over what was found, because their own ranges are narrow.
 */
const WEIGHTS = { meaning: 0.3, words: 0.3, passage: 0.6 };
/** A word that only the headings have counts this much. */
const HEADING_SHARE = 0.3;
const MAX_SENTENCES = 2;
const MAX_CODE_LINES = 8;
/** What scores less than this share of the best quote is left out. */
const WORTHY_SHARE = 0.75;
/** An answer with less of the question's words than this is a guess, and says so. */
const SURE = 0.2;

interface Candidate extends Quote {
  finding: Finding;
  score: number;
}

/** The lines of a long block around the one that shares most with the question. */
function excerpt(code: string, lineScore: (line: string) => number): string {
  const lines = code.split("\n");
  if (lines.length <= MAX_CODE_LINES) return code;
  const scores = lines.map(lineScore);
  const best = scores.indexOf(Math.max(...scores));
  const start = Math.max(0, Math.min(best - 2, lines.length - MAX_CODE_LINES));
  const end = start + MAX_CODE_LINES;
  const shown = lines.slice(start, end).join("\n").trimEnd();
  return `${start > 0 ? "…\n" : ""}${shown}${end < lines.length ? "\n…" : ""}`;
}

/** Maps the range of the values to 0…1. */
function stretch(values: readonly number[]): (value: number) => number {
  const low = Math.min(...values);
  const range = Math.max(...values) - low;
  return (value) => (range > 0 ? (value - low) / range : 1);
}

/** Quotes and invents nothing: the best sentences and one code block of all findings. */
export class ExtractiveAnswerer implements Answerer {
  readonly label = "quoted from the passages, nothing is generated (no chat model in use)";

  constructor(private readonly reader: Reader) {}

  async answer(question: string, findings: readonly Finding[], k: number): Promise<Answer> {
    const chosen = this.choose(this.rank(question, findings));
    // What is quoted comes first among the sources, then the best of the rest.
    const quoted = chosen.map((entry) => entry.finding);
    const sources = [...new Set([...quoted, ...findings.slice(0, k)])];
    sources.length = Math.min(sources.length, Math.max(k, new Set(quoted).size));
    if (chosen.length === 0) return { text: "Nothing that was found can be quoted.", sources };
    const sure = chosen.some((entry) => entry.words >= SURE);
    const opening = sure ? [] : ["The passages share few words with the question. The closest:"];
    const quotes = chosen.map((entry) =>
      this.format(question, entry, sources.indexOf(entry.finding) + 1),
    );
    return { text: [...opening, ...quotes].join("\n\n"), sources };
  }

  /** All quotable parts, best first, the same text once. */
  private rank(question: string, findings: readonly Finding[]): Candidate[] {
    const candidates = new Map<string, Candidate>();
    const quotes = findings.flatMap((finding) => finding.quotes);
    const meaning = stretch(quotes.map((quote) => quote.meaning));
    const passage = stretch(findings.map((finding) => finding.score));
    for (const finding of findings) {
      const { titles } = splitTitle(finding.passage.pageContent);
      const headings = this.reader.share(question, joinTitles(titles));
      for (const quote of finding.quotes) {
        if (candidates.has(quote.text)) continue;
        const words = Math.min(1, quote.words + HEADING_SHARE * headings);
        const score =
          WEIGHTS.meaning * meaning(quote.meaning) +
          WEIGHTS.words * words +
          WEIGHTS.passage * passage(finding.score);
        candidates.set(quote.text, { ...quote, words, finding, score });
      }
    }
    return [...candidates.values()].toSorted((a, b) => b.score - a.score);
  }

  private choose(candidates: readonly Candidate[]): Candidate[] {
    const worthy = (candidates[0]?.score ?? 0) * WORTHY_SHARE;
    const good = candidates.filter((entry) => entry.score >= worthy);
    const sentences = good.filter((entry) => entry.kind === "sentence").slice(0, MAX_SENTENCES);
    const codes = good.filter((entry) => entry.kind === "code");
    // Code explains itself badly, so it should come from where the best sentence stands.
    const code = codes.find((entry) => entry.finding === sentences[0]?.finding) ?? codes[0];
    return code === undefined ? sentences : [...sentences, code];
  }

  private format(question: string, entry: Candidate, source: number): string {
    if (entry.kind === "sentence") return `${entry.text} [${source}]`;
    const shown = excerpt(entry.text, (line) => this.reader.share(question, line));
    const indented = shown.split("\n").map((line) => `    ${line}`.trimEnd());
    const lead = entry.lead === undefined ? "" : `${entry.lead}\n\n`;
    return `${lead}${indented.join("\n")}\n    [${source}]`;
  }
}
