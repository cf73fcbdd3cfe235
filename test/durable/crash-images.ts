/**
 * What a disk may hold after a power loss, from the record of a process's writes and syncs: each
 * write since the last sync of its file may be there, not be there, or be there up to a multiple
 * of 512 bytes; names made since the last sync of their folder may be gone.
 */
import fs from "node:fs";
import path from "node:path";

/** One entry of the record; see test/durable/record_io.c. */
export interface Entry {
  kind: number;
  path: string;
  offset: number;
  data: Buffer;
}

export const kinds = {
  write: 1,
  sync: 2,
  truncate: 3,
  create: 4,
  remove: 5,
  syncFolder: 6,
  rename: 7,
  makeFolder: 8,
  durableWrite: 9,
} as const;

/** Sectors are written whole. */
const sector = 512;

export function readRecord(file: string): Entry[] {
  const bytes = fs.readFileSync(file);
  const entries: Entry[] = [];
  for (let at = 0; at < bytes.length;) {
    const pathBytes = bytes.readUInt16LE(at + 2);
    const dataBytes = bytes.readUInt32LE(at + 4);
    const start = at + 16 + pathBytes;
    entries.push({
      kind: bytes[at]!,
      path: bytes.toString("utf8", at + 16, start),
      offset: Number(bytes.readBigUInt64LE(at + 8)),
      data: bytes.subarray(start, start + dataBytes),
    });
    at = start + dataBytes;
  }
  return entries;
}

interface FileState {
  /** What is certainly on the disk. */
  stable: Buffer;
  /** Writes and truncations since. */
  pending: Entry[];
  /** The name is certainly there. */
  named: boolean;
  removed: boolean;
  /** Its name before a rename of its folder that may not be on the disk yet. */
  before: string | undefined;
}

/** Decides about one pending entry: how many of its bytes are on the disk; -1: nothing of it. */
export type Choice = (file: string, entry: Entry, index: number, count: number) => number;

function put(content: Buffer, offset: number, data: Buffer): Buffer {
  const end = offset + data.length;
  const out = end > content.length ? Buffer.concat([content], end) : Buffer.from(content);
  data.copy(out, offset);
  return out;
}

function applied(content: Buffer, entry: Entry, bytes: number): Buffer {
  if (bytes < 0) return content;
  if (entry.kind !== kinds.truncate)
    return put(content, entry.offset, entry.data.subarray(0, bytes));
  if (entry.offset <= content.length) return content.subarray(0, entry.offset);
  return Buffer.concat([content], entry.offset);
}

/** The disk while the record is played. */
export class Disk {
  readonly files = new Map<string, FileState>();
  readonly folders = new Set<string>();

  play(entry: Entry): void {
    const file = this.files.get(entry.path);
    switch (entry.kind) {
      case kinds.makeFolder:
        this.folders.add(entry.path);
        return;
      case kinds.create:
        this.files.set(entry.path, {
          stable: Buffer.alloc(0),
          pending: [],
          named: false,
          removed: false,
          before: undefined,
        });
        return;
      case kinds.rename:
        this.#rename(entry.path, entry.data.toString());
        return;
      case kinds.remove:
        if (file !== undefined) file.removed = true;
        return;
      case kinds.sync:
        if (file === undefined) return;
        for (const one of file.pending) file.stable = applied(file.stable, one, one.data.length);
        file.pending = [];
        return;
      case kinds.syncFolder:
        this.#renamed = this.#renamed.filter(({ to }) => path.dirname(to) !== entry.path);
        for (const [name, state] of this.files) {
          if (path.dirname(path.dirname(name)) === entry.path) state.before = undefined;
          if (path.dirname(name) !== (entry.path === "" ? "." : entry.path)) continue;
          if (state.removed) this.files.delete(name);
          else state.named = true;
        }
        return;
      default:
        file?.pending.push(entry);
    }
  }

  #renamed: { from: string; to: string }[] = [];

  #rename(from: string, to: string): void {
    this.#renamed.push({ from, to });
    this.folders.delete(from);
    this.folders.add(to);
    for (const [name, state] of this.files) {
      if (path.dirname(name) !== from) continue;
      this.files.delete(name);
      this.files.set(path.join(to, path.basename(name)), { ...state, before: name });
    }
  }

  /** The folders of that state. */
  foldersOf(keepNames: boolean): Set<string> {
    const out = new Set(this.folders);
    if (keepNames) return out;
    for (const { from, to } of this.#renamed) {
      out.delete(to);
      out.add(from);
    }
    return out;
  }

  /** One possible state. `keepNames`: names that no sync made certain are there, removals done. */
  image(choose: Choice, keepNames: boolean): Map<string, Buffer> {
    const image = new Map<string, Buffer>();
    for (const [name, state] of this.files) {
      if (keepNames ? state.removed : !state.named) continue;
      let content = state.stable;
      state.pending.forEach((entry, i) => {
        const whole = entry.data.length;
        const durable = entry.kind === kinds.durableWrite;
        const bytes = durable ? whole : choose(name, entry, i, state.pending.length);
        content = applied(content, entry, bytes);
      });
      image.set(keepNames ? name : (state.before ?? name), content);
    }
    return image;
  }
}

const all: Choice = (_file, entry) => entry.data.length;
const none: Choice = () => -1;
const index = (file: string): boolean => file.includes("/index/");

/** The ways to lose power that are tried at every moment; `next` is a source of numbers. */
export function choices(
  next: () => number,
): { name: string; choose: Choice; keepNames: boolean }[] {
  const torn = (entry: Entry): number => {
    // A sector holds the old or the new bytes; tears fall on the file's sector boundaries.
    const first = sector - (entry.offset % sector);
    const cuts = Math.max(0, Math.ceil((entry.data.length - first) / sector));
    return Math.min(entry.data.length, first + sector * Math.floor(next() * (cuts + 1)));
  };
  return [
    { name: "nothing unsynced", choose: none, keepNames: false },
    { name: "nothing unsynced, names kept", choose: none, keepNames: true },
    { name: "everything", choose: all, keepNames: true },
    {
      name: "last write torn",
      choose: (_file, entry, i, count) => (i === count - 1 ? torn(entry) : entry.data.length),
      keepNames: true,
    },
    {
      name: "last write only",
      choose: (_f, e, i, n) => (i === n - 1 ? e.data.length : -1),
      keepNames: true,
    },
    { name: "index only", choose: (f, e) => (index(f) ? e.data.length : -1), keepNames: true },
    { name: "segments only", choose: (f, e) => (index(f) ? -1 : e.data.length), keepNames: true },
    {
      name: "any",
      choose: (_file, entry) => {
        const what = next();
        if (what < 0.35) return -1;
        return what < 0.7 ? entry.data.length : torn(entry);
      },
      keepNames: next() < 0.5,
    },
  ];
}
