/** What a mirror knows of the server: a hash per record, a checkpoint, and where an import stopped. */
import { createReadStream } from "node:fs";
import { open, rename, rm } from "node:fs/promises";
import path from "node:path";
import { createInterface } from "node:readline";
import { hiveError } from "hive-gpu";
import { z } from "zod";
import type { CollectionInfo } from "./answers.js";

/** What the server said when the mirror was last equal to it. */
export interface Checkpoint {
  updatedAt: string;
  count: number;
}

const headShape = z.strictObject({
  format: z.literal("hive-gpu mirror 1"),
  url: z.string(),
  name: z.string(),
  checkpoint: z.strictObject({ updatedAt: z.string(), count: z.number() }).optional(),
  cursor: z
    .strictObject({ after: z.string(), updatedAt: z.string(), count: z.number() })
    .optional(),
  sequence: z.number(),
  records: z.number(),
});

const linesPerWrite = 4096;

export class MirrorState {
  /** The hash of each record as the server last had it, by the record's id. */
  hashes = new Map<string, number>();
  checkpoint: Checkpoint | undefined;
  /** Server id of the last point that an unfinished first import has, and the server's state then. */
  cursor: (Checkpoint & { after: string }) | undefined;
  /** Number of the local collection's last write when the state was saved. */
  sequence = 0;

  constructor(
    readonly url: string,
    readonly name: string,
  ) {}

  /** Whether the server is as it was at the checkpoint, as far as it tells. */
  matches(info: CollectionInfo): boolean {
    return isAt(this.checkpoint, info);
  }

  /** The point to go on behind: there is one when nothing changed since the import stopped there. */
  resumeAfter(info: CollectionInfo): string | undefined {
    return isAt(this.cursor, info) ? this.cursor?.after : undefined;
  }

  /** Writes the state next to `file` and renames it, so that there is always a whole one. */
  async save(file: string): Promise<void> {
    const { url, name, checkpoint, cursor, sequence, hashes } = this;
    const head = {
      format: "hive-gpu mirror 1",
      url,
      name,
      checkpoint,
      cursor,
      sequence,
      records: hashes.size,
    };
    const temporary = `${file}.${process.pid}.tmp`;
    try {
      const handle = await open(temporary, "w");
      try {
        let lines = [JSON.stringify(head)];
        for (const entry of hashes) {
          lines.push(JSON.stringify(entry));
          if (lines.length < linesPerWrite) continue;
          await handle.write(`${lines.join("\n")}\n`);
          lines = [];
        }
        await handle.write(`${lines.join("\n")}\n`);
        await handle.sync();
      } finally {
        await handle.close();
      }
      await rename(temporary, file);
      await syncFolder(path.dirname(file));
    } catch (cause) {
      await rm(temporary, { force: true });
      throw hiveError("STORAGE", `The mirror's state cannot be written to ${file}.`, { cause });
    }
  }

  /**
   * Reads what `save` wrote; a file that does not exist leaves the state as it is.
   * @returns whether there was one
   * @throws STORAGE for a file that is damaged, or of another mirror
   */
  async load(file: string): Promise<boolean> {
    const hashes = new Map<string, number>();
    let head: z.output<typeof headShape> | undefined;
    try {
      for await (const line of createInterface({ input: createReadStream(file) })) {
        if (line === "") continue;
        const value: unknown = JSON.parse(line);
        if (head === undefined) head = headShape.parse(value);
        else hashes.set(...z.tuple([z.string(), z.number()]).parse(value));
      }
    } catch (cause) {
      if ((cause as NodeJS.ErrnoException).code === "ENOENT") return false;
      throw damaged(file, "it cannot be read", cause);
    }
    if (head?.records !== hashes.size) throw damaged(file, "it is cut short");
    if (head.url !== this.url || head.name !== this.name) {
      throw damaged(file, `it belongs to ${JSON.stringify(head.name)} of ${head.url}`);
    }
    this.hashes = hashes;
    this.checkpoint = head.checkpoint;
    this.cursor = head.cursor;
    this.sequence = head.sequence;
    return true;
  }

  /** Forgets everything: the next sync compares all records. */
  reset(): void {
    this.hashes = new Map();
    this.checkpoint = undefined;
    this.cursor = undefined;
  }
}

function isAt(checkpoint: Checkpoint | undefined, info: CollectionInfo): boolean {
  if (checkpoint === undefined || info.updatedAt === undefined) return false;
  return checkpoint.updatedAt === info.updatedAt && checkpoint.count === info.count;
}

function damaged(file: string, why: string, cause?: unknown): Error {
  return hiveError("STORAGE", `The mirror's state in ${file} cannot be used: ${why}.`, {
    hint: "Delete the file; the next sync compares everything with the server.",
    details: { file },
    ...(cause === undefined ? {} : { cause }),
  });
}

/** Makes a rename last. */
export async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, "r");
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
