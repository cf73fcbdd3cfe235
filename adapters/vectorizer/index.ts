/**
 * `hive-gpu/vectorizer`: the bridge to hive-vectorizer servers. A client, a server's collection
 * behind the engine's interface, a mirror of one on the device, and import and export of files.
 */
export type { CollectionInfo } from "./answers.js";
export type { CallOptions, ItemResult, OutgoingPoint } from "./batches.js";
export { VectorizerClient } from "./client.js";
export type { MirrorStatus } from "./freshness.js";
export { decodeId, encodeId } from "./id-codec.js";
export type { PushOptions, PushReport } from "./mirror-push.js";
export type { ConflictPolicy, SyncOptions, SyncReport } from "./mirror-sync.js";
export type { MirrorOptions } from "./mirror-options.js";
export { VectorizerMirror } from "./mirror.js";
export type { VectorizerClientOptions } from "./options.js";
export { type VectorizerQuirks, quirksOfVersion, scoreFromServer } from "./quirks.js";
export { RemoteCollection, type RemoteCollectionOptions } from "./remote.js";
export { type VerifyOptions, type VerifyReport, verifyMirror } from "./verify.js";
export { type ExportOptions, type ExportReport, exportVecdb } from "./vecdb-export.js";
export {
  type ImportOptions,
  type ImportProgress,
  type ImportReport,
  importVecdb,
} from "./vecdb-import.js";
export type { CollectionReport } from "./vecdb-store.js";
