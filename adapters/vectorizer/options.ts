/** Options of the client, checked once. */
import { hiveError } from "hive-gpu";
import { z } from "zod";

/** Where the server is and how to talk to it. */
export interface VectorizerClientOptions {
  /** Such as `http://127.0.0.1:15002`; a path before the routes is allowed. */
  url: string;
  /** An API key, sent as `X-API-Key`. One of `apiKey`, `token` and `login` at most. */
  apiKey?: string | undefined;
  /** A JWT, sent as `Authorization: Bearer`. */
  token?: string | undefined;
  /** Logs in when first needed, again when the token ends or is refused. */
  login?: { username: string; password: string } | undefined;
  /** Milliseconds until an answer has begun; long answers get more as they come. Default 30 000. */
  timeoutMs?: number | undefined;
  /** How often a busy or unreachable server is tried again, 0 to 10; default 3. */
  retries?: number | undefined;
  /** The longest wait a busy server may ask for, milliseconds; more is an error. Default 30 000. */
  maxRetryAfterMs?: number | undefined;
  /** Bytes of one request body; writes are cut to fit. Default 4 MiB. */
  maxRequestBytes?: number | undefined;
  /** Bytes of one answer that is not streamed; default 256 MiB. */
  maxResponseBytes?: number | undefined;
  /** More headers, such as a proxy's. */
  headers?: Readonly<Record<string, string>> | undefined;
  /** In place of the global `fetch`. It must honour `signal` and `redirect: "manual"`. */
  fetch?: typeof fetch | undefined;
}

const schema = z.strictObject({
  url: z.string(),
  apiKey: z.string().min(1).optional(),
  token: z.string().min(1).optional(),
  login: z.strictObject({ username: z.string(), password: z.string() }).optional(),
  timeoutMs: z.number().int().min(1).max(86_400_000).default(30_000),
  retries: z.number().int().min(0).max(10).default(3),
  maxRetryAfterMs: z.number().min(0).default(30_000),
  maxRequestBytes: z
    .number()
    .int()
    .min(1024)
    .max(1 << 30)
    .default(4 << 20),
  maxResponseBytes: z
    .number()
    .int()
    .min(1024)
    .default(256 << 20),
  headers: z.record(z.string(), z.string()).default({}),
  fetch: aFunction<typeof fetch>().optional(),
});

/** The options with defaults filled in. */
export type HttpSettings = z.output<typeof schema> & { fetch: typeof fetch };

/** Objects that have a method of that name; classes differ between builds of the package. */
export function having<T>(method: string): z.ZodType<T> {
  return z.custom<T>(
    (value) => typeof (value as Record<string, unknown> | null)?.[method] === "function",
    `it has no method ${method}`,
  );
}

/** Functions. */
export function aFunction<T>(): z.ZodType<T> {
  return z.custom<T>((value) => typeof value === "function", "it is not a function");
}

/** Signals of any realm. */
export function aSignal(): z.ZodType<AbortSignal> {
  return having<AbortSignal>("addEventListener");
}

/** Checks what a caller gave against a schema; throws INVALID_ARGUMENT or UNKNOWN_OPTION. */
export function readOptions<T extends z.ZodType>(
  where: string,
  type: T,
  given: unknown,
): z.output<T> {
  const result = type.safeParse(given);
  if (result.success) return result.data;
  const issue = result.error.issues[0]!;
  const name = issue.path.join(".");
  if (issue.code === "unrecognized_keys") {
    const key = [name, issue.keys[0]].filter((part) => part !== "").join(".");
    throw hiveError("UNKNOWN_OPTION", `${where}: unknown option "${key}".`, {
      details: { option: key },
    });
  }
  const subject = name === "" ? "the options are" : `the option "${name}" is`;
  throw hiveError("INVALID_ARGUMENT", `${where}: ${subject} wrong: ${issue.message}.`, {
    details: { option: name },
  });
}

/** Reads the options of a client. */
export function readClientOptions(given: unknown): HttpSettings {
  const where = "VectorizerClient";
  const options = readOptions(where, schema, given);
  const ways = (["apiKey", "token", "login"] as const).filter((key) => options[key] !== undefined);
  if (ways.length > 1) {
    throw hiveError("INVALID_ARGUMENT", `${where}: ${ways.join(" and ")} exclude each other.`, {
      hint: "Give one way to sign in.",
      details: { options: ways },
    });
  }
  return { ...options, url: checkUrl(where, options.url), fetch: options.fetch ?? fetch };
}

function checkUrl(where: string, given: string): string {
  let url: URL | undefined;
  try {
    url = new URL(given);
  } catch {
    // Reported below, with the other reasons.
  }
  const isHttp = url?.protocol === "http:" || url?.protocol === "https:";
  if (url === undefined || !isHttp) {
    throw hiveError("INVALID_ARGUMENT", `${where}: url must begin with http:// or https://.`, {
      hint: 'Pass url: "http://127.0.0.1:15002".',
      details: { option: "url" },
    });
  }
  if (url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "") {
    throw hiveError("INVALID_ARGUMENT", `${where}: url holds credentials, a query or a fragment.`, {
      hint: "Use apiKey, token or login; nothing secret belongs into an address.",
      details: { option: "url" },
    });
  }
  return url.href.replace(/\/+$/, "");
}
