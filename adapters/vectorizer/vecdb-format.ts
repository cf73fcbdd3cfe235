/**
 * The file format of hive-vectorizer, as far as it is needed: `vectorizer.vecdb`, a ZIP archive with
 * JSON files for each collection, and `vectorizer.vecidx`, a JSON index of it.
 */
import type { Metric } from "hive-gpu";
import { z } from "zod";
import { metricOfWord } from "./quirks.js";

export const vecdbName = "vectorizer.vecdb";
export const vecidxName = "vectorizer.vecidx";
/** Ends of the names of a collection's files. */
export const storeEnd = "_vector_store.bin";
export const metadataEnd = "_metadata.json";
export const checksumsEnd = "_checksums.json";

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const indexShape = z.looseObject({
  version: z.string(),
  collections: z.array(
    z.looseObject({
      name: z.string(),
      files: z.array(
        z.looseObject({
          path: z.string(),
          size: count.optional(),
          checksum: z.string().nullish(),
          type: z.string().optional(),
        }),
      ),
      vector_count: count.optional(),
      dimension: count.optional(),
    }),
  ),
});
/** The index of an archive. */
export type VecIndex = z.output<typeof indexShape>;

export const configShape = z.looseObject({
  dimension: count.optional(),
  metric: z.string().optional(),
  quantization: z
    .looseObject({ type: z.string().optional(), bits: z.number().optional() })
    .nullish(),
});
/** What the files say about how a collection is kept. */
export type StoredConfig = z.output<typeof configShape>;

/** `<coll>_metadata.json`. */
export const metadataShape = z.looseObject({
  name: z.string().optional(),
  config: configShape.nullish(),
  vector_count: count.optional(),
});

/** The metric of a stored configuration; undefined when it does not say or is unknown. */
export function metricOfConfig(config: StoredConfig | null | undefined): Metric | undefined {
  return metricOfWord(config?.metric);
}

/** Such as "sq, 8 bits"; undefined when vectors are stored as they are. */
export function quantizationOf(config: StoredConfig | null | undefined): string | undefined {
  const { type, bits } = config?.quantization ?? {};
  if (type === undefined || type === "none") return undefined;
  return bits === undefined ? type : `${type}, ${bits} bits`;
}

/** Checksums that the server leaves empty, or writes in another form, say nothing. */
export function sha256Of(checksum: string | null | undefined): string | undefined {
  return typeof checksum === "string" && /^[0-9a-f]{64}$/i.test(checksum) ? checksum : undefined;
}

/** The server's word for a metric in its files; undefined when it has none. */
export function storedMetric(metric: Metric): string | undefined {
  return { cosine: "cosine", l2: "euclidean", dot: "dotproduct", l1: undefined, linf: undefined }[
    metric
  ];
}
