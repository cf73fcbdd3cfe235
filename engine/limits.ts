/**
 * Every numeric limit of the engine, with its reason. An input beyond a limit is refused with an
 * error that names the limit; nothing is ever cut to fit.
 */
export const limits = Object.freeze({
  /** UTF-8 bytes of a record id: a key of the durable store (LMDB) must fit into its page. */
  idBytesMax: 1024,
  /** UTF-8 bytes of a collection name: it becomes part of a file name, and those end at 255. */
  nameBytesMax: 255,
  /** Elements of a vector: a row of f32 stays below 256 KiB, so a segment holds at least 256. */
  dimensionsMax: 65_536,
  /** k + offset of one search that returns hit objects: building more of them takes longer than
   * finding them; ask `searchMany` for `output: "arrays"` instead. */
  kMax: 16_384,
  /** Entries (queries times k) of one `searchMany`: 2^26 entries are 1.25 GiB of result arrays. */
  resultEntriesMax: 67_108_864,
  /** l2 norm of a vector: its square still fits f32, so no metric can overflow to Infinity. */
  normMax: 9e18,
  /** Nesting of metadata: deep enough for any document, shallow enough for the call stack. */
  metadataDepthMax: 64,
  /** Values in one record's metadata: bounds the time spent on an object that refers to the same
   * parts again and again, which would unfold to more than the machine can hold. */
  metadataValuesMax: 262_144,
  /** UTF-8 bytes of one record's text and metadata: a record is encoded in one go, and more would
   * hold up the event loop. Split longer documents into passages. */
  recordBytesMax: 16_777_216,
  /** Records of one collection in memory: rows are 2^53 at most, ids are kept in 1024 maps of at
   * most 2^24 entries; half of that leaves room for uneven filling. */
  recordsMax: 8_589_934_592,
  /** Records of one upsert call: positions within a batch are 32-bit. */
  batchRecordsMax: 2_147_483_647,
});
