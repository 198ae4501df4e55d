// Both verifiers on the same programs: see test/verify-diff/main.ts.
import { runTool } from "./run-tool.mjs";

await runTool("test/verify-diff/main.ts", process.argv.slice(2));
