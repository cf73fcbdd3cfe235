/** One vector store file: its collections, read as a stream into collections of ours. */
import { type ColumnsInput, kit, type Metric, type VectorCollection } from "hive-gpu";
import { damaged } from "./archive.js";
import { isEncrypted, wholeKey } from "./payload-codec.js";
import { type PointBlock, pointsOf, readPoints } from "./points.js";
import { recordOf } from "./records.js";
import { configShape, metricOfConfig, quantizationOf, type StoredConfig } from "./vecdb-format.js";

/** What became of one collection of a file. */
export interface CollectionReport {
  /** Name in the file. */
  name: string;
  dimensions: number | undefined;
  metric: Metric;
  /** Points stored. */
  imported: number;
  /** Of these, points that replaced another of the same id. */
  replaced: number;
  /** Points left out, with the first hundred reasons. */
  skipped: number;
  skippedReasons: { id: string; problem: string }[];
  /** What the file no longer has, or cannot have. */
  degraded: {
    /** How vectors were quantized before they were written; they are what that left of them. */
    quantized: string | undefined;
    /** A Metal server writes all of its vectors as zeros. */
    zeroVectors: number;
    /** Of a cosine collection, vectors whose length is not 1. They are kept as they are. */
    nonUnit: number;
    /** Payloads that only their owner can read; they are kept as they are. */
    encrypted: number;
    /** Payloads that are not JSON; kept as text. */
    unreadablePayloads: number;
  };
  warnings: string[];
}

/** A collection in a file, when its first points come. */
export interface StoreHead {
  name: string;
  dimensions: number | undefined;
  metric: Metric;
}

export interface StoreOptions {
  file: string;
  /** Name and configuration from elsewhere, for files that do not say. */
  name: string;
  config: StoredConfig | undefined;
  textKey: string;
  /** Opens the collection for what the file has; undefined leaves it out. */
  target: (head: StoreHead) => Promise<VectorCollection | undefined>;
  signal: AbortSignal | undefined;
  onBlock: (points: number) => void;
}

/** Bytes of vectors in a block. */
const blockBytes = 4 << 20;
const reasonsMax = 100;
const unitTolerance = 1e-4;

interface Group {
  name: string | undefined;
  config: StoredConfig | undefined;
  report: CollectionReport | undefined;
  target: VectorCollection | undefined;
  countBefore: number;
  skipped: number;
  reasons: { id: string; problem: string }[];
}

/** Reads a vector store; returns a report for each of its collections that was wanted. */
export async function readStore(
  source: AsyncIterable<Uint8Array>,
  options: StoreOptions,
): Promise<CollectionReport[]> {
  return new StoreReader(options).run(source);
}

class StoreReader {
  readonly #groups: Group[] = [];
  /** Those that have an array of vectors, in its order. */
  readonly #withVectors: Group[] = [];
  #version: unknown;

  constructor(readonly options: StoreOptions) {}

  async run(source: AsyncIterable<Uint8Array>): Promise<CollectionReport[]> {
    const { file, config, signal } = this.options;
    const dimensions = config?.dimension ?? 512;
    const blockSize = Math.max(
      1,
      Math.min(2048, Math.floor(blockBytes / (4 * Math.max(1, dimensions)))),
    );
    const slices = new kit.Slices(signal);
    let pending: Promise<unknown> = Promise.resolve();
    const blocks = readPoints(source, {
      where: file,
      paths: [["collections", "*", "vectors"]],
      vectorKey: "data",
      dimensions: undefined,
      blockSize,
      onEnter: (path) => {
        if (path.length === 2) this.#groups.push(newGroup());
        if (path.length !== 3) return;
        this.#checkVersion();
        this.#withVectors.push(this.#groups.at(-1)!);
      },
      onValue: (path, json) => this.#value(path, json),
      onBad: (id, problem) => this.#bad(id, problem),
      error: (problem, cause) => damaged(file, problem, cause),
    });
    for await (const block of blocks) {
      kit.throwIfAborted(signal);
      const group = this.#withVectors[block.group]!;
      await this.#open(group, block.dimensions);
      const columns = group.target === undefined ? undefined : this.#columns(block, group.report!);
      await pending;
      // Stored while the next block is read; one at a time.
      pending =
        columns === undefined ? Promise.resolve() : group.target!.upsert(columns, { signal });
      pending.catch(() => undefined);
      this.options.onBlock(block.ids.length);
      if (slices.due) await slices.turn();
    }
    await pending;
    this.#checkVersion();
    return this.#finish();
  }

  /** Another version may mean other vectors, so it must be known before the first of them. */
  #checkVersion(): void {
    if (this.#version === 1) return;
    const found =
      this.#version === undefined ? "no version" : `version ${JSON.stringify(this.#version)}`;
    throw damaged(this.options.file, `it has ${found} where 1 was expected`);
  }

  #value(path: readonly string[], json: string): void {
    const [first, , key] = path;
    if (path.length === 1 && first === "version") this.#version = JSON.parse(json) as unknown;
    if (path.length !== 3) return;
    const group = this.#groups.at(-1)!;
    if (key === "name") group.name = JSON.parse(json) as string;
    if (key === "config" && json !== "null") {
      const read = configShape.safeParse(JSON.parse(json));
      if (!read.success) throw damaged(this.options.file, "a collection's config cannot be read");
      group.config = read.data;
    }
  }

  #bad(id: string, problem: string): boolean {
    const group = this.#groups.at(-1)!;
    group.skipped++;
    if (group.reasons.length < reasonsMax) group.reasons.push({ id, problem });
    return true;
  }

  /** Opens the collection that a group goes into, once. */
  async #open(group: Group, dimensions: number | undefined): Promise<void> {
    if (group.report !== undefined) return;
    const config = group.config ?? this.options.config;
    const name = group.name ?? this.options.name;
    const warnings: string[] = [];
    let metric = metricOfConfig(config);
    if (metric === undefined) {
      metric = "cosine";
      warnings.push("the file does not name a known metric; cosine was taken, as the server does");
    }
    if (
      config?.dimension !== undefined &&
      dimensions !== undefined &&
      config.dimension !== dimensions
    ) {
      warnings.push(
        `the configuration says ${config.dimension} dimensions, the vectors have ${dimensions}`,
      );
    }
    group.report = {
      name,
      dimensions: dimensions ?? config?.dimension,
      metric,
      imported: 0,
      replaced: 0,
      skipped: 0,
      skippedReasons: group.reasons,
      degraded: {
        quantized: quantizationOf(config),
        zeroVectors: 0,
        nonUnit: 0,
        encrypted: 0,
        unreadablePayloads: 0,
      },
      warnings,
    };
    group.target = await this.options.target({ name, dimensions: group.report.dimensions, metric });
    group.countBefore = (await group.target?.count()) ?? 0;
  }

  #columns(block: PointBlock, report: CollectionReport): ColumnsInput {
    const ids: string[] = [];
    const texts: (string | undefined)[] = [];
    const metadatas: (Record<string, unknown> | undefined)[] = [];
    const { degraded, metric } = report;
    for (const { id, vector, members } of pointsOf(block)) {
      const payload = readPayload(members.get("payload_json"), degraded);
      const record = recordOf(id, payload, vector, this.options.textKey);
      ids.push(record.id);
      texts.push(record.text);
      metadatas.push(record.metadata);
      if (isEncrypted(payload)) degraded.encrypted++;
      const norm = normOf(vector);
      if (norm === 0) degraded.zeroVectors++;
      else if (metric === "cosine" && Math.abs(norm - 1) > unitTolerance) degraded.nonUnit++;
    }
    report.imported += ids.length;
    return { ids, vectors: block.vectors, dimensions: block.dimensions, texts, metadatas };
  }

  async #finish(): Promise<CollectionReport[]> {
    const reports: CollectionReport[] = [];
    for (const group of this.#groups) {
      await this.#open(group, undefined);
      if (group.target === undefined) continue;
      const report = group.report!;
      report.skipped = group.skipped;
      report.replaced = report.imported - ((await group.target.count()) - group.countBefore);
      reports.push(report);
    }
    return reports;
  }
}

function newGroup(): Group {
  return {
    name: undefined,
    config: undefined,
    report: undefined,
    target: undefined,
    countBefore: 0,
    skipped: 0,
    reasons: [],
  };
}

function readPayload(json: string | undefined, degraded: CollectionReport["degraded"]): unknown {
  if (json === undefined || json === "null") return null;
  const text: unknown = JSON.parse(json);
  try {
    if (typeof text === "string") return JSON.parse(text) as unknown;
  } catch {
    // Counted, and kept as it is.
  }
  degraded.unreadablePayloads++;
  return { [wholeKey]: text };
}

function normOf(vector: Float32Array): number {
  let sum = 0;
  for (let i = 0; i < vector.length; i++) sum += vector[i]! * vector[i]!;
  return Math.sqrt(sum);
}
