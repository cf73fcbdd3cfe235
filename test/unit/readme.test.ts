import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { expect, it } from "vitest";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "..");

it("the README's example runs as it is printed", async () => {
  const readme = readFileSync(path.join(root, "README.md"), "utf8");
  const mark = "<!-- executed by test/unit/readme.test.ts -->";
  const [, after] = readme.split(mark);
  const code = /^\s*```ts\n([\s\S]*?)```/.exec(after ?? "")?.[1];
  expect(code).toBeDefined();
  // The example has no type annotations, so Node runs it as it is.
  const args = ["--input-type=module", "--eval", code!];
  const { stdout } = await promisify(execFile)(process.execPath, args, { cwd: root });
  expect(stdout).toBe("[ 'alien 0.989', 'arrival 0.934' ]\n");
});
