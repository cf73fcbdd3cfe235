/**
 * A streaming reader of JSON documents that hold long arrays of points: pages of a server, vector
 * stores in files. Points come out one by one; the rest of the document comes out as values. Memory
 * is bounded by the largest single point, whatever the size of the document.
 */
import { isUtf8 } from "node:buffer";
import { type NumbersRead, readNumbers } from "./json-numbers.js";
import { MalformedJson, incomplete, skipSpace, skipString, skipValue } from "./json-scan.js";

/** One point; the object and the vector are used again for the next. */
export interface RawPoint {
  /** JSON of the id: a string, or a number with all its digits. */
  id: string | undefined;
  /** JSON of the other members, by name. */
  members: Map<string, string>;
  /** Elements in `vector`; -1 when the point has none. */
  dimensions: number;
  vector: Float32Array;
  /** First element that is no finite f32, or -1. */
  badAt: number;
}

export interface PointReaderOptions {
  /** Members that lead to the arrays of points, such as `["result", "points"]`; "*": any element. */
  paths: readonly (readonly string[])[];
  /** Name of the member that is the vector. */
  vectorKey: string;
  onPoint(point: RawPoint): void;
  /** A value beside the points, with its path, as JSON. */
  onValue?(path: readonly string[], json: string): void;
  /** An object or array on the way to the points was entered. */
  onEnter?(path: readonly string[]): void;
  /** Bytes of one point or value; default 32 MiB. */
  maxValueBytes?: number;
  /** Elements of a vector; default 65 536. */
  maxDimensions?: number;
}

interface Frame {
  kind: "object" | "array" | "points";
  path: readonly string[];
  count: number;
}

/** Bytes that are parsed in one go: about a millisecond, and few points cut in two. */
const sliceBytes = 256 << 10;
const depthMax = 128;

/** See the head of this file. `push` bytes, then `end`. Throws {@link MalformedJson}. */
export class PointReader {
  readonly #options: PointReaderOptions;
  readonly #maxValueBytes: number;
  readonly #frames: Frame[] = [];
  readonly #numbers: NumbersRead = { count: 0, badAt: -1 };
  readonly #point: RawPoint;
  #bytes: Buffer = Buffer.allocUnsafe(sliceBytes * 2);
  #start = 0;
  #end = 0;
  #parseAt = sliceBytes;
  #consumed = 0;
  #isRootRead = false;

  constructor(options: PointReaderOptions) {
    this.#options = options;
    this.#maxValueBytes = options.maxValueBytes ?? 32 << 20;
    const vector = new Float32Array(options.maxDimensions ?? 65_536);
    this.#point = { id: undefined, members: new Map(), dimensions: -1, vector, badAt: -1 };
  }

  /** Takes bytes in; they may be changed afterwards. */
  push(chunk: Uint8Array): void {
    this.#append(chunk);
    if (this.#end - this.#start >= this.#parseAt) this.#parse();
  }

  /** Parses what is left; throws when the document is not complete. */
  end(): void {
    // A last number would otherwise wait for what ends it.
    this.#append(Uint8Array.of(10));
    this.#parse();
    const rest = skipSpace(this.#bytes, this.#start, this.#end);
    if (this.#isRootRead && this.#frames.length === 0 && rest === this.#end) return;
    throw new MalformedJson(
      "the document ends too early",
      this.#consumed + this.#end - this.#start,
    );
  }

  #append(chunk: Uint8Array): void {
    const held = this.#end - this.#start;
    const needed = held + chunk.length;
    if (this.#end + chunk.length > this.#bytes.length) {
      const target =
        needed > this.#bytes.length ? Buffer.allocUnsafe(Math.max(needed, held * 2)) : this.#bytes;
      this.#bytes.copy(target, 0, this.#start, this.#end);
      this.#bytes = target;
      this.#start = 0;
      this.#end = held;
    }
    this.#bytes.set(chunk, this.#end);
    this.#end += chunk.length;
  }

  #parse(): void {
    const from = this.#start;
    try {
      while (this.#step());
    } catch (error) {
      if (!(error instanceof MalformedJson)) throw error;
      throw new MalformedJson(error.message, this.#consumed + error.at - from);
    }
    this.#consumed += this.#start - from;
    const held = this.#end - this.#start;
    if (held > this.#maxValueBytes) {
      throw new MalformedJson(
        `one value is longer than ${this.#maxValueBytes} bytes`,
        this.#consumed,
      );
    }
    // A value that did not fit is tried again when twice as much is there: linear in its length.
    this.#parseAt = Math.min(Math.max(sliceBytes, held * 2), this.#maxValueBytes + 1);
  }

  /** Reads one token or value; false when more bytes are needed or all is read. */
  #step(): boolean {
    const at = skipSpace(this.#bytes, this.#start, this.#end);
    this.#start = at;
    if (at === this.#end) return false;
    const frame = this.#frames.at(-1);
    if (frame === undefined) {
      if (this.#isRootRead) throw new MalformedJson("more follows behind the document", at);
      return this.#value(at, []) && (this.#isRootRead = true);
    }
    const c = this.#bytes[at]!;
    const close = frame.kind === "object" ? 125 : 93;
    if (c === close) {
      this.#frames.pop();
      this.#start = at + 1;
      return true;
    }
    let next = at;
    if (frame.count > 0) {
      if (c !== 44) throw new MalformedJson("a comma is missing", at);
      next = skipSpace(this.#bytes, at + 1, this.#end);
      if (next === this.#end) return false;
    }
    const isRead = frame.kind === "object" ? this.#member(next, frame) : this.#element(next, frame);
    if (isRead) frame.count++;
    return isRead;
  }

  #element(at: number, frame: Frame): boolean {
    if (frame.kind === "array") return this.#value(at, [...frame.path, String(frame.count)]);
    const next = this.#readPoint(at);
    if (next === incomplete) return false;
    this.#start = next;
    this.#options.onPoint(this.#point);
    return true;
  }

  #member(at: number, frame: Frame): boolean {
    const colon = this.#key(at);
    if (colon === incomplete) return false;
    return this.#value(colon, [...frame.path, this.#name]);
  }

  #name = "";

  /** Reads a key into `#name`; returns where its value starts, or `incomplete`. */
  #key(at: number): number {
    const bytes = this.#bytes;
    if (bytes[at] !== 34) throw new MalformedJson("a key is missing", at);
    const behind = skipString(bytes, at, this.#end);
    if (behind === incomplete) return incomplete;
    const name = bytes.toString("utf8", at + 1, behind - 1);
    this.#name = name.includes("\\") ? (parseJson(`"${name}"`, at) as string) : name;
    const colon = skipSpace(bytes, behind, this.#end);
    if (colon === this.#end) return incomplete;
    if (bytes[colon] !== 58) throw new MalformedJson("a colon is missing", colon);
    const value = skipSpace(bytes, colon + 1, this.#end);
    return value === this.#end ? incomplete : value;
  }

  /** Enters a container on the way to the points, or hands the value out. */
  #value(at: number, path: readonly string[]): boolean {
    const c = this.#bytes[at]!;
    if (c === 123 || c === 91) {
      const kind = this.#kindOf(path, c);
      if (kind !== undefined) {
        this.#frames.push({ kind, path, count: 0 });
        this.#start = at + 1;
        this.#options.onEnter?.(path);
        return true;
      }
    }
    const next = skipValue(this.#bytes, at, this.#end, depthMax);
    if (next === incomplete) return false;
    this.#start = next;
    this.#options.onValue?.(path, this.#text(at, next));
    return true;
  }

  #kindOf(path: readonly string[], c: number): Frame["kind"] | undefined {
    for (const wanted of this.#options.paths) {
      if (path.length > wanted.length) continue;
      if (!path.every((part, i) => wanted[i] === part || wanted[i] === "*")) continue;
      if (path.length === wanted.length) return c === 91 ? "points" : undefined;
      return c === 91 ? "array" : "object";
    }
    return undefined;
  }

  /** Reads the point at `at` into `#point`; returns the position behind it, or `incomplete`. */
  #readPoint(at: number): number {
    const bytes = this.#bytes;
    const point = this.#point;
    if (bytes[at] !== 123) throw new MalformedJson("a point is not an object", at);
    point.id = undefined;
    point.dimensions = -1;
    point.badAt = -1;
    point.members.clear();
    let next = skipSpace(bytes, at + 1, this.#end);
    if (next < this.#end && bytes[next] === 125) return next + 1;
    for (;;) {
      if (next >= this.#end) return incomplete;
      const start = this.#key(next);
      if (start === incomplete) return incomplete;
      const behind = this.#pointMember(start);
      if (behind === incomplete) return incomplete;
      next = skipSpace(bytes, behind, this.#end);
      if (next === this.#end) return incomplete;
      if (bytes[next] === 125) return next + 1;
      if (bytes[next] !== 44) throw new MalformedJson("a comma is missing", next);
      next = skipSpace(bytes, next + 1, this.#end);
    }
  }

  #pointMember(at: number): number {
    const bytes = this.#bytes;
    const name = this.#name;
    if (name === this.#options.vectorKey && bytes[at] === 91) return this.#readVector(at);
    const behind = skipValue(bytes, at, this.#end, depthMax);
    if (behind === incomplete) return incomplete;
    if (name === "id") this.#point.id = this.#text(at, behind);
    else this.#point.members.set(name, this.#text(at, behind));
    return behind;
  }

  #readVector(at: number): number {
    const close = this.#bytes.indexOf(93, at);
    if (close < 0 || close >= this.#end) return incomplete;
    const point = this.#point;
    const behind = readNumbers(this.#bytes, at + 1, point.vector, this.#numbers);
    if (behind < 0)
      throw new MalformedJson("a vector holds what is no number, or too many", -behind);
    point.dimensions = this.#numbers.count;
    point.badAt = this.#numbers.badAt;
    return behind;
  }

  #text(from: number, to: number): string {
    const bytes = this.#bytes.subarray(from, to);
    if (!isUtf8(bytes)) throw new MalformedJson("a string is not UTF-8", from);
    return bytes.toString("utf8");
  }
}

/** `JSON.parse` that throws {@link MalformedJson}. */
export function parseJson(json: string, at = 0): unknown {
  try {
    return JSON.parse(json);
  } catch (cause) {
    throw new MalformedJson(cause instanceof Error ? cause.message : String(cause), at);
  }
}

/** A point's id as a string, whichever way it was written; undefined when it is neither. */
export function idOfJson(json: string | undefined): string | undefined {
  if (json === undefined) return undefined;
  if (json.charCodeAt(0) === 34) {
    // Most ids need no unescaping.
    return json.includes("\\") ? (parseJson(json) as string) : json.slice(1, -1);
  }
  return /^-?\d+$/.test(json) ? json : undefined;
}
