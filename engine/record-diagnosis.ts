/**
 * Finds what in metadata cannot be stored, and where. Runs only after the codec's fast check said
 * no, so it may take its time: it keeps the path and the chain of parents.
 */
import { types } from "node:util";
import { limits } from "./limits.js";
import { isPlainObject, show } from "./options.js";

/** What is wrong with a piece of metadata. */
export interface Diagnosis {
  /** Such as `metadata.tags[2]`. */
  path: string;
  problem: string;
  hint: string;
  limit?: number;
}

class Found {
  constructor(readonly diagnosis: Diagnosis) {}
}

const jsonHint =
  "Metadata holds strings, finite numbers, booleans, null, Dates, arrays and objects.";

function found(path: string, problem: string, hint = jsonHint, limit?: number): Found {
  return new Found(limit === undefined ? { path, problem, hint } : { path, problem, hint, limit });
}

function keyPath(path: string, key: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(key) ? `${path}.${key}` : `${path}[${JSON.stringify(key)}]`;
}

function primitive(value: unknown, path: string): void {
  if (typeof value === "number" && !Number.isFinite(value)) {
    throw found(path, `is ${value}, which JSON cannot hold`);
  }
  if (typeof value === "bigint") {
    throw found(path, "is a BigInt", "Store it as a string, or as a number when it is small.");
  }
  if (typeof value === "function") throw found(path, "is a function");
  if (typeof value === "symbol") throw found(path, "is a symbol");
}

class Walk {
  values = 0;
  readonly parents: object[] = [];

  value(value: unknown, path: string): void {
    if (typeof value !== "object" || value === null) return primitive(value, path);
    if (this.parents.includes(value)) {
      throw found(path, "refers to an object that contains it (a cycle)");
    }
    if (this.parents.length >= limits.metadataDepthMax) {
      const limit = limits.metadataDepthMax;
      throw found(path, `is nested deeper than ${limit} levels`, "Flatten the metadata.", limit);
    }
    this.parents.push(value);
    if (Array.isArray(value)) this.array(value, path);
    else if (types.isDate(value)) this.date(value, path);
    else this.object(value as Record<string, unknown>, path);
    this.parents.pop();
  }

  array(value: unknown[], path: string): void {
    this.count(value.length, path);
    for (let i = 0; i < value.length; i++) {
      if (value[i] === undefined) {
        throw found(`${path}[${i}]`, "is undefined", "Use null, or leave the element out.");
      }
      this.value(value[i], `${path}[${i}]`);
    }
  }

  date(value: Date, path: string): void {
    if (Number.isNaN(Date.prototype.getTime.call(value))) {
      throw found(path, "is an invalid Date", "Use null for an unknown date.");
    }
  }

  object(value: Record<string, unknown>, path: string): void {
    if (!isPlainObject(value)) {
      const name = ((value as object).constructor as { name?: unknown } | undefined)?.name;
      const type = typeof name === "string" && name !== "" ? name : show(value);
      throw found(path, `is an instance of ${type}`, "Store a plain object with what you need.");
    }
    const symbol = Object.getOwnPropertySymbols(value)[0];
    if (symbol !== undefined) throw found(path, `has the key ${symbol.toString()}, a symbol`);
    const keys = Object.keys(value);
    this.count(keys.length, path);
    for (const key of keys) this.value(value[key], keyPath(path, key));
  }

  count(values: number, path: string): void {
    this.values += values;
    const limit = limits.metadataValuesMax;
    if (this.values > limit) {
      throw found(path, `goes beyond ${limit} values in one record`, "Store less metadata.", limit);
    }
  }
}

/** The first thing in `metadata` that cannot be stored. */
export function diagnose(metadata: unknown): Diagnosis {
  const path = "metadata";
  if (
    typeof metadata !== "object" ||
    metadata === null ||
    Array.isArray(metadata) ||
    types.isDate(metadata)
  ) {
    const problem = `must be a plain object, got ${show(metadata)}`;
    return { path, problem, hint: 'Wrap the value, as in { metadata: { value: "…" } }.' };
  }
  try {
    new Walk().value(metadata, path);
  } catch (error) {
    if (error instanceof Found) return error.diagnosis;
    throw error;
  }
  // Getters and proxies can answer differently each time; then nobody can say where it was.
  return { path, problem: "changed while it was read", hint: jsonHint };
}
