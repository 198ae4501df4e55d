// Random programs: see test/fuzz.ts.
import { runTool } from "./run-tool.mjs";

await runTool("test/fuzz.ts", process.argv.slice(2));
