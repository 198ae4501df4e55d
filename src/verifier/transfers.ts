/** Load, store and atomic instructions (check_load_mem, check_store_reg, check_atomic). */
import type { Instruction } from "../isa/index.ts";
import { checkConstantToContext } from "./abilities.ts";
import { checkSanity } from "./bounds.ts";
import type { Environment, InstructionAux } from "./environment.ts";
import { checkMemoryAccess } from "./memory.ts";
import {
  MEM_RDONLY,
  NOT_INIT,
  PTR_TO_ARENA,
  PTR_TO_BTF_ID,
  PTR_TO_CTX,
  PTR_TO_FLOW_KEYS,
  PTR_TO_MEM,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  PTR_UNTRUSTED,
  baseType,
  isPacketPointer,
  isSocketPointer,
  typeName,
} from "./register-types.ts";
import { checkRegister, isSecret } from "./registers.ts";
import type { RegisterState } from "./state.ts";

const BYTES = [4, 2, 1, 8] as const;

export function sizeOf(opcode: number): number {
  return BYTES[(opcode & 0x18) >> 3] as number;
}

/** Types whose accesses the kernel rewrites: an instruction may not meet them on one path and others on another. */
const REWRITTEN: ReadonlySet<number> = new Set([
  PTR_TO_CTX,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  PTR_TO_XDP_SOCK,
  PTR_TO_BTF_ID,
  PTR_TO_ARENA,
]);

/** save_aux_ptr_type. */
function savePointerType(env: Environment, type: number, trustMayDiffer: boolean): void {
  const aux = env.aux[env.index] as InstructionAux;
  const previous = aux.pointerType;
  if (previous === NOT_INIT) {
    aux.pointerType = type;
    return;
  }
  if (type === previous || (!REWRITTEN.has(baseType(type)) && !REWRITTEN.has(baseType(previous)))) return;
  const isObject = (one: number): boolean => baseType(one) === PTR_TO_MEM || baseType(one) === PTR_TO_BTF_ID;
  if (!trustMayDiffer || !isObject(type) || !isObject(previous)) {
    throw env.reject("EINVAL", "same insn cannot be used with different pointers");
  }
  const memory = baseType(type) === PTR_TO_MEM || baseType(previous) === PTR_TO_MEM;
  aux.pointerType =
    (memory ? PTR_TO_MEM : PTR_TO_BTF_ID) | ((type | previous) & (PTR_UNTRUSTED | MEM_RDONLY));
}

/** `strictOnce`: atomics need natural alignment. */
export function checkLoad(
  env: Environment,
  { opcode, dst, src, offset }: Instruction,
  strictOnce: boolean,
  signExtends: boolean,
  trustMayDiffer: boolean,
  where: string,
): void {
  checkRegister(env, src, "source");
  checkRegister(env, dst, "destination_no_mark");
  const { type } = env.registers[src] as RegisterState;
  checkMemoryAccess(env, env.index, src, offset, sizeOf(opcode), false, dst, strictOnce, signExtends);
  savePointerType(env, type, trustMayDiffer);
  checkSanity(env, env.registers[dst] as RegisterState, where);
}

export function checkStore(
  env: Environment,
  { opcode, dst, src, offset }: Instruction,
  strictOnce: boolean,
): void {
  checkRegister(env, src, "source");
  checkRegister(env, dst, "source");
  const { type } = env.registers[dst] as RegisterState;
  checkMemoryAccess(env, env.index, dst, offset, sizeOf(opcode), true, src, strictOnce, false);
  savePointerType(env, type, false);
}

export function checkStoreOfConstant(env: Environment, { opcode, dst, src, offset }: Instruction): void {
  if ((opcode & 0xe0) !== 0x60 || src !== 0) throw env.reject("EINVAL", "BPF_ST uses reserved fields");
  checkRegister(env, dst, "source");
  const { type } = env.registers[dst] as RegisterState;
  checkConstantToContext(env, dst, type);
  checkMemoryAccess(env, env.index, dst, offset, sizeOf(opcode), true, -1, false, false);
  savePointerType(env, type, false);
}

function atomicAllowed(type: number): boolean {
  return type !== PTR_TO_CTX && !isPacketPointer(type) && type !== PTR_TO_FLOW_KEYS && !isSocketPointer(type);
}

const FETCH = 1;
const CMPXCHG = 0xf1;
const XCHG = 0xe1;
const LOAD_ACQUIRE = 0x100;
const STORE_RELEASE = 0x110;
const READ_MODIFY_WRITE: ReadonlySet<number> = new Set([
  0x00,
  0x01,
  0x50,
  0x51,
  0x40,
  0x41,
  0xa0,
  0xa1,
  XCHG,
  CMPXCHG,
]);

export function checkAtomic(env: Environment, instruction: Instruction): void {
  const { imm, src, dst } = instruction;
  if (READ_MODIFY_WRITE.has(imm)) return checkReadModifyWrite(env, instruction);
  if (imm === LOAD_ACQUIRE) {
    checkLoad(env, instruction, true, false, false, "atomic_load");
    const { type } = env.registers[src] as RegisterState;
    if (!atomicAllowed(type)) {
      throw env.reject("EACCES", `BPF_ATOMIC loads from R${src} ${typeName(type)} is not allowed`);
    }
    return;
  }
  if (imm === STORE_RELEASE) {
    checkStore(env, instruction, true);
    const { type } = env.registers[dst] as RegisterState;
    if (!atomicAllowed(type)) {
      throw env.reject("EACCES", `BPF_ATOMIC stores into R${dst} ${typeName(type)} is not allowed`);
    }
    return;
  }
  throw env.reject(
    "EINVAL",
    `BPF_ATOMIC uses invalid atomic opcode ${(imm >>> 0).toString(16).padStart(2, "0")}`,
  );
}

function checkReadModifyWrite(env: Environment, { opcode, dst, src, offset, imm }: Instruction): void {
  const size = sizeOf(opcode);
  if (size < 4) throw env.reject("EINVAL", "invalid atomic operand size");
  checkRegister(env, src, "source");
  checkRegister(env, dst, "source");
  const leaks = (regno: number): void => {
    if (isSecret(env, env.registers[regno] as RegisterState)) {
      throw env.reject("EACCES", `R${regno} leaks addr into mem`);
    }
  };
  if (imm === CMPXCHG) {
    checkRegister(env, 0, "source");
    leaks(0);
  }
  leaks(src);
  const { type } = env.registers[dst] as RegisterState;
  if (!atomicAllowed(type)) {
    throw env.reject("EACCES", `BPF_ATOMIC stores into R${dst} ${typeName(type)} is not allowed`);
  }
  let loaded = -1;
  if ((imm & FETCH) !== 0) {
    loaded = imm === CMPXCHG ? 0 : src;
    checkRegister(env, loaded, "destination");
  }
  const access = (write: boolean, regno: number): void =>
    checkMemoryAccess(env, env.index, dst, offset, size, write, regno, true, false);
  access(false, -1);
  if (loaded >= 0) access(false, loaded);
  if ((env.registers[dst] as RegisterState).type === PTR_TO_ARENA) savePointerType(env, PTR_TO_ARENA, false);
  access(true, -1);
}
