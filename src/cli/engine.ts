import type { Engine, MachineOptions, Unverified } from "../machine/index.ts";
import { type Options, type Values, choice, integer } from "./command.ts";

/** How programs are run: the options that commands share. */
export const ENGINE_OPTIONS: Options = {
  engine: { type: "string", value: "jit|interp", help: "compile to WebAssembly (default) or interpret" },
  fuel: {
    type: "string",
    value: "N",
    help: "stop a run after N instructions (interp) or loop rounds and calls (jit)",
  },
  unverified: {
    type: "string",
    value: "sandbox|trusted",
    help: "do not verify; check every access while it runs, or nothing",
  },
};

export function machineOptions(values: Values): Pick<MachineOptions, "engine" | "fuel" | "unverified"> {
  const fuel = integer(values, "fuel", 1, Number.MAX_SAFE_INTEGER);
  const unverified = choice(values, "unverified", ["sandbox", "trusted"]) as Unverified | undefined;
  return {
    engine: engineOf(values),
    ...(fuel === undefined ? {} : { fuel }),
    ...(unverified === undefined ? {} : { unverified }),
  };
}

/** The engine that `--engine` names; the JIT without it. */
function engineOf(values: Values): Engine {
  return choice(values, "engine", ["jit", "interp", "interpreter"])?.startsWith("interp") === true
    ? "interpreter"
    : "jit";
}
