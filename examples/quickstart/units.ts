/** A part of a passage that can be quoted on its own. */
export interface Unit {
  kind: "sentence" | "code";
  text: string;
  /** The words before a code block that announce it: "For nightly builds:". */
  lead?: string;
}

/** Everything that tells what a unit is about. */
export function wordsOf(unit: Unit): string {
  return unit.lead === undefined ? unit.text : `${unit.lead}\n${unit.text}`;
}

/** Takes the announcement of a code block off the end of the units before it. */
function takeLead(units: Unit[]): string | undefined {
  const last = units.at(-1);
  if (last?.kind !== "sentence" || !last.text.endsWith(":")) return undefined;
  units.pop();
  return last.text;
}

const FENCE = /^\s*(?:>\s*)?(?:`{3,}|~{3,})/;
const LIST_ITEM = /^\s*(?:[-*+•]|\d+[.)])\s+/;
const TABLE_RULE = /^\s*\|?[\s:|-]+\|?\s*$/;
/** After a full stop, where a capital, a quote or a code span begins. */
const SENTENCE_END = /(?<=[.!?:]["')`*_]*)\s+(?=["'(`*_]*[\p{Lu}`])/u;
/** Shorter ones are labels, not statements. */
const MIN_WORDS = 4;

function sentences(paragraph: string): Unit[] {
  return paragraph
    .replace(/\s+/g, " ")
    .split(SENTENCE_END)
    .map((text) => text.trim())
    .filter((text) => (text.match(/\p{L}{2,}/gu)?.length ?? 0) >= MIN_WORDS || text.endsWith(":"))
    .map((text) => ({ kind: "sentence", text }));
}

/** Sentences, list items and table rows one by one; a code block as a whole. */
export function unitsOf(body: string): Unit[] {
  const units: Unit[] = [];
  let paragraph: string[] = [];
  let code: string[] | undefined;
  let lead: string | undefined;
  const flush = (): void => {
    units.push(...sentences(paragraph.join(" ")));
    paragraph = [];
  };
  for (const line of body.split("\n")) {
    if (FENCE.test(line)) {
      flush();
      const text = code
        ?.join("\n")
        .replace(/^(?:[ \t]*\n)+/, "")
        .trimEnd();
      if (text) units.push({ kind: "code", text, ...(lead !== undefined && { lead }) });
      lead = code === undefined ? takeLead(units) : undefined;
      code = code === undefined ? [] : undefined;
    } else if (code !== undefined) {
      code.push(line);
    } else if (line.trim() === "" || TABLE_RULE.test(line)) {
      flush();
    } else if (LIST_ITEM.test(line) || line.trim().startsWith("|")) {
      flush();
      paragraph.push(line.replace(LIST_ITEM, ""));
    } else {
      paragraph.push(line.trim());
    }
  }
  flush();
  return units;
}
