// Adds up the runners' own reports and prints the closing line of .ci/run.
//   node .ci/summary.mjs <folder with reports> <number of failed steps>
// *.json are vitest's JSON reports, *.txt are doctest's outputs.
import fs from "node:fs";
import path from "node:path";

const [folder, brokenSteps] = process.argv.slice(2);
const total = { passed: 0, failed: 0, skipped: 0 };

function add(file, passed, failed, skipped) {
  console.log(`${file}: ${passed} passed, ${failed} failed, ${skipped} skipped`);
  total.passed += passed;
  total.failed += failed;
  total.skipped += skipped;
}

function readVitest(file) {
  const report = JSON.parse(fs.readFileSync(path.join(folder, file), "utf8"));
  // A file that failed to load has no tests of its own, so failed suites are counted as well.
  const brokenFiles = report.testResults.filter(
    (r) => r.status === "failed" && r.assertionResults.length === 0,
  ).length;
  const skipped = report.numPendingTests + report.numTodoTests;
  add(file, report.numPassedTests, report.numFailedTests + brokenFiles, skipped);
}

function readDoctest(file) {
  const text = fs.readFileSync(path.join(folder, file), "utf8");
  const line = /test cases:\s*\d+\s*\|\s*(\d+) passed\s*\|\s*(\d+) failed\s*\|\s*(\d+) skipped/;
  const match = line.exec(text);
  if (!match) return add(`${file} (no closing line)`, 0, 1, 0);
  add(file, Number(match[1]), Number(match[2]), Number(match[3]));
  for (const note of text.matchAll(/^(conformance|skipped) .*$/gm)) console.log(`  ${note[0]}`);
}

for (const file of fs.readdirSync(folder).toSorted()) {
  if (file.endsWith(".json")) readVitest(file);
  else if (file.endsWith(".txt")) readDoctest(file);
}
const failed = total.failed + Number(brokenSteps);
if (Number(brokenSteps) > 0) console.log(`steps that failed: ${brokenSteps}`);
console.log(`\n${total.passed} passed, ${failed} failed, ${total.skipped} skipped`);
process.exit(failed > 0 || total.passed === 0 ? 1 : 0);
