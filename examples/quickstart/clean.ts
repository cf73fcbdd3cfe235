/**
 * Markdown to plain text. Every line of the result is the line of the file with the same number,
 * so that a passage can be cited by file and line: what is removed leaves its line breaks behind.
 */

const HTML_TAGS =
  "a|abbr|b|blockquote|br|center|code|dd|del|details|div|dl|dt|em|font|h[1-6]|hr|i|iframe|img|" +
  "input|ins|kbd|li|ol|p|picture|pre|s|samp|small|source|span|strong|sub|summary|sup|svg|table|" +
  "tbody|td|tfoot|th|thead|tr|tt|u|ul|video";

// Only names that HTML knows: READMEs write placeholders such as <file> and types such as
// Promise<void>, and those are text.
const TAG = new RegExp(String.raw`</?(?:${HTML_TAGS})(?:\s[^<>]*)?/?>`, "gi");
const HEADING = /<h([1-6])\b[^<>]*>([\s\S]{0,400}?)<\/h\1>/gi;
/** Generated lists of names, which answer nothing. */
const CONTRIBUTORS = [
  "<!-- ALL-CONTRIBUTORS-LIST:START",
  "<!-- ALL-CONTRIBUTORS-LIST:END",
] as const;

// Every repetition is bounded where another start could repeat the work: a hostile file must not
// take quadratic time. The target of a link is text without spaces, which may hold one level of
// parentheses, and a title.
const INNER = String.raw`(?:[^()\s<>]|\([^()\s]{0,500}\)){0,2000}`;
const TARGET = String.raw`\(\s*<?${INNER}>?(?:\s+["'][^"'\n]*["'])?\s*\)`;
const IMAGE = new RegExp(
  String.raw`!\[(?:\\.|[^\[\]\\]){0,500}\](?:${TARGET}|\[[^\[\]]{0,500}\])`,
  "g",
);
const LINK = new RegExp(
  String.raw`\[((?:\\.|\[[^\[\]]{0,100}\]|[^\[\]\\]){0,500})\](?:${TARGET}|\[[^\[\]]{0,500}\])`,
  "g",
);
const DEFINITION = /^ {0,3}\[[^\]\n]{1,500}\]:[ \t]*\S.*$/gm;
const AUTOLINK = /<(?:https?|mailto):[^<>\s]*>/g;
const FENCE = /^\s*(?:>\s*)?(`{3,}|~{3,})/;

const ENTITIES: Readonly<Record<string, string>> = {
  amp: "&",
  lt: "<",
  gt: ">",
  quot: '"',
  apos: "'",
  "#39": "'",
  nbsp: " ",
  bull: "•",
  rarr: "→",
  mdash: "—",
  ndash: "–",
  hellip: "…",
};

function lineBreaks(text: string): string {
  return text.replace(/[^\n]/g, "");
}

/** Empties what stands between the marks, marks included; a mark without its partner stays. */
function removeBetween(text: string, open: string, close: string): string {
  let out = "";
  let from = 0;
  for (;;) {
    const start = text.indexOf(open, from);
    const end = start < 0 ? -1 : text.indexOf(close, start + open.length);
    if (end < 0) return out + text.slice(from);
    out += text.slice(from, start) + lineBreaks(text.slice(start, end + close.length));
    from = end + close.length;
  }
}

function heading(level: string, body: string): string {
  const text = body.replace(TAG, " ");
  const title = text.trim().replace(/\s+/g, " ");
  return title === ""
    ? lineBreaks(body)
    : `${"#".repeat(Number(level))} ${title}${lineBreaks(body)}`;
}

/** Inline markup of text that is outside of fences and of `code spans`. */
function cleanInline(text: string): string {
  return text
    .replace(AUTOLINK, "")
    .replace(TAG, lineBreaks)
    .replace(/&([a-z]+|#39);/gi, (all, name: string) => ENTITIES[name.toLowerCase()] ?? all)
    .replace(/\*\*|__(?=\S)|(?<=\S)__/g, "")
    .replace(/\\([[\]_*#<>`])/g, "$1");
}

/** Code spans keep their text, whatever it looks like. */
function outsideCodeSpans(text: string, change: (prose: string) => string): string {
  return text
    .split(/(`+[^`\n]+`+)/)
    .map((part, index) => (index % 2 === 1 ? part : change(part)))
    .join("");
}

function cleanProse(prose: string): string {
  const blocks = removeBetween(prose, "<!--", "-->")
    .replace(HEADING, (_all, level: string, body: string) => heading(level, body))
    .replace(IMAGE, "")
    .replace(DEFINITION, "")
    // Twice: a badge is an image in a link, and leaves an empty link behind.
    .replace(LINK, (_all, label: string) => label.trim())
    .replace(LINK, (_all, label: string) => label.trim());
  return outsideCodeSpans(blocks, cleanInline);
}

function trimEnds(text: string): string {
  return text.replace(/[ \t]+$/gm, "");
}

/** Removes front matter, HTML, badges, images and link targets; keeps code and line numbers. */
export function cleanMarkdown(source: string): string {
  const unified = source
    .replace(/\r\n?/g, "\n")
    .replace(/^\uFEFF/, "")
    .replace(/^---\n[\s\S]*?\n---(?=\n|$)/, lineBreaks);
  const text = removeBetween(unified, ...CONTRIBUTORS);
  const out: string[] = [];
  let prose: string[] = [];
  let fence: string | undefined;
  const flush = (): void => {
    if (prose.length > 0) out.push(trimEnds(cleanProse(prose.join("\n"))));
    prose = [];
  };
  for (const line of text.split("\n")) {
    const mark = FENCE.exec(line)?.[1];
    if (fence === undefined && mark === undefined) {
      prose.push(line);
      continue;
    }
    flush();
    out.push(line.trimEnd());
    if (fence === undefined) fence = mark;
    else if (mark?.startsWith(fence) && line.trim().endsWith(mark)) fence = undefined;
  }
  flush();
  return out.join("\n");
}
