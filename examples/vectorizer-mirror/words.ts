/** Embeddings without a model: words hashed into 512 numbers. Enough to show a mirror, no more. */
import { createHash } from "node:crypto";

const dimensions = 512;
const common = new Set(
  "a an and are as at by for from how in is it of on or the to what when which".split(" "),
);

export class WordEmbeddings {
  async embedDocuments(texts: string[]): Promise<number[][]> {
    return texts.map(embed);
  }

  async embedQuery(text: string): Promise<number[]> {
    return embed(text);
  }
}

function embed(text: string): number[] {
  const vector = Array.from({ length: dimensions }, () => 0);
  for (const word of text.toLowerCase().match(/[a-z]+/g) ?? []) {
    if (common.has(word)) continue;
    const hash = createHash("sha256")
      .update(word.replace(/(ing|es|s)$/, ""))
      .digest();
    const at = hash.readUInt32LE(0) % dimensions;
    vector[at]! += (hash[4]! & 1) === 0 ? 1 : -1;
  }
  return vector;
}
