/**
 * Loads and stores: alignment, and then what the pointer's type says (check_mem_access of kernel/bpf/verifier.c). Each type
 * has its own function, which also sets the register that is loaded; what it set is cut to the size of the load here.
 */
import { checkContextAccess } from "./access/context.ts";
import { checkMapKeyAccess, checkMapValueAccess, checkRegionAccess } from "./access/map-value.ts";
import { checkObjectAccess } from "./access/object.ts";
import { checkMapPointerAccess, checkStructAccess } from "./kernel-types/access.ts";
import { checkPacketAccess } from "./access/packet.ts";
import { checkPointerAlignment } from "./alignment.ts";
import type { Environment } from "./environment.ts";
import {
  PTR_TO_ARENA,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  CONST_PTR_TO_MAP,
  PTR_TO_CTX,
  PTR_TO_FLOW_KEYS,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_STACK,
  PTR_TO_TP_BUFFER,
  SCALAR_VALUE,
  baseType,
  isPacketPointer,
  isSocketPointer,
  mayBeNull,
  typeName,
} from "./register-types.ts";
import { clearLink, markUnknown } from "./registers.ts";
import { fits, signExtend, truncate } from "./scalar/index.ts";
import { checkStackAccess } from "./stack.ts";
import { REG_SIZE, type RegisterState } from "./state.ts";

/** One access, as it is handed to the function for the pointer's type. */
export interface MemoryAccess {
  /** Slot of the instruction. */
  readonly index: number;
  /** The pointer. */
  readonly regno: number;
  readonly reg: RegisterState;
  /** Includes the pointer's fixed offset, not its variable one. */
  readonly off: number;
  /** Bytes: 1, 2, 4, 8. */
  readonly size: number;
  readonly write: boolean;
  /** The register that is stored or loaded; -1: some value. */
  readonly valueRegno: number;
  /** A load with sign extension. */
  readonly signExtends: boolean;
}

/**
 * Whether `size` bytes at the pointer in `regno`, plus `off`, may be read or written by the instruction at `index`.
 * `strictOnce` demands natural alignment whatever the options say (atomics).
 */
export function checkMemoryAccess(
  env: Environment,
  index: number,
  regno: number,
  off: number,
  size: number,
  write: boolean,
  valueRegno: number,
  strictOnce: boolean,
  signExtends: boolean,
): void {
  const { registers } = env;
  const reg = registers[regno] as RegisterState;
  checkPointerAlignment(env, reg, off, size, strictOnce);
  const access: MemoryAccess = {
    index,
    regno,
    reg,
    off: (off + reg.off) | 0,
    size,
    write,
    valueRegno,
    signExtends,
  };
  dispatch(env, access);
  if (write || valueRegno < 0 || size >= REG_SIZE) return;
  const value = registers[valueRegno] as RegisterState;
  if (value.type !== SCALAR_VALUE) return;
  // Linux 6.18 keeps the link between a spilled number and a fill that extends its sign, though the two can differ.
  if (env.options.sound === true && signExtends && !fits(value.scalar, 8 * size - 1)) clearLink(value);
  value.scalar = signExtends ? signExtend(value.scalar, size) : truncate(value.scalar, size);
}

function dispatch(env: Environment, access: MemoryAccess): void {
  const { reg, regno, write, valueRegno } = access;
  const { type } = reg;
  const base = baseType(type);
  if (type === PTR_TO_STACK) checkStackAccess(env, access);
  else if (type === PTR_TO_MAP_VALUE) checkMapValueAccess(env, access);
  else if (type === PTR_TO_CTX) checkContextAccess(env, access);
  else if (isPacketPointer(type)) checkPacketAccess(env, access);
  else if (type === PTR_TO_MAP_KEY) checkMapKeyAccess(env, access);
  else if (base === PTR_TO_MEM) checkRegionAccess(env, access);
  else if (type === PTR_TO_ARENA) {
    if (!write && valueRegno >= 0) markUnknown(env.registers[valueRegno] as RegisterState);
  } else if (base === PTR_TO_BTF_ID && !mayBeNull(type)) checkStructAccess(env, access);
  else if (type === CONST_PTR_TO_MAP) checkMapPointerAccess(env, access);
  else if (
    type === PTR_TO_FLOW_KEYS ||
    isSocketPointer(type) ||
    type === PTR_TO_TP_BUFFER ||
    base === PTR_TO_BUF
  ) {
    checkObjectAccess(env, access);
  } else throw env.reject("EACCES", `R${regno} invalid mem access '${typeName(type)}'`);
}
