/** A piece of a cleaned file under one heading, and where it starts. */
export interface Section {
  /** Headings from the outermost to the section's own. */
  titles: string[];
  /** Number of the text's first line in the file, counted from 1. */
  line: number;
  text: string;
}

const ATX = /^ {0,3}(#{1,6})\s+(.+?)[\s:]*#*\s*$/;
const UNDERLINE = /^(={3,}|-{3,})\s*$/;
const FENCE = /^\s*(?:>\s*)?(`{3,}|~{3,})/;

function plainTitle(title: string): string {
  return title
    .replace(/[\p{Extended_Pictographic}\u{FE0F}\u{200D}]/gu, "")
    .replace(/\s+/g, " ")
    .trim();
}

/** Splits at headings. A heading is not part of the text: it is in `titles`. */
export function splitSections(cleaned: string): Section[] {
  const lines = cleaned.split("\n");
  const sections: Section[] = [];
  const path: { level: number; title: string }[] = [];
  let start = 0;
  let fence: string | undefined;
  const close = (end: number): void => {
    const text = lines.slice(start, end).join("\n");
    if (text.trim() === "") return;
    sections.push({ titles: path.map((entry) => entry.title), line: start + 1, text });
  };
  const open = (level: number, title: string, next: number): void => {
    while (path.length > 0 && path[path.length - 1]!.level >= level) path.pop();
    path.push({ level, title: plainTitle(title) });
    start = next;
  };
  for (const [index, line] of lines.entries()) {
    const mark = FENCE.exec(line)?.[1];
    if (mark !== undefined) {
      if (fence === undefined) fence = mark;
      else if (mark.startsWith(fence)) fence = undefined;
    }
    if (fence !== undefined) continue;
    const atx = ATX.exec(line);
    if (atx) {
      close(index);
      open(atx[1]!.length, atx[2]!, index + 1);
      continue;
    }
    const above = lines[index - 1] ?? "";
    const underline = UNDERLINE.exec(line);
    // A line of dashes below a table row or a list item is a rule, not a heading.
    if (underline && index > start && /^[^\s|>*+-]/.test(above)) {
      close(index - 1);
      open(underline[1]!.startsWith("=") ? 1 : 2, above, index + 1);
    }
  }
  close(lines.length);
  return sections;
}

/**
 * A long code block is split over several passages. The returned function takes the passages of
 * one section in order and makes each a whole: it closes a fence that the passage leaves open,
 * opens it again in the next one, and drops a closing fence that is left alone at the top.
 */
export function fenceRepairer(): (text: string) => { text: string; skippedLines: number } {
  let fence: string | undefined;
  return (text) => {
    let lines = text.split("\n");
    let skippedLines = 0;
    const opening = fence;
    if (fence !== undefined && lines[0]!.trim() === fence) {
      fence = undefined;
      const rest = lines.findIndex((line, index) => index > 0 && line.trim() !== "");
      skippedLines = rest < 0 ? lines.length : rest;
      lines = lines.slice(skippedLines);
    }
    const continues = fence !== undefined;
    for (const line of lines) {
      const mark = FENCE.exec(line)?.[1];
      if (mark === undefined) continue;
      if (fence === undefined) fence = mark;
      else if (mark.startsWith(fence)) fence = undefined;
    }
    if (continues) lines.unshift(opening!);
    if (fence !== undefined) lines.push(fence);
    return { text: lines.join("\n"), skippedLines };
  };
}
