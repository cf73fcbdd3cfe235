/** Shapes of vectors and queries. Values are checked natively, on the copy. */
import { hiveError } from "./errors.js";
import { limits } from "./limits.js";
import { show } from "./options.js";

/** One vector: numbers in an array, or a typed array that is copied during the call. */
export type VectorInput = readonly number[] | Float32Array | Float64Array;

/** Whether the value is one of the kinds of {@link VectorInput}; elements are not looked at. */
export function isVector(value: unknown): value is VectorInput {
  return Array.isArray(value) || value instanceof Float32Array || value instanceof Float64Array;
}

/** Throws unless `value` is a vector of the given length (`undefined`: any from 1 on). */
export function checkVector(
  value: unknown,
  dimensions: number | undefined,
  name: () => string,
): asserts value is VectorInput {
  if (!isVector(value)) {
    throw hiveError(
      "INVALID_ARGUMENT",
      `${name()} must be an array of numbers or a Float32Array, got ${show(value)}.`,
    );
  }
  const length = value.length;
  if (length === dimensions) return;
  if (length === 0) {
    throw hiveError("DIMENSION_MISMATCH", `${name()} is empty.`, { details: { actual: 0 } });
  }
  if (dimensions !== undefined) {
    throw hiveError(
      "DIMENSION_MISMATCH",
      `${name()} has ${length} elements, the collection has ${dimensions} dimensions.`,
      { details: { expected: dimensions, actual: length } },
    );
  }
  checkDimensions(length, name);
}

/** Throws when a collection cannot have that many dimensions. */
export function checkDimensions(dimensions: number, name: () => string): void {
  const max = limits.dimensionsMax;
  if (dimensions <= max) return;
  throw hiveError("LIMIT_EXCEEDED", `${name()} has ${dimensions} elements, the limit is ${max}.`, {
    details: { actual: dimensions, limit: max },
  });
}

/** Copies a vector of checked length into `target` at `offset`; refuses elements that are no
 * numbers, which a typed array would turn into NaN or 0. */
export function copyVector(
  vector: VectorInput,
  target: Float32Array,
  offset: number,
  name: () => string,
): void {
  if (!Array.isArray(vector)) {
    target.set(vector, offset);
    return;
  }
  for (let i = 0; i < vector.length; i++) {
    const element: unknown = vector[i];
    if (typeof element !== "number") {
      throw hiveError(
        "INVALID_ARGUMENT",
        `${name()} has ${show(element)} at element ${i}; all elements must be numbers.`,
        { details: { element: i } },
      );
    }
    target[offset + i] = element;
  }
}

/** For queries that no native code will see, because there is nothing to compare them with. */
export function checkFinite(vector: ArrayLike<number>, name: () => string): void {
  for (let i = 0; i < vector.length; i++) {
    if (Number.isFinite(vector[i])) continue;
    throw hiveError("NON_FINITE", `${name()} holds NaN or Infinity at element ${i}.`, {
      details: { element: i },
    });
  }
}
