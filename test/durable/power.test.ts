/**
 * Power loss, simulated: all writes and syncs of a process that writes 200 operations are recorded
 * (LMDB's included), and for every moment the states that a disk may be left in are built and
 * opened. HIVE_TEST_POWER_SHARE is the share of them that is opened (1 by hand).
 */
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import fs from "node:fs";
import path from "node:path";
import { describe, expect, it } from "vitest";
import { Disk, type Entry, choices, kinds, readRecord } from "./crash-images.js";
import { contents, folder, openAt, random, report, root } from "./helpers.js";
import { forced } from "../unit/helpers.js";
import { Model } from "./operations.mjs";

const operations = 200;
const share = Number(process.env["HIVE_TEST_POWER_SHARE"] ?? 0.03);
const seed = Number(process.env["HIVE_TEST_POWER_SEED"] ?? Math.floor(Math.random() * 1e9));
const here = path.join(root, "test", "durable");

function compiler(): string | undefined {
  if (process.platform !== "linux") return undefined;
  for (const name of ["cc", "gcc", "clang"]) {
    try {
      execFileSync(name, ["--version"], { stdio: "ignore" });
      return name;
    } catch {
      // Not this one.
    }
  }
  return undefined;
}

function record(cc: string): Entry[] {
  const at = folder();
  const library = path.join(at, "record_io.so");
  const source = path.join(here, "record_io.c");
  execFileSync(cc, ["-shared", "-fPIC", "-O2", "-o", library, source, "-ldl"]);
  const data = path.join(at, "data");
  const log = path.join(at, "log");
  fs.mkdirSync(data);
  execFileSync(process.execPath, [path.join(here, "power-writer.mjs"), data, String(operations)], {
    cwd: root,
    env: {
      ...process.env,
      LD_PRELOAD: library,
      HIVE_RECORD_ROOT: data,
      HIVE_RECORD_LOG: log,
    },
  });
  return readRecord(log);
}

/** What the database may hold after n operations, as JSON. */
function states(): string[] {
  const model = new Model();
  const list: string[] = [];
  for (let n = 0; n <= operations + 1; n++) {
    const shaped = [...model.records].map(([id, { vector, text, metadata }]) => [
      id,
      { vector, text, metadata },
    ]);
    list.push(JSON.stringify(shaped));
    model.step();
  }
  return list;
}

function writeImage(image: Map<string, Buffer>, folders: Set<string>, at: string): void {
  fs.mkdirSync(at);
  for (const made of folders) fs.mkdirSync(path.join(at, made), { recursive: true });
  for (const [name, content] of image) {
    if (!name.startsWith("db/") || name.endsWith("lock.mdb")) continue;
    fs.writeFileSync(path.join(at, name), content);
  }
}

async function readImage(at: string): Promise<string> {
  const db = await openAt(path.join(at, "db"));
  try {
    const names = await db.collections();
    return names.length === 0 ? "[]" : JSON.stringify(await contents(await db.collection("test")));
  } finally {
    await db.close();
  }
}

const cc = compiler();

describe.skipIf(forced)("power loss", () => {
  const name = `leaves what was acknowledged and at most the write under way (share ${share})`;
  it.skipIf(cc === undefined)(name, { timeout: 7_200_000 }, async () => {
    const entries = record(cc!);
    const syncs = entries.filter(({ kind }) => kind === kinds.sync).length;
    expect(syncs).toBeGreaterThan(operations);
    const expected = states();
    const next = random(seed);
    const disk = new Disk();
    const seen = new Set<string>();
    let acknowledged = 0;
    let built = 0;
    let kept = 0;
    const at = path.join(folder(), "image");
    for (const [moment, entry] of entries.entries()) {
      if (entry.path === "marks") {
        if (entry.kind === kinds.write) acknowledged++;
        continue;
      }
      disk.play(entry);
      for (const way of choices(next)) {
        const image = disk.image(way.choose, way.keepNames);
        const hash = createHash("sha1");
        for (const [file, content] of image) hash.update(file).update(content);
        const key = `${acknowledged} ${hash.digest("hex")}`;
        if (seen.has(key)) continue;
        seen.add(key);
        built++;
        if (next() >= share) continue;
        writeImage(image, disk.foldersOf(way.keepNames), at);
        const found = await readImage(at).catch((error: unknown) => String(error));
        const index =
          found === expected[acknowledged] ? 0 : found === expected[acknowledged + 1] ? 1 : -1;
        expect(
          index,
          `seed ${seed}, moment ${moment}, ${way.name}, ${acknowledged} acknowledged: ${found.slice(0, 300)}`,
        ).toBeGreaterThanOrEqual(0);
        kept += index;
        fs.rmSync(at, { recursive: true });
        opened++;
      }
    }
    report(
      `${entries.length} entries, ${syncs} syncs, ${built} images, ${opened} opened (seed ${seed}); ` +
        `${kept} held the write under way`,
    );
    expect(acknowledged).toBe(operations);
  });
});

let opened = 0;
