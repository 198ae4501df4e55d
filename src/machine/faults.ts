/** Turns whatever stopped a run into one error that names the program and, where it is known, the instruction. */
import { BpfError, type ErrorLocation } from "../errors.ts";
import {
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_PC,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_FUEL,
  FAULT_INSTRUCTION,
  FAULT_NONE,
} from "../core/layout.ts";
import type { LinearMemory } from "./memory.ts";

const FAULTS: Readonly<Record<number, string>> = {
  [FAULT_FUEL]: "stopped: it used up its fuel (an endless loop?)",
  [FAULT_CALL_DEPTH]: "more than 8 nested calls",
  [FAULT_INSTRUCTION]: "an instruction that does not exist",
  [FAULT_CALL_TARGET]: "an indirect call of what is no function",
};

/** Finds the instruction slot behind an address in program code. */
export type SlotFinder = (address: number) => { slot: number; source?: string } | undefined;

/** `cause` is what the core or compiled code threw; undefined if the interpreter stopped by itself. */
export function describeFault(
  program: string,
  memory: LinearMemory,
  exec: number,
  cause: unknown,
  findSlot: SlotFinder,
): BpfError {
  const code = memory.u32(exec + EXEC_FAULT);
  // What a helper throws is no fault of the core's: both engines note where they call one.
  const from = code === FAULT_NONE && cause instanceof BpfError ? EXEC_PC : EXEC_FAULT_ADDRESS;
  const place = findSlot(memory.u32(exec + from));
  const where: ErrorLocation = {
    program,
    ...(place === undefined ? {} : { instruction: place.slot }),
    ...(place?.source === undefined ? {} : { source: place.source }),
  };
  if (cause instanceof BpfError) return cause.at(where);
  const source = place?.source === undefined ? "" : ` (${place.source})`;
  const at = place === undefined ? "" : `instruction ${place.slot}${source}: `;
  const known = code === FAULT_NONE ? undefined : (FAULTS[code] ?? `fault ${code}`);
  const text =
    known ??
    (cause instanceof WebAssembly.RuntimeError && /out of bounds/.test(cause.message)
      ? "an access outside the machine's memory"
      : cause instanceof Error
        ? cause.message
        : String(cause));
  return new BpfError(code === FAULT_FUEL ? "fuel" : "fault", `program '${program}': ${at}${text}`, {
    where,
    cause,
  });
}
