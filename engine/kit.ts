/**
 * The engine's own checks and codecs, for those who write another `VectorCollection`: the same
 * input is refused with the same errors, and text and metadata mean the same, whoever keeps them.
 */
export { abortError, throwIfAborted } from "./errors.js";
export { partMetadata, partText, partVector, partsOf } from "./hits.js";
export { matches } from "./filter-match.js";
export { checkId, checkName } from "./ids.js";
export {
  checkInteger,
  checkOptions,
  checkSignal,
  checkWord,
  isPlainObject,
  show,
} from "./options.js";
export { type RecordContent, decodeRecord, encodeRecord } from "./record-codec.js";
export { distanceOf, scoreOf } from "./result.js";
export { type SearchPlanOptions, filterOf, readSearchOptions } from "./search-options.js";
export { Slices } from "./slices.js";
export { checkFinite, checkVector, copyVector } from "./vectors.js";
