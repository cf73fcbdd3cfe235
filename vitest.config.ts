import { defineConfig } from "vitest/config";

const report = process.env["VITEST_REPORT"];

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // Native code is loaded once per process; a worker of its own per file keeps files apart.
    pool: "forks",
    // Tests use the built package by its own name, as its users do; it must not be transformed.
    server: { deps: { external: [/\/dist\//] } },
    testTimeout: 60_000,
    reporters: report === undefined || report === "" ? ["default"] : ["default", "json"],
    ...(report === undefined || report === "" ? {} : { outputFile: { json: report } }),
  },
});
