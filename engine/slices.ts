/**
 * Long work on the JavaScript thread runs in slices of about 2 ms, so that the event loop is never
 * held up for more than 5 ms: a slice may overrun by one step, and other work needs room too.
 */
import { throwIfAborted } from "./errors.js";

const sliceMs = 2;

/** Lets timers, sockets and other callers run. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}

/** Says when a slice is used up, and gives the loop a turn. */
export class Slices {
  #end = performance.now() + sliceMs;
  readonly #signal: AbortSignal | undefined;
  readonly #check: (() => void) | undefined;

  /** @param check runs after every turn and throws when the work must not go on. */
  constructor(signal?: AbortSignal, check?: () => void) {
    this.#signal = signal;
    this.#check = check;
  }

  /** Whether it is time to `await turn()`. Costs a clock reading: ask once per ~64 small steps. */
  get due(): boolean {
    return performance.now() >= this.#end;
  }

  /** Yields to the event loop; throws when the signal has fired or the check fails. */
  async turn(): Promise<void> {
    await nextTurn();
    throwIfAborted(this.#signal);
    this.#check?.();
    this.#end = performance.now() + sliceMs;
  }
}
