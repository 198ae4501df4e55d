/** `verify`: the whole of it. */
import { milliseconds } from "../elapsed.ts";
import { checkMayLoad } from "./capabilities.ts";
import { checkCfg, computePostorder, computeSuccessors } from "./cfg.ts";
import { computeComponents } from "./components.ts";
import { resolveConstants } from "./constants.ts";
import type { VerifierAbility } from "./abilities.ts";
import { checkRemovedFunctions } from "./dead-code.ts";
import { Environment } from "./environment.ts";
import { markFastcallPatterns, removeFastcallSpills } from "./fastcall.ts";
import { type Extended, type FunctionFacts, checkExtension, factsOf } from "./extension.ts";
import { checkAllFunctions } from "./functions.ts";
import { checkCallsAgain } from "./kfuncs.ts";
import { checkHook } from "./kernel-types/lsm.ts";
import { checkMethod } from "./kernel-types/target.ts";
import { computeLiveRegisters } from "./live-registers.ts";
import { LEVEL1, LEVEL2, LEVEL_STATS } from "./log.ts";
import { PathLog } from "./path-log.ts";
import { checkProgramInfo } from "./program-info.ts";
import { PTR_TO_CTX } from "./register-types.ts";
import { INSTRUCTION_LIMIT } from "./run.ts";
import { checkStackDepth } from "./stack-depth.ts";
import { addSubprograms, checkSubprograms } from "./subprograms.ts";
import type { VerifierOptions, VerifierProgram } from "./input.ts";
import { type InstructionView, Recording } from "./recording.ts";
import { Cancelled, Rejection, type RejectionErrno } from "./reject.ts";
import { setPreciseFromTheStart } from "./registers.ts";
import { resetScalars } from "./scalar/index.ts";
import { Tracer, type WalkTrace } from "./trace.ts";

/** How much work it was; what the last lines of the kernel's log say. */
export interface VerifierStatistics {
  readonly processedInstructions: number;
  readonly maxStatesPerInstruction: number;
  readonly totalStates: number;
  readonly peakStates: number;
  /** Bytes of each function, by its place: main first. */
  readonly stackDepths: readonly number[];
  readonly milliseconds: number;
}

/** What came out. */
export interface VerifierResult {
  readonly accepted: boolean;
  /** What bpf(2) would answer for a rejected program. */
  readonly errno: RejectionErrno | undefined;
  readonly log: string;
  /** The complaint, whatever the log level; "" if it consists of other lines of the log. */
  readonly complaint: string;
  /** Slot of the instruction at which the program was rejected; undefined if it was accepted, or rejected as a whole. */
  readonly rejectedAt: number | undefined;
  readonly statistics: VerifierStatistics;
  /** Stopped by the caller's wish: nothing is known. */
  readonly cancelled: boolean;
  /**
   * What was known before each instruction, by slot; empty unless {@link VerifierOptions.recordStates} asked for it, and if there is too
   * much to keep. Every run of an accepted program is in one of the visits whenever it comes to an instruction.
   */
  readonly states: ReadonlyMap<number, InstructionView>;
  /** Abilities that older kernels lack, and that the walk used. */
  readonly abilities: ReadonlySet<VerifierAbility>;
  /** Which way the walk took; undefined unless {@link VerifierOptions.trace} asked for it. */
  readonly trace: WalkTrace | undefined;
  /** Slots of the loads and stores of the context: the kernel makes others of them, since what it keeps is not laid out so. */
  readonly contextAccesses: readonly number[];
}

/**
 * Judges a program as Linux 6.18 does. Pure: the same input gives the same result but for the time. A program that is
 * rejected is no error here: `accepted` is false, and the log says why.
 *
 * @example
 * const { accepted, log } = verify({ name: "p", type: "xdp", instructions, maps: new Map(), license: "GPL" });
 */
export function verify(program: VerifierProgram, options: VerifierOptions = {}): VerifierResult {
  if (options.recordStates === true) return verifyAndRecord(program, options);
  const { logLevel = LEVEL1 } = options;
  if ((logLevel & LEVEL1) === 0 || (logLevel & LEVEL2) !== 0) return judge(program, options, new PathLog());
  const paths = new PathLog(new Set());
  const silent = judge(program, options, paths);
  if (silent.rejectedAt === undefined) return silent;
  // Once more, for the text alone.
  const { progress: _, trace: __, ...rest } = options;
  const told = judge(program, rest, new PathLog(paths.lineage()));
  return {
    ...silent,
    log: told.log,
    cancelled: told.cancelled,
    statistics: {
      ...silent.statistics,
      milliseconds: silent.statistics.milliseconds + told.statistics.milliseconds,
    },
  };
}

/** The states come from a walk of their own, which takes no number for another because it does not matter. */
function verifyAndRecord(program: VerifierProgram, options: VerifierOptions): VerifierResult {
  const result = verify(program, { ...options, recordStates: false });
  if (result.cancelled) return result;
  const { progress: _, trace: __, ...rest } = options;
  const { errno, cancelled, states } = judge(program, { ...rest, logLevel: 0 }, new PathLog());
  return errno === result.errno ? { ...result, cancelled, states } : result;
}

/** One walk. */
function judge(program: VerifierProgram, options: VerifierOptions, pathLog: PathLog): VerifierResult {
  return walk(program, options, pathLog).result;
}

const facts = new WeakMap<VerifierProgram, readonly FunctionFacts[] | "rejected">();

/** What is known of the functions of a program that is to be extended. It is walked once. */
function extendedBy({ extends: target }: VerifierProgram, options: VerifierOptions): Extended | undefined {
  if (target === undefined) return undefined;
  let found = facts.get(target);
  if (found === undefined) {
    const { cpus, sound, cancelled } = options;
    const { env, result } = walk(
      target,
      {
        logLevel: 0,
        ...(cpus === undefined ? {} : { cpus }),
        ...(sound === undefined ? {} : { sound }),
        ...(cancelled === undefined ? {} : { cancelled }),
      },
      new PathLog(),
    );
    found = result.accepted ? factsOf(env) : "rejected";
    if (!result.cancelled) facts.set(target, found);
  }
  const { type, attachType, btf } = target;
  return { type, attachType, btf, facts: found === "rejected" ? undefined : found };
}

function walk(
  given: VerifierProgram,
  options: VerifierOptions,
  pathLog: PathLog,
): { readonly env: Environment; readonly result: VerifierResult } {
  const begin = milliseconds();
  const extended = given.type === "ext" ? extendedBy(given, options) : undefined;
  const program =
    extended === undefined ? given : { ...given, type: extended.type, attachType: extended.attachType };
  resetScalars();
  const env = new Environment(program, options, isGplCompatible(program.license), pathLog);
  setPreciseFromTheStart(!env.hasBpf);
  const recording = options.recordStates === true ? new Recording() : undefined;
  if (recording !== undefined) {
    env.record = (at) => recording.add(at);
    env.keepsRanges = true;
  }
  const tracer = options.trace === undefined ? undefined : new Tracer(options.trace);
  env.tracer = tracer;
  let walking = false;
  let errno: RejectionErrno | undefined;
  let complaint = "";
  let cancelled = false;
  let rejectedAt: number | undefined;
  try {
    checkMayLoad(env);
    if (program.instructions.length === 0) throw env.reject("EINVAL");
    addSubprograms(env);
    checkSubprograms(env);
    checkProgramInfo(env);
    resolveConstants(env);
    checkCfg(env);
    computeSuccessors(env);
    computePostorder(env);
    checkAttachment(env, extended);
    computeComponents(env);
    computeLiveRegisters(env);
    markFastcallPatterns(env);
    walking = true;
    checkAllFunctions(env);
    walking = false;
    removeFastcallSpills(env);
    checkStackDepth(env);
    checkCallsAgain(env);
    checkRemovedFunctions(env);
  } catch (error) {
    if (error instanceof Rejection) {
      errno = error.errno;
      complaint = error.message;
      if (walking && env.processed > 0) rejectedAt = env.index;
    } else if (error instanceof Cancelled) cancelled = true;
    else throw error;
  }
  env.log.muted = false;
  const elapsed = milliseconds() - begin;
  writeStatistics(env, elapsed);
  const result: VerifierResult = {
    accepted: errno === undefined && !cancelled,
    errno,
    log: env.log.text(),
    complaint,
    rejectedAt,
    statistics: {
      processedInstructions: env.processed,
      maxStatesPerInstruction: env.maxStatesPerInstruction,
      totalStates: env.totalStates,
      peakStates: env.peakStates,
      stackDepths: env.subprograms.slice(0, env.subprogramCount).map(({ stackDepth }) => stackDepth),
      milliseconds: elapsed,
    },
    cancelled,
    abilities: env.abilities,
    states: recording?.result() ?? new Map(),
    trace: tracer?.result(walking, env.index),
    contextAccesses: contextAccesses(env),
  };
  return { env, result };
}

function contextAccesses({ aux }: Environment): number[] {
  const slots: number[] = [];
  aux.forEach(({ pointerType }, slot) => {
    if (pointerType === PTR_TO_CTX) slots.push(slot);
  });
  return slots;
}

/** license_is_gpl_compatible of include/linux/license.h. */
function isGplCompatible(license: string): boolean {
  return GPL_COMPATIBLE.has(license);
}

const GPL_COMPATIBLE: ReadonlySet<string> = new Set([
  "GPL",
  "GPL v2",
  "GPL and additional rights",
  "Dual BSD/GPL",
  "Dual MIT/GPL",
  "Dual MPL/GPL",
]);

/** Types that may sleep (can_be_sleepable); tracing only where it attaches to functions or iterates. */
function checkAttachment(env: Environment, extended: Extended | undefined): void {
  const { sleepable = false, type, attachType } = env.program;
  if (extended !== undefined) {
    if (sleepable) throw env.reject("EINVAL", NOT_SLEEPABLE);
    checkExtension(env, extended);
    return;
  }
  if (type === "ext") throw env.unsupported("extensions without the program that they extend");
  if (type === "struct_ops") checkMethod(env);
  if (type === "syscall") {
    if (!sleepable) throw env.reject("EINVAL", "Syscall programs can only be sleepable");
    return;
  }
  const mayTrace =
    attachType === "trace_fentry" ||
    attachType === "trace_fexit" ||
    attachType === "modify_return" ||
    attachType === "trace_iter";
  const may = type === "tracing" ? mayTrace : type === "lsm" || type === "kprobe" || type === "struct_ops";
  if (sleepable && !may) throw env.reject("EINVAL", NOT_SLEEPABLE);
  if (type === "lsm") checkHook(env);
}

const NOT_SLEEPABLE =
  "Only fentry/fexit/fmod_ret, lsm, iter, uprobe, and struct_ops programs can be sleepable";

/** The last lines of the log (print_verification_stats). */
function writeStatistics(env: Environment, milliseconds: number): void {
  if ((env.log.level & LEVEL_STATS) !== 0) {
    const depths = env.subprograms.slice(0, env.subprogramCount).map(({ stackDepth }) => stackDepth);
    env.verbose(
      `verification time ${Math.round(milliseconds * 1000)} usec\nstack depth ${depths.join("+")}\n`,
    );
  }
  env.verbose(
    `processed ${env.processed} insns (limit ${INSTRUCTION_LIMIT}) max_states_per_insn ${env.maxStatesPerInstruction} ` +
      `total_states ${env.totalStates} peak_states ${env.peakStates} mark_read 0\n`,
  );
}
