/** Shapes of the server's answers that are not streamed, checked before anything is believed. */
import type { Metric } from "hive-gpu";
import { z } from "zod";
import { protocolError } from "./errors.js";
import { metricOfWord } from "./quirks.js";

const count = z.number().int().min(0).max(Number.MAX_SAFE_INTEGER);

export const healthShape = z.looseObject({ version: z.string().max(100) });

export const statsShape = z.looseObject({
  default_provider: z.string().nullish(),
  providers: z
    .array(z.looseObject({ name: z.string(), dimension: count, default: z.boolean().nullish() }))
    .nullish(),
});

export const infoShape = z.looseObject({
  name: z.string().optional(),
  vector_count: count,
  dimension: count,
  metric: z.string(),
  updated_at: z.string().nullish(),
  created_at: z.string().nullish(),
  embedding_provider: z.string().nullish(),
  quantization: z.looseObject({ enabled: z.boolean().nullish(), type: z.unknown() }).nullish(),
});

export const listShape = z.looseObject({ collections: z.array(infoShape) });

const itemShape = z.looseObject({
  index: count.optional(),
  status: z.string(),
  vector_ids: z.array(z.string()).nullish(),
  error: z.string().nullish(),
  error_type: z.string().nullish(),
});
export const itemsShape = z.looseObject({ results: z.array(itemShape) });
/** The server's word on one item of a batch. */
export type ItemAnswer = z.output<typeof itemShape>;

/** What the server says of a collection. */
export interface CollectionInfo {
  name: string;
  dimensions: number;
  metric: Metric;
  /** Points at that moment. */
  count: number;
  /** Changes with every write; undefined when the answer came from the list, where it is wrong. */
  updatedAt: string | undefined;
  /** Such as "SQ { bits: 8 }"; undefined when vectors are stored as they are. */
  quantization: string | undefined;
}

/** The answer as the shape says; throws REMOTE_PROTOCOL naming the first thing that is wrong. */
export function readAnswer<T extends z.ZodType>(
  where: string,
  shape: T,
  value: unknown,
): z.output<T> {
  const result = shape.safeParse(value);
  if (result.success) return result.data;
  const { path, message } = result.error.issues[0]!;
  throw protocolError(where, `the answer is not as expected: ${path.join(".")}: ${message}`);
}

/** Reads what the server says of a collection. */
export function infoOf(
  where: string,
  name: string,
  body: z.output<typeof infoShape>,
  isListed: boolean,
): CollectionInfo {
  const metric = metricOfWord(body.metric);
  if (metric === undefined) throw protocolError(where, `unknown metric "${body.metric}"`);
  const { quantization } = body;
  const isQuantized = quantization?.enabled === true;
  return {
    name,
    dimensions: body.dimension,
    metric,
    count: body.vector_count,
    updatedAt: isListed ? undefined : (body.updated_at ?? undefined),
    quantization: isQuantized ? String(quantization.type) : undefined,
  };
}
