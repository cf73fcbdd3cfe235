/** Passages of the quickstart as nodes of LlamaIndex, and back. */
import { Document as Passage } from "@langchain/core/documents";
import {
  type BaseNode,
  MetadataMode,
  NodeRelationship,
  type NodeWithScore,
  TextNode,
} from "llamaindex";
import type { Hit } from "../quickstart/findings.js";
import { cite, type Source } from "../quickstart/passage.js";

/** Metadata that the text says already; embedding it again would blur the vectors. */
const NOT_EMBEDDED: (keyof Source)[] = ["package", "file", "section", "line"];

/**
 * One node per passage. Its text starts with the package and the headings. The file is the source
 * document, so that `vectorStore.delete(file)` removes all of its nodes.
 */
export function nodesOf(
  passages: readonly { pageContent: string; metadata: Source }[],
): TextNode[] {
  const perLine = new Map<string, number>();
  return passages.map(({ pageContent, metadata }) => {
    const place = cite(metadata);
    const seen = perLine.get(place) ?? 0;
    perLine.set(place, seen + 1);
    return new TextNode({
      // A very long line gives several passages.
      id_: seen === 0 ? place : `${place}#${seen}`,
      text: pageContent,
      metadata: { ...metadata },
      excludedEmbedMetadataKeys: NOT_EMBEDDED,
      relationships: { [NodeRelationship.SOURCE]: { nodeId: metadata.file, metadata: {} } },
    });
  });
}

/** The metadata that {@link nodesOf} gave a node. */
export function sourceOf(node: BaseNode): Source {
  return node.metadata as Source;
}

/** What a retriever found, as the close reader of the quickstart takes it. */
export function hitOf({ node, score }: NodeWithScore): Hit {
  const pageContent = node.getContent(MetadataMode.NONE);
  return [new Passage<Source>({ pageContent, metadata: sourceOf(node) }), score ?? 0];
}
