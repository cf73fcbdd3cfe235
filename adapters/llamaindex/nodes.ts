/**
 * Nodes as records and back, without loss. Metadata lies open in the record, so that filters see it;
 * everything else of a node is one JSON text beside it, under the keys that LlamaIndex's own stores
 * use. Metadata of the user under such a key is kept in that text.
 */
import { type BaseNode, jsonToNode, MetadataMode, type ObjectType } from "llamaindex";
import { InputError } from "hive-gpu";

const reserved = ["_node_content", "_node_type", "document_id", "doc_id", "ref_doc_id"] as const;
/** The source of a node that has none, as LlamaIndex writes it. */
const noSource = "None";

interface Content {
  node: Record<string, unknown>;
  type: string;
  /** Metadata of the user under reserved keys. */
  shadowed: Record<string, unknown>;
  /** The image was a URL object. */
  imageUrl?: boolean;
}

/** A record of the engine, but for its vector. */
interface NodeRecord {
  id: string;
  text: string;
  metadata: Record<string, unknown>;
}

/** Own properties of a node. */
type Fields = Record<string, unknown> & { metadata: Record<string, unknown> };

function refuse(node: BaseNode, problem: string): never {
  throw new InputError("INVALID_ARGUMENT", `add: node ${JSON.stringify(node.id_)} ${problem}`, {
    details: { id: node.id_ },
  });
}

/** The embedding of a node that is to be stored. */
export function vectorOf(node: BaseNode): number[] {
  return node.embedding ?? refuse(node, "has no embedding.");
}

export function recordOf(node: BaseNode): NodeRecord {
  // Not toJSON: it computes a hash, which fails for metadata that is to be refused by its path.
  const {
    metadata,
    embedding: _vector,
    id_: _id,
    text,
    ...rest
  } = Object.fromEntries(Object.entries(node)) as Fields;
  const content: Content = { node: rest, type: node.type, shadowed: {} };
  const image: unknown = rest["image"];
  if (image instanceof URL) Object.assign(content, { imageUrl: true });
  if (image !== undefined && typeof image !== "string" && !(image instanceof URL)) {
    refuse(node, "holds an image as a Blob; store it elsewhere and give its URL.");
  }
  const open: Record<string, unknown> = Object.fromEntries(Object.entries(metadata));
  for (const key of reserved) if (Object.hasOwn(open, key)) content.shadowed[key] = open[key];
  const source = node.sourceNode?.nodeId ?? noSource;
  return {
    id: node.id_,
    // getContent would trim it.
    text: typeof text === "string" ? text : node.getContent(MetadataMode.NONE),
    metadata: {
      ...open,
      _node_content: JSON.stringify(content),
      _node_type: node.type,
      document_id: source,
      doc_id: source,
      ref_doc_id: source,
    },
  };
}

/** The node that `recordOf` made the record of; a record of other origin becomes a text node. */
export function nodeOf(record: {
  id: string;
  text?: string;
  metadata?: Record<string, unknown>;
}): BaseNode {
  const metadata = { ...record.metadata };
  const own = { id_: record.id, text: record.text ?? "" };
  const packed = metadata["_node_content"];
  if (typeof packed !== "string") {
    return jsonToNode({ ...own, metadata }, "TEXT" as ObjectType);
  }
  for (const key of reserved) delete metadata[key];
  const { node, type, shadowed, imageUrl } = JSON.parse(packed) as Content;
  if (imageUrl === true) node["image"] = new URL(node["image"] as string);
  Object.assign(metadata, shadowed);
  return jsonToNode({ ...node, ...own, metadata }, type as ObjectType);
}
