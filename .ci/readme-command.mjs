// Prints the README's command for "quickstart" or "test": what a new user pastes is what CI runs.
import fs from "node:fs";

const wanted = process.argv[2];
const readme = fs.readFileSync(new URL("../README.md", import.meta.url), "utf8");
const blocks = [...readme.matchAll(/<!-- command: (\w+) -->\n+```bash\n([\s\S]*?)```/g)];
const found = blocks.find(([, name]) => name === wanted);
if (!found) {
  console.error(`README.md has no command block named "${wanted}".`);
  process.exit(1);
}
console.log(found[2].trim());
