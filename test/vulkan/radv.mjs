// AMD's compiler without a card: RADV's null device compiles every pipeline of the Vulkan backend for
// one wave64 and one wave32 chip; none may spill registers. By hand: it takes minutes.
//   node native/build.mjs --bench && node test/vulkan/radv.mjs [--dims 128,100]
import { spawnSync } from "node:child_process";
import path from "node:path";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";

const root = path.join(path.dirname(fileURLToPath(import.meta.url)), "../..");
const { values } = parseArgs({
  options: {
    dims: { type: "string", default: "128,100" },
    driver: { type: "string", default: "" },
  },
});
const families = ["vega20", "navi21"];

const driver =
  values.driver === "" ? "/usr/share/vulkan/icd.d/radeon_icd.x86_64.json" : values.driver;

let failed = 0;
for (const family of families) {
  const result = spawnSync(
    path.join(root, "build/Release/vulkan_pipelines"),
    values.dims.split(","),
    {
      encoding: "utf8",
      maxBuffer: 2 ** 30,
      env: {
        ...process.env,
        VK_DRIVER_FILES: driver,
        RADV_FORCE_FAMILY: family,
        RADV_DEBUG: "shaderstats,nocache",
      },
    },
  );
  const head = result.stdout.split("\n")[0];
  if (result.status !== 0) {
    console.log(
      `${family}: FAILED (${result.status ?? result.signal}): ${result.stderr.slice(-300)}`,
    );
    failed += 1;
    continue;
  }
  const numbers = (what) =>
    [...result.stderr.matchAll(new RegExp(`${what}: *(\\d+)`, "g"))].map((m) => Number(m[1]));
  const spilled = [...numbers("Spilled VGPRs"), ...numbers("Spilled SGPRs")].filter((n) => n > 0);
  const vgprs = numbers("VGPRs");
  const pipelines = result.stderr.split("PIPELINE").length - 1;
  console.log(
    `${family}: ${head}: ${pipelines + 1} pipelines, at most ${Math.max(0, ...vgprs)} VGPRs, ` +
      `${spilled.length} with spills`,
  );
  if (spilled.length > 0 || vgprs.length === 0) failed += 1;
}
process.exit(failed === 0 ? 0 : 1);
