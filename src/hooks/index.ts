/** Program types: what they are given, what their results mean. Pure tables and conversions; `machine/` runs them. */
export type { ContextField, ContextLayout, Fate, Hook, ReturnValue } from "./types.ts";
export { HOOKS, hookOf, returnName } from "./table.ts";
export { type ContextValues, contextTemplate, decodeContext } from "./context.ts";
