/**
 * What the stand-in server gets wrong, defect by defect. Everything here is derived from reading the
 * source of hive-vectorizer 3.5.0 and its unreleased head of July 2026 (github hivellm/vectorizer,
 * Apache-2.0); nothing was measured on a running server.
 */

/** Each defect can be switched on and off; the version decides what is on at first. */
export interface FakeQuirks {
  /** GET …/vectors/{id} answers a made-up vector, also for ids that do not exist. */
  getVectorIsMock: boolean;
  /** POST /update says that it worked and does nothing. */
  updateIsNoop: boolean;
  /** PUT /qdrant/…/points answers before it inserts, and errors of the insertion are lost. */
  pointsPutIsAsync: boolean;
  /** Search answers are cached, and the Qdrant write paths do not drop them from the cache. */
  searchCacheIsStale: boolean;
  /** The next page of a scroll starts with the last point of this one. */
  scrollOffsetIsInclusive: boolean;
  /** An offset that no point has starts again at the first. */
  scrollUnknownOffsetRestarts: boolean;
  /** Filters of scroll and count do nothing. */
  scrollIgnoresFilter: boolean;
  /** Filters of a Qdrant search are applied to the top `limit` only. */
  searchFiltersAfterwards: boolean;
  /** Only the tagged filter shape is understood; Qdrant's own is a parse error. */
  filtersAreTagged: boolean;
  /** The index compares by cosine whatever the metric, and scores are cosines (3.5.0 and older). */
  metricIsIgnored: boolean;
  /** The score of a dot product is its sigmoid. */
  dotIsSigmoid: boolean;
  /** Native searches answer at most 100, lists at most 50. */
  limitsAreClamped: boolean;
  /** Some Qdrant handlers swap `error_type` and `message`. */
  errorFieldsAreSwapped: boolean;
  /** Malformed bodies are answered in plain text. */
  badBodiesArePlainText: boolean;
  /** A metric that is not spelled exactly right becomes cosine. */
  unknownMetricIsCosine: boolean;
  /** Collections made over the Qdrant path store 8-bit values. */
  qdrantCreateQuantizes: boolean;
  /** `reencode` to fp32 makes later inserts full precision; unverified on a server. */
  reencodeWorks: boolean;
  /** An insert into a collection that does not exist creates one of 512 dimensions. */
  insertCreates: boolean;
  /** Metadata of text inserts become strings, and short texts are not stored. */
  textInsertStringifies: boolean;
  /** Whitespace of payload strings is changed in answers of get and search, not of scroll. */
  payloadWhitespaceChanges: boolean;
  /** Ids that look like numbers come back as numbers from a Qdrant search. */
  searchIdsBecomeNumbers: boolean;
  /** GET /collections says `updated_at` is now, and names the server's provider. */
  listIsWrong: boolean;
  /** Keys of a payload come back sorted. */
  payloadKeysAreSorted: boolean;
}

const all: FakeQuirks = {
  getVectorIsMock: true,
  updateIsNoop: true,
  pointsPutIsAsync: true,
  searchCacheIsStale: true,
  scrollOffsetIsInclusive: true,
  scrollUnknownOffsetRestarts: true,
  scrollIgnoresFilter: true,
  searchFiltersAfterwards: true,
  filtersAreTagged: true,
  metricIsIgnored: true,
  dotIsSigmoid: true,
  limitsAreClamped: true,
  errorFieldsAreSwapped: true,
  badBodiesArePlainText: true,
  unknownMetricIsCosine: true,
  qdrantCreateQuantizes: true,
  reencodeWorks: true,
  insertCreates: true,
  textInsertStringifies: true,
  payloadWhitespaceChanges: true,
  searchIdsBecomeNumbers: true,
  listIsWrong: true,
  payloadKeysAreSorted: true,
};

/**
 * The defects of a version: "3.5.0" has all; "3.6.0" stands for the unreleased head, where the index
 * follows the metric; "fixed" is a server that does what its documentation says.
 */
export function quirksOf(version: string): FakeQuirks {
  if (version === "fixed") {
    const none = Object.fromEntries(Object.keys(all).map((key) => [key, false]));
    return { ...(none as unknown as FakeQuirks), reencodeWorks: true, limitsAreClamped: true };
  }
  return { ...all, metricIsIgnored: version <= "3.5.0" };
}
