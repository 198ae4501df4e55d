/**
 * Arithmetic on pointers (adjust_ptr_min_max_vals). A constant goes into the fixed offset, everything else into the variable
 * one; a packet pointer with a new variable offset is a new base, whose range must be checked anew.
 */
import { CLASSES, type Instruction } from "../isa/index.ts";
import { ALU_OPERATORS } from "./disassemble.ts";
import type { Environment } from "./environment.ts";
import { beginMasking, endMasking, isMasked } from "./masking.ts";
import {
  CONST_PTR_TO_DYNPTR,
  CONST_PTR_TO_MAP,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_CTX,
  PTR_TO_FLOW_KEYS,
  PTR_TO_FUNC,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_STACK,
  PTR_TO_TP_BUFFER,
  PTR_UNTRUSTED,
  baseType,
  isPacketPointer,
  typeName,
} from "./register-types.ts";
import { markUnknown } from "./registers.ts";
import {
  constantNumber,
  contradictory,
  isConstant,
  isZero,
  partsOf,
  pointerAdd,
  pointerKeep,
  pointerSubtract,
  pointerSync,
  smin,
} from "./scalar/index.ts";
import type { RegisterState } from "./state.ts";

const ADD = 0x00;
const SUB = 0x10;

const ARITHMETIC: ReadonlySet<number> = new Set([
  PTR_TO_CTX,
  PTR_TO_MAP_VALUE,
  PTR_TO_MAP_KEY,
  PTR_TO_STACK,
  PTR_TO_PACKET_META,
  PTR_TO_PACKET,
  PTR_TO_TP_BUFFER,
  PTR_TO_BTF_ID,
  PTR_TO_MEM,
  PTR_TO_BUF,
  PTR_TO_FUNC,
  CONST_PTR_TO_DYNPTR,
]);

/** BPF_MAX_VAR_OFF. */
const LIMIT = 1 << 29;

/** Whether an offset is small enough to be computed with (check_reg_sane_offset). */
function checkSane(env: Environment, scalar: number, off: number, type: number): void {
  if (isConstant(scalar)) {
    const value = constantNumber(scalar);
    if (value >= LIMIT || value <= -LIMIT) {
      const exact = BigInt.asIntN(64, partsOf(scalar).value);
      throw env.reject("EINVAL", `math between ${typeName(type)} pointer and ${exact} is not allowed`);
    }
  }
  if (off >= LIMIT || off <= -LIMIT) {
    throw env.reject("EINVAL", `${typeName(type)} pointer offset ${off} is not allowed`);
  }
  const least = smin(scalar);
  if (least === -(2 ** 63) && partsOf(scalar).smin === -(1n << 63n)) {
    throw env.reject(
      "EINVAL",
      `math between ${typeName(type)} pointer and register with unbounded min value is not allowed`,
    );
  }
  if (least >= LIMIT || least <= -LIMIT) {
    throw env.reject(
      "EINVAL",
      `value ${partsOf(scalar).smin} makes ${typeName(type)} pointer be out of bounds`,
    );
  }
}

/** `dst = pointer op offset`; dst is one of the two registers, or their value before it. */
export function adjustPointer(
  env: Environment,
  instruction: Instruction,
  pointer: RegisterState,
  offset: RegisterState,
): void {
  const { opcode, dst: regno } = instruction;
  const dst = env.registers[regno] as RegisterState;
  const operation = opcode & 0xf0;
  const known = isConstant(offset.scalar);
  if (contradictory(offset.scalar)) return markUnknown(dst);
  if ((opcode & 7) !== CLASSES.alu64) {
    // Subtracting lower halves of pointers gives a number that means nothing.
    if (operation === SUB && env.hasPerfmon) return markUnknown(dst);
    throw env.reject("EACCES", `R${regno} 32-bit pointer arithmetic prohibited`);
  }
  if ((pointer.type & PTR_MAYBE_NULL) !== 0) {
    throw env.reject(
      "EACCES",
      `R${regno} pointer arithmetic on ${typeName(pointer.type)} prohibited, null-check it first`,
    );
  }
  const base = baseType(pointer.type);
  if (base === PTR_TO_MEM && (pointer.type & PTR_UNTRUSTED) !== 0) return;
  const allowed =
    ARITHMETIC.has(base) ||
    (base === PTR_TO_FLOW_KEYS && known) ||
    ((base === CONST_PTR_TO_MAP || base === PTR_TO_FLOW_KEYS) &&
      known &&
      isZero(offset.scalar) &&
      operation === ADD);
  if (!allowed) {
    throw env.reject("EACCES", `R${regno} pointer arithmetic on ${typeName(pointer.type)} prohibited`);
  }
  const { type, id, off, scalar: pointerScalar } = pointer;
  const { scalar: offsetScalar, off: offsetOff } = offset;
  const offsetIsDst = offset === dst;
  dst.type = type;
  dst.id = id;
  checkSane(env, offsetScalar, offsetOff, type);
  checkSane(env, pointerScalar, off, type);
  const masks = isMasked(operation);
  const window = masks
    ? beginMasking(env, instruction, pointer, { scalar: offsetScalar, isDst: offsetIsDst })
    : undefined;
  const delta = known ? constantNumber(offsetScalar) : 0;
  let fixed = off;
  let scalar: number;
  let fresh = false;
  switch (operation) {
    case ADD:
      if (known && isInt32(off + delta)) {
        fixed = off + delta;
        scalar = pointerKeep(pointerScalar);
      } else {
        scalar = pointerAdd(pointerScalar, offsetScalar);
        fresh = true;
      }
      break;
    case SUB:
      if (offsetIsDst) throw env.reject("EACCES", `R${regno} tried to subtract pointer from scalar`);
      if (type === PTR_TO_STACK) {
        throw env.reject("EACCES", `R${regno} subtraction from stack pointer prohibited`);
      }
      if (known && isInt32(off - delta)) {
        fixed = off - delta;
        scalar = pointerKeep(pointerScalar);
      } else {
        scalar = pointerSubtract(pointerScalar, offsetScalar);
        fresh = true;
      }
      break;
    case 0x40:
    case 0x50:
    case 0xa0:
      throw env.reject(
        "EACCES",
        `R${regno} bitwise operator ${ALU_OPERATORS[operation >> 4]} on pointer prohibited`,
      );
    default:
      throw env.reject(
        "EACCES",
        `R${regno} pointer arithmetic with ${ALU_OPERATORS[operation >> 4]} operator prohibited`,
      );
  }
  if (pointer !== dst) copyPointee(dst, pointer);
  dst.off = fixed;
  if (fresh && isPacketPointer(type)) {
    dst.id = env.nextId();
    if (operation === ADD || smin(offsetScalar) < 0) dst.range = 0;
  }
  checkSane(env, scalar, fixed, type);
  dst.scalar = fresh ? pointerSync(scalar) : scalar;
  if (masks) endMasking(env, instruction, window, offsetIsDst);
}

function isInt32(value: number): boolean {
  return value >= -0x80000000 && value <= 0x7fffffff;
}

/** What a pointer points to: the union of struct bpf_reg_state. */
function copyPointee(to: RegisterState, from: RegisterState): void {
  to.range = from.range;
  to.map = from.map;
  to.mapUid = from.mapUid;
  to.memSize = from.memSize;
  to.dynptrId = from.dynptrId;
  to.btf = from.btf;
  to.btfId = from.btfId;
  to.subprogno = from.subprogno;
  to.dynptrType = from.dynptrType;
  to.dynptrFirstSlot = from.dynptrFirstSlot;
}
