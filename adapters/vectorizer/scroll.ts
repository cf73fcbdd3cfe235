/** All points of a server collection, each once, around the traps of the server's scroll. */
import { type HiveGpuError, hiveError } from "hive-gpu";
import type { CallOptions } from "./batches.js";
import type { VectorizerClient } from "./client.js";
import { protocolError } from "./errors.js";
import type { PointBlock } from "./points.js";

export interface ScrollOptions extends CallOptions {
  dimensions: number;
  /** Points asked for at a time; at least 2. */
  pageSize: number;
  /** Points of a block. */
  blockSize: number;
  /** Points that the server says it has; far more are refused. */
  expected: number;
  /** Id of a point to go on behind. When the server no longer has it, `onRestart` is called. */
  after?: string | undefined;
  /** The server began again at its first point: what was read before may come once more. */
  onRestart?: () => void;
}

/** Points that may be inserted while a scroll is under way before it counts as endless. */
const growthMax = 10_000;
/** Steps back when the point that a page should begin with was deleted meanwhile. */
const stepsBackMax = 8;

/**
 * The server's next offset is the last point of a page, and that point begins the next page again;
 * an offset that no longer exists starts over at the first point. So the first point of a page is
 * dropped when it is the offset, and a page that does not begin as it should is asked for again
 * from an earlier point.
 */
export async function* scrollPoints(
  client: VectorizerClient,
  name: string,
  options: ScrollOptions,
): AsyncGenerator<PointBlock, void, undefined> {
  const { dimensions, pageSize, blockSize, signal } = options;
  const limit = Math.max(2, pageSize);
  const scroll = new Scroll(client, name, options);
  for (;;) {
    const { offset } = scroll;
    const page = client.page(name, { offset, limit, dimensions, blockSize }, { signal });
    let fresh = 0;
    let isFirst = true;
    let isRestarted = false;
    for (;;) {
      const step = await page.next();
      if (step.done === true) {
        if (isRestarted) break;
        // A page without news is the end, whatever offset comes with it.
        if (step.value === undefined || fresh === 0) return;
        scroll.advance();
        break;
      }
      let block: PointBlock | undefined = step.value;
      if (isFirst) {
        isFirst = false;
        if (scroll.hasRestarted(block)) {
          isRestarted = true;
          await page.return(undefined);
          if (scroll.stepBack()) break;
          options.onRestart?.();
          scroll.forget();
          break;
        }
      }
      block = scroll.unseen(block);
      if (block === undefined) continue;
      fresh += block.ids.length;
      await scroll.count(block.ids.length);
      yield block;
    }
  }
}

/** Where a scroll is, and what it has seen of its last page. */
class Scroll {
  offset: string | undefined;
  #lastIds: string[] = [];
  #pageIds: string[] = [];
  #seen: Set<string>;
  #stepsBack = 0;
  #first: string | undefined;
  #total = 0;
  #expected: number;

  constructor(
    readonly client: VectorizerClient,
    readonly name: string,
    readonly options: ScrollOptions,
  ) {
    this.offset = options.after;
    this.#seen = new Set(options.after === undefined ? [] : [options.after]);
    this.#lastIds = [...this.#seen];
    this.#expected = options.expected;
  }

  /** Whether a page begins at the first point of all instead of at its offset. */
  hasRestarted(block: PointBlock): boolean {
    if (this.offset === undefined) {
      this.#first ??= block.ids[0];
      return false;
    }
    if (block.ids[0] === this.offset) return false;
    // Other servers go on behind the offset; then the first point is a new one.
    return block.ids[0] === this.#first || this.#seen.has(block.ids[0]!) || this.#isResuming;
  }

  /** Nothing but the offset is known yet, so a page that begins elsewhere cannot be told apart. */
  get #isResuming(): boolean {
    return this.#first === undefined && this.#total === 0;
  }

  /** Tries the point before; false when there is none to try. */
  stepBack(): boolean {
    this.#lastIds.pop();
    const earlier = this.#lastIds.at(-1);
    if (earlier === undefined || ++this.#stepsBack > stepsBackMax) return false;
    this.offset = earlier;
    return true;
  }

  forget(): void {
    this.offset = undefined;
    this.#seen = new Set();
    this.#lastIds = [];
    this.#pageIds = [];
    this.#stepsBack = 0;
    this.#total = 0;
  }

  /** A page is over: the next one begins with its last point. */
  advance(): void {
    this.#lastIds = this.#pageIds;
    this.#seen = new Set(this.#pageIds);
    this.#pageIds = [];
    this.#stepsBack = 0;
    this.offset = this.#lastIds.at(-1);
  }

  /** The points of a block that the page before did not have. */
  unseen(block: PointBlock): PointBlock | undefined {
    const { ids, dimensions } = block;
    let known = 0;
    while (known < ids.length && this.#seen.has(ids[known]!)) known++;
    this.#pageIds.push(...ids.slice(known));
    if (known === 0) return block;
    if (known === ids.length) return undefined;
    return {
      group: block.group,
      dimensions,
      ids: ids.slice(known),
      idWasNumber: block.idWasNumber.slice(known),
      vectors: block.vectors.subarray(known * dimensions),
      members: block.members.slice(known),
    };
  }

  /** Ends a scroll that goes on and on. */
  async count(fresh: number): Promise<void> {
    this.#total += fresh;
    if (this.#total <= this.#expected + growthMax) return;
    const info = await this.client.collection(this.name, { signal: this.options.signal });
    this.#expected = info?.count ?? 0;
    if (this.#total <= this.#expected + growthMax) return;
    throw protocolError(
      `scroll of ${JSON.stringify(this.name)}`,
      `${this.#total} points came from a collection of ${this.#expected}`,
    );
  }
}

/** The error of a collection that does not exist. */
export function noCollection(name: string): HiveGpuError {
  return hiveError("NOT_FOUND", `The server has no collection ${JSON.stringify(name)}.`, {
    hint: "Check the name, or let the collection be created.",
    details: { collection: name },
  });
}
