/**
 * The small interface that every framework adapter is tested through, so that one table of cases
 * (cases.ts) holds for all of them. `D` is the framework's own document or node.
 */
import { createHash } from "node:crypto";

/** A document as the cases write it. */
export interface Item {
  id?: string;
  text: string;
  metadata?: Record<string, unknown>;
}

/** A document as the cases read it. */
export interface Found {
  id: string | undefined;
  text: string;
  metadata: Record<string, unknown>;
}

export type Scored = Found & { score: number };

/** One open, empty store of the framework. */
export interface Store<D> {
  /** Embeds and stores; `ids[i]` wins over the document's own id. Returns the ids used. */
  add(documents: D[], ids?: string[]): Promise<string[]>;
  /** Stores with the given vectors; nothing is embedded. */
  addVectors(vectors: number[][], documents: D[], ids?: string[]): Promise<string[]>;
  search(text: string, k: number): Promise<Scored[]>;
  searchVector(vector: number[], k: number): Promise<Scored[]>;
  get(ids: string[]): Promise<Found[]>;
  delete(ids: string[]): Promise<void>;
  close(): Promise<void>;
}

export interface Adapter<D> {
  name: string;
  /** Cases that the framework's contract rules out, each with its reason. */
  skip: ReadonlyMap<string, string>;
  create(): Promise<Store<D>>;
  document(item: Item): D;
  read(document: D): Found;
}

export const kDimensions = 6;

/** The same text gives the same vector, always; components lie in [-1, 1]. */
export function embed(text: string): number[] {
  const bytes = createHash("sha256").update(text).digest();
  return Array.from({ length: kDimensions }, (_, i) => bytes.readInt32LE(i * 4) / 2 ** 31);
}

function dot(a: readonly number[], b: readonly number[]): number {
  return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

/** Cosine similarity in double precision, 0 for a zero vector. */
export function cosine(a: readonly number[], b: readonly number[]): number {
  const norms = Math.sqrt(dot(a, a) * dot(b, b));
  return norms === 0 ? 0 : dot(a, b) / norms;
}

/** Embeddings of any framework that asks for these two methods. Counts its calls. */
export class TestEmbeddings {
  documentCalls = 0;
  queryCalls = 0;

  async embedDocuments(texts: string[]): Promise<number[][]> {
    this.documentCalls++;
    return texts.map(embed);
  }

  async embedQuery(text: string): Promise<number[]> {
    this.queryCalls++;
    return embed(text);
  }
}
