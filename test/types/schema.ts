/** Compiled, never run: what a collection's schema says about filters, hits and writes. */
import type {
  Collection,
  Database,
  Filter,
  FilterInput,
  StandardSchema,
  VectorCollection,
} from "hive-gpu";
import { z } from "zod";

declare const db: Database;

type Same<A, B> =
  (<T>() => T extends A ? 1 : 2) extends <T>() => T extends B ? 1 : 2 ? true : false;
function same<A, B>(yes: Same<A, B>): void {
  void yes;
}

const film = z.object({
  title: z.string(),
  year: z.number().int(),
  lang: z.enum(["en", "de"]).default("en"),
  seen: z.boolean().optional(),
  released: z.date(),
  tags: z.array(z.string()),
  ratings: z.array(z.number()),
  author: z.object({ name: z.string(), home: z.object({ city: z.string() }).optional() }),
  counts: z.record(z.string(), z.number()),
});
type Film = z.output<typeof film>;

export async function inference(): Promise<void> {
  const films = await db.collection("films", { schema: film, dimensions: 4 });
  same<typeof films, Collection<Film, z.input<typeof film>>>(true);
  const [hit] = await films.search([1, 0, 0, 0]);
  same<NonNullable<NonNullable<typeof hit>["metadata"]>, Film>(true);
  const record = await films.get("a");
  same<NonNullable<NonNullable<typeof record>["metadata"]>["year"], number>(true);
  // What has a default may be left out of a write, and is there in a hit.
  await films.upsert([
    {
      vector: [1, 0, 0, 0],
      metadata: {
        title: "Alien",
        year: 1979,
        released: new Date(0),
        tags: [],
        ratings: [],
        author: { name: "O'Bannon" },
        counts: {},
      },
    },
  ]);
  // @ts-expect-error the metadata lacks keys
  await films.upsert([{ vector: [1, 0, 0, 0], metadata: { title: "Alien" } }]);
  // @ts-expect-error a year is a number
  await films.update([{ id: "a", metadata: { ...film.parse({}), year: "1979" } }]);
  const anyCollection: VectorCollection<object> = films;

  const own: StandardSchema<{ n: string }, { n: number }> = {
    "~standard": { version: 1, vendor: "own", validate: () => ({ value: { n: 1 } }) },
  };
  const numbers = await db.collection("numbers", { schema: own });
  same<typeof numbers, Collection<{ n: number }, { n: string }>>(true);
  const inferred = await db.collection("inferred", {
    schema: {
      "~standard": { version: 1, vendor: "own", validate: async () => ({ value: { n: 1 } }) },
    },
  });
  same<typeof inferred, Collection<{ n: number }>>(true);
  const plain = await db.collection("plain");
  same<typeof plain, Collection>(true);
  const named = await db.collection<{ n: number }>("named", { metric: "dot" });
  same<typeof named, Collection<{ n: number }>>(true);
  // @ts-expect-error metadata is an object
  await db.collection("words", { schema: z.string() });
  // @ts-expect-error no schema
  await db.collection("words", { schema: { parse: () => 1 } });
  return void anyCollection;
}

export const compiles: Filter<Film>[] = [
  {},
  { title: "Alien", year: { $gte: 1970, $lt: 1980 } },
  { lang: "de" },
  { lang: { $in: ["en", null] } },
  { seen: null },
  { seen: { $exists: false } },
  { released: { $gt: new Date(0) } },
  { tags: "space" },
  { tags: ["space", "horror"] },
  { tags: { $all: ["space"], $size: 2, $contains: "horror", $regex: "^s" } },
  { ratings: { $gte: 4 } },
  { title: { $regex: /^a/, $options: "i", $contains: "lie" } },
  { lang: { $contains: "e" } },
  { "author.name": { $ne: "Scott" } },
  { "author.home.city": { $in: ["London"] } },
  { author: { name: "Scott" } },
  { "counts.likes": { $gt: 10 } },
  { $and: [{ year: 1979 }, { $or: [{ "author.name": "a" }, { $not: { tags: "b" } }] }] },
  { $nor: [{ year: { $not: { $lt: 1900 }, $missing: "exclude" } }] },
];

export const refusedByTheCompiler: Filter<Film>[] = [
  // @ts-expect-error no such key
  { titel: "Alien" },
  // @ts-expect-error no such path
  { "author.nmae": "Scott" },
  // @ts-expect-error no such path
  { "author.home.town": "London" },
  // @ts-expect-error nothing is nested in a string
  { "title.length": 5 },
  // @ts-expect-error elements of arrays are no paths
  { "tags.0": "space" },
  // @ts-expect-error a year is a number
  { year: "1979" },
  // @ts-expect-error a year is a number
  { year: { $gte: "1970" } },
  // @ts-expect-error a date is compared with a Date
  { released: { $gt: "1979-01-01" } },
  // @ts-expect-error no such language
  { lang: "fr" },
  // @ts-expect-error no such language
  { lang: { $in: ["fr"] } },
  // @ts-expect-error booleans have no order
  { seen: { $gt: true } },
  // @ts-expect-error tags are strings
  { tags: { $all: [1] } },
  // @ts-expect-error tags are strings
  { tags: 1 },
  // @ts-expect-error ratings are numbers
  { ratings: { $contains: "5" } },
  // @ts-expect-error a pattern is matched against strings
  { year: { $regex: "19" } },
  // @ts-expect-error a string has no size
  { title: { $size: 3 } },
  // @ts-expect-error no such operator
  { year: { $near: 3 } },
  // @ts-expect-error a name is a string
  { "author.name": 3 },
  // @ts-expect-error counts are numbers
  { "counts.likes": "many" },
  // @ts-expect-error a year is a number, deep inside
  { $and: [{ $or: [{ year: "1979" }] }] },
];

/** Every method takes the same filters. */
export async function methods(films: Collection<Film>): Promise<void> {
  await films.count({ year: 1979 });
  // @ts-expect-error no such key
  await films.count({ yaer: 1979 });
  // @ts-expect-error no such key
  await films.search(undefined, { filter: { yaer: 1979 } });
  // @ts-expect-error no such key
  await films.searchMany([], { filter: { yaer: 1979 } });
  // @ts-expect-error no such key
  await films.delete({ filter: { yaer: 1979 } });
  // @ts-expect-error no such key
  films.scan({ filter: { yaer: 1979 } });
  // @ts-expect-error no such key
  await films.explain({ filter: { yaer: 1979 } });
  await films.count((record) => record.metadata?.year === 1979);
}

interface Tree {
  label: string;
  child?: Tree;
}
type Event = { kind: "click"; x: number } | { kind: "key"; code: string };

/** Recursive, joined, open and unknown shapes. */
export const shapes: [
  Filter<Tree>,
  Filter<Event>,
  Filter<{ a: string; [key: string]: unknown }>,
  Filter<Record<string, number>>,
  Filter<{ extra: unknown; loose: Record<string, { deep: number }> }>,
  Filter,
  FilterInput,
] = [
  { "child.child.label": "leaf" },
  { kind: "click", x: { $gt: 3 }, code: { $exists: false } },
  { a: "x", b: 3, "c.d": { $gt: 3 }, $or: [{ a: "y" }] },
  { any: 1, $and: [{ other: { $lt: 3 } }] },
  { extra: { $gt: 3 }, "extra.x.y": 3, "loose.key.deep": 3 },
  { anything: { $gt: 3 }, "a.b": "c", $not: { x: null } },
  (record) => record.id === "a",
];

export const refusedShapes: [
  Filter<Tree>,
  Filter<Event>,
  Filter<{ a: string; [k: string]: unknown }>,
] = [
  // @ts-expect-error a label is a string
  { "child.child.label": 3 },
  // @ts-expect-error no such kind
  { kind: "touch" },
  // @ts-expect-error a is a string
  { a: 3 },
];
