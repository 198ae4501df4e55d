import type { Engine } from "../machine/index.ts";
import { type Option, type Values, choice } from "./command.ts";

export const ENGINE_OPTION: Option = {
  type: "string",
  value: "jit|interp",
  help: "compile to WebAssembly (default) or interpret",
};

/** The engine that `--engine` names; the JIT without it. */
export function engineOf(values: Values): Engine {
  return choice(values, "engine", ["jit", "interp", "interpreter"])?.startsWith("interp") === true
    ? "interpreter"
    : "jit";
}
