// Writes the ESM entry: a thin wrapper over the CommonJS build, so that there is one engine per
// process however it is imported. The names are those that the build really exports.
import { mkdirSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";
import { fileURLToPath } from "node:url";

const dist = path.join(path.dirname(fileURLToPath(import.meta.url)), "..", "dist");
const cjs = path.join(dist, "cjs");
const esm = path.join(dist, "esm", "engine");

// The package is "type": "module"; this folder is not.
writeFileSync(path.join(cjs, "package.json"), '{ "type": "commonjs" }\n');

// That file hides the package's own name from dist/cjs, so in a checkout `require("hive-gpu")`
// in an adapter would find nothing. Installed packages find themselves in node_modules, and this
// folder is not packed.
const self = path.join(dist, "node_modules", "hive-gpu");
mkdirSync(self, { recursive: true });
writeFileSync(
  path.join(self, "package.json"),
  `${JSON.stringify({
    name: "hive-gpu",
    main: "../../cjs/engine/index.js",
    types: "../../cjs/engine/index.d.ts",
  })}\n`,
);

const names = Object.keys(createRequire(import.meta.url)(path.join(cjs, "engine", "index.js")))
  .filter((name) => name !== "default" && name !== "__esModule")
  .toSorted();

mkdirSync(esm, { recursive: true });
writeFileSync(
  path.join(esm, "index.js"),
  [
    'import engine from "../../cjs/engine/index.js";',
    ...names.map((name) => `export const ${name} = engine.${name};`),
    "",
  ].join("\n"),
);
writeFileSync(path.join(esm, "index.d.ts"), 'export * from "../../cjs/engine/index.js";\n');
