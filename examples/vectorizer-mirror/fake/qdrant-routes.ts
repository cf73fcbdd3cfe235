/** The routes below /qdrant, and where they differ from a Qdrant server. */
import type { FakeServer } from "./server.js";
import { FakeCollection, matches, type FakeMetric, type Point } from "./store.js";
import { PlainRefusal, Refusal, textOf, type Answer, type Request } from "./wire.js";

const metrics: Record<string, FakeMetric> = { Cosine: "cosine", Euclid: "euclidean", Dot: "dot" };
interface SearchBody {
  vector?: number[];
  limit?: number;
  filter?: unknown;
  score_threshold?: number;
}

const acknowledged = { status: 200, body: { status: "acknowledged", operation_id: null } };
const ok = (result: unknown): Answer => ({ status: 200, body: { result } });
const comma = Buffer.from(",");

export class QdrantRoutes {
  constructor(private readonly server: FakeServer) {}

  handle(request: Request): Answer | undefined {
    const { method, path } = request;
    const [, , name, points, action] = path;
    if (path[1] !== "collections" || name === undefined) return undefined;
    if (points === undefined) return method === "PUT" ? this.create(name, request) : undefined;
    const collection = this.need(name);
    switch (`${method} ${action ?? ""}`) {
      case "PUT ":
        return this.put(collection, request);
      case "POST ":
        return this.retrieve(collection, request);
      case "POST scroll":
        return this.scroll(collection, request);
      case "POST search":
        return this.search(collection, request);
      case "POST count":
        return ok({ count: this.count(collection, request) });
      case "POST delete":
        for (const id of request.body["points"] as unknown[]) collection.delete(textOf(id), false);
        return acknowledged;
      default:
        return undefined;
    }
  }

  private need(name: string): FakeCollection {
    const found = this.server.collections.get(name);
    if (found !== undefined) return found;
    const isSwapped = this.server.quirks.errorFieldsAreSwapped;
    const message = `Collection '${name}' not found`;
    throw new Refusal(404, "collection_not_found", message, undefined, isSwapped);
  }

  private create(name: string, { body }: Request): Answer {
    const config = (body["config"] ?? body) as { vectors?: { size: number; distance: string } };
    const metric = metrics[config.vectors?.distance ?? ""];
    if (config.vectors === undefined || metric === undefined) {
      throw new PlainRefusal(422, "Failed to deserialize the JSON body: missing field `vectors`");
    }
    const quantization = this.server.quirks.qdrantCreateQuantizes ? "sq8" : "none";
    this.server.add(name, config.vectors.size, metric, quantization);
    return { status: 200, body: Buffer.from('"acknowledged"') };
  }

  private put(collection: FakeCollection, { body }: Request): Answer {
    const points = body["points"] as { id: unknown; vector: number[]; payload?: unknown }[];
    for (const { vector } of points) {
      if (vector.length !== collection.dimension) {
        throw new Refusal(400, "dimension_mismatch", "Wrong dimension");
      }
    }
    const insert = (): void => {
      for (const { id, vector, payload } of points) {
        collection.put(textOf(id), vector, payload ?? null, false);
      }
    };
    if (this.server.quirks.pointsPutIsAsync) this.server.later(insert);
    else insert();
    return acknowledged;
  }

  private retrieve(collection: FakeCollection, { body }: Request): Answer {
    const found: object[] = [];
    for (const id of body["ids"] as unknown[]) {
      const point = collection.points.get(textOf(id));
      if (point === undefined) continue;
      const vector = body["with_vector"] === true ? [...point.vector] : [];
      const payload = body["with_payload"] === false ? null : collection.shown(point.payload);
      found.push({ id: point.id, vector, payload });
    }
    return ok(found);
  }

  private scroll(collection: FakeCollection, { body }: Request): Answer {
    const { quirks } = this.server;
    const limit = Number(body["limit"] ?? 10);
    const all = this.server.pointsOf(collection);
    let from = 0;
    if (body["offset"] !== undefined && body["offset"] !== null) {
      const at = this.server.positionOf(collection, textOf(body["offset"]));
      if (at < 0 && !quirks.scrollUnknownOffsetRestarts) {
        throw new Refusal(400, "bad_request", "Unknown offset");
      }
      from = at < 0 ? 0 : quirks.scrollOffsetIsInclusive ? at : at + 1;
    }
    const page = all.slice(from, from + limit);
    const parts: Buffer[] = [Buffer.from('{"result":{"points":[')];
    for (const [i, point] of page.entries()) {
      if (i > 0) parts.push(comma);
      parts.push((point.json ??= this.encode(point)));
    }
    const more = from + page.length < all.length && page.length > 0;
    const next = more ? JSON.stringify(page.at(-1)!.id) : "null";
    parts.push(Buffer.from(`],"next_page_offset":${next}}}`));
    return { status: 200, body: parts };
  }

  /** Typed answers print the shortest decimal of a 32-bit float. */
  private encode({ id, vector, payload }: Point): Buffer {
    const numbers = Array.from(vector, shortest).join(",");
    const head = `{"id":${JSON.stringify(id)},"vector":[${numbers}]`;
    return Buffer.from(`${head},"payload":${JSON.stringify(payload)}}`);
  }

  private search(collection: FakeCollection, { body }: Request): Answer {
    const { vector, limit = 10, filter, score_threshold: least } = body as SearchBody;
    if (!Array.isArray(vector)) throw new PlainRefusal(422, "missing field `vector`");
    if (vector.length !== collection.dimension) {
      const isSwapped = this.server.quirks.errorFieldsAreSwapped;
      const message = `Vector dimension mismatch: expected ${collection.dimension}`;
      throw new Refusal(400, "dimension_mismatch", message, undefined, isSwapped);
    }
    const passes = ({ payload }: Point): boolean =>
      filter === undefined || this.server.filter(() => matches(filter, payload));
    const isAfter = this.server.quirks.searchFiltersAfterwards;
    const found = collection
      .search(vector, isAfter ? limit : collection.points.size)
      .filter(({ point, score }) => passes(point) && (least === undefined || score >= least))
      .slice(0, limit);
    return ok(
      found.map(({ point, score }) => ({
        id: this.idOf(point.id),
        score,
        payload: body["with_payload"] === false ? null : collection.shown(point.payload),
        vector: body["with_vector"] === true ? [...point.vector] : null,
      })),
    );
  }

  /** Ids are parsed as u64 when they can be, so "007" becomes 7; beyond 2^53 digits are kept. */
  private idOf(id: string): unknown {
    if (!this.server.quirks.searchIdsBecomeNumbers || !/^\+?\d+$/.test(id)) return id;
    return BigInt(id) <= 0xffff_ffff_ffff_ffffn ? new RawNumber(BigInt(id)) : id;
  }

  private count(collection: FakeCollection, { body }: Request): number {
    if (this.server.quirks.scrollIgnoresFilter) return collection.points.size;
    const { filter } = body;
    return [...collection.points.values()].filter(
      ({ payload }) => filter === undefined || matches(filter, payload),
    ).length;
  }
}

/** JSON.stringify cannot write integers beyond 2^53; the marks are taken off afterwards. */
class RawNumber {
  constructor(private readonly value: bigint) {}
  toJSON(): string {
    return `\u0001${this.value}\u0001`;
  }
}

/** The shortest decimal that reads back as the same 32-bit float. */
function shortest(value: number): string {
  for (let digits = 6; digits < 9; digits++) {
    const text = value.toPrecision(digits);
    if (Math.fround(Number(text)) === value) return String(Number(text));
  }
  return String(Number(value.toPrecision(9)));
}
