// A fixed sequence of writes: operation n is the same in every process, so that a test can tell
// from the number of acknowledged operations what a database must hold.

function random(seed) {
  let x = (seed * 0x9e3779b1) >>> 0;
  return () => {
    x = (x + 0x6d2b79f5) >>> 0;
    let t = Math.imul(x ^ (x >>> 15), 1 | x);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}

/** Operation n: { kind, records } or { kind, ids }. */
export function operation(n) {
  const next = random(n + 1);
  const kind = next();
  const pick = () => `id${Math.floor(next() * 60)}`;
  if (kind < 0.2) {
    return { kind: "delete", ids: Array.from({ length: 1 + Math.floor(next() * 6) }, pick) };
  }
  if (kind < 0.21) return { kind: "clear" };
  const count = kind < 0.6 ? 1 : 1 + Math.floor(next() * 24);
  const records = [];
  for (let i = 0; i < count; i++) {
    const vector = Array.from({ length: 8 }, () => Math.fround(next() - 0.5));
    const text = `operation ${n}, record ${i}: ${"text ".repeat(Math.floor(next() * 40))}`;
    records.push({ id: pick(), vector, text, metadata: { n, i } });
  }
  return { kind: "upsert", records };
}

export async function apply(collection, n) {
  const op = operation(n);
  if (op.kind === "delete") await collection.delete({ ids: op.ids });
  else if (op.kind === "clear") await collection.clear();
  else await collection.upsert(op.records);
}

/** What a collection holds after operations [0, count): a Map in the order of rows. */
export class Model {
  records = new Map();
  count = 0;

  step() {
    const op = operation(this.count++);
    if (op.kind === "clear") this.records.clear();
    else if (op.kind === "delete") for (const id of op.ids) this.records.delete(id);
    else {
      for (const { id, ...rest } of op.records) {
        this.records.delete(id);
        this.records.set(id, rest);
      }
    }
    return this;
  }

  advance(to) {
    while (this.count < to) this.step();
    return this;
  }

  clone() {
    const copy = new Model();
    copy.records = new Map(this.records);
    copy.count = this.count;
    return copy;
  }
}
