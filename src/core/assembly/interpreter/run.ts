/**
 * The interpreter: decodes in place, one instruction a round, registers in the execution state. Everything that it
 * knows lies there too, so a run can stop between any two instructions and go on later.
 *
 * Branch targets, registers and `lddw` pairs are not checked here: the loader has done so. A load or store outside
 * the memory, or outside the regions of a sandboxed program, traps; EXEC_PC then names its instruction.
 */
import {
  EXEC_COUNT,
  EXEC_DEPTH,
  EXEC_MAY_GOTO,
  EXEC_PC,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_INSTRUCTION,
  FIRST_ADDRESS,
  RIGHT_READ,
  RIGHT_WRITE,
  STATUS_DONE,
  STATUS_FAULT,
  STATUS_PAUSED,
} from "../../layout";
import { checkAtomic } from "../sandbox/access";
import { check_call, check_packet_context } from "../sandbox/arguments";
import { isSandboxed, setExec } from "../state";
import {
  divS32,
  divS64,
  divU32,
  divU64,
  modS32,
  modS64,
  modU32,
  modU64,
  swapBytes,
  truncate,
} from "./arithmetic";
import { atomic16, atomic32, atomic64, atomic8 } from "./atomics";
import { callChecked, callKfunc, isReplaced, runsCoreHelpers } from "./calls";
import { STATUS_OTHER_SAFETY, pause, stop } from "./endings";
import { enter, forgetArguments, functionAt, leave } from "./frames";
import { move32, move64 } from "./moves";
import * as op from "./opcodes";
import { SANDBOXED, at, imm32, imm64, jump, offset, set32, src } from "./operands";
import { ld_abs } from "./packet";
import { PROBEB, PROBEDW, PROBEH, PROBESB, PROBESH, PROBESW, PROBEW, probe } from "./probes";
import { isTransfer, transfer } from "./transfers";

const R6 = 48;
const R10 = 80;
const CALL_KIND_LOCAL = 1;
const CALL_KIND_KFUNC = 2;

/** Exported so that they stay functions of their own. */
export function interpret_slice(state: u32, budget: u64): i32 {
  return slice<u64>(state, budget);
}

export function sandbox_slice(state: u32, budget: u64): i32 {
  return slice<u8>(state, budget);
}

/**
 * The loop exists twice, with checks for sandboxed programs and without: S is a type whose size says which. It ends with
 * STATUS_OTHER_SAFETY when a tail call, or coming back from one, leads to a program of the other kind.
 */
function slice<S>(state: u32, budget: u64): i32 {
  setExec(state);
  let pc = load<u32>(state, EXEC_PC);
  // 0: the program has ended.
  if (pc == 0) return STATUS_DONE;
  const total = load<u64>(state, EXEC_COUNT) + budget;
  for (let left = budget; left != 0; left--) {
    // For traps and helpers that throw. Costs nothing that we could measure (2.8 ns an instruction with and without).
    store<u32>(state, pc, EXEC_PC);
    const word = load<i32>(pc);
    const dst = state + ((word >> 5) & 0x78);
    switch (word & 0xff) {
      case op.ADD64_IMM:
        store<u64>(dst, load<u64>(dst) + imm64(pc));
        break;
      case op.ADD64_REG:
        store<u64>(dst, load<u64>(dst) + load<u64>(src(state, word)));
        break;
      case op.ADD32_IMM:
        set32(dst, load<u32>(dst) + imm32(pc));
        break;
      case op.ADD32_REG:
        set32(dst, load<u32>(dst) + load<u32>(src(state, word)));
        break;
      case op.SUB64_IMM:
        store<u64>(dst, load<u64>(dst) - imm64(pc));
        break;
      case op.SUB64_REG:
        store<u64>(dst, load<u64>(dst) - load<u64>(src(state, word)));
        break;
      case op.SUB32_IMM:
        set32(dst, load<u32>(dst) - imm32(pc));
        break;
      case op.SUB32_REG:
        set32(dst, load<u32>(dst) - load<u32>(src(state, word)));
        break;
      case op.MUL64_IMM:
        store<u64>(dst, load<u64>(dst) * imm64(pc));
        break;
      case op.MUL64_REG:
        store<u64>(dst, load<u64>(dst) * load<u64>(src(state, word)));
        break;
      case op.MUL32_IMM:
        set32(dst, load<u32>(dst) * imm32(pc));
        break;
      case op.MUL32_REG:
        set32(dst, load<u32>(dst) * load<u32>(src(state, word)));
        break;
      case op.OR64_IMM:
        store<u64>(dst, load<u64>(dst) | imm64(pc));
        break;
      case op.OR64_REG:
        store<u64>(dst, load<u64>(dst) | load<u64>(src(state, word)));
        break;
      case op.OR32_IMM:
        set32(dst, load<u32>(dst) | imm32(pc));
        break;
      case op.OR32_REG:
        set32(dst, load<u32>(dst) | load<u32>(src(state, word)));
        break;
      case op.AND64_IMM:
        store<u64>(dst, load<u64>(dst) & imm64(pc));
        break;
      case op.AND64_REG:
        store<u64>(dst, load<u64>(dst) & load<u64>(src(state, word)));
        break;
      case op.AND32_IMM:
        set32(dst, load<u32>(dst) & imm32(pc));
        break;
      case op.AND32_REG:
        set32(dst, load<u32>(dst) & load<u32>(src(state, word)));
        break;
      case op.XOR64_IMM:
        store<u64>(dst, load<u64>(dst) ^ imm64(pc));
        break;
      case op.XOR64_REG:
        store<u64>(dst, load<u64>(dst) ^ load<u64>(src(state, word)));
        break;
      case op.XOR32_IMM:
        set32(dst, load<u32>(dst) ^ imm32(pc));
        break;
      case op.XOR32_REG:
        set32(dst, load<u32>(dst) ^ load<u32>(src(state, word)));
        break;
      case op.DIV64_IMM:
        if (offset(word) == 0) store<u64>(dst, divU64(load<u64>(dst), imm64(pc)));
        else store<u64>(dst, divS64(load<i64>(dst), imm64(pc)));
        break;
      case op.DIV64_REG:
        if (offset(word) == 0) store<u64>(dst, divU64(load<u64>(dst), load<u64>(src(state, word))));
        else store<u64>(dst, divS64(load<i64>(dst), load<u64>(src(state, word))));
        break;
      case op.DIV32_IMM:
        if (offset(word) == 0) set32(dst, divU32(load<u32>(dst), imm32(pc)));
        else set32(dst, divS32(load<i32>(dst), imm32(pc)));
        break;
      case op.DIV32_REG:
        if (offset(word) == 0) set32(dst, divU32(load<u32>(dst), load<u32>(src(state, word))));
        else set32(dst, divS32(load<i32>(dst), load<u32>(src(state, word))));
        break;
      case op.MOD64_IMM:
        if (offset(word) == 0) store<u64>(dst, modU64(load<u64>(dst), imm64(pc)));
        else store<u64>(dst, modS64(load<i64>(dst), imm64(pc)));
        break;
      case op.MOD64_REG:
        if (offset(word) == 0) store<u64>(dst, modU64(load<u64>(dst), load<u64>(src(state, word))));
        else store<u64>(dst, modS64(load<i64>(dst), load<u64>(src(state, word))));
        break;
      case op.MOD32_IMM:
        if (offset(word) == 0) set32(dst, modU32(load<u32>(dst), imm32(pc)));
        else set32(dst, modS32(load<i32>(dst), imm32(pc)));
        break;
      case op.MOD32_REG:
        if (offset(word) == 0) set32(dst, modU32(load<u32>(dst), load<u32>(src(state, word))));
        else set32(dst, modS32(load<i32>(dst), load<u32>(src(state, word))));
        break;
      case op.LSH64_IMM:
        store<u64>(dst, load<u64>(dst) << imm64(pc));
        break;
      case op.LSH64_REG:
        store<u64>(dst, load<u64>(dst) << load<u64>(src(state, word)));
        break;
      case op.LSH32_IMM:
        set32(dst, load<u32>(dst) << imm32(pc));
        break;
      case op.LSH32_REG:
        set32(dst, load<u32>(dst) << load<u32>(src(state, word)));
        break;
      case op.RSH64_IMM:
        store<u64>(dst, load<u64>(dst) >> imm64(pc));
        break;
      case op.RSH64_REG:
        store<u64>(dst, load<u64>(dst) >> load<u64>(src(state, word)));
        break;
      case op.RSH32_IMM:
        set32(dst, load<u32>(dst) >> imm32(pc));
        break;
      case op.RSH32_REG:
        set32(dst, load<u32>(dst) >> load<u32>(src(state, word)));
        break;
      case op.ARSH64_IMM:
        store<i64>(dst, load<i64>(dst) >> imm64(pc));
        break;
      case op.ARSH64_REG:
        store<i64>(dst, load<i64>(dst) >> load<i64>(src(state, word)));
        break;
      case op.ARSH32_IMM:
        set32(dst, load<i32>(dst) >> imm32(pc));
        break;
      case op.ARSH32_REG:
        set32(dst, load<i32>(dst) >> load<i32>(src(state, word)));
        break;
      case op.NEG64:
        store<u64>(dst, 0 - load<u64>(dst));
        break;
      case op.NEG32:
        set32(dst, 0 - load<u32>(dst));
        break;
      case op.MOV64_IMM:
        store<u64>(dst, imm64(pc));
        break;
      case op.MOV32_IMM:
        set32(dst, imm32(pc));
        break;
      case op.MOV64_REG:
        if (word >> 16 == 0) store<u64>(dst, load<u64>(src(state, word)));
        else if (!move64(offset(word), dst, src(state, word)))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.MOV32_REG:
        if (word >> 16 == 0) set32(dst, load<u32>(src(state, word)));
        else if (!move32(offset(word), dst, src(state, word)))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.LE16:
        store<u64>(dst, truncate(load<u64>(dst), imm32(pc)));
        break;
      case op.BE16:
      case op.SWAP16:
        store<u64>(dst, swapBytes(load<u64>(dst), imm32(pc)));
        break;
      case PROBEW:
      case PROBEH:
      case PROBEB:
      case PROBEDW:
      case PROBESW:
      case PROBESH:
      case PROBESB:
        probe(state, dst, src(state, word), word, sizeof<S>() == SANDBOXED);
        break;
      case op.LDXW:
        store<u64>(dst, load<u32>(at<S>(state, src(state, word), word, 4, RIGHT_READ)));
        break;
      case op.STW:
        store<u32>(at<S>(state, dst, word, 4, RIGHT_WRITE), imm32(pc));
        break;
      case op.STXW:
        store<u32>(at<S>(state, dst, word, 4, RIGHT_WRITE), load<u32>(src(state, word)));
        break;
      case op.LDXSW:
        store<i64>(dst, load<i32>(at<S>(state, src(state, word), word, 4, RIGHT_READ)));
        break;
      case op.LDXH:
        store<u64>(dst, load<u16>(at<S>(state, src(state, word), word, 2, RIGHT_READ)));
        break;
      case op.STH:
        store<u16>(at<S>(state, dst, word, 2, RIGHT_WRITE), imm32(pc));
        break;
      case op.STXH:
        store<u16>(at<S>(state, dst, word, 2, RIGHT_WRITE), load<u16>(src(state, word)));
        break;
      case op.LDXSH:
        store<i64>(dst, load<i16>(at<S>(state, src(state, word), word, 2, RIGHT_READ)));
        break;
      case op.LDXB:
        store<u64>(dst, load<u8>(at<S>(state, src(state, word), word, 1, RIGHT_READ)));
        break;
      case op.STB:
        store<u8>(at<S>(state, dst, word, 1, RIGHT_WRITE), imm32(pc));
        break;
      case op.STXB:
        store<u8>(at<S>(state, dst, word, 1, RIGHT_WRITE), load<u8>(src(state, word)));
        break;
      case op.LDXSB:
        store<i64>(dst, load<i8>(at<S>(state, src(state, word), word, 1, RIGHT_READ)));
        break;
      case op.LDXDW:
        store<u64>(dst, load<u64>(at<S>(state, src(state, word), word, 8, RIGHT_READ)));
        break;
      case op.STDW:
        store<u64>(at<S>(state, dst, word, 8, RIGHT_WRITE), imm64(pc));
        break;
      case op.STXDW:
        store<u64>(at<S>(state, dst, word, 8, RIGHT_WRITE), load<u64>(src(state, word)));
        break;
      case op.JEQ64_IMM:
        if (load<u64>(dst) == imm64(pc)) pc += jump(word);
        break;
      case op.JEQ64_REG:
        if (load<u64>(dst) == load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JEQ32_IMM:
        if (load<u32>(dst) == imm32(pc)) pc += jump(word);
        break;
      case op.JEQ32_REG:
        if (load<u32>(dst) == load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JNE64_IMM:
        if (load<u64>(dst) != imm64(pc)) pc += jump(word);
        break;
      case op.JNE64_REG:
        if (load<u64>(dst) != load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JNE32_IMM:
        if (load<u32>(dst) != imm32(pc)) pc += jump(word);
        break;
      case op.JNE32_REG:
        if (load<u32>(dst) != load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JGT64_IMM:
        if (load<u64>(dst) > u64(imm64(pc))) pc += jump(word);
        break;
      case op.JGT64_REG:
        if (load<u64>(dst) > load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JGT32_IMM:
        if (load<u32>(dst) > u32(imm32(pc))) pc += jump(word);
        break;
      case op.JGT32_REG:
        if (load<u32>(dst) > load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JGE64_IMM:
        if (load<u64>(dst) >= u64(imm64(pc))) pc += jump(word);
        break;
      case op.JGE64_REG:
        if (load<u64>(dst) >= load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JGE32_IMM:
        if (load<u32>(dst) >= u32(imm32(pc))) pc += jump(word);
        break;
      case op.JGE32_REG:
        if (load<u32>(dst) >= load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JLT64_IMM:
        if (load<u64>(dst) < u64(imm64(pc))) pc += jump(word);
        break;
      case op.JLT64_REG:
        if (load<u64>(dst) < load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JLT32_IMM:
        if (load<u32>(dst) < u32(imm32(pc))) pc += jump(word);
        break;
      case op.JLT32_REG:
        if (load<u32>(dst) < load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JLE64_IMM:
        if (load<u64>(dst) <= u64(imm64(pc))) pc += jump(word);
        break;
      case op.JLE64_REG:
        if (load<u64>(dst) <= load<u64>(src(state, word))) pc += jump(word);
        break;
      case op.JLE32_IMM:
        if (load<u32>(dst) <= u32(imm32(pc))) pc += jump(word);
        break;
      case op.JLE32_REG:
        if (load<u32>(dst) <= load<u32>(src(state, word))) pc += jump(word);
        break;
      case op.JSGT64_IMM:
        if (load<i64>(dst) > i64(imm64(pc))) pc += jump(word);
        break;
      case op.JSGT64_REG:
        if (load<i64>(dst) > load<i64>(src(state, word))) pc += jump(word);
        break;
      case op.JSGT32_IMM:
        if (load<i32>(dst) > i32(imm32(pc))) pc += jump(word);
        break;
      case op.JSGT32_REG:
        if (load<i32>(dst) > load<i32>(src(state, word))) pc += jump(word);
        break;
      case op.JSGE64_IMM:
        if (load<i64>(dst) >= i64(imm64(pc))) pc += jump(word);
        break;
      case op.JSGE64_REG:
        if (load<i64>(dst) >= load<i64>(src(state, word))) pc += jump(word);
        break;
      case op.JSGE32_IMM:
        if (load<i32>(dst) >= i32(imm32(pc))) pc += jump(word);
        break;
      case op.JSGE32_REG:
        if (load<i32>(dst) >= load<i32>(src(state, word))) pc += jump(word);
        break;
      case op.JSLT64_IMM:
        if (load<i64>(dst) < i64(imm64(pc))) pc += jump(word);
        break;
      case op.JSLT64_REG:
        if (load<i64>(dst) < load<i64>(src(state, word))) pc += jump(word);
        break;
      case op.JSLT32_IMM:
        if (load<i32>(dst) < i32(imm32(pc))) pc += jump(word);
        break;
      case op.JSLT32_REG:
        if (load<i32>(dst) < load<i32>(src(state, word))) pc += jump(word);
        break;
      case op.JSLE64_IMM:
        if (load<i64>(dst) <= i64(imm64(pc))) pc += jump(word);
        break;
      case op.JSLE64_REG:
        if (load<i64>(dst) <= load<i64>(src(state, word))) pc += jump(word);
        break;
      case op.JSLE32_IMM:
        if (load<i32>(dst) <= i32(imm32(pc))) pc += jump(word);
        break;
      case op.JSLE32_REG:
        if (load<i32>(dst) <= load<i32>(src(state, word))) pc += jump(word);
        break;
      case op.JSET64_IMM:
        if ((load<u64>(dst) & imm64(pc)) != 0) pc += jump(word);
        break;
      case op.JSET64_REG:
        if ((load<u64>(dst) & load<u64>(src(state, word))) != 0) pc += jump(word);
        break;
      case op.JSET32_IMM:
        if ((load<u32>(dst) & imm32(pc)) != 0) pc += jump(word);
        break;
      case op.JSET32_REG:
        if ((load<u32>(dst) & load<u32>(src(state, word))) != 0) pc += jump(word);
        break;
      case op.LDDW_IMM:
        store<u64>(dst, u64(load<u32>(pc, 4)) | (u64(load<u32>(pc, 12)) << 32));
        pc += 8;
        break;
      case op.ATOMIC_ADD64:
        if (sizeof<S>() == SANDBOXED) checkAtomic(imm32(pc), state, dst, src(state, word), word, 8);
        if (!atomic64(imm32(pc), dst, src(state, word), offset(word), state))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.ATOMIC_ADD32:
        if (sizeof<S>() == SANDBOXED) checkAtomic(imm32(pc), state, dst, src(state, word), word, 4);
        if (!atomic32(imm32(pc), dst, src(state, word), offset(word), state))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.LOAD_ACQUIRE16:
        if (sizeof<S>() == SANDBOXED) checkAtomic(imm32(pc), state, dst, src(state, word), word, 2);
        if (!atomic16(imm32(pc), dst, src(state, word), offset(word)))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.LOAD_ACQUIRE8:
        if (sizeof<S>() == SANDBOXED) checkAtomic(imm32(pc), state, dst, src(state, word), word, 1);
        if (!atomic8(imm32(pc), dst, src(state, word), offset(word)))
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        break;
      case op.LDABSB:
      case op.LDABSH:
      case op.LDABSW:
      case op.LDINDB:
      case op.LDINDH:
      case op.LDINDW: {
        if (sizeof<S>() == SANDBOXED) check_packet_context(load<u64>(state, R6), pc);
        const opcode = word & 0xff;
        const base = opcode >= op.LDINDW ? load<i32>(src(state, word)) : 0;
        const size = (opcode & 0x18) == 0 ? 4 : (opcode & 0x18) == 8 ? 2 : 1;
        const value = ld_abs(load<u32>(state, R6), base + imm32(pc), size);
        if (sizeof<S>() == SANDBOXED) forgetArguments(state);
        if (value >= 0) {
          store<i64>(state, value);
          break;
        }
        // Out of the packet: the function returns 0 (RFC 9669, section 5.5; Documentation/bpf: "the program is aborted").
        store<u64>(state, 0);
        const next = leave(state);
        if (next == 0) return pause(state, 0, total - left + 1, STATUS_DONE);
        if (isSandboxed(state) != (sizeof<S>() == SANDBOXED))
          return pause(state, next, total - left + 1, STATUS_OTHER_SAFETY);
        pc = next - 8;
        break;
      }
      case op.JA:
        pc += jump(word);
        break;
      case op.JA32:
        pc += imm32(pc) << 3;
        break;
      case op.MAY_GOTO: {
        const rounds = load<u32>(state, EXEC_MAY_GOTO);
        if (rounds == 0) pc += jump(word);
        else store<u32>(state, rounds - 1, EXEC_MAY_GOTO);
        break;
      }
      case op.CALL_HELPER: {
        const kind = (word >> 12) & 15;
        if (kind == 0) {
          const id = imm32(pc);
          if (isTransfer(id) && runsCoreHelpers() && !isReplaced(id)) {
            if (sizeof<S>() == SANDBOXED) check_call(id, load<u32>(state, R10), pc);
            const next = transfer(id, state, pc);
            if (next == 0) return pause(state, pc, total - left, STATUS_FAULT);
            if (isSandboxed(state) != (sizeof<S>() == SANDBOXED))
              return pause(state, next, total - left + 1, STATUS_OTHER_SAFETY);
            // A call that failed goes on behind itself.
            if (sizeof<S>() == SANDBOXED && next == pc + 8) forgetArguments(state);
            pc = next - 8;
          } else {
            callChecked<S>(id, state, pc, total - left);
          }
        } else if (kind == CALL_KIND_LOCAL) {
          if (!enter(state, pc + 8)) return stop(state, pc, total - left, FAULT_CALL_DEPTH);
          pc += imm32(pc) << 3;
        } else if (kind == CALL_KIND_KFUNC) {
          callKfunc<S>(imm32(pc), state, total - left, pc);
        } else {
          return stop(state, pc, total - left, FAULT_INSTRUCTION);
        }
        break;
      }
      case op.CALLX: {
        const target = load<u64>(dst);
        if (target < u64(FIRST_ADDRESS)) {
          callChecked<S>(i32(target), state, pc, total - left);
          break;
        }
        const entry = functionAt(target, state);
        if (entry == 0) return stop(state, pc, total - left, FAULT_CALL_TARGET);
        if (!enter(state, pc + 8)) return stop(state, pc, total - left, FAULT_CALL_DEPTH);
        pc = entry - 8;
        break;
      }
      case op.EXIT: {
        // The end of the main function, which short programs reach all the time, without a call.
        if (load<u32>(state, EXEC_DEPTH) == 0) return pause(state, 0, total - left + 1, STATUS_DONE);
        const next = leave(state);
        // The end of a function that the host has called.
        if (next == 0) return pause(state, 0, total - left + 1, STATUS_DONE);
        if (isSandboxed(state) != (sizeof<S>() == SANDBOXED))
          return pause(state, next, total - left + 1, STATUS_OTHER_SAFETY);
        pc = next - 8;
        break;
      }
      default:
        return stop(state, pc, total - left, FAULT_INSTRUCTION);
    }
    pc += 8;
  }
  return pause(state, pc, total, STATUS_PAUSED);
}
