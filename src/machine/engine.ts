/** "jit" compiles to WebAssembly; "interpreter" steps through the instructions in core.wasm. Results are the same. */
export type Engine = "jit" | "interpreter";

export const ENGINES: readonly Engine[] = ["jit", "interpreter"];
