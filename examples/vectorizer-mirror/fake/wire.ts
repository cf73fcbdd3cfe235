/** Requests and answers of the stand-in server. */
import type { IncomingMessage, ServerResponse } from "node:http";

/** An answer: JSON when it is an object; bytes, or an array of them, as they are; text. */
export interface Answer {
  status: number;
  body: unknown;
  headers?: Record<string, string>;
}

export interface Request {
  method: string;
  /** Decoded parts of the path. */
  path: string[];
  query: URLSearchParams;
  headers: IncomingMessage["headers"];
  /** The parsed body; undefined when there was none. */
  body: Record<string, unknown>;
}

/** Ends a handler with an error of the server's own shape. */
export class Refusal extends Error {
  constructor(
    readonly status: number,
    readonly type: string,
    message: string,
    readonly details?: object,
    /** Some handlers put the message where the type belongs. */
    readonly swapped = false,
  ) {
    super(message);
  }

  answer(): Answer {
    const [type, message] = this.swapped ? [this.message, this.type] : [this.type, this.message];
    const details = this.details === undefined ? {} : { details: this.details };
    const body = { error_type: type, message, ...details, status_code: this.status };
    return { status: this.status, body };
  }
}

/** An answer in plain text, as the web framework gives for bodies it cannot read. */
export class PlainRefusal extends Error {
  constructor(
    readonly status: number,
    message: string,
  ) {
    super(message);
  }
}

export const notFound = (name: string): Refusal =>
  new Refusal(404, "collection_not_found", `Collection '${name}' not found`, {
    collection_name: name,
  });

export async function readBody(request: IncomingMessage, max: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request) {
    size += (chunk as Buffer).length;
    // Read to the end all the same: an answer to half a request would be lost with the connection.
    if (size <= max) chunks.push(chunk as Buffer);
  }
  if (size > max) throw new Refusal(413, "payload_too_large", `Request body exceeds ${max} bytes`);
  return Buffer.concat(chunks);
}

/** Bytes written at a time when a body has many parts. */
const pieceBytes = 1 << 20;

async function sendParts(response: ServerResponse, parts: readonly Buffer[]): Promise<void> {
  let piece: Buffer[] = [];
  let size = 0;
  for (const [i, part] of parts.entries()) {
    piece.push(part);
    size += part.length;
    if (size < pieceBytes && i < parts.length - 1) continue;
    if (response.destroyed) return;
    if (!response.write(Buffer.concat(piece, size))) {
      await new Promise<void>((resolve) => {
        const go = (): void => {
          response.off("drain", go).off("close", go);
          resolve();
        };
        response.on("drain", go).on("close", go);
      });
    }
    piece = [];
    size = 0;
  }
  response.end();
}

export function send(response: ServerResponse, { status, body, headers }: Answer): void {
  if (Array.isArray(body)) {
    const parts = body as Buffer[];
    const length = parts.reduce((sum, part) => sum + part.length, 0);
    response.writeHead(status, { "content-type": "application/json", "content-length": length });
    void sendParts(response, parts);
    return;
  }
  const isText = typeof body === "string";
  const bytes = Buffer.isBuffer(body) ? body : isText ? body : JSON.stringify(body);
  response.writeHead(status, {
    "content-type": isText ? "text/plain; charset=utf-8" : "application/json",
    "content-length": Buffer.byteLength(bytes),
    ...headers,
  });
  response.end(bytes);
}

/** An id or name of a body as text; "" when it is neither text nor a number. */
export function textOf(value: unknown): string {
  return typeof value === "string" ? value : typeof value === "number" ? `${value}` : "";
}
