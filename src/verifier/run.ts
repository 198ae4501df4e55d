/** The walk over all paths of one function (do_check). */
import { checkAlu } from "./alu.ts";
import { checkConditionalJump } from "./branches.ts";
import { checkFunctionCall, returnFromFunction } from "./calls/function.ts";
import { checkHelperCall } from "./calls/helper.ts";
import { checkKfuncCall, mayCallUnderLock } from "./calls/kfunc.ts";
import { CLASSES, type Instruction } from "../isa/index.ts";
import type { Environment, InstructionAux } from "./environment.ts";
import { pushHistory } from "./history.ts";
import { kfuncNameOf } from "./kfuncs.ts";
import { HELPER, PSEUDO_CALL, PSEUDO_KFUNC_CALL } from "./kinds.ts";
import { checkLegacyLoad, checkWideConstant } from "./load.ts";
import { lineBefore } from "./lines.ts";
import { LEVEL2 } from "./log.ts";
import { popPath } from "./paths.ts";
import { printInstruction, printInstructionState, stateScratched, stateText } from "./print.ts";
import { isStateVisited, updateBranchCounts } from "./prune.ts";
import { checkResourceLeak } from "./references.ts";
import { scratchAll, scratchRegister } from "./registers.ts";
import { Cancelled, Rejection, type RejectionErrno } from "./reject.ts";
import { checkReturnCode } from "./return-code.ts";
import { checkAtomic, checkLoad, checkStore, checkStoreOfConstant } from "./transfers.ts";

/** BPF_COMPLEXITY_LIMIT_INSNS. */
export const INSTRUCTION_LIMIT = 1_000_000;

/** Instructions between two questions whether to stop. */
const POLL = 8192;

const SPECULATIVE = " (speculative execution)";

/** What an instruction did to the path. */
const GO_ON = 0;
const PATH_ENDS = 1;
const ENTERED_CALLER = 2;

export function walkPaths(env: Environment): void {
  const { log, instructions } = env;
  const takeBack = (log.level & LEVEL2) === 0;
  const count = instructions.length;
  let printState = false;
  let previous = -1;
  log.muted = !env.pathLog.begin(-1);
  for (;;) {
    env.historyRecord = undefined;
    env.previous = previous;
    if (env.index >= count) {
      throw env.reject("EFAULT", `invalid insn idx ${env.index} insn_cnt ${count}`);
    }
    if (++env.processed > INSTRUCTION_LIMIT) {
      throw env.reject("E2BIG", `BPF program is too large. Processed ${env.processed} insn`);
    }
    if (env.processed % POLL === 0) poll(env);
    const { state } = env;
    state.lastIndex = previous;
    state.index = env.index;
    const aux = env.aux[env.index] as InstructionAux;
    let ends = false;
    if (aux.prunePoint && isStateVisited(env, env.index)) {
      if (log.traces) {
        const how = state.speculative ? SPECULATIVE : "";
        log.write(printState ? `\nfrom ${previous} to ${env.index}${how}: safe\n` : `${env.index}: safe\n`);
      }
      ends = true;
    } else {
      if (aux.jumpPoint) pushHistory(env, 0);
      if ((log.level & LEVEL2) !== 0 && printState) {
        log.write(
          `\nfrom ${previous} to ${env.index}${state.speculative ? SPECULATIVE : ""}:${stateText(env, state, state.frames.length - 1, true)}`,
        );
        printState = false;
      }
      if (log.traces) {
        if (stateScratched(env)) printInstructionState(env);
        printInstruction(env);
      } else if (log.muted) lineBefore(env, env.index, "");
      if (!state.speculative) aux.seen = true;
      env.record?.(env);
      env.tracer?.step(env);
      previous = env.index;
      const instruction = instructions[env.index] as Instruction;
      if (state.speculative && aux.barrierBefore) ends = true;
      else {
        env.liveness.beginInstruction(env.index);
        const outcome = state.speculative
          ? checkSpeculatively(env, instruction, aux)
          : checkInstruction(env, instruction);
        env.liveness.endInstruction();
        if (outcome === PATH_ENDS) ends = true;
        else if (outcome === ENTERED_CALLER) printState = true;
      }
    }
    if (!ends) continue;
    env.tracer?.end(env);
    scratchAll(env);
    updateBranchCounts(env, env.state);
    env.liveness.update();
    const path = popPath(env, takeBack);
    if (path === undefined) {
      log.muted = false;
      return;
    }
    log.muted = !env.pathLog.begin(path.from);
    env.index = path.index;
    previous = path.previous;
    printState = true;
  }
}

/**
 * An instruction on a way that only a processor takes that guesses wrong. What would reject the program ends the way instead: a
 * barrier before the instruction keeps the processor from it. One after it, because of what it stores, ends the way as well.
 */
function checkSpeculatively(env: Environment, instruction: Instruction, aux: InstructionAux): number {
  try {
    const outcome = checkInstruction(env, instruction);
    return aux.barrierAfter ? PATH_ENDS : outcome;
  } catch (error) {
    if (!(error instanceof Rejection) || !RECOVERABLE.has(error.errno)) throw error;
    aux.barrierBefore = true;
    aux.maskState = 0;
    return PATH_ENDS;
  }
}

/** error_recoverable_with_nospec. */
const RECOVERABLE: ReadonlySet<RejectionErrno> = new Set<RejectionErrno>(["EPERM", "EACCES", "EINVAL"]);

function poll(env: Environment): void {
  const { cancelled, progress } = env.options;
  progress?.(env.processed);
  if (cancelled?.() === true) throw new Cancelled();
}

function checkInstruction(env: Environment, instruction: Instruction): number {
  const { opcode } = instruction;
  switch (opcode & 7) {
    case CLASSES.alu:
    case CLASSES.alu64:
      checkAlu(env, instruction);
      break;
    case CLASSES.ldx:
      checkLoad(env, instruction, false, (opcode & 0xe0) === 0x80, true, "ldx");
      break;
    case CLASSES.stx:
      if ((opcode & 0xe0) === 0xc0) checkAtomic(env, instruction);
      else if ((opcode & 0xe0) !== 0x60 || instruction.imm !== 0) {
        throw env.reject("EINVAL", "BPF_STX uses reserved fields");
      } else checkStore(env, instruction, false);
      break;
    case CLASSES.st:
      checkStoreOfConstant(env, instruction);
      break;
    case CLASSES.jmp:
    case CLASSES.jmp32:
      return checkJump(env, instruction);
    default:
      checkLoadClass(env, instruction);
  }
  env.index++;
  return GO_ON;
}

function checkLoadClass(env: Environment, instruction: Instruction): void {
  const mode = instruction.opcode & 0xe0;
  if (mode === 0x20 || mode === 0x40) return checkLegacyLoad(env, instruction);
  if (mode !== 0) throw env.reject("EINVAL", "invalid BPF_LD mode");
  checkWideConstant(env, instruction);
  env.index++;
}

function checkJump(env: Environment, instruction: Instruction): number {
  const { opcode, dst, src, offset, imm } = instruction;
  const is32 = (opcode & 7) === CLASSES.jmp32;
  const operation = opcode & 0xf0;
  const fromRegister = (opcode & 8) !== 0;
  env.jumpsProcessed++;
  if (operation === 0x80) {
    if (
      fromRegister ||
      (src !== PSEUDO_KFUNC_CALL && offset !== 0) ||
      src > PSEUDO_KFUNC_CALL ||
      dst !== 0 ||
      is32
    ) {
      throw env.reject("EINVAL", "BPF_CALL uses reserved fields");
    }
    if (env.state.activeLocks > 0 && !isCallableUnderLock(env, instruction)) {
      throw env.reject("EINVAL", "function calls are not allowed while holding a lock");
    }
    if (src === PSEUDO_CALL) checkFunctionCall(env, instruction);
    else if (src === PSEUDO_KFUNC_CALL) {
      checkKfuncCall(env, instruction);
      if (kfuncNameOf(env, instruction) === "bpf_throw") {
        // An exception ends the program in whichever function it is.
        checkResourceLeak(env, true, true, "bpf_throw");
        return PATH_ENDS;
      }
    } else checkHelperCall(env, instruction);
    scratchRegister(env, 0);
  } else if (operation === 0x00) {
    if (fromRegister || src !== 0 || dst !== 0 || (is32 ? offset !== 0 : imm !== 0)) {
      throw env.reject("EINVAL", "BPF_JA uses reserved fields");
    }
    env.index += (is32 ? imm : offset) + 1;
    return GO_ON;
  } else if (operation === 0x90) {
    if (fromRegister || imm !== 0 || src !== 0 || dst !== 0 || is32) {
      throw env.reject("EINVAL", "BPF_EXIT uses reserved fields");
    }
    return checkExit(env);
  } else checkConditionalJump(env, instruction);
  env.index++;
  return GO_ON;
}

function isCallableUnderLock(env: Environment, instruction: Instruction): boolean {
  const { src, imm } = instruction;
  if (src === 0) return imm === HELPER.spin_unlock;
  return src !== PSEUDO_KFUNC_CALL || mayCallUnderLock(kfuncNameOf(env, instruction));
}

function checkExit(env: Environment): number {
  const nested = env.state.frames.length > 1;
  checkResourceLeak(env, false, !nested, "BPF_EXIT instruction in main prog");
  if (nested) {
    env.liveness.update();
    returnFromFunction(env);
    return ENTERED_CALLER;
  }
  checkReturnCode(env, 0, "R0");
  return PATH_ENDS;
}
