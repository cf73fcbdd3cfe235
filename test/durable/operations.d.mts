import type { Collection } from "hive-gpu";
import type { Plain } from "./helpers.js";

export type Operation =
  | { kind: "upsert"; records: (Plain & { id: string })[] }
  | { kind: "delete"; ids: string[] }
  | { kind: "clear" };
export function operation(n: number): Operation;
export function apply(collection: Collection, n: number): Promise<void>;
export class Model {
  records: Map<string, Plain>;
  count: number;
  step(): this;
  advance(to: number): this;
  clone(): Model;
}
