/** The server's own REST routes, as its handlers answer them. */
import { randomUUID } from "node:crypto";
import { checkId, shownHit, stringify, tally } from "./native-parts.js";
import type { FakeServer } from "./server.js";
import { FakeCollection, matches, provider, type FakeMetric } from "./store.js";
import { PlainRefusal, Refusal, textOf, type Answer, type Request } from "./wire.js";

const debugNames = { cosine: "Cosine", euclidean: "Euclidean", dot: "DotProduct" } as const;
interface SearchBody {
  vector?: number[];
  limit?: number;
  threshold?: number;
}

const ok = (body: unknown): Answer => ({ status: 200, body });

export class NativeRoutes {
  constructor(private readonly server: FakeServer) {}

  handle(request: Request): Answer | undefined {
    const { method, path } = request;
    const route = `${method} /${path[0] ?? ""}`;
    if (path[0] === "collections") return this.collections(request);
    switch (path.length === 1 ? route : "") {
      case "GET /health":
        return ok({
          status: "healthy",
          timestamp: new Date().toISOString(),
          version: this.server.reported,
        });
      case "GET /stats":
        return ok(this.stats());
      case "POST /insert_vectors":
        return this.insertVectors(request);
      case "POST /insert":
        return this.insertText(request);
      case "POST /batch_update":
        return this.batchUpdate(request);
      case "POST /batch_delete":
        return this.batchDelete(request);
      case "POST /update":
        return ok({ message: `Vector '${textOf(request.body["id"])}' updated successfully` });
      case "POST /search":
        return this.search(request, this.server.need(textOf(request.body["collection"])));
      default:
        return undefined;
    }
  }

  private stats(): unknown {
    const collections = [...this.server.collections.values()];
    return {
      collections: collections.length,
      total_vectors: collections.reduce((sum, { points }) => sum + points.size, 0),
      uptime_seconds: 1,
      version: this.server.reported,
      default_quantization: "sq-8bit",
      providers: [{ ...provider, default: true }],
      default_provider: provider.name,
    };
  }

  private collections(request: Request): Answer | undefined {
    const { method, path } = request;
    const [, name, part, id] = path;
    if (name === undefined) {
      if (method === "POST") return this.create(request);
      const list = [...this.server.collections.values()].map((one) => this.info(one, true));
      return ok({ collections: list, total_collections: list.length });
    }
    if (part === undefined && method === "DELETE") {
      this.server.need(name);
      this.server.collections.delete(name);
      return ok({ message: `Collection '${name}' deleted` });
    }
    const collection = this.server.need(name);
    if (part === undefined) return ok({ ...this.info(collection, false), status: "ready" });
    if (part === "search" && method === "POST") return this.search(request, collection);
    if (part === "reencode") {
      if (this.server.quirks.reencodeWorks) collection.quantization = "none";
      return ok({ message: "reencoded", target_encoding: request.body["target_encoding"] });
    }
    if (part !== "vectors") return undefined;
    if (id === undefined) return this.list(request, collection);
    if (id === "delete_by_filter") return this.deleteByFilter(request, collection);
    if (method === "DELETE") {
      if (!collection.delete(id)) throw new Refusal(404, "vector_not_found", `Vector '${id}'`);
      return ok({ message: "deleted", success: true });
    }
    return method === "GET" ? this.getVector(collection, id) : undefined;
  }

  private info(collection: FakeCollection, listed: boolean): object {
    const { name, dimension, metric, points, quantization, createdAt, updatedAt } = collection;
    const wrong = listed && this.server.quirks.listIsWrong;
    const isQuantized = quantization !== "none";
    return {
      name,
      vector_count: points.size,
      document_count: points.size,
      dimension,
      metric: debugNames[metric],
      embedding_provider: provider.name,
      quantization: {
        enabled: isQuantized,
        type: isQuantized ? "SQ { bits: 8 }" : "None",
        bits: 8,
      },
      normalization: { enabled: false, level: "None" },
      created_at: createdAt,
      updated_at: wrong ? new Date().toISOString() : updatedAt,
    };
  }

  private create({ body }: Request): Answer {
    const { name, dimension = 512, metric = "cosine" } = body as Record<string, never>;
    const known = ["cosine", "euclidean", "dot"].includes(metric);
    if (!known && !this.server.quirks.unknownMetricIsCosine) {
      throw new Refusal(400, "validation_error", `Unknown metric ${metric}`);
    }
    if (dimension !== provider.dimension) {
      throw new Refusal(400, "provider_dimension_mismatch", "Dimension differs from the provider", {
        provider: provider.name,
        provider_dimension: provider.dimension,
        requested_dimension: dimension,
      });
    }
    const chosen: FakeMetric = known ? metric : "cosine";
    this.server.add(String(name), dimension, chosen, "none");
    return ok({ message: "Collection created", collection: name, dimension, metric });
  }

  private collectionForInsert(name: string): FakeCollection {
    const known = this.server.collections.get(name);
    if (known !== undefined || !this.server.quirks.insertCreates) return this.server.need(name);
    return this.server.add(name, provider.dimension, "cosine", "sq8");
  }

  private insertVectors({ body }: Request): Answer {
    const { vectors } = body;
    if (typeof body["collection"] !== "string" || !Array.isArray(vectors)) {
      throw new Refusal(400, "validation_error", "collection and vectors are required");
    }
    const collection = this.collectionForInsert(body["collection"]);
    const results = (vectors as Record<string, unknown>[]).map((item, index) => {
      const clientId = item["id"] ?? null;
      try {
        const id = item["id"] === undefined ? randomUUID() : textOf(item["id"]);
        checkId(id);
        const embedding = item["embedding"] as number[];
        this.checkDimension(collection, embedding);
        const payload = "payload" in item ? item["payload"] : stringify(item["metadata"] ?? {});
        collection.put(id, embedding, payload);
        return { index, client_id: clientId, status: "ok", vector_ids: [id] };
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
        const { message, type } = error;
        return { index, client_id: clientId, status: "error", error: message, error_type: type };
      }
    });
    return ok({ collection: collection.name, ...tally(results, "inserted"), results });
  }

  private insertText({ body }: Request): Answer {
    const collection = this.collectionForInsert(textOf(body["collection"]));
    const id = textOf(body["id"] ?? randomUUID());
    checkId(id);
    const metadata = (body["metadata"] ?? {}) as Record<string, unknown>;
    const isStringified = this.server.quirks.textInsertStringifies;
    const vector = new Float32Array(collection.dimension);
    vector[String(body["text"]).length % collection.dimension] = 1;
    const payload = isStringified ? stringify(metadata) : { ...metadata, content: body["text"] };
    collection.put(id, vector, payload);
    return ok({
      message: "ok",
      vectors_created: 1,
      vector_ids: [id],
      collection: collection.name,
      chunked: false,
    });
  }

  private batchUpdate({ body }: Request): Answer {
    const collection = this.server.need(textOf(body["collection"]));
    const results = (body["updates"] as Record<string, unknown>[]).map((item, index) => {
      const id = textOf(item["id"]);
      const known = collection.points.get(id);
      if (known === undefined) return { index, id, status: "error", error: "vector_not_found" };
      const vector = (item["vector"] as number[] | undefined) ?? known.vector;
      collection.put(id, vector, "payload" in item ? item["payload"] : known.payload);
      return { index, id, status: "ok" };
    });
    return ok({ collection: collection.name, ...tally(results, "updated"), results });
  }

  private batchDelete({ body }: Request): Answer {
    const collection = this.server.need(textOf(body["collection"]));
    const results = (body["ids"] as string[]).map((id, index) =>
      collection.delete(id)
        ? { index, id, status: "ok" }
        : {
            index,
            id,
            status: "error",
            error: `Vector '${id}' not found`,
            error_type: "vector_not_found",
          },
    );
    return ok({ collection: collection.name, ...tally(results, "deleted"), results });
  }

  private search({ body }: Request, collection: FakeCollection): Answer {
    const { vector, limit = 10, threshold } = body as SearchBody;
    if (!Array.isArray(vector))
      throw new PlainRefusal(422, "Failed to deserialize: missing field `vector`");
    this.checkDimension(collection, vector);
    const key = JSON.stringify([vector, limit, threshold]);
    const cached = collection.cache.get(key);
    if (cached !== undefined) return ok(cached);
    const most = this.server.quirks.limitsAreClamped ? Math.min(limit, 100) : limit;
    const found = collection.search(vector, most);
    const passing = found.filter(({ score }) => threshold === undefined || score >= threshold);
    const results = passing.map((hit) => shownHit(collection, hit));
    const answer = {
      results,
      query_type: "vector",
      limit: most,
      collection: collection.name,
      total_results: results.length,
    };
    collection.cache.set(key, answer);
    return ok(answer);
  }

  private list({ query }: Request, collection: FakeCollection): Answer {
    const wanted = Number(query.get("limit") ?? 10);
    const limit = this.server.quirks.limitsAreClamped ? Math.min(wanted, 50) : wanted;
    const offset = Number(query.get("offset") ?? 0);
    const all = [...collection.points.values()].slice(offset, offset + limit);
    const vectors = all.map(({ id, vector, payload }) => ({ id, vector: [...vector], payload }));
    return ok({ vectors, total: collection.points.size, limit, offset });
  }

  private getVector(collection: FakeCollection, id: string): Answer {
    if (this.server.quirks.getVectorIsMock) {
      return ok({
        id,
        vector: Array.from({ length: 512 }, () => 0.1),
        metadata: { collection: collection.name },
      });
    }
    const point = collection.points.get(id);
    if (point === undefined) throw new Refusal(404, "vector_not_found", `Vector '${id}'`);
    return ok({ id, vector: [...point.vector], payload: point.payload });
  }

  private deleteByFilter({ body }: Request, collection: FakeCollection): Answer {
    const doomed = [...collection.points.values()].filter(({ payload }) =>
      this.server.filter(() => matches(body["filter"], payload)),
    );
    for (const { id } of doomed) collection.delete(id);
    const results = doomed.map(({ id }) => ({ id, status: "deleted" }));
    return ok({
      scanned: collection.points.size,
      matched: doomed.length,
      deleted: doomed.length,
      results,
    });
  }

  private checkDimension(collection: FakeCollection, vector: readonly number[]): void {
    if (vector?.length === collection.dimension) return;
    const message = `Expected ${collection.dimension} dimensions, got ${String(vector?.length)}`;
    throw new Refusal(400, "dimension_mismatch", message);
  }
}
