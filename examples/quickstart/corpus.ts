import fs from "node:fs/promises";
import path from "node:path";
import { Document } from "@langchain/core/documents";
import { RecursiveCharacterTextSplitter } from "@langchain/textsplitters";
import { cleanMarkdown } from "./clean.js";
import { QuickstartError } from "./errors.js";
import { joinTitles, withTitle, type Passage, type Source } from "./passage.js";
import { fenceRepairer, splitSections } from "./sections.js";

/** About 128 tokens, which is all that the sentence encoder reads. */
const PASSAGE_CHARACTERS = 500;
/** Shorter ones are left-overs of tables and lists; they crowd out better answers. */
const MIN_LETTERS = 40;
const MAX_FILE_BYTES = 1 << 20;
const MAX_FILES = 2000;
/** About three minutes of encoding on two cores. */
const MAX_PASSAGES = 5000;
const MAX_DEPTH = 16;
const TEXT_FILE = /\.(?:md|mdx|markdown|txt)$/i;
const README = /^readme(?:\.(?:md|markdown|txt))?$/i;

interface SourceFile {
  package: string;
  path: string;
}

export interface Corpus {
  passages: Passage[];
  files: number;
  packages: number;
  /** What a limit or an unreadable file left out, in words. */
  notes: string[];
}

export interface CorpusOptions {
  /** Folder with a package.json and a node_modules. */
  root: string;
  /** A further folder whose Markdown and text files are read. */
  dir?: string | undefined;
}

/** The READMEs of the packages that package.json names itself, not of what those need in turn. */
async function dependencyReadmes(root: string): Promise<SourceFile[]> {
  const manifest = JSON.parse(await fs.readFile(path.join(root, "package.json"), "utf8")) as {
    dependencies?: Record<string, string>;
    devDependencies?: Record<string, string>;
  };
  const names = Object.keys({ ...manifest.dependencies, ...manifest.devDependencies });
  const found: SourceFile[] = [];
  for (const name of names.toSorted()) {
    const folder = path.join(root, "node_modules", name);
    const entries = await fs.readdir(folder).catch(() => []);
    const readme = entries.find((entry) => README.test(entry));
    if (readme !== undefined) found.push({ package: name, path: path.join(folder, readme) });
  }
  return found;
}

/** Text files below `folder`. Hidden folders, node_modules and symbolic links are not entered. */
async function textFiles(folder: string, notes: string[]): Promise<SourceFile[]> {
  const label = path.basename(path.resolve(folder)) || folder;
  const found: SourceFile[] = [];
  const visit = async (current: string, depth: number): Promise<void> => {
    const entries = await fs.readdir(current, { withFileTypes: true });
    for (const entry of entries.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      if (found.length >= MAX_FILES) return;
      const full = path.join(current, entry.name);
      if (entry.isFile() && TEXT_FILE.test(entry.name)) found.push({ package: label, path: full });
      if (!entry.isDirectory() || entry.name.startsWith(".")) continue;
      if (entry.name === "node_modules" || depth >= MAX_DEPTH) continue;
      await visit(full, depth + 1).catch((error: Error) =>
        notes.push(`skipped ${full}: ${error.message}`),
      );
    }
  };
  await visit(folder, 0);
  if (found.length >= MAX_FILES)
    notes.push(`only the first ${MAX_FILES} files of ${folder} are read`);
  return found;
}

async function checkFolder(folder: string): Promise<void> {
  const stat = await fs.stat(folder).catch(() => undefined);
  if (stat?.isDirectory()) return;
  const reason = stat ? "is not a folder" : "does not exist";
  throw new QuickstartError(`--dir ${folder}: ${reason}`, "Give a folder with .md or .txt files.");
}

function displayPath(file: string): string {
  const relative = path.relative(process.cwd(), file);
  return relative.length < file.length ? relative : file;
}

function letters(text: string): number {
  return text.match(/\p{L}/gu)?.length ?? 0;
}

/** One file as passages. Pure, so that it can be tested without a disk. */
export async function passagesOf(
  text: string,
  source: Pick<Source, "package" | "file">,
): Promise<Passage[]> {
  const splitter = RecursiveCharacterTextSplitter.fromLanguage("markdown", {
    chunkSize: PASSAGE_CHARACTERS,
    chunkOverlap: 0,
  });
  const passages: Passage[] = [];
  for (const section of splitSections(cleanMarkdown(text))) {
    const repair = fenceRepairer();
    for (const chunk of await splitter.createDocuments([section.text])) {
      const { lines } = chunk.metadata["loc"] as { lines: { from: number } };
      const { text: repaired, skippedLines } = repair(chunk.pageContent);
      const body = repaired.replace(/\n{3,}/g, "\n\n").trim();
      if (letters(body) < MIN_LETTERS) continue;
      passages.push(
        new Document<Source>({
          pageContent: withTitle([source.package, ...section.titles], body),
          metadata: {
            ...source,
            section: joinTitles(section.titles),
            line: section.line + lines.from - 1 + skippedLines,
          },
        }),
      );
    }
  }
  return passages;
}

async function readText(file: SourceFile, notes: string[]): Promise<string | undefined> {
  const shown = displayPath(file.path);
  try {
    const { size } = await fs.stat(file.path);
    if (size <= MAX_FILE_BYTES) return await fs.readFile(file.path, "utf8");
    notes.push(`skipped ${shown}: larger than ${MAX_FILE_BYTES >> 20} MiB`);
  } catch (error) {
    notes.push(`skipped ${shown}: ${(error as Error).message}`);
  }
  return undefined;
}

/** Reads, cleans and splits everything the questions are asked of. */
export async function loadCorpus(options: CorpusOptions): Promise<Corpus> {
  const notes: string[] = [];
  if (options.dir !== undefined) await checkFolder(options.dir);
  const files = await dependencyReadmes(options.root);
  if (options.dir !== undefined) {
    const extra = await textFiles(options.dir, notes);
    if (extra.length === 0) notes.push(`${options.dir} holds no .md, .mdx or .txt file`);
    files.push(...extra);
  }
  const passages: Passage[] = [];
  const packages = new Set<string>();
  let read = 0;
  for (const file of files) {
    const text = await readText(file, notes);
    if (text === undefined) continue;
    read += 1;
    packages.add(file.package);
    const source = { package: file.package, file: displayPath(file.path) };
    passages.push(...(await passagesOf(text, source)));
    if (passages.length <= MAX_PASSAGES) continue;
    notes.push(`only the first ${MAX_PASSAGES} passages are used, up to ${source.file}`);
    passages.length = MAX_PASSAGES;
    break;
  }
  if (passages.length === 0) {
    throw new QuickstartError("There is nothing to read.", "Run `npm ci` first.");
  }
  return { passages, files: read, packages: packages.size, notes };
}
