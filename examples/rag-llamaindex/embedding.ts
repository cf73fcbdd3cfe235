import { BaseEmbedding } from "llamaindex";

/** What embeds texts and questions; every `Embeddings` of LangChain is one. */
export interface TextEmbedder {
  embedDocuments(texts: string[]): Promise<number[][]>;
  embedQuery(text: string): Promise<number[]>;
}

/** An embedding model of LlamaIndex over the encoder of the quickstart, or any other. */
export class ExampleEmbedding extends BaseEmbedding {
  /** All texts in one call: the encoder makes its own batches and saves its cache once a call. */
  override embedBatchSize = Number.MAX_SAFE_INTEGER;

  constructor(private readonly embedder: TextEmbedder) {
    super();
  }

  /** A field, not a method, because that is how LlamaIndex declares it. */
  override getTextEmbeddings = (texts: string[]): Promise<number[][]> =>
    this.embedder.embedDocuments(texts);

  override async getTextEmbedding(text: string): Promise<number[]> {
    const [vector] = await this.embedder.embedDocuments([text]);
    return vector!;
  }

  /** A question is one text part; images and others have no embedding here. */
  override async getQueryEmbedding(
    query: Parameters<BaseEmbedding["getQueryEmbedding"]>[0],
  ): Promise<number[] | null> {
    return query.type === "text" ? this.embedder.embedQuery(query.text) : null;
  }
}
