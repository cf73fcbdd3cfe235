/** Strings of a path, numbered in order of first sight. Numbers are never given up. */
import type { Slices } from "./slices.js";

/** Tests whose results are kept per dictionary. */
const testsKept = 32;
/** Strings looked at between two looks at the clock. */
const stride = 256;

interface KnownTest {
  codes: number[];
  /** Codes below this were looked at. */
  upTo: number;
}

export class Dictionary {
  readonly #codes = new Map<string, number>();
  readonly #values: string[] = [];
  readonly #tests = new Map<string, KnownTest>();

  get size(): number {
    return this.#values.length;
  }

  /** The code of a string that was seen before. */
  find(value: string): number | undefined {
    return this.#codes.get(value);
  }

  /** The code of a string, given now if it is new; undefined when there is no room for more. */
  add(value: string, most: number): number | undefined {
    const known = this.#codes.get(value);
    if (known !== undefined) return known;
    const code = this.#values.length;
    if (code >= most) return undefined;
    this.#codes.set(value, code);
    this.#values.push(value);
    return code;
  }

  /**
   * Codes, ascending, of the strings that pass. Only strings that came since the last time are
   * tested.
   * @param key names the test
   */
  async matching(
    key: string,
    test: (value: string) => boolean,
    slices: Slices,
  ): Promise<readonly number[]> {
    const known = this.#tests.get(key) ?? { codes: [], upTo: 0 };
    // The newest is kept longest.
    this.#tests.delete(key);
    this.#tests.set(key, known);
    if (this.#tests.size > testsKept) this.#tests.delete(this.#tests.keys().next().value!);
    while (known.upTo < this.#values.length) {
      // Another search may be at work on the same test: each code is taken by one of them.
      const code = known.upTo++;
      if (test(this.#values[code]!)) known.codes.push(code);
      if (code % stride === stride - 1 && slices.due) await slices.turn();
    }
    return known.codes;
  }
}
