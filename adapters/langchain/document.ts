import { Document } from "@langchain/core/documents";

/** A record as the engine gives it. */
interface StoredContent {
  id: string;
  text?: string;
  metadata?: Record<string, unknown>;
}

export function toDocument({ id, text, metadata }: StoredContent): Document {
  return new Document({ id, pageContent: text ?? "", metadata: metadata ?? {} });
}
