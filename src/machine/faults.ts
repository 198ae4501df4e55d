/** Turns whatever stopped a run into one error that names the program and, where it is known, the instruction. */
import { BpfError, type ErrorLocation } from "../errors.ts";
import {
  EXEC_ACCESS_ADDRESS,
  EXEC_ACCESS_FRAME,
  EXEC_ACCESS_RIGHT,
  EXEC_ACCESS_SIZE,
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_PC,
  FAULT_ACCESS,
  FAULT_ARGUMENT,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_FUEL,
  FAULT_INSTRUCTION,
  FAULT_MEMORY,
  FAULT_NONE,
  FIRST_ADDRESS,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../core/layout.ts";
import { Refusal } from "./handles.ts";
import type { LinearMemory } from "./memory.ts";
import type { Window } from "./regions.ts";

const FAULTS: Readonly<Record<number, string>> = {
  [FAULT_FUEL]: "stopped: it used up its fuel (an endless loop?)",
  [FAULT_CALL_DEPTH]: "more than 8 nested calls",
  [FAULT_MEMORY]: "the packet does not lie between the start of the first packet and the end of the last",
  [FAULT_INSTRUCTION]: "an instruction that does not exist",
  [FAULT_CALL_TARGET]: "an indirect call of what is no function",
};

/** Finds the instruction slot behind an address in program code. */
export type SlotFinder = (address: number) => { slot: number; source?: string } | undefined;

/** Finds what a program could have touched near an address. */
export type WindowFinder = (frame: number, address: number, size: number) => Window | undefined;

export interface FaultInput {
  readonly program: string;
  readonly memory: LinearMemory;
  readonly exec: number;
  /** What the core or compiled code threw; undefined if the interpreter stopped by itself. */
  readonly cause: unknown;
  readonly nearest: WindowFinder;
}

export function describeFault(
  { program, memory, exec, cause, nearest }: FaultInput,
  findSlot: SlotFinder,
): BpfError {
  const code = memory.u32(exec + EXEC_FAULT);
  // What a helper throws is no fault of the core's: both engines note where they call one.
  const said = cause instanceof BpfError || cause instanceof Refusal;
  const from = code === FAULT_NONE && said ? EXEC_PC : EXEC_FAULT_ADDRESS;
  const place = findSlot(memory.u32(exec + from));
  const where: ErrorLocation = {
    program,
    ...(place === undefined ? {} : { instruction: place.slot }),
    ...(place?.source === undefined ? {} : { source: place.source }),
  };
  if (cause instanceof BpfError) return cause.at(where);
  const source = place?.source === undefined ? "" : ` (${place.source})`;
  const at = place === undefined ? "" : `instruction ${place.slot}${source}: `;
  const known = code === FAULT_NONE ? undefined : describeCode(code, memory, exec, nearest);
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

function describeCode(code: number, memory: LinearMemory, exec: number, nearest: WindowFinder): string {
  if (code !== FAULT_ACCESS && code !== FAULT_ARGUMENT) return FAULTS[code] ?? `fault ${code}`;
  const address = memory.u32(exec + EXEC_ACCESS_ADDRESS);
  const right = memory.u32(exec + EXEC_ACCESS_RIGHT);
  const register = right >> 8;
  const argument = register === 0 ? "" : `argument r${register}: `;
  if (code === FAULT_ARGUMENT && register === 0)
    return (
      "this function can't be called from the sandbox by programs of this type; a machine that is given the kernel's " +
      "types (btf) has the program verified instead"
    );
  if (code === FAULT_ARGUMENT) {
    return `${argument}0x${address.toString(16)} is not what is wanted here (a map, context or object that the program holds)`;
  }
  const size = memory.u32(exec + EXEC_ACCESS_SIZE);
  const verb = RIGHT_VERBS[right & 0xff] ?? "access of";
  const window = nearest(memory.u32(exec + EXEC_ACCESS_FRAME), address, size);
  return `${argument}${verb} ${bytes(size)} at 0x${address.toString(16)}${whereabouts(address, size, right & 0xff, window)}`;
}

const RIGHT_VERBS: Readonly<Record<number, string>> = {
  [RIGHT_READ]: "read of",
  [RIGHT_WRITE]: "write of",
  [RIGHT_READ | RIGHT_WRITE]: "atomic operation on",
};

const bytes = (count: number): string => (count === 1 ? "1 byte" : `${count} bytes`);

/** Where an access lies, seen from a window beside it. */
function whereabouts(address: number, size: number, right: number, window: Window | undefined): string {
  if (address < FIRST_ADDRESS) return ": a NULL pointer";
  if (window === undefined) return "";
  const name = `${window.label} (${bytes(window.size)})`;
  const end = window.start + window.size;
  if (address >= window.start && address + size <= end) {
    return (window.rights & right) === right ? `, in ${name}` : `, in ${name}, which is not for that`;
  }
  if (address + size <= window.start) return `: ${bytes(window.start - address)} before the start of ${name}`;
  if (address >= end) {
    return address === end ? `: at the end of ${name}` : `: ${bytes(address - end)} past the end of ${name}`;
  }
  return address < window.start ? `: across the start of ${name}` : `: across the end of ${name}`;
}
