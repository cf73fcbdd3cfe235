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
  /** Nesting of a filter: deep enough for any form, shallow enough for the call stack. */
  filterDepthMax: 32,
  /** Conditions of a filter: evaluation time grows with them; many values belong into `$in`. */
  filterNodesMax: 4096,
  /** Values in the lists of a filter: they are sorted and copied on the JavaScript thread. */
  filterValuesMax: 262_144,
  /** Characters of a path in a filter. */
  filterPathMax: 4096,
  /** Characters of a regular expression: its size bounds the time per character of text. */
  filterRegexMax: 1024,
  /** Metadata paths with columns: a path costs memory even when few records have it. Other paths
   * are evaluated on the records. */
  columnPathsMax: 1024,
  /** Characters of a path with columns. */
  columnPathMax: 512,
  /** Nesting of paths with columns. */
  columnDepthMax: 8,
  /** UTF-16 units of a string in a column: longer ones are texts, not labels. */
  columnStringMax: 256,
  /** Different strings of one path: the dictionary is a `Map`, which ends at 2^24 entries. */
  columnStringsMax: 4_194_304,
  /** Elements of an array in a column. */
  columnListMax: 1024,
  /** UTF-8 bytes of one record's text and metadata: a record is encoded in one go, and more would
   * hold up the event loop. Split longer documents into passages. */
  recordBytesMax: 16_777_216,
  /** Records of one collection in memory: rows are 2^53 at most, ids are kept in 1024 maps of at
   * most 2^24 entries; half of that leaves room for uneven filling. */
  recordsMax: 8_589_934_592,
  /** Records of one upsert call: positions within a batch are 32-bit. */
  batchRecordsMax: 2_147_483_647,
});
