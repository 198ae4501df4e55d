/** Seccomp filters: run, read, explained, audited, and compiled from container profiles. */
export {
  type ArchName,
  SECCOMP_ARCHES,
  type SeccompArch,
  X32_BIT,
  argumentName,
  seccompArch,
  syscallName,
  syscallNumber,
  syscallsOf,
} from "./arch.ts";
export {
  SECCOMP_ACTIONS,
  SECCOMP_DATA,
  type SeccompAction,
  type SeccompCall,
  actionOf,
  describeAction,
  encodeCall,
} from "./data.ts";
export { type CallQuery, type EmulationResult, emulateSeccomp, seccompEmulator } from "./emulate.ts";
export {
  type ArgumentCondition,
  type Comparison,
  type ProfileTarget,
  type ResolvedProfile,
  type SeccompRule,
  conditionHolds,
  resolveProfile,
  rulesFor,
} from "./profile.ts";
export { type CompileProfileOptions, type CompiledProfile, compileProfile } from "./compile.ts";
export {
  type ExplainedAction,
  type ExplainedArch,
  type ExplainedCall,
  type SeccompExplanation,
  explainSeccomp,
  formatExplanation,
} from "./explain.ts";
export { type AuditFinding, type Severity, auditSeccomp } from "./audit.ts";
export { disassembleSeccomp } from "./disasm.ts";
