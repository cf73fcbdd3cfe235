/** A hash of what a record holds, to see which records changed. Not for secrets. */
import { kit, type StoredRecord } from "hive-gpu";

/**
 * 53 bits over vector bits, text and metadata: two runs of multiply and rotate. That a change goes
 * unseen has a probability of 2^-53 for each changed record.
 */
export function hashRecord(record: StoredRecord & { vector: Float32Array }): number {
  const { vector } = record;
  const words = new Uint32Array(vector.buffer, vector.byteOffset, vector.length);
  let a = 0x9e37_79b9 ^ vector.length;
  let b = 0x85eb_ca6b;
  for (let i = 0; i < words.length; i++) {
    const word = words[i]!;
    a = Math.imul(a ^ word, 0xcc9e_2d51);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b ^ word, 0x1b87_3593);
    b = (b << 17) | (b >>> 15);
  }
  const json = kit.encodeRecord(record.text, record.metadata, () => record.id);
  for (let i = 0; i < json.length; i++) {
    const unit = json.charCodeAt(i);
    a = Math.imul(a ^ unit, 0xcc9e_2d51);
    a = (a << 13) | (a >>> 19);
    b = Math.imul(b ^ unit, 0x1b87_3593);
    b = (b << 17) | (b >>> 15);
  }
  a = Math.imul(a ^ (b >>> 16), 0x85eb_ca6b);
  b = Math.imul(b ^ (a >>> 13), 0xc2b2_ae35);
  a ^= b >>> 15;
  return (b & 0x1f_ffff) * 4_294_967_296 + (a >>> 0);
}
