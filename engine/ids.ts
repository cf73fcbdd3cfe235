/** Checks of record ids and collection names. */
import { hiveError } from "./errors.js";
import { limits } from "./limits.js";
import { show } from "./options.js";

/** Well-formed UTF-16: two ids with different lone surrogates would be one id in UTF-8. */
function isWellFormed(text: string): boolean {
  // Node 20 has it; the pinned lib (ES2023) does not know it yet.
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

function tooLong(text: string, max: number): boolean {
  return text.length * 3 > max && Buffer.byteLength(text) > max;
}

/** Throws unless `id` is a string of 1 to 1024 UTF-8 bytes. `name` says which id it is. */
export function checkId(id: unknown, name: () => string): asserts id is string {
  if (typeof id !== "string") {
    throw hiveError("INVALID_ARGUMENT", `${name()} must be a string, got ${show(id)}.`);
  }
  if (id.length === 0) {
    const message = `${name()} is empty; an id has 1 to ${limits.idBytesMax} UTF-8 bytes.`;
    throw hiveError("INVALID_ARGUMENT", message, { details: { limit: limits.idBytesMax } });
  }
  if (tooLong(id, limits.idBytesMax)) {
    const bytes = Buffer.byteLength(id);
    const message = `${name()} has ${bytes} UTF-8 bytes, the limit is ${limits.idBytesMax}.`;
    throw hiveError("LIMIT_EXCEEDED", message, { details: { bytes, limit: limits.idBytesMax } });
  }
  if (!isWellFormed(id)) {
    const message = `${name()} holds half a surrogate pair, which UTF-8 cannot write.`;
    throw hiveError("INVALID_ARGUMENT", message);
  }
}

/** Throws unless `name` can name a collection: 1 to 255 UTF-8 bytes, well-formed. */
export function checkName(name: unknown): asserts name is string {
  if (typeof name !== "string") {
    throw hiveError("INVALID_ARGUMENT", `A collection's name must be a string, got ${show(name)}.`);
  }
  const max = limits.nameBytesMax;
  if (name.length === 0) {
    throw hiveError("INVALID_ARGUMENT", `A collection's name has 1 to ${max} UTF-8 bytes.`);
  }
  if (tooLong(name, max)) {
    const bytes = Buffer.byteLength(name);
    throw hiveError(
      "LIMIT_EXCEEDED",
      `The collection's name has ${bytes} bytes of at most ${max}.`,
      {
        details: { bytes, limit: max },
      },
    );
  }
  if (!isWellFormed(name)) {
    throw hiveError("INVALID_ARGUMENT", "The collection's name holds half a surrogate pair.");
  }
}

/** `record 3 ("a")`, for messages. */
export function recordName(index: number, id: unknown): string {
  return typeof id === "string" ? `record ${index} (${show(id)})` : `record ${index}`;
}
