/**
 * Accesses to map values, map keys and memory regions of known size. An offset may vary: both its ends must lie inside
 * (check_mem_region_access, check_map_access of kernel/bpf/verifier.c).
 */
import { mapRules, programMayRead, programMayWrite } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import type { VerifierMap } from "../input.ts";
import { fieldName, findRecordField, isKptr, mapRecord } from "../kernel-types/record.ts";
import { checkKptrAccess } from "../kptr.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  MEM_RDONLY,
  PTR_TO_MAP_KEY,
  PTR_TO_MAP_VALUE,
  PTR_TO_PACKET,
  PTR_TO_PACKET_END,
  PTR_TO_PACKET_META,
  PTR_UNTRUSTED,
  SCALAR_VALUE,
  mayBeNull,
  typeName,
} from "../register-types.ts";
import { markKnown, markUnknown } from "../registers.ts";
import { constant64, constantNumber, isConstant, smin, umax } from "../scalar/index.ts";
import type { RegisterState } from "../state.ts";
import { checkLeak } from "./leak.ts";

/** BPF_MAX_VAR_OFF: a variable offset of this size is called unbounded. */
const MAX_VARIABLE_OFFSET = 2 ** 29;

export function checkMapKeyAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write } = access;
  if (write) throw env.reject("EACCES", `write to change key R${regno} not allowed`);
  checkRegion(env, regno, off, size, (reg.map as VerifierMap).keySize, false);
  loadUnknown(env, access);
}

export function checkMapValueAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write, valueRegno, signExtends } = access;
  const map = reg.map as VerifierMap;
  checkLeak(env, access, "map");
  checkMapRights(env, regno, off, size, write);
  checkMapValue(env, regno, off, size, false, false);
  if (isConstant(reg.scalar)) {
    const at = off + constantNumber(reg.scalar);
    const field = findRecordField(mapRecord(env, map), at, "kptr_unref", "kptr_ref", "kptr_percpu", "uptr");
    if (field !== undefined) return checkKptrAccess(env, access, field);
  }
  if (write || valueRegno < 0) return;
  const value = env.registers[valueRegno] as RegisterState;
  if (isConstant(reg.scalar) && isReadOnly(map) && mapRules(map.type).direct === true) {
    const known = readConstant(env, map, off + constantNumber(reg.scalar), size, signExtends);
    value.type = SCALAR_VALUE;
    markKnown(value, constant64(known));
  } else markUnknown(value);
}

/** Memory of known size: ring buffer records, variables of the kernel, arguments of global functions. */
export function checkRegionAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write } = access;
  const { type } = reg;
  if (mayBeNull(type)) throw env.reject("EACCES", `R${regno} invalid mem access '${typeName(type)}'`);
  if (write && (type & MEM_RDONLY) !== 0) {
    throw env.reject("EACCES", `R${regno} cannot write into ${typeName(type)}`);
  }
  checkLeak(env, access, "mem");
  // Reads of memory that nobody vouches for are checked when they happen.
  if ((type & MEM_RDONLY) === 0 || (type & PTR_UNTRUSTED) === 0) {
    checkRegion(env, regno, off, size, reg.memSize, false);
  }
  loadUnknown(env, access);
}

/** A load whose value is not known. */
export function loadUnknown(env: Environment, { write, valueRegno }: MemoryAccess): void {
  if (!write && valueRegno >= 0) markUnknown(env.registers[valueRegno] as RegisterState);
}

/** Nobody will ever change the values of such a map (bpf_map_is_rdonly). */
export function isReadOnly({ flags, frozen }: VerifierMap): boolean {
  return frozen === true && !programMayWrite(flags);
}

/** The constant in a frozen map, as a load gives it (bpf_map_direct_read). */
function readConstant(
  env: Environment,
  { maxEntries, contents, valueSize }: VerifierMap,
  at: number,
  size: number,
  signed: boolean,
): bigint {
  // Only arrays of one element have an address of their own for it.
  if (maxEntries !== 1) throw env.reject("ENOTSUPP");
  if (contents === undefined || at + size > Math.min(valueSize, contents.length)) {
    throw env.unsupported("constants of a map whose contents are not known");
  }
  let value = 0n;
  for (let index = size - 1; index >= 0; index--)
    value = (value << 8n) | BigInt(contents[at + index] as number);
  return signed ? BigInt.asUintN(64, BigInt.asIntN(size * 8, value)) : value;
}

/** What the flags of a map let programs do (check_map_access_type). */
export function checkMapRights(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  write: boolean,
): void {
  const { flags, valueSize } = (env.registers[regno] as RegisterState).map as VerifierMap;
  if (write ? programMayWrite(flags) : programMayRead(flags)) return;
  const what = write ? "write into" : "read from";
  throw env.reject("EACCES", `${what} map forbidden, value_size=${valueSize} off=${off} size=${size}`);
}

/** Whether bytes of a map value may be touched, by an instruction or by a helper (check_map_access). */
export function checkMapValue(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  zeroAllowed: boolean,
  byHelper: boolean,
): void {
  const reg = env.registers[regno] as RegisterState;
  const map = reg.map as VerifierMap;
  checkRegion(env, regno, off, size, map.valueSize, zeroAllowed);
  for (const field of mapRecord(env, map)) {
    // Any byte of any offset that is possible counts.
    if (
      smin(reg.scalar) + off >= field.offset + field.size ||
      field.offset >= umax(reg.scalar) + off + size
    ) {
      continue;
    }
    const name = fieldName(field.kind);
    if (!isKptr(field.kind) && field.kind !== "uptr") {
      throw env.reject("EACCES", `${name} cannot be accessed directly by load/store`);
    }
    if (byHelper) throw env.reject("EACCES", `${name} cannot be accessed indirectly by helper`);
    if (!isConstant(reg.scalar)) throw env.reject("EACCES", `${name} access cannot have variable offset`);
    const at = off + constantNumber(reg.scalar);
    if (at !== field.offset) {
      throw env.reject("EACCES", `${name} access misaligned expected=${field.offset} off=${at}`);
    }
    if (size !== 8) throw env.reject("EACCES", `${name} access size must be BPF_DW`);
  }
}

/** Whether `size` bytes lie in a region, at the smallest and at the largest offset (check_mem_region_access). */
export function checkRegion(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  regionSize: number,
  zeroAllowed: boolean,
): void {
  const { scalar } = env.registers[regno] as RegisterState;
  const least = smin(scalar);
  if (least < 0 && (least + off < 0 || least + off !== ((least + off) | 0))) throw negative(env, regno);
  checkBounds(
    env,
    regno,
    (least + off) | 0,
    size,
    regionSize,
    zeroAllowed,
    `R${regno} min value is outside of the allowed memory range`,
  );
  const most = umax(scalar);
  if (most >= MAX_VARIABLE_OFFSET) {
    throw env.reject(
      "EACCES",
      `R${regno} unbounded memory access, make sure to bounds check any such access`,
    );
  }
  checkBounds(
    env,
    regno,
    (most + off) | 0,
    size,
    regionSize,
    zeroAllowed,
    `R${regno} max value is outside of the allowed memory range`,
  );
}

export function negative(env: Environment, regno: number): unknown {
  return env.reject(
    "EACCES",
    `R${regno} min value is negative, either use unsigned index or do a if (index >=0) check.`,
  );
}

/** Whether an access lies in a region; if not, a line for the kind of region and then `complaint` (__check_mem_access). */
export function checkBounds(
  env: Environment,
  regno: number,
  off: number,
  size: number,
  regionSize: number,
  zeroAllowed: boolean,
  complaint: string,
): void {
  if (off >= 0 && (size > 0 || (size === 0 && zeroAllowed)) && off + size <= regionSize) return;
  const { type, id } = env.registers[regno] as RegisterState;
  const where = `off=${off} size=${size}`;
  if (type === PTR_TO_MAP_KEY) env.verbose(`invalid access to map key, key_size=${regionSize} ${where}\n`);
  else if (type === PTR_TO_MAP_VALUE) {
    env.verbose(`invalid access to map value, value_size=${regionSize} ${where}\n`);
  } else if (type === PTR_TO_PACKET || type === PTR_TO_PACKET_META || type === PTR_TO_PACKET_END) {
    env.verbose(
      `invalid access to packet, off=${off} size=${size}, R${regno}(id=${id},off=${off},r=${regionSize})\n`,
    );
  } else env.verbose(`invalid access to memory, mem_size=${regionSize} ${where}\n`);
  throw env.reject("EACCES", complaint);
}
