/** Writes of one collection run one after another, in the order they were called. */
import { abortError } from "./errors.js";

/** What a write hands back: the caller's result, and tidying that the next write waits for. */
export interface WriteOutcome<T> {
  value: T;
  tail?: Promise<void> | undefined;
}

/** A queue of asynchronous tasks. */
export class WriteQueue {
  readonly #waiting: (() => void)[] = [];
  #busy = false;

  /**
   * Runs `task` when all earlier ones are done. A task whose signal fires while it waits is
   * rejected at once and never starts.
   */
  async run<T>(task: () => Promise<WriteOutcome<T>>, signal?: AbortSignal): Promise<T> {
    if (this.#busy) await this.#turn(signal);
    this.#busy = true;
    let tail: Promise<void> | undefined;
    try {
      const outcome = await task();
      ({ tail } = outcome);
      return outcome.value;
    } finally {
      if (tail === undefined) this.#next();
      else void tail.finally(() => this.#next());
    }
  }

  #next(): void {
    this.#busy = false;
    const start = this.#waiting.shift();
    if (start === undefined) return;
    // Taken for the one that starts, which runs a microtask later.
    this.#busy = true;
    start();
  }

  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const start = (): void => {
        signal?.removeEventListener("abort", stop);
        resolve();
      };
      const stop = (): void => {
        const at = this.#waiting.indexOf(start);
        if (at >= 0) this.#waiting.splice(at, 1);
        reject(abortError(signal!));
      };
      this.#waiting.push(start);
      signal?.addEventListener("abort", stop, { once: true });
    });
  }
}
