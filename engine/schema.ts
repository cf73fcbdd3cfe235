/**
 * Metadata checked by the caller's own schema, from any library that speaks Standard Schema v1
 * (https://standardschema.dev): zod, Valibot, ArkType, or an object of one's own. The interface is
 * declared here, so none of them is needed.
 */
import { HiveGpuError, abortError, hiveError, throwIfAborted } from "./errors.js";
import { show } from "./options.js";
import type { Slices } from "./slices.js";
import type { Metadata, RecordUpdate } from "./types.js";
import { checkUpdate } from "./updates.js";

/** What a schema has against a value. */
export interface SchemaIssue {
  readonly message: string;
  /** Keys from the outside in. */
  readonly path?: readonly (PropertyKey | { readonly key: PropertyKey })[] | undefined;
}

/** A schema's answer: the value to store, or what is wrong. */
export type SchemaResult<Output> =
  | { readonly value: Output; readonly issues?: undefined }
  | { readonly issues: readonly SchemaIssue[] };

/** Standard Schema v1. */
export interface StandardSchema<Input = unknown, Output = Input> {
  readonly "~standard": {
    readonly version: 1;
    readonly vendor: string;
    readonly validate: (value: unknown) => SchemaResult<Output> | Promise<SchemaResult<Output>>;
    /** Never there at run time. */
    readonly types?: { readonly input: Input; readonly output: Output } | undefined;
  };
}

/** A schema whose output is an object, as metadata is. */
export type MetadataSchema = StandardSchema<unknown, object>;

/** What a schema makes of metadata: what is stored, filtered and found. */
export type SchemaOutput<S> =
  S extends StandardSchema<infer _, infer Output>
    ? Output extends object
      ? Output
      : Metadata
    : Metadata;

/** What a schema takes: what is given to `upsert` and `update`. */
export type SchemaInput<S> = S extends {
  readonly "~standard": { readonly types?: { readonly input: infer Input } | undefined };
}
  ? unknown extends Input
    ? SchemaOutput<S>
    : Input extends object
      ? Input
      : Metadata
  : SchemaOutput<S>;

/** Records between two looks at the clock. */
const stride = 8;
const issuesMax = 16;

/** Throws INVALID_ARGUMENT unless the value is a schema, or undefined. */
export function checkSchema(where: string, schema: unknown): MetadataSchema | undefined {
  if (schema === undefined) return undefined;
  // ArkType's schemas are functions.
  const object = typeof schema === "object" || typeof schema === "function" ? schema : null;
  const { "~standard": standard } = (object ?? {}) as Partial<MetadataSchema>;
  if (standard?.version === 1 && typeof standard.validate === "function") {
    return schema as MetadataSchema;
  }
  throw hiveError("INVALID_ARGUMENT", `${where}: schema is no Standard Schema v1.`, {
    hint: "Pass a schema of zod, Valibot or ArkType, or an object with a `~standard` property.",
    details: { option: "schema", got: show(schema) },
  });
}

/** What the checks of one call share. */
export interface SchemaRun {
  schema: MetadataSchema;
  slices: Slices;
  signal: AbortSignal | undefined;
}

/** The metadata to store for each of `count` records, checked one after another, in order. */
export async function checkMetadata(
  run: SchemaRun,
  count: number,
  metadata: (index: number) => unknown,
  name: (index: number) => string,
): Promise<object[]> {
  const checked: object[] = [];
  for (let i = 0; i < count; i++) {
    const given = metadata(i);
    const answer = validate(run, given === undefined ? {} : given, i, name);
    checked.push(answer instanceof Promise ? await answer : answer);
    if (i % stride === stride - 1 && run.slices.due) await run.slices.turn();
  }
  return checked;
}

/** Updates with their metadata checked; entries without metadata stay as they are. */
export async function checkUpdates(
  run: SchemaRun,
  updates: readonly RecordUpdate<object>[],
): Promise<RecordUpdate<object>[]> {
  const checked: RecordUpdate<object>[] = [];
  const name = (i: number): string => `update: entry ${i} (${show(updates[i]!.id)})`;
  for (let i = 0; i < updates.length; i++) {
    const update = updates[i]!;
    checkUpdate(update, i);
    const { metadata } = update;
    if (metadata === undefined) {
      checked.push(update);
    } else {
      const answer = validate(run, metadata, i, name);
      checked.push({ ...update, metadata: answer instanceof Promise ? await answer : answer });
    }
    if (i % stride === stride - 1 && run.slices.due) await run.slices.turn();
  }
  return checked;
}

/** A schema that answers at once costs no turn of the event loop. */
function validate(
  { schema, signal }: SchemaRun,
  metadata: unknown,
  index: number,
  name: (index: number) => string,
): object | Promise<object> {
  const read = (result: unknown): object => output(result, index, name);
  let result: unknown;
  let isLater: boolean;
  try {
    result = schema["~standard"].validate(metadata);
    isLater = typeof (result as { then?: unknown } | null)?.then === "function";
  } catch (cause) {
    throw failed(`threw: ${reason(cause)}`, index, name, cause);
  }
  if (!isLater) return read(result);
  return settled(result as PromiseLike<unknown>, signal).then(read, (cause: unknown) => {
    if (signal?.aborted === true) throw abortError(signal);
    throw failed(`rejected: ${reason(cause)}`, index, name, cause);
  });
}

/** As the promise, but rejects at once when the signal fires: a schema may wait for ever. */
async function settled(
  answer: PromiseLike<unknown>,
  signal: AbortSignal | undefined,
): Promise<unknown> {
  if (signal === undefined) return answer;
  throwIfAborted(signal);
  let stop!: () => void;
  const aborted = new Promise<never>((_, reject) => {
    stop = () => reject(abortError(signal));
    signal.addEventListener("abort", stop, { once: true });
  });
  try {
    return await Promise.race([answer, aborted]);
  } finally {
    signal.removeEventListener("abort", stop);
  }
}

/** Takes nothing for granted: a schema is foreign code. */
function output(result: unknown, index: number, name: (index: number) => string): object {
  const { issues, value } = (result ?? {}) as { issues?: unknown; value?: unknown };
  if (Array.isArray(issues)) throw mismatch(issues, index, name);
  if (issues === undefined && typeof value === "object" && value !== null) return value;
  const got = issues === undefined ? `the value ${show(value)}` : `issues that are no array`;
  throw failed(`answered with ${got}; metadata is an object`, index, name);
}

function mismatch(
  issues: readonly unknown[],
  index: number,
  name: (index: number) => string,
): HiveGpuError {
  const found = issues.slice(0, issuesMax).map((issue) => {
    const { message, path } = (issue ?? {}) as { message?: unknown; path?: unknown };
    const text = typeof message === "string" ? message : "is refused by the schema";
    return { path: pathOf(path), message: text };
  });
  const { path, message } = found[0] ?? { path: "metadata", message: "is refused by the schema" };
  const more = issues.length > 1 ? ` (and ${issues.length - 1} more)` : "";
  return hiveError("SCHEMA_MISMATCH", `${name(index)}: ${path}: ${message}${more}`, {
    details: { index, path, issues: found },
  });
}

/** Such as `metadata.tags[2]`. */
function pathOf(path: unknown): string {
  let text = "metadata";
  for (const part of Array.isArray(path) ? (path as unknown[]) : []) {
    const key = typeof part === "object" && part !== null ? (part as { key?: unknown }).key : part;
    if (typeof key === "number") text += `[${key}]`;
    else if (typeof key === "string" && /^[A-Za-z_$][\w$]*$/.test(key)) text += `.${key}`;
    else text += `[${typeof key === "string" ? JSON.stringify(key) : String(key)}]`;
  }
  return text;
}

function reason(cause: unknown): string {
  return cause instanceof Error ? cause.message : show(cause);
}

function failed(
  what: string,
  index: number,
  name: (index: number) => string,
  cause?: unknown,
): HiveGpuError {
  return hiveError("SCHEMA_FAILED", `${name(index)}: the collection's schema ${what}.`, {
    details: { index },
    ...(cause === undefined ? {} : { cause }),
  });
}
