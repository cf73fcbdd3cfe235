/** Points in blocks: what answers and files are read into, ready for a collection's columns. */
import { hiveError, limits } from "hive-gpu";
import { protocolError } from "./errors.js";
import { PointReader, idOfJson, type PointReaderOptions, type RawPoint } from "./json-points.js";
import { MalformedJson } from "./json-scan.js";

/** Some points; vector `i` at `[i * dimensions]`. */
export interface PointBlock {
  /** Number of the array that the points come from, when a document has several. */
  group: number;
  dimensions: number;
  ids: string[];
  /** Whether the id was written as a number, which a search does to strings of digits. */
  idWasNumber: boolean[];
  vectors: Float32Array;
  /** Members besides id and vector, as JSON. */
  members: Map<string, string>[];
}

export interface ReadPointsOptions {
  where: string;
  paths: PointReaderOptions["paths"];
  vectorKey: string;
  /** Elements that every vector must have; undefined: those of the first. */
  dimensions: number | undefined;
  /** Points of a block at most. */
  blockSize: number;
  /** More points than this are refused. */
  maxPoints?: number;
  /** Gets the values beside the points. */
  onValue?: PointReaderOptions["onValue"];
  onEnter?: PointReaderOptions["onEnter"];
  /** Says what to do with a point that cannot be used: true leaves it out. Default: refuse. */
  onBad?: (id: string, problem: string) => boolean;
  /** Makes the error of what is wrong; default: REMOTE_PROTOCOL. */
  error?: (problem: string, cause?: unknown) => Error;
}

/** Collects points into blocks. */
class Blocks {
  readonly full: PointBlock[] = [];
  #block: PointBlock | undefined;
  #total = 0;
  #group = -1;
  #dimensions: number | undefined;

  constructor(
    readonly options: ReadPointsOptions,
    readonly refuse: (problem: string) => Error,
  ) {
    this.#dimensions = options.dimensions;
  }

  add(point: RawPoint): void {
    const { maxPoints = Infinity, blockSize } = this.options;
    const id = idOfJson(point.id);
    if (id === undefined) throw this.refuse("a point has no id");
    if (++this.#total > maxPoints) throw this.refuse(`there are more than ${maxPoints} points`);
    const dimensions = (this.#dimensions ??= point.dimensions);
    const problem = this.#problemOf(point, dimensions);
    if (problem !== undefined) {
      if (this.options.onBad?.(id, problem) === true) return;
      throw this.refuse(`the point ${JSON.stringify(id)} ${problem}`);
    }
    const block = (this.#block ??= {
      group: this.#group,
      dimensions,
      ids: [],
      idWasNumber: [],
      vectors: new Float32Array(blockSize * dimensions),
      members: [],
    });
    block.vectors.set(point.vector.subarray(0, dimensions), block.ids.length * dimensions);
    block.ids.push(id);
    block.idWasNumber.push(point.id!.charCodeAt(0) !== 34);
    block.members.push(new Map(point.members));
    if (block.ids.length === blockSize) this.flush();
  }

  flush(): void {
    const block = this.#block;
    if (block === undefined) return;
    const used = block.ids.length * block.dimensions;
    if (used < block.vectors.length) block.vectors = block.vectors.slice(0, used);
    this.full.push(block);
    this.#block = undefined;
  }

  /** Another array of points begins. */
  begin(): void {
    this.flush();
    this.#group++;
    this.#dimensions = this.options.dimensions;
  }

  #problemOf(point: RawPoint, dimensions: number): string | undefined {
    if (point.dimensions < 1) return "has no vector";
    if (point.dimensions !== dimensions) {
      return `has ${point.dimensions} elements where ${dimensions} were expected`;
    }
    return point.badAt < 0 ? undefined : `holds no finite number at element ${point.badAt}`;
  }
}

/** Reads the points of a JSON document; at most a block and a bit are in memory at any time. */
export async function* readPoints(
  source: AsyncIterable<Uint8Array>,
  options: ReadPointsOptions,
): AsyncGenerator<PointBlock, void, undefined> {
  const refuse =
    options.error ?? ((problem, cause?) => protocolError(options.where, problem, cause));
  const blocks = new Blocks(options, refuse);
  const reader = new PointReader({
    paths: options.paths,
    vectorKey: options.vectorKey,
    onPoint: (point) => blocks.add(point),
    ...(options.onValue === undefined ? {} : { onValue: options.onValue }),
    onEnter: (path) => {
      if (options.paths.some(({ length }) => length === path.length)) blocks.begin();
      options.onEnter?.(path);
    },
    maxDimensions: limits.dimensionsMax,
    maxValueBytes: limits.recordBytesMax * 2,
  });
  try {
    for await (const chunk of source) {
      reader.push(chunk);
      yield* blocks.full.splice(0);
    }
    reader.end();
  } catch (error) {
    if (!(error instanceof MalformedJson)) throw error;
    throw refuse(`byte ${error.at} of the JSON is wrong: ${error.message}`, error);
  }
  blocks.flush();
  yield* blocks.full.splice(0);
}

/** All points of a short answer, as one list. */
export interface Point {
  id: string;
  idWasNumber: boolean;
  vector: Float32Array;
  members: Map<string, string>;
}

/** The points of a block one by one; vectors share the block's memory. */
export function* pointsOf(block: PointBlock): Generator<Point, void, undefined> {
  const { dimensions, vectors, members, idWasNumber } = block;
  for (const [i, id] of block.ids.entries()) {
    const vector = vectors.subarray(i * dimensions, (i + 1) * dimensions);
    yield { id, idWasNumber: idWasNumber[i]!, vector, members: members[i]! };
  }
}

/** The payload member of a point. */
export function payloadOf(members: ReadonlyMap<string, string>): unknown {
  const json = members.get("payload");
  return json === undefined || json === "null" ? null : (JSON.parse(json) as unknown);
}

/** The score member of a hit. */
export function scoreOf(where: string, members: ReadonlyMap<string, string>): number {
  const score = Number(members.get("score") ?? NaN);
  if (Number.isFinite(score)) return score;
  throw hiveError("REMOTE_PROTOCOL", `${where}: a hit has no score.`);
}
