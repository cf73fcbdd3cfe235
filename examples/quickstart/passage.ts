import type { Document } from "@langchain/core/documents";

/** Where a passage comes from; the metadata of every document in the store. */
export interface Source {
  /** The package, or the folder given with --dir. */
  package: string;
  /** Path of the file, relative to the working directory where that is shorter. */
  file: string;
  /** Headings above the passage, joined. */
  section: string;
  /** First line of the passage in the file, counted from 1. */
  line: number;
}

export type Passage = Document<Source>;

const SEPARATOR = " › ";

/**
 * The text that is embedded and stored: one line of context, then the passage. The context is what
 * a reader sees above the passage (package, headings), and retrieval needs it as much as a reader.
 */
export function withTitle(titles: readonly string[], body: string): string {
  return `${titles.join(SEPARATOR)}\n\n${body}`;
}

/** The inverse of {@link withTitle}; a text without context, such as a question, is all body. */
export function splitTitle(text: string): { titles: string[]; body: string } {
  const end = text.indexOf("\n\n");
  const first = end < 0 ? "" : text.slice(0, end);
  if (!first.includes(SEPARATOR) && !/^\S+$/.test(first)) return { titles: [], body: text };
  return { titles: first.split(SEPARATOR), body: text.slice(end + 2) };
}

export function joinTitles(titles: readonly string[]): string {
  return titles.join(SEPARATOR);
}

/** "node_modules/zod/README.md:57", which terminals and editors open at the line. */
export function cite(source: Source): string {
  return `${source.file}:${source.line}`;
}
