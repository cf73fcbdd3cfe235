/**
 * The one codec of a record's bytes, shared by every store.
 *
 * Bytes are the UTF-8 of one JSON object `{"text"?: string, "metadata"?: object}`; a record that
 * has neither is zero bytes. JSON escapes lone surrogates, so every string comes back unit by unit.
 * Numbers come back bit by bit except -0, which JSON writes as 0.
 *
 * JSON has no dates, so a Date becomes `{"$date": <ms>}`. Data of the user that looks like that, an
 * object whose only key is one or more `$` followed by `date`, gets one more `$`; reading takes it
 * off again. So no data can be taken for a Date.
 */
import { types } from "node:util";
import { hiveError } from "./errors.js";
import { limits } from "./limits.js";
import { isPlainObject } from "./options.js";
import { diagnose } from "./record-diagnosis.js";

/** What a record holds besides id and vector. */
export interface RecordContent {
  text?: string;
  metadata?: Record<string, unknown>;
}

const dateKey = "$date";
/** How a Date looks in the bytes; text cannot contain it, because JSON escapes its quotes. */
const dateMark = `${dateKey}"`;

let valuesLeft = 0;
let needsEscape = false;

function isDateLike(key: string): boolean {
  if (!key.endsWith(dateKey)) return false;
  for (let i = 0; i < key.length - dateKey.length; i++) if (key[i] !== "$") return false;
  return true;
}

/** Whether the value can be stored; sets `needsEscape`. Says no more than yes or no: it is hot. */
function valid(value: unknown, depth: number): boolean {
  switch (typeof value) {
    case "string":
    case "boolean":
      return true;
    case "number":
      return Number.isFinite(value);
    case "object":
      return value === null || validObject(value, depth);
    default:
      return false;
  }
}

function validObject(value: object, depth: number): boolean {
  if (depth >= limits.metadataDepthMax) return false;
  if (Array.isArray(value)) {
    valuesLeft -= value.length;
    if (valuesLeft < 0) return false;
    for (let i = 0; i < value.length; i++) if (!valid(value[i], depth + 1)) return false;
    return true;
  }
  if (!isPlainObject(value)) {
    if (!types.isDate(value) || Number.isNaN(Date.prototype.getTime.call(value))) return false;
    needsEscape = true;
    return true;
  }
  const keys = Object.keys(value);
  valuesLeft -= keys.length;
  if (valuesLeft < 0) return false;
  for (const key of keys) {
    const item = value[key];
    if (item !== undefined && !valid(item, depth + 1)) return false;
    // Other keys may be dropped as undefined, so any such key calls for the careful way.
    if (key.charCodeAt(0) === 36 && isDateLike(key)) needsEscape = true;
  }
  return Object.getOwnPropertySymbols(value).length === 0;
}

function setOwn(target: Record<string, unknown>, key: string, value: unknown): void {
  if (key === "__proto__") {
    const property = { value, enumerable: true, configurable: true, writable: true };
    Object.defineProperty(target, key, property);
  } else {
    target[key] = value;
  }
}

/** A copy with dates and what looks like them escaped. */
function escape(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) return value.map(escape);
  if (types.isDate(value)) return { [dateKey]: Date.prototype.getTime.call(value) };
  const out: Record<string, unknown> = {};
  for (const [key, item] of Object.entries(value)) {
    if (item !== undefined) setOwn(out, key, escape(item));
  }
  const keys = Object.keys(out);
  const only = keys[0];
  return keys.length === 1 && isDateLike(only!) ? { [`$${only}`]: out[only!] } : out;
}

/** Undoes `escape` in what JSON.parse made; works in place. */
function unescape(value: unknown): unknown {
  if (typeof value !== "object" || value === null) return value;
  if (Array.isArray(value)) {
    for (let i = 0; i < value.length; i++) value[i] = unescape(value[i]);
    return value;
  }
  const object = value as Record<string, unknown>;
  const keys = Object.keys(object);
  const only = keys[0];
  if (keys.length === 1 && isDateLike(only!)) {
    return only === dateKey
      ? new Date(object[only] as number)
      : { [only!.slice(1)]: unescape(object[only!]) };
  }
  for (const key of keys) {
    const item = object[key];
    if (typeof item === "object" && item !== null) setOwn(object, key, unescape(item));
  }
  return object;
}

/** Throws INVALID_METADATA, or LIMIT_EXCEEDED, with the path of what cannot be stored. */
function refuse(metadata: unknown, name: string): never {
  const found = diagnose(metadata);
  const message = `${name}: ${found.path} ${found.problem}.`;
  throw hiveError(found.limit === undefined ? "INVALID_METADATA" : "LIMIT_EXCEEDED", message, {
    hint: found.hint,
    details: { path: found.path, ...(found.limit === undefined ? {} : { limit: found.limit }) },
  });
}

/**
 * The JSON of a record's text and metadata, "" when it has neither.
 * @param name the record, for error messages, such as `record 3 ("a")`; called only on errors.
 */
export function encodeRecord(text: unknown, metadata: unknown, name: () => string): string {
  if (text !== undefined && typeof text !== "string") {
    throw hiveError("INVALID_ARGUMENT", `${name()}: text must be a string, got ${typeof text}.`);
  }
  if (metadata === undefined) {
    return text === undefined ? "" : checkLength(`{"text":${JSON.stringify(text)}}`, name);
  }
  if (typeof metadata !== "object" || metadata === null || !isPlainObject(metadata)) {
    refuse(metadata, name());
  }
  valuesLeft = limits.metadataValuesMax;
  needsEscape = false;
  if (!validObject(metadata, 0)) refuse(metadata, name());
  const json = stringify(metadata, name);
  return checkLength(
    text === undefined
      ? `{"metadata":${json}}`
      : `{"text":${JSON.stringify(text)},"metadata":${json}}`,
    name,
  );
}

/** A getter or proxy may show something else now than when it was checked. */
function stringify(metadata: object, name: () => string): string {
  try {
    return JSON.stringify(needsEscape ? escape(metadata) : metadata);
  } catch (cause) {
    const message = `${name()}: metadata changed while it was read.`;
    throw hiveError("INVALID_METADATA", message, { details: { path: "metadata" }, cause });
  }
}

function checkLength(json: string, name: () => string): string {
  const max = limits.recordBytesMax;
  if (json.length * 3 <= max) return json;
  const bytes = Buffer.byteLength(json);
  if (bytes <= max) return json;
  throw hiveError(
    "LIMIT_EXCEEDED",
    `${name()}: text and metadata take ${bytes} bytes, the limit is ${max}.`,
    { hint: "Split the document into passages.", details: { bytes, limit: max } },
  );
}

/** The text and metadata that `json` stands for, made anew on each call. */
export function decodeRecord(json: string): RecordContent {
  if (json === "") return {};
  const content = JSON.parse(json) as RecordContent;
  if (content.metadata !== undefined && json.includes(dateMark)) {
    // Metadata itself may be the object that was escaped: `{ $date: 1 }`.
    content.metadata = unescape(content.metadata) as Record<string, unknown>;
  }
  return content;
}
