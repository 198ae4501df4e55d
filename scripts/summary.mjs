/** Reads vitest's JSON report: names what was skipped, and prints the one line that CI reads. */
import { readFileSync } from "node:fs";

const report = JSON.parse(readFileSync(process.argv[2], "utf8"));
let passed = 0;
let failed = 0;
const skipped = new Map();
for (const file of report.testResults) {
  if (file.status === "failed" && file.assertionResults.length === 0) failed++;
  for (const { status, ancestorTitles, title } of file.assertionResults) {
    if (status === "passed") passed++;
    else if (status === "failed") failed++;
    else {
      // The reason stands in the name of the suite, or in the test's own.
      const suite = [...ancestorTitles, ...(title.includes("skipped:") ? [title] : [])].join(" > ");
      skipped.set(suite, (skipped.get(suite) ?? 0) + 1);
    }
  }
}
let skips = 0;
for (const [suite, count] of skipped) {
  skips += count;
  console.log(`skipped: ${count} in ${suite}`);
}
console.log(`${passed} passed, ${failed} failed, ${skips} skipped`);
process.exitCode = failed > 0 ? 1 : 0;
