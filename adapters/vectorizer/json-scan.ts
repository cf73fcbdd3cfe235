/** Finds where JSON values end in bytes that may stop anywhere. */

/** The value goes on behind the bytes that are there. */
export const incomplete = -1;

/** Marks bytes that cannot be JSON. */
export class MalformedJson extends Error {
  constructor(
    what: string,
    /** Bytes from the start of the buffer. */
    readonly at: number,
  ) {
    super(what);
  }
}

const quote = 34;
const backslash = 92;

/** First position from `at` on that is no white space; may be `end`. */
export function skipSpace(bytes: Buffer, at: number, end: number): number {
  let i = at;
  while (i < end) {
    const c = bytes[i]!;
    if (c !== 32 && c !== 10 && c !== 13 && c !== 9) break;
    i++;
  }
  return i;
}

/** Position behind the string that starts at `at` with a quote, or `incomplete`. */
export function skipString(bytes: Buffer, at: number, end: number): number {
  for (let i = at + 1; i < end; i++) {
    const c = bytes[i]!;
    if (c === quote) return i + 1;
    if (c === backslash) i++;
  }
  return incomplete;
}

/**
 * Position behind the value at `at`, or `incomplete`. Looks at brackets and strings only; whoever
 * reads the value finds out whether it is well formed.
 */
export function skipValue(bytes: Buffer, at: number, end: number, depthMax: number): number {
  const first = bytes[at]!;
  if (first === quote) return skipString(bytes, at, end);
  if (first !== 123 && first !== 91) return skipWord(bytes, at, end);
  let depth = 0;
  for (let i = at; i < end; i++) {
    const c = bytes[i]!;
    if (c === quote) {
      const next = skipString(bytes, i, end);
      if (next === incomplete) return incomplete;
      i = next - 1;
    } else if (c === 123 || c === 91) {
      if (++depth > depthMax) throw new MalformedJson(`nested deeper than ${depthMax} levels`, i);
    } else if (c === 125 || c === 93) {
      if (--depth === 0) return i + 1;
    }
  }
  return incomplete;
}

/** Numbers, true, false, null: they end where something else begins. */
function skipWord(bytes: Buffer, at: number, end: number): number {
  let i = at;
  while (i < end) {
    const c = bytes[i]!;
    const isWord =
      (c >= 48 && c <= 57) || (c >= 97 && c <= 122) || c === 45 || c === 43 || c === 46 || c === 69;
    if (!isWord) break;
    i++;
  }
  if (i === end) return incomplete;
  if (i === at)
    throw new MalformedJson(`found ${JSON.stringify(String.fromCharCode(bytes[at]!))}`, at);
  return i;
}
