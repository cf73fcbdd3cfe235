/**
 * Reads a JSON array of numbers from bytes into f32, without a string in between: a page of vectors
 * is nearly all digits, and this is where an import spends its time.
 *
 * Up to 15 digits and a power of ten up to 22 one double operation gives the correctly rounded value
 * (W. D. Clinger, "How to read floating point numbers accurately", 1990). Longer ones are computed
 * with an error below 1e-15, and handed to the engine's own parser when that could change the f32.
 */

const powers = Float64Array.from({ length: 23 }, (_, i) => 10 ** i);
/** Digits that fit an int32; integers add up in half the time that doubles take. */
const digitsOfInt = 9;
/** Digits kept exactly enough for the test of ambiguity below; more only move the exponent. */
const digitsMax = 2 * digitsOfInt;
const low = 1 - 2e-15;
const high = 1 + 2e-15;

/** What {@link readNumbers} found; one object, used again and again. */
export interface NumbersRead {
  /** Elements written. */
  count: number;
  /** First element that is no finite f32 (null, or too large), or -1. */
  badAt: number;
}

function slowNumber(bytes: Buffer, from: number, to: number): number {
  return Number(bytes.toString("latin1", from, to));
}

/**
 * Reads the number at `at` into `target[index]`.
 * @returns the position behind it, or minus the position of what does not belong there
 */
function readNumber(bytes: Buffer, from: number, target: Float32Array, index: number): number {
  let at = from;
  let c = bytes[at]!;
  const negative = c === 45;
  if (negative) c = bytes[++at]!;
  if (c < 48 || c > 57) return -at;
  let high9 = 0;
  let low9 = 0;
  let digits = 0;
  let exponent = 0;
  do {
    if (digits < digitsOfInt) {
      high9 = (Math.imul(high9, 10) + (c - 48)) | 0;
      if (high9 !== 0) digits++;
    } else if (digits < digitsMax) {
      low9 = (Math.imul(low9, 10) + (c - 48)) | 0;
      digits++;
    } else {
      exponent++;
    }
    c = bytes[++at]!;
  } while (c >= 48 && c <= 57);
  if (c === 46) {
    c = bytes[++at]!;
    if (c < 48 || c > 57) return -at;
    do {
      if (digits < digitsOfInt) {
        high9 = (Math.imul(high9, 10) + (c - 48)) | 0;
        if (high9 !== 0) digits++;
        exponent--;
      } else if (digits < digitsMax) {
        low9 = (Math.imul(low9, 10) + (c - 48)) | 0;
        digits++;
        exponent--;
      }
      c = bytes[++at]!;
    } while (c >= 48 && c <= 57);
  }
  if (c === 101 || c === 69) {
    c = bytes[++at]!;
    const down = c === 45;
    if (down || c === 43) c = bytes[++at]!;
    if (c < 48 || c > 57) return -at;
    let power = 0;
    do {
      if (power < 10_000) power = power * 10 + (c - 48);
      c = bytes[++at]!;
    } while (c >= 48 && c <= 57);
    exponent += down ? -power : power;
  }
  const mantissa = digits <= digitsOfInt ? high9 : high9 * powers[digits - digitsOfInt]! + low9;
  if (mantissa === 0) {
    target[index] = negative ? -0 : 0;
  } else if (exponent >= -22 && exponent <= 22) {
    let value = exponent < 0 ? mantissa / powers[-exponent]! : mantissa * powers[exponent]!;
    if (negative) value = -value;
    const isSure = digits <= 15 || Math.fround(value * low) === Math.fround(value * high);
    target[index] = isSure ? value : slowNumber(bytes, from, at);
  } else {
    target[index] = slowNumber(bytes, from, at);
  }
  return at;
}

/**
 * Reads from just behind `[` to just behind the matching `]`, which must lie inside the buffer.
 * @returns the position behind `]`, or minus the position of what does not belong there
 */
export function readNumbers(
  bytes: Buffer,
  start: number,
  target: Float32Array,
  result: NumbersRead,
): number {
  let at = start;
  let count = 0;
  result.badAt = -1;
  for (;;) {
    let c = bytes[at]!;
    while (c === 32 || (c >= 9 && c <= 13)) c = bytes[++at]!;
    if (c === 93 && count === 0) break;
    if (count >= target.length) return -at;
    if (isNull(bytes, at)) {
      // What a server writes for NaN and Infinity.
      target[count] = NaN;
      at += 4;
    } else {
      at = readNumber(bytes, at, target, count);
      if (at < 0) return at;
    }
    if (result.badAt < 0 && !Number.isFinite(target[count]!)) result.badAt = count;
    count++;
    c = bytes[at]!;
    while (c === 32 || (c >= 9 && c <= 13)) c = bytes[++at]!;
    if (c === 93) break;
    if (c !== 44) return -at;
    at++;
  }
  result.count = count;
  return at + 1;
}

function isNull(bytes: Buffer, at: number): boolean {
  return (
    bytes[at] === 110 && bytes[at + 1] === 117 && bytes[at + 2] === 108 && bytes[at + 3] === 108
  );
}
