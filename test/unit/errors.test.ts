import * as hive from "hive-gpu";
import { createRequire } from "node:module";
import { describe, expect, it } from "vitest";
import { fromNative } from "../../dist/cjs/engine/native-errors.js";
import { loadAddon } from "../../dist/cjs/engine/native.js";

const classes = [
  "InputError",
  "StateError",
  "AbortError",
  "StorageError",
  "ResourceError",
] as const;

function names(rows: { name: string }[]): string[] {
  return rows.map((row) => row.name);
}

describe("errors", () => {
  it("have a class, a hint and details for every code", () => {
    for (const code of hive.errorCodes) {
      const error = hive.hiveError(code, "m", { details: { x: 1 }, cause: 2 });
      expect(error).toBeInstanceOf(hive.HiveGpuError);
      expect(error).toBeInstanceOf(Error);
      expect(error.constructor).not.toBe(hive.HiveGpuError);
      expect(error.name).toBe(error.constructor.name);
      expect(error).toMatchObject({ code, message: "m", details: { x: 1 }, cause: 2 });
      expect(error.hint.length).toBeGreaterThan(5);
      expect(Object.keys(error)).not.toContain("stack");
    }
    expect(hive.hiveError("OUT_OF_MEMORY", "m").retryable).toBe(true);
  });

  it("are recognised across copies of the package, by class", () => {
    const require = createRequire(import.meta.url);
    const file = require.resolve("../../dist/cjs/engine/errors.js");
    const first = require(file) as typeof hive;
    delete require.cache[file];
    const second = require(file) as typeof hive;
    expect(second.InputError).not.toBe(first.InputError);
    const error = second.hiveError("NOT_FOUND", "m");
    expect(error instanceof first.InputError).toBe(true);
    expect(error instanceof first.HiveGpuError).toBe(true);
    for (const name of classes.slice(1)) expect(error instanceof first[name]).toBe(false);
    expect(new Error("x") instanceof first.HiveGpuError).toBe(false);
    expect((null as unknown) instanceof (first.HiveGpuError as never)).toBe(false);
    class Own extends first.InputError {}
    expect(error instanceof Own).toBe(false);
    expect(new Own("NOT_FOUND", "m") instanceof second.InputError).toBe(true);
  });

  it("know every status of the native side", () => {
    for (const { name } of loadAddon().addon.lists.statuses) {
      if (name === "OK" || name === "PENDING" || name === "INTERNAL") continue;
      const native = Object.assign(new Error("m"), { code: `HIVE_${name}` });
      const error = fromNative(native) as hive.HiveGpuError;
      expect(error).toBeInstanceOf(hive.HiveGpuError);
      expect(error.code, name).not.toBe("INTERNAL");
      expect(error.cause).toBe(native);
    }
    const odd = fromNative(Object.assign(new Error("m"), { code: "HIVE_NEW" }));
    expect(odd).toMatchObject({ code: "INTERNAL" });
    const foreign = new Error("x");
    expect(fromNative(foreign)).toBe(foreign);
  });
});

describe("lists", () => {
  const { lists, abi } = loadAddon().addon;

  it("are the same in TypeScript and in the native engine", () => {
    expect(abi).toBe(1);
    expect(names(lists.metrics)).toEqual([...hive.metrics]);
    expect(names(lists.dtypes)).toEqual([...hive.dtypes]);
    expect(names(lists.backends)).toEqual([...hive.backends]);
    expect(names(lists.ops)).toEqual(["scan_topk", "predicate"]);
    const retryable = lists.statuses.filter((status) => status.retryable).map((one) => one.name);
    for (const name of retryable.filter((one) => one !== "PENDING")) {
      const error = fromNative(Object.assign(new Error("m"), { code: `HIVE_${name}` }));
      expect(error, name).toMatchObject({ retryable: true });
    }
  });
});
