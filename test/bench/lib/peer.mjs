// Finds a peer's package: <peers>/<folder>/node_modules, then this repository's node_modules.
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const roots = (folder) => [path.join(process.env.BENCH_PEERS ?? "", folder), process.cwd()];

function find(name, folder) {
  for (const root of roots(folder)) {
    try {
      const require = createRequire(path.join(path.resolve(root), "x.js"));
      return { require, file: require.resolve(name) };
    } catch (error) {
      if (!/MODULE_NOT_FOUND|ERR_PACKAGE_PATH/.test(error.code)) throw error;
    }
  }
  throw Object.assign(new Error(`${name} is not installed`), { code: "PEER_MISSING" });
}
export const peerRequire = (name, folder = name) => {
  const { require } = find(name, folder);
  return require(name);
};
export const peerImport = async (name, folder = name) =>
  import(pathToFileURL(find(name, folder).file).href);
