/** The pcap-filter(7) language: parser, compiler, explanations. */
export { compileFilter, type CompiledFilter, type FilterOptions } from "./compile.ts";
export type { FilterCompat } from "./context.ts";
export { type Decision, type Explanation, type Reason, explainFilter, whyFilter } from "./explain.ts";
export { LINK_TYPES, type LinkRow, linkRow } from "./linktypes.ts";
export { parseFilter } from "./parser.ts";
export { caretExcerpt, type FilterWarning } from "./problem.ts";
export { type FilterResolver, type HostFiles, parseHosts } from "./resolver.ts";
export type * from "./syntax.ts";
