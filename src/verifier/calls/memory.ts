/** Memory that a helper reads or writes (check_helper_mem_access, check_mem_size_reg of kernel/bpf/verifier.c). */
import { hookOf } from "../../hooks/index.ts";
import { checkBuffer } from "../access/object.ts";
import { checkMapRights, checkMapValue, checkRegion } from "../access/map-value.ts";
import { checkPacket } from "../access/packet.ts";
import type { Environment } from "../environment.ts";
import type { VerifierMap } from "../input.ts";
import { checkStruct } from "../kernel-types/access.ts";
import { checkMemoryAccess } from "../memory.ts";
import { markChainPrecision } from "../precision.ts";
import {
  MEM_RDONLY,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TO_CTX,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_MEM,
  PTR_TO_PACKET,
  PTR_TO_PACKET_META,
  PTR_TO_STACK,
  baseType,
  typeName,
} from "../register-types.ts";
import { isNull } from "../registers.ts";
import { isConstant, partsOf, smin, umax, umin } from "../scalar/index.ts";
import { checkStackRange } from "../stack.ts";
import type { RegisterState } from "../state.ts";
import type { CallMeta } from "./meta.ts";

/** BPF_MAX_VAR_SIZ. */
const MAX_VARIABLE_SIZE = 2 ** 29;

export function checkHelperMemory(
  env: Environment,
  regno: number,
  size: number,
  write: boolean,
  zeroAllowed: boolean,
  meta: CallMeta | undefined,
): void {
  const reg = env.registers[regno] as RegisterState;
  const { type, off } = reg;
  const forbidden = (): unknown => env.reject("EACCES", `R${regno} cannot write into ${typeName(type)}`);
  switch (baseType(type)) {
    case PTR_TO_PACKET:
    case PTR_TO_PACKET_META:
      return checkPacket(env, regno, off, size, zeroAllowed);
    case PTR_TO_MAP_KEY:
      if (write) throw forbidden();
      return checkRegion(env, regno, off, size, (reg.map as VerifierMap).keySize, false);
    case PTR_TO_MAP_VALUE:
      checkMapRights(env, regno, off, size, write);
      return checkMapValue(env, regno, off, size, zeroAllowed, true);
    case PTR_TO_MEM:
      if (write && (type & MEM_RDONLY) !== 0) throw forbidden();
      return checkRegion(env, regno, off, size, reg.memSize, zeroAllowed);
    case PTR_TO_BUF:
      if (write && (type & MEM_RDONLY) !== 0) throw forbidden();
      return checkBuffer(env, reg, regno, off, size);
    case PTR_TO_STACK:
      return checkStackRange(env, regno, off, size, zeroAllowed, write, meta);
    case PTR_TO_BTF_ID:
      return checkStruct(env, regno, reg, off, size, false, -1);
    case PTR_TO_CTX:
      if (contextIsPlain(env)) return checkContextMemory(env, regno, size, write, zeroAllowed);
      break;
    default:
  }
  // NULL will do where nothing is touched.
  if (zeroAllowed && size === 0 && isNull(reg)) return;
  throw env.reject("EACCES", `R${regno} type=${typeName(type)} expected=fp`);
}

/** Contexts that programs get as they are, so that their bytes are memory: no field is converted. */
function contextIsPlain({ type }: Environment): boolean {
  if (PLAIN_TYPES.has(type) || hookOf(type).context.arguments === true) return true;
  return type !== "perf_event" && hookOf(type).context.open !== undefined;
}

/** Types with fields that are not converted either (verifier operations without convert_ctx_access). */
const PLAIN_TYPES: ReadonlySet<string> = new Set(["cgroup_device", "netfilter", "lirc_mode2"]);

function checkContextMemory(
  env: Environment,
  regno: number,
  size: number,
  write: boolean,
  zeroAllowed: boolean,
): void {
  if (size === 0) {
    if (zeroAllowed) return;
    throw env.reject("EACCES");
  }
  checkMemoryAccess(env, env.index, regno, size - 1, 1, write, -1, false, false);
}

/** The length that belongs to the memory argument before it. */
export function checkSizeArgument(
  env: Environment,
  regno: number,
  write: boolean,
  zeroAllowed: boolean,
  meta: CallMeta,
): void {
  const { scalar } = env.registers[regno] as RegisterState;
  const most = umax(scalar);
  meta.largestSize = most;
  if (smin(scalar) < 0) {
    throw env.reject("EACCES", `R${regno} min value is negative, either use unsigned or 'var &= const'`);
  }
  if (umin(scalar) === 0 && !zeroAllowed) {
    const parts = partsOf(scalar);
    throw env.reject(
      "EACCES",
      `R${regno} invalid zero-sized read: u64=[${BigInt.asIntN(64, parts.umin)},${BigInt.asIntN(64, parts.umax)}]`,
    );
  }
  if (most >= MAX_VARIABLE_SIZE) {
    throw env.reject("EACCES", `R${regno} unbounded memory access, use 'var &= const' or 'if (var < const)'`);
  }
  // A helper may fill less than the largest length, so memory of a variable length must be initialised.
  checkHelperMemory(env, regno - 1, most, write, zeroAllowed, isConstant(scalar) ? meta : undefined);
  markChainPrecision(env, regno);
}
