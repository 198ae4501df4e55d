/** Running a filter for a call that nobody makes. */
import { BpfError } from "../errors.ts";
import { type CbpfProgram, CbpfDebugger, checkCbpf } from "../cbpf/index.ts";
import { seccompArch, syscallName, syscallNumber } from "./arch.ts";
import { type SeccompAction, actionOf, describeAction, encodeCall } from "./data.ts";

/** A call by name or number. */
export interface CallQuery {
  /** Any of the architecture's names; default "x86_64". */
  readonly arch?: string | undefined;
  readonly syscall: string | number;
  readonly args?: readonly (number | bigint)[] | undefined;
  readonly instructionPointer?: number | bigint | undefined;
}

export interface EmulationResult {
  /** The filter's value: action and data. */
  readonly value: number;
  readonly action: SeccompAction;
  /** "ERRNO(EPERM)", "ALLOW", ... */
  readonly text: string;
  readonly number: number;
  readonly name: string | undefined;
  /** How many instructions ran. */
  readonly steps: number;
  /** Which ones, in order. */
  readonly path: readonly number[];
}

/**
 * What a filter answers to a call.
 *
 * @throws BpfError code "program" if Linux would not take the filter, "usage" for a call that the architecture doesn't have
 * @example
 * emulateSeccomp(cbpf, { arch: "x86_64", syscall: "socket", args: [40, 1, 0] }).text; // "ERRNO(EPERM)"
 */
export function emulateSeccomp(program: CbpfProgram, query: CallQuery): EmulationResult {
  return seccompEmulator(program)(query);
}

/**
 * The same for many calls: the filter is checked once.
 *
 * @throws BpfError code "program" if Linux would not take the filter
 */
export function seccompEmulator(program: CbpfProgram): (query: CallQuery) => EmulationResult {
  checkCbpf(program, { variant: "seccomp" });
  return (query) => emulate(program, query);
}

function emulate(program: CbpfProgram, query: CallQuery): EmulationResult {
  const arch = seccompArch(query.arch ?? "x86_64");
  const { syscall } = query;
  const number = typeof syscall === "number" ? syscall : syscallNumber(arch.name, syscall);
  if (number === undefined || !Number.isInteger(number)) {
    throw new BpfError("usage", `system call "${syscall}" does not exist on ${arch.name}`);
  }
  const data = encodeCall({ arch, number, args: query.args, instructionPointer: query.instructionPointer });
  const debug = new CbpfDebugger(program, [data]);
  const path: number[] = [];
  let snapshot = debug.snapshot();
  while (snapshot.pc !== undefined) {
    path.push(snapshot.pc);
    snapshot = debug.step();
  }
  const value = snapshot.value as number;
  return {
    value,
    action: actionOf(value),
    text: describeAction(value),
    number,
    name: syscallName(arch.name, number),
    steps: path.length,
    path,
  };
}
