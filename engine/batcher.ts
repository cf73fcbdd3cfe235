/**
 * Joins searches. When nothing is under way, a search is submitted at once; otherwise it waits,
 * and all searches with the same k that arrived meanwhile become one native job: rows that are
 * read once serve all of them. Joined or alone, a query's hits are the same bits.
 */
import { abortError } from "./errors.js";
import { fromNative } from "./native-errors.js";
import type { NativeJob, NativeSearchResult } from "./native-types.js";
import type { Snapshot } from "./snapshot.js";

/** Bytes of queries in one job: copied in one go on the JavaScript thread. */
const joinedBytes = 1 << 20;

/** One query's part of a job's result. Release the snapshot. */
export interface Answer {
  snapshot: Snapshot;
  result: NativeSearchResult;
  /** First entry of the query in the result's arrays, and how many it has. */
  offset: number;
  count: number;
}

interface Caller {
  query: Float32Array;
  signal: AbortSignal | undefined;
  onAbort: (() => void) | undefined;
  job: Job | undefined;
  settled: boolean;
  resolve: (answer: Answer | undefined) => void;
  reject: (error: unknown) => void;
}

interface Job {
  native: NativeJob;
  waiting: number;
}

/** The searches of one collection that go to the engine's threads. */
export class Batcher {
  readonly #acquire: () => Snapshot | undefined;
  readonly #pending = new Map<number, Caller[]>();
  #running = 0;

  /** @param acquire pins the newest view; undefined when there is no record; throws when closed. */
  constructor(acquire: () => Snapshot | undefined) {
    this.#acquire = acquire;
  }

  /** Nothing is under way. */
  get idle(): boolean {
    return this.#running === 0;
  }

  /**
   * Searches; resolves to undefined when there is no record. A query that waits is copied.
   * @param query as long as the collection has dimensions
   */
  search(
    query: Float32Array,
    k: number,
    signal: AbortSignal | undefined,
  ): Promise<Answer | undefined> {
    return new Promise((resolve, reject) => {
      const caller: Caller = {
        query,
        signal,
        onAbort: undefined,
        job: undefined,
        settled: false,
        resolve,
        reject,
      };
      if (signal !== undefined) {
        caller.onAbort = (): void => this.#abort(caller, k);
        signal.addEventListener("abort", caller.onAbort, { once: true });
      }
      if (this.idle) {
        this.#submit([caller], k);
      } else {
        caller.query = query.slice();
        const group = this.#pending.get(k);
        if (group === undefined) this.#pending.set(k, [caller]);
        else group.push(caller);
      }
    });
  }

  #submit(callers: Caller[], k: number): void {
    let snapshot: Snapshot | undefined;
    try {
      snapshot = this.#acquire();
      if (snapshot === undefined) {
        for (const caller of callers) settle(caller, undefined);
        return;
      }
      const job: Job = {
        native: snapshot.native.search(
          joined(callers),
          callers.length,
          Math.min(k, snapshot.liveRows),
        ),
        waiting: callers.length,
      };
      for (const caller of callers) caller.job = job;
      this.#running++;
      void this.#finish(job, snapshot, callers, k);
    } catch (error) {
      snapshot?.release();
      this.#failed(callers, k, error);
    }
  }

  async #finish(job: Job, snapshot: Snapshot, callers: Caller[], k: number): Promise<void> {
    try {
      const result = await job.native.promise;
      const stride = result.rows.length / callers.length;
      for (const [q, caller] of callers.entries()) {
        if (caller.settled) continue;
        const answer: Answer = {
          snapshot: snapshot.retain(),
          result,
          offset: q * stride,
          count: result.counts[q]!,
        };
        settle(caller, answer);
      }
      this.#running--;
    } catch (error) {
      this.#running--;
      this.#failed(callers, k, error);
    } finally {
      snapshot.release();
      this.#flush();
    }
  }

  /** A bad query fails its own caller only; the others are searched again without it. */
  #failed(callers: Caller[], k: number, error: unknown): void {
    const index = (error as { details?: { index?: unknown } } | undefined)?.details?.index;
    const culprit = typeof index === "number" ? callers[index] : undefined;
    const rest = callers.filter((caller) => caller !== culprit && !caller.settled);
    const reported = this.#report(error);
    if (culprit === undefined) {
      for (const caller of rest) fail(caller, reported);
      return;
    }
    fail(culprit, reported);
    if (rest.length > 0) this.#submit(rest, k);
  }

  /** Jobs of a collection that was closed are cancelled; their callers did not abort anything. */
  #report(error: unknown): unknown {
    try {
      this.#acquire()?.release();
    } catch (closed) {
      return fromNative(closed);
    }
    return fromNative(error, () => ({ name: "search: the query", details: {} }));
  }

  #flush(): void {
    if (!this.idle || this.#pending.size === 0) return;
    const groups = [...this.#pending];
    this.#pending.clear();
    for (const [k, callers] of groups) {
      const perJob = Math.max(1, Math.floor(joinedBytes / (callers[0]!.query.length * 4)));
      for (let i = 0; i < callers.length; i += perJob)
        this.#submit(callers.slice(i, i + perJob), k);
    }
  }

  #abort(caller: Caller, k: number): void {
    const { job } = caller;
    fail(caller, abortError(caller.signal!));
    if (job !== undefined) {
      if (--job.waiting === 0) job.native.cancel();
      return;
    }
    const group = this.#pending.get(k);
    const at = group?.indexOf(caller) ?? -1;
    if (at >= 0) group!.splice(at, 1);
    if (group?.length === 0) this.#pending.delete(k);
  }
}

function joined(callers: readonly Caller[]): Float32Array {
  const first = callers[0]!.query;
  if (callers.length === 1) return first;
  const all = new Float32Array(callers.length * first.length);
  for (const [q, caller] of callers.entries()) all.set(caller.query, q * first.length);
  return all;
}

function unhook(caller: Caller): boolean {
  if (caller.settled) return false;
  caller.settled = true;
  if (caller.onAbort !== undefined) caller.signal!.removeEventListener("abort", caller.onAbort);
  return true;
}

function settle(caller: Caller, answer: Answer | undefined): void {
  if (unhook(caller)) caller.resolve(answer);
}

function fail(caller: Caller, error: unknown): void {
  if (unhook(caller)) caller.reject(error);
}
