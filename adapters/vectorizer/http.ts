/** Requests to one server over `fetch`: credentials, time and size limits, retries, typed errors. */
import { setTimeout as sleep } from "node:timers/promises";
import { type HiveGpuError, hiveError, kit } from "hive-gpu";
import { errorOfAnswer, protocolError } from "./errors.js";
import type { HttpSettings } from "./options.js";

/** What one request may carry. */
export interface Call {
  method: "GET" | "POST" | "PUT" | "DELETE";
  /** Absolute path, already encoded. */
  path: string;
  /** JSON text. */
  body?: string | undefined;
  signal?: AbortSignal | undefined;
  /** Sent as they are; a login carries none. */
  anonymous?: boolean;
  /** Bytes of the answer that are read; default: the settings'. */
  maxResponseBytes?: number;
}

/** An answer slower than this, after the time limit has passed, is given up. */
const leastBytesPerSecond = 10_240;
const errorBytesMax = 64 << 10;
const retryDelayMs = 100;

/** Where a request can be tried again without harm: every call of the bridge may be repeated. */
const transient = new Set([502, 503, 504]);

export class VectorizerHttp {
  readonly #settings: HttpSettings;
  #token: string | undefined;
  #login: Promise<void> | undefined;
  #expiresAt = Infinity;

  constructor(settings: HttpSettings) {
    this.#settings = settings;
    this.#token = settings.token;
  }

  /** The server's address, for messages; without credentials. */
  get origin(): string {
    return this.#settings.url;
  }

  /** The parsed answer. */
  async json(call: Call): Promise<unknown> {
    const where = `${call.method} ${call.path}`;
    const parts: Uint8Array[] = [];
    for await (const part of this.stream(call)) parts.push(part);
    const text = Buffer.concat(parts).toString();
    try {
      return JSON.parse(text);
    } catch (cause) {
      throw protocolError(where, `the answer of ${text.length} characters is not JSON`, cause);
    }
  }

  /** The bytes of the answer, as they come. Nothing is retried once they have begun to come. */
  async *stream(call: Call): AsyncGenerator<Uint8Array, void, undefined> {
    const { timeoutMs, maxResponseBytes } = this.#settings;
    const where = `${call.method} ${call.path}`;
    const most = call.maxResponseBytes ?? maxResponseBytes;
    kit.throwIfAborted(call.signal);
    const exchange = new Exchange(timeoutMs, call.signal, where);
    try {
      const response = await this.#answer(call, where, exchange);
      const declared = Number(response.headers.get("content-length") ?? 0);
      if (declared > most) throw tooLarge(where, most);
      if (response.body === null) return;
      let received = 0;
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
        received += chunk.length;
        if (received > most) throw tooLarge(where, most);
        exchange.suspend();
        yield chunk;
        exchange.resume(received);
      }
    } catch (error) {
      throw exchange.explain(error);
    } finally {
      exchange.end();
    }
  }

  /** The first good answer; refusals are thrown, after as many tries as they deserve. */
  async #answer(call: Call, where: string, exchange: Exchange): Promise<Response> {
    const { retries, maxRetryAfterMs } = this.#settings;
    let hasLoggedIn = false;
    for (let attempt = 0; ; attempt++) {
      let response: Response;
      try {
        response = await this.#send(call, exchange);
      } catch (error) {
        const explained = exchange.explain(error);
        if (explained.code !== "REMOTE_UNREACHABLE" || attempt >= retries) throw explained;
        await this.#pause(retryDelayMs * 2 ** attempt, exchange);
        continue;
      }
      if (response.ok) return response;
      if (response.status >= 300 && response.status < 400) {
        const target = response.headers.get("location") ?? "nowhere";
        await response.body?.cancel();
        throw protocolError(where, `the server redirects to ${target}, which is not followed`);
      }
      const error = await errorOf(where, response);
      const canLogIn = response.status === 401 && this.#settings.login !== undefined;
      if (canLogIn && !hasLoggedIn && call.anonymous !== true) {
        hasLoggedIn = true;
        this.#expiresAt = 0;
        continue;
      }
      if (attempt >= retries) throw error;
      if (response.status === 429) {
        const wait = (error.details["retryAfterMs"] as number | undefined) ?? 1000;
        if (wait > maxRetryAfterMs) throw error;
        await this.#pause(wait, exchange);
      } else if (transient.has(response.status)) {
        await this.#pause(retryDelayMs * 2 ** attempt, exchange);
      } else {
        throw error;
      }
    }
  }

  async #send(call: Call, exchange: Exchange): Promise<Response> {
    const headers: Record<string, string> = {
      accept: "application/json",
      ...this.#settings.headers,
    };
    if (call.body !== undefined) headers["content-type"] = "application/json";
    if (call.anonymous !== true) Object.assign(headers, await this.#credentials(call.signal));
    exchange.restart();
    return this.#settings.fetch(this.#settings.url + call.path, {
      method: call.method,
      headers,
      ...(call.body === undefined ? {} : { body: call.body }),
      redirect: "manual",
      signal: exchange.signal,
    });
  }

  /** A token goes as Bearer, a key as X-API-Key: the server reads a bearer key as a broken JWT. */
  async #credentials(signal: AbortSignal | undefined): Promise<Record<string, string>> {
    const { apiKey, login } = this.#settings;
    if (apiKey !== undefined) return { "x-api-key": apiKey };
    if (login !== undefined && (this.#token === undefined || Date.now() >= this.#expiresAt)) {
      this.#login ??= this.#logIn(login, signal).finally(() => {
        this.#login = undefined;
      });
      await this.#login;
    }
    return this.#token === undefined ? {} : { authorization: `Bearer ${this.#token}` };
  }

  async #logIn(login: object, signal: AbortSignal | undefined): Promise<void> {
    const path = "/auth/login";
    const body = JSON.stringify(login);
    const answer = await this.json({ method: "POST", path, body, signal, anonymous: true });
    const { access_token: token, expires_in: seconds } = answer as Record<string, unknown>;
    if (typeof token !== "string") throw protocolError(`POST ${path}`, "the answer has no token");
    this.#token = token;
    // A little early, so that no request is on its way when the token ends.
    this.#expiresAt = typeof seconds === "number" ? Date.now() + seconds * 900 : Infinity;
  }

  async #pause(ms: number, exchange: Exchange): Promise<void> {
    exchange.suspend();
    try {
      await sleep(ms, undefined, exchange.caller === undefined ? {} : { signal: exchange.caller });
    } catch (error) {
      throw exchange.explain(error);
    }
  }
}

/** The clock and the signals of one request. */
class Exchange {
  readonly #controller = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #startedAt = performance.now();
  #suspendedAt = 0;
  #isLate = false;

  constructor(
    readonly timeoutMs: number,
    readonly caller: AbortSignal | undefined,
    readonly where: string,
  ) {
    caller?.addEventListener("abort", this.#onAbort, { once: true });
  }

  readonly #onAbort = (): void => this.#controller.abort(this.caller?.reason);

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  /** A try begins: the time limit counts from now. */
  restart(): void {
    this.#startedAt = performance.now();
    this.progress(0);
  }

  /** Bytes came, or were used: the answer may take the time limit plus what its length explains. */
  progress(received: number): void {
    clearTimeout(this.#timer);
    const allowed = this.timeoutMs + (received / leastBytesPerSecond) * 1000;
    const left = this.#startedAt + allowed - performance.now();
    const wait = Math.max(0, Math.min(left, this.timeoutMs));
    this.#timer = setTimeout(() => {
      this.#isLate = true;
      this.#controller.abort();
    }, wait);
  }

  /** The time until `resume` is the caller's, not the server's. */
  suspend(): void {
    clearTimeout(this.#timer);
    this.#suspendedAt = performance.now();
  }

  resume(received: number): void {
    this.#startedAt += performance.now() - this.#suspendedAt;
    this.progress(received);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.caller?.removeEventListener("abort", this.#onAbort);
    // Frees the connection when the answer was not read to its end.
    this.#controller.abort();
  }

  /** What the failure of a request means. */
  explain(error: unknown): HiveGpuError {
    if (this.caller?.aborted === true) return kit.abortError(this.caller);
    if (this.#isLate) {
      const message = `${this.where}: no answer, or too slow a one, within ${this.timeoutMs} ms.`;
      return hiveError("REMOTE_TIMEOUT", message, { details: { timeoutMs: this.timeoutMs } });
    }
    if (isHiveError(error)) return error;
    const reason = (error as { cause?: { code?: string; message?: string } } | undefined)?.cause;
    const detail = reason?.code ?? reason?.message ?? String(error);
    return hiveError("REMOTE_UNREACHABLE", `${this.where}: the connection failed (${detail}).`, {
      cause: error,
      details: { reason: detail },
    });
  }
}

function isHiveError(error: unknown): error is HiveGpuError {
  return typeof (error as { code?: unknown; hint?: unknown } | undefined)?.hint === "string";
}

function tooLarge(where: string, most: number): HiveGpuError {
  return protocolError(where, `the answer is longer than ${most} bytes`);
}

/** The error of a refusal; of its body no more is read than a message can be long. */
async function errorOf(where: string, response: Response): Promise<HiveGpuError> {
  const parts: Uint8Array[] = [];
  let size = 0;
  for await (const chunk of (response.body ?? []) as AsyncIterable<Uint8Array>) {
    parts.push(chunk);
    size += chunk.length;
    if (size > errorBytesMax) break;
  }
  const text = Buffer.concat(parts).subarray(0, errorBytesMax).toString();
  return errorOfAnswer(where, response.status, text, retryAfterOf(response));
}

/** `Retry-After` as milliseconds: seconds, or a date. */
function retryAfterOf(response: Response): number | undefined {
  const given = response.headers.get("retry-after");
  if (given === null) return undefined;
  const seconds = Number(given);
  if (Number.isFinite(seconds) && given.trim() !== "") return Math.max(0, seconds * 1000);
  const at = Date.parse(given);
  return Number.isNaN(at) ? undefined : Math.max(0, at - Date.now());
}
