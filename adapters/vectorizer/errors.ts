/** The server's errors, in all the shapes it has, as the engine's typed errors. */
import { type HiveErrorCode, type HiveGpuError, hiveError } from "hive-gpu";

/** `error_type` -> code. Everything else is told by the status. */
const codes: Record<string, HiveErrorCode> = {
  collection_not_found: "NOT_FOUND",
  vector_not_found: "NOT_FOUND",
  not_found: "NOT_FOUND",
  collection_already_exists: "ALREADY_EXISTS",
  dimension_mismatch: "DIMENSION_MISMATCH",
  invalid_dimension: "DIMENSION_MISMATCH",
  provider_dimension_mismatch: "DIMENSION_MISMATCH",
  payload_too_large: "LIMIT_EXCEEDED",
  unauthorized: "REMOTE_DENIED",
  forbidden: "REMOTE_DENIED",
  invalid_credentials: "REMOTE_DENIED",
  queue_full: "REMOTE_BUSY",
  quota_exceeded: "REMOTE_BUSY",
  rate_limit_exceeded: "REMOTE_BUSY",
  rate_limited: "REMOTE_BUSY",
};

function codeOfStatus(status: number): HiveErrorCode {
  if (status === 401 || status === 403) return "REMOTE_DENIED";
  if (status === 408) return "REMOTE_TIMEOUT";
  if (status === 409) return "ALREADY_EXISTS";
  if (status === 413) return "LIMIT_EXCEEDED";
  if (status === 429) return "REMOTE_BUSY";
  return status >= 500 ? "REMOTE_FAILED" : "REMOTE_REFUSED";
}

/** Words that are codes, not sentences: `collection_not_found`, `QUOTA_EXCEEDED`. */
function isWord(value: unknown): value is string {
  return typeof value === "string" && /^[A-Za-z]+(_[A-Za-z]+)*$/.test(value);
}

/** What an error body says, whichever of its fields holds the word and which the sentence. */
export function readErrorBody(text: string): {
  type: string | undefined;
  message: string;
  details: unknown;
} {
  let body: Record<string, unknown> | undefined;
  try {
    const parsed: unknown = JSON.parse(text);
    if (typeof parsed === "object" && parsed !== null) body = parsed as Record<string, unknown>;
  } catch {
    // Bodies that the server could not read are answered in plain text.
  }
  if (body === undefined) return { type: undefined, message: shorten(text), details: undefined };
  let type = body["error_type"] ?? body["error"];
  let message = body["message"];
  if (!isWord(type) && isWord(message)) [type, message] = [message, type];
  return {
    type: isWord(type) ? type.toLowerCase() : undefined,
    message: shorten(
      typeof message === "string" ? message : typeof type === "string" ? type : text,
    ),
    details: body["details"],
  };
}

function shorten(text: string): string {
  const line = text.replaceAll(/\s+/g, " ").trim();
  return line.length > 300 ? `${line.slice(0, 300)}…` : line;
}

/** The error of an answer that is not a success. `where` names the call, such as `POST /search`. */
export function errorOfAnswer(
  where: string,
  status: number,
  text: string,
  retryAfterMs?: number,
): HiveGpuError {
  const { type, message, details } = readErrorBody(text);
  const code = (type === undefined ? undefined : codes[type]) ?? codeOfStatus(status);
  const said = message === "" ? "without a message" : `"${message}"`;
  return hiveError(code, `${where}: the server answered ${status}, ${said}.`, {
    ...(code === "LIMIT_EXCEEDED"
      ? { hint: "Lower maxRequestBytes to what the server takes." }
      : {}),
    details: {
      status,
      ...(type === undefined ? {} : { errorType: type }),
      ...(details === undefined ? {} : { serverDetails: details }),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    },
  });
}

/** An answer that cannot be what it should be. */
export function protocolError(where: string, problem: string, cause?: unknown): HiveGpuError {
  return hiveError("REMOTE_PROTOCOL", `${where}: ${problem}.`, {
    ...(cause === undefined ? {} : { cause }),
    details: { where },
  });
}
