/**
 * Ids on the server. It refuses some (empty, over 256 bytes, with `#`, with spaces at the ends), and
 * a search turns others into numbers that are not what they were ("007" becomes 7). Those are stored
 * under another id from which the original can be told:
 *
 * * `hv1_` + base64url of the id's UTF-8, while that fits into 256 bytes;
 * * `hvh_` + base64url of its SHA-256; then the payload carries the id.
 *
 * Every other id is stored as it is, also one that begins like these but stands for nothing.
 */
import { createHash } from "node:crypto";

const idBytesMax = 256;
const encodedPrefix = "hv1_";
const hashedPrefix = "hvh_";
const hashedLength = hashedPrefix.length + 43;

/** Whether the server would refuse the id or bring it back as something else. */
function isRisky(id: string): boolean {
  if (id === "" || id.includes("#") || id.trim() !== id) return true;
  if (Buffer.byteLength(id) > idBytesMax) return true;
  // Parsed as u64 by the server: fine only when the digits come back the same.
  return /^\+?\d+$/.test(id) && String(Number(id)) !== id;
}

/** The id under which the server stores a record. */
export function encodeId(id: string): string {
  if (!isRisky(id) && decodeId(id) === id && !isHashedId(id)) return id;
  const encoded = encodedPrefix + Buffer.from(id).toString("base64url");
  return encoded.length <= idBytesMax
    ? encoded
    : hashedPrefix + createHash("sha256").update(id).digest("base64url");
}

/** Whether only the payload can tell what the id stands for. */
export function isHashedId(serverId: string): boolean {
  return serverId.length === hashedLength && serverId.startsWith(hashedPrefix);
}

/**
 * The record's id for an id of the server.
 * @param carried the id that the payload carries, if any
 */
export function decodeId(serverId: string, carried?: string): string {
  if (serverId.startsWith(encodedPrefix)) {
    const id = Buffer.from(serverId.slice(encodedPrefix.length), "base64url").toString();
    const again = encodedPrefix + Buffer.from(id).toString("base64url");
    if (again === serverId && isEncodable(id)) return id;
  }
  if (carried !== undefined && isHashedId(serverId) && encodeId(carried) === serverId) {
    return carried;
  }
  return serverId;
}

/** Whether an id would be stored in its encoded form: risky, or itself the code of something. */
function isEncodable(id: string): boolean {
  return isRisky(id) || isHashedId(id) || (id.startsWith(encodedPrefix) && decodeId(id) !== id);
}

/** All ids under which the server may have a record: ours, and one that others wrote as it is. */
export function serverIdsOf(id: string): readonly string[] {
  const encoded = encodeId(id);
  return encoded === id ? [id] : [encoded, id];
}
