/** The verifier: proves that a program is safe, as Linux 6.18 does. */
export type { Capability, VerifierMap, VerifierOptions, VerifierProgram } from "./input.ts";
export type { FrameView, InstructionView, RegisterView } from "./recording.ts";
export type {
  FrameSnapshot,
  PathEnd,
  RegisterSnapshot,
  SlotSnapshot,
  StateSnapshot,
  TraceOptions,
  WalkTrace,
} from "./trace.ts";
export type { ScalarParts } from "./scalar/index.ts";
export type { VerifierAbility } from "./abilities.ts";
export { type VerifierResult, type VerifierStatistics, verify } from "./verify.ts";
export { type ProgramTraits, verifierProgram } from "./from-object.ts";
export {
  type ProgramVerdict,
  type VerifyObjectOptions,
  objectProgram,
  rejectionOf,
  verifyLinked,
  verifyObject,
} from "./object.ts";
export { type DisassemblyInput, instructionText } from "./disassemble.ts";
export { missingForHelper } from "./capabilities.ts";
export { reasonOf } from "./reason.ts";
