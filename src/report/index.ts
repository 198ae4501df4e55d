/** What the verifier saw, as one page for a browser. */
export { type ProgramReport, reportOf } from "./data.ts";
export { type ControlFlow, controlFlow } from "./graph.ts";
export { type Layout, layout } from "./layout.ts";
export { reportPage } from "./page.ts";
