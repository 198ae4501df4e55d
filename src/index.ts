/**
 * skep: BPF for JavaScript. This entry holds what most users need; each part has an entry of its own (`skep/isa`,
 * `skep/asm`, `skep/object`, ...).
 */
export { BpfError, ERROR_CODES, type BpfErrorOptions, type ErrorCode, type ErrorLocation } from "./errors.ts";
export {
  type ObjectSpec,
  type ProgramSpec,
  type MapSpec,
  type VariableSpec,
  parseObject,
} from "./object/index.ts";
export {
  BpfMap,
  type Clock,
  type Engine,
  Machine,
  type MachineOptions,
  Program,
  type RunInput,
  type RunResult,
  VirtualClock,
} from "./machine/index.ts";
export { VERSION } from "./version.ts";
