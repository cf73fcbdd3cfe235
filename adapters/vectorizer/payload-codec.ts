/**
 * Text and metadata on the server: a payload whose members are those of the metadata, with the text
 * under one more (`content`), so that other clients and the server's own tools can read it.
 *
 * The server changes white space in payload strings when it answers a search, sorts keys, cannot
 * store half a surrogate pair, and knows no dates. A record that would not come back the same also
 * carries `_hive`: its exact text and metadata as one JSON string, which survives all of that, and
 * a digest of the readable part, so that it is not believed after another client changed the payload.
 */
import { createHash } from "node:crypto";
import { kit } from "hive-gpu";

/** What a record holds besides its vector. */
export interface Content {
  text?: string | undefined;
  metadata?: Record<string, unknown> | undefined;
}

/** The member that holds what the readable payload cannot. */
export const exactKey = "_hive";
/** The member of our metadata that stands for a payload that is no object. */
export const wholeKey = "_payload";
/** Members that together mark a payload as encrypted. */
const encryptedKeys = ["nonce", "tag", "encrypted_data", "ephemeral_public_key", "algorithm"];

interface Exact {
  /** Format. */
  v: 1;
  /** Digest of the readable part. */
  d: string;
  /** Record bytes of the engine's codec. */
  r: string;
  /** The id, when the server's id is only its hash. */
  id?: string;
}

type Members = Record<string, unknown>;

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether the server keeps this payload encrypted; it is opaque to everyone else. */
export function isEncrypted(payload: unknown): boolean {
  return isMembers(payload) && encryptedKeys.every((key) => Object.hasOwn(payload, key));
}

/** As the server may change it, so that both sides of a comparison are the same. */
function canonical(value: unknown): unknown {
  if (typeof value === "string") return value.replaceAll(/\s+/g, "");
  if (Array.isArray(value)) return value.map(canonical);
  if (!isMembers(value)) return value;
  return Object.keys(value)
    .toSorted()
    .map((key) => [key, canonical(value[key])]);
}

function digestOf(readable: Members): string {
  const text = JSON.stringify(canonical(readable));
  return createHash("sha256").update(text).digest("base64url").slice(0, 22);
}

/** Whether a value comes back as it was: no changed white space, key order, surrogate or date. */
function survives(value: unknown): boolean {
  if (typeof value === "string") {
    return !/[\r]|[ \t]\n|\n{3}|^\s|\s$/.test(value) && isWellFormed(value);
  }
  if (Array.isArray(value)) return value.every(survives);
  if (typeof value !== "object" || value === null) return true;
  if (!kit.isPlainObject(value)) return false;
  let last = "";
  for (const key of Object.keys(value)) {
    // Integer keys come first in JavaScript, whatever order they are given in.
    if (key < last || value[key] === undefined || !survives(value[key])) return false;
    if (/^\d+$/.test(key) || !isWellFormed(key)) return false;
    last = key;
  }
  return true;
}

function isWellFormed(text: string): boolean {
  return (text as string & { isWellFormed(): boolean }).isWellFormed();
}

/** A copy that every JSON reader takes: dates as ISO texts, whole characters only. */
function readableOf(value: unknown): unknown {
  if (typeof value === "string") {
    return (value as string & { toWellFormed(): string }).toWellFormed();
  }
  if (Array.isArray(value)) return value.map(readableOf);
  if (typeof value !== "object" || value === null) return value;
  if (!kit.isPlainObject(value)) return (value as Date).toISOString();
  const entries = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(entries.map(([key, item]) => [readableOf(key), readableOf(item)]));
}

/**
 * The payload of a record.
 * @param carriedId the record's id, when the payload must carry it
 * @param name the record, for messages
 * @throws INVALID_METADATA or LIMIT_EXCEEDED, as the engine does
 */
export function encodePayload(
  content: { text?: unknown; metadata?: unknown },
  textKey: string,
  carriedId: string | undefined,
  name: () => string,
): unknown {
  const { text, metadata } = content as Content;
  const bytes = kit.encodeRecord(text, metadata, name);
  if (text === undefined && metadata === undefined && carriedId === undefined) return null;
  const members = metadata ?? {};
  const keys = Object.keys(members);
  if (keys.length === 1 && keys[0] === wholeKey && text === undefined) {
    const whole = members[wholeKey];
    if (!isMembers(whole) && survives(whole) && carriedId === undefined) return whole;
  }
  const collides =
    Object.hasOwn(members, textKey) ||
    Object.hasOwn(members, exactKey) ||
    Object.hasOwn(members, "__proto__") ||
    isEncrypted(members);
  const readable: Members = collides ? {} : (readableOf(members) as Members);
  if (text !== undefined) readable[textKey] = readableOf(text);
  // A payload with nothing but a text reads as a record without metadata; {} is something else.
  const isBare = text !== undefined && metadata !== undefined && keys.length === 0;
  const isPlain = survives(members) && (text === undefined || survives(text));
  const isExact = !collides && !isBare && isPlain;
  if (isExact && carriedId === undefined) return readable;
  const exact: Exact = { v: 1, d: digestOf(readable), r: bytes };
  if (carriedId !== undefined) exact.id = carriedId;
  return { ...readable, [exactKey]: JSON.stringify(exact) };
}

/** Text and metadata of a payload, whoever wrote it, and the id that it carries. */
export function decodePayload(payload: unknown, textKey: string): Content & { id?: string } {
  if (payload === null || payload === undefined) return {};
  if (!isMembers(payload)) return { metadata: { [wholeKey]: payload } };
  const { [exactKey]: exact, ...readable } = payload;
  const known = typeof exact === "string" ? readExact(exact) : undefined;
  if (known !== undefined && known.d === digestOf(readable)) {
    const id = known.id === undefined ? {} : { id: known.id };
    return { ...kit.decodeRecord(known.r), ...id };
  }
  // Another client changed the payload, or wrote a member of that name.
  const members = known === undefined ? { ...payload } : readable;
  const content: Content & { id?: string } = known?.id === undefined ? {} : { id: known.id };
  const text = members[textKey];
  if (typeof text === "string") {
    content.text = text;
    delete members[textKey];
  }
  if (content.text === undefined || Object.keys(members).length > 0) content.metadata = members;
  return content;
}

function readExact(json: string): Exact | undefined {
  try {
    const value = JSON.parse(json) as Partial<Exact> | null;
    const isExact = value?.v === 1 && typeof value.d === "string" && typeof value.r === "string";
    return isExact ? (value as Exact) : undefined;
  } catch {
    return undefined;
  }
}
