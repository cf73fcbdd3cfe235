/** Public exports of hive-gpu. */
export type { Change, ChangesOptions } from "./changes.js";
export { Collection } from "./collection.js";
export { Database, type DatabaseStats } from "./database.js";
export {
  type BackendName,
  type Device,
  type DeviceChoice,
  type DeviceLimits,
  type DeviceMemory,
  backends,
} from "./device.js";
export { type BackendReport, type DoctorReport, doctor } from "./doctor.js";
export {
  AbortError,
  BindingError,
  DeviceError,
  type HiveErrorCode,
  type HiveErrorOptions,
  HiveGpuError,
  InputError,
  RemoteError,
  ResourceError,
  StateError,
  StorageError,
  errorCodes,
  hiveError,
} from "./errors.js";
export * as kit from "./kit.js";
export {
  type FieldCondition,
  type FieldFilter,
  type Filter,
  type FilterFunction,
  type FilterInput,
  type FilterRecord,
  and,
  contains,
  containsAll,
  eq,
  exists,
  filterSchema,
  gt,
  gte,
  lt,
  lte,
  ne,
  noneOf,
  not,
  oneOf,
  or,
  parseFilter,
  regex,
  size,
} from "./filter.js";
export type { Durability } from "./store/prepare.js";
export { type DatabaseOptions, openDatabase } from "./open-database.js";
export { limits } from "./limits.js";
export { type Metric, metrics } from "./result.js";
export * from "./types.js";
export type {
  MetadataSchema,
  SchemaInput,
  SchemaIssue,
  SchemaOutput,
  SchemaResult,
  StandardSchema,
} from "./schema.js";
export type { VectorCollection } from "./vector-collection.js";
export type { VectorInput } from "./vectors.js";
