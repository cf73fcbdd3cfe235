import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type RecordContent,
  decodeRecord,
  encodeRecord,
} from "../../dist/cjs/engine/record-codec.js";

const name = () => "record 0";

function roundTrip(text: unknown, metadata: unknown): RecordContent {
  const bytes = Buffer.from(encodeRecord(text, metadata, name), "utf8");
  return decodeRecord(bytes.toString("utf8"));
}

const key = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom("__proto__", "constructor", "toJSON", "$date", "$$date", "$$$date", "date", ""),
);
const scalar = fc.oneof(
  fc.string({ unit: "binary" }),
  fc.constantFrom('$date"', "\ud800", "\udfff\ud800", "\u0000", "\u2028"),
  fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => (Object.is(x, -0) ? 0 : x)),
  fc.integer(),
  fc.boolean(),
  fc.constant(null),
  fc.date({ noInvalidDate: true }),
);

/** Objects with own keys only, "__proto__" included. */
function objectOf(value: fc.Arbitrary<unknown>): fc.Arbitrary<Record<string, unknown>> {
  return fc.array(fc.tuple(key, value), { maxLength: 5 }).map((pairs) => {
    const out: Record<string, unknown> = {};
    for (const [k, v] of pairs) {
      const property = { value: v, enumerable: true, configurable: true, writable: true };
      Object.defineProperty(out, k, property);
    }
    return out;
  });
}

const { tree } = fc.letrec<{ tree: unknown; node: unknown }>((tie) => ({
  tree: objectOf(tie("node")),
  node: fc.oneof(
    { depthSize: "small" },
    scalar as fc.Arbitrary<unknown>,
    fc.array(tie("node"), { maxLength: 4 }),
    tie("tree"),
  ),
}));

/** Own keys and values, so that "__proto__" counts like any other. */
function shape(value: unknown): unknown {
  if (value instanceof Date) return ["date", value.getTime()];
  if (Array.isArray(value)) return ["array", ...value.map(shape)];
  if (typeof value !== "object" || value === null) return value;
  return ["object", Object.entries(value).map(([k, v]) => [k, shape(v)])];
}

describe("record codec", () => {
  it("brings everything back", () => {
    fc.assert(
      fc.property(
        fc.option(fc.string({ unit: "binary" }), { nil: undefined }),
        tree,
        (text, data) => {
          const before = shape(data);
          const back = roundTrip(text, data);
          expect(back.text).toBe(text);
          expect(shape(back.metadata)).toEqual(before);
          expect(shape(data)).toEqual(before);
        },
      ),
      { numRuns: 2000, verbose: true },
    );
  });

  it("keeps lone surrogates, unit by unit", () => {
    const text = "a\ud800b\udc00\ud83d\ude00";
    expect(roundTrip(text, { [text]: text })).toEqual({ text, metadata: { [text]: text } });
  });

  it("tells dates from data that looks like them", () => {
    const at = new Date(1234);
    const metadata = {
      at,
      like: { $date: 1234 },
      more: { $$date: { $date: at } },
      two: { $date: 1, other: 2 },
      gone: { $date: 5, dropped: undefined },
    };
    const back = roundTrip(undefined, metadata).metadata!;
    expect(shape(back)).toEqual(shape({ ...metadata, gone: { $date: 5 } }));
    expect(roundTrip(undefined, { $date: 1 }).metadata).toEqual({ $date: 1 });
    expect(roundTrip(undefined, { $date: undefined, x: 1 }).metadata).toEqual({ x: 1 });
  });

  it("costs nothing without text and metadata", () => {
    expect(encodeRecord(undefined, undefined, name)).toBe("");
    expect(roundTrip(undefined, undefined)).toEqual({});
    expect(roundTrip("", {})).toEqual({ text: "", metadata: {} });
  });

  it("drops undefined and writes -0 as 0", () => {
    expect(roundTrip(undefined, { a: undefined, b: -0 }).metadata).toStrictEqual({ b: 0 });
  });

  it("takes objects without a prototype and of another realm", () => {
    const bare = Object.assign(Object.create(null) as object, { a: 1 });
    expect(roundTrip(undefined, bare).metadata).toEqual({ a: 1 });
  });

  it("survives getters and proxies that change their mind", () => {
    let reads = 0;
    const metadata = {
      get value() {
        return reads++ === 0 ? 1 : 10n;
      },
    };
    expect(() => encodeRecord(undefined, metadata, name)).toThrow(/changed while it was read/);
    const proxy = new Proxy(
      {},
      {
        ownKeys: () => {
          throw new RangeError("no");
        },
      },
    );
    expect(() => encodeRecord(undefined, { proxy }, name)).toThrow(RangeError);
  });
});
