/**
 * An evaluator of filters of its own: straight from the operators' description in docs/filters.md,
 * on plain objects, sharing nothing with the engine. Knows only valid filters.
 */
export type Json = unknown;

const absent = Symbol("absent");

function lookUp(object: Record<string, Json>, parts: string[]): Json {
  // All ways to cut the path into keys, longest first key first.
  for (let take = parts.length; take > 0; take--) {
    const key = parts.slice(0, take).join(".");
    if (!Object.prototype.hasOwnProperty.call(object, key)) continue;
    const value = object[key];
    if (value === undefined) continue;
    if (take === parts.length) return value;
    if (kindOf(value) !== "object") continue;
    const found = lookUp(value as Record<string, Json>, parts.slice(take));
    if (found !== absent) return found;
  }
  return absent;
}

function kindOf(value: Json): string {
  if (value === null) return "null";
  if (value instanceof Date) return "date";
  if (Array.isArray(value)) return "array";
  return typeof value;
}

function canonical(value: Json): string {
  switch (kindOf(value)) {
    case "date":
      return `date:${(value as Date).getTime()}`;
    case "array":
      return `[${(value as Json[]).map(canonical).join(",")}]`;
    case "object":
      return `{${Object.entries(value as object)
        .map(([key, item]) => `${JSON.stringify(key)}:${canonical(item)}`)
        .toSorted()
        .join(",")}}`;
    case "number":
      return `number:${String((value as number) + 0)}`;
    default:
      return `${kindOf(value)}:${JSON.stringify(value)}`;
  }
}

function equal(value: Json, wanted: Json): boolean {
  if (wanted === null && value === absent) return true;
  if (value === absent) return false;
  if (canonical(value) === canonical(wanted)) return true;
  return Array.isArray(value) && value.some((item) => canonical(item) === canonical(wanted));
}

function compare(value: Json, wanted: Json, holds: (order: number) => boolean): boolean {
  const one = (item: Json): boolean => {
    if (item === absent || kindOf(item) !== kindOf(wanted)) return false;
    const a = item as number | string | Date;
    const b = wanted as number | string | Date;
    return holds(a < b ? -1 : a > b ? 1 : 0);
  };
  return one(value) || (Array.isArray(value) && value.some(one));
}

function condition(
  value: Json,
  operator: string,
  operand: Json,
  all: Record<string, Json>,
): boolean {
  switch (operator) {
    case "$eq":
      return equal(value, operand);
    case "$ne":
      return !equal(value, operand);
    case "$gt":
      return compare(value, operand, (order) => order > 0);
    case "$gte":
      return compare(value, operand, (order) => order >= 0);
    case "$lt":
      return compare(value, operand, (order) => order < 0);
    case "$lte":
      return compare(value, operand, (order) => order <= 0);
    case "$in":
      return (operand as Json[]).some((item) => equal(value, item));
    case "$nin":
      return !(operand as Json[]).some((item) => equal(value, item));
    case "$exists":
      return (value !== absent) === operand;
    case "$all":
      return (
        (operand as Json[]).length > 0 && (operand as Json[]).every((item) => equal(value, item))
      );
    case "$contains":
      if (Array.isArray(value)) return value.some((item) => canonical(item) === canonical(operand));
      return typeof value === "string" && typeof operand === "string" && value.includes(operand);
    case "$regex": {
      // Patterns of the tests mean the same in JavaScript.
      const regex = new RegExp(operand as string, `${(all["$options"] as string) ?? ""}u`);
      const one = (item: Json): boolean => typeof item === "string" && regex.test(item);
      return one(value) || (Array.isArray(value) && value.some(one));
    }
    case "$size":
      return Array.isArray(value) && value.length === operand;
    case "$type":
      return value !== absent && kindOf(value) === operand;
    case "$not":
      return !conditions(value, operand as Record<string, Json>);
    default:
      throw new Error(`the oracle does not know ${operator}`);
  }
}

function conditions(value: Json, object: Record<string, Json>): boolean {
  const keys = kindOf(object) === "object" ? Object.keys(object) : [];
  if (!keys.some((key) => key.startsWith("$"))) {
    return equal(value, object);
  }
  const holds = keys
    .filter((key) => key !== "$options" && key !== "$missing")
    .every((key) => condition(value, key, object[key], object));
  if (value === absent && object["$missing"] !== undefined) return object["$missing"] === "match";
  return holds;
}

/** Whether metadata passes a filter. */
export function oracle(filter: Record<string, Json>, metadata: Record<string, Json>): boolean {
  return Object.entries(filter).every(([key, value]) => {
    const list = (): boolean[] => (value as Record<string, Json>[]).map((f) => oracle(f, metadata));
    if (key === "$and") return list().every(Boolean);
    if (key === "$or") return list().some(Boolean);
    if (key === "$nor") return !list().some(Boolean);
    if (key === "$not" && Array.isArray(value)) return !list()[0]!;
    if (key === "$not") return !oracle(value as Record<string, Json>, metadata);
    const found = lookUp(metadata, key.split("."));
    return conditions(found, value as Record<string, Json>);
  });
}
