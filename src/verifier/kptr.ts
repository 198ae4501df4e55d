/**
 * Pointers to kernel objects in map values and allocated objects (check_map_kptr_access, map_kptr_match_type, process_kptr_func of
 * kernel/bpf/verifier.c). A field either owns a reference, and is changed by bpf_kptr_xchg only, or is a mere address that may be
 * stale. Loads give pointers that may be NULL: protected by RCU where the object is, and else untrusted.
 */
import type { Instruction } from "../isa/index.ts";
import { CLASSES } from "../isa/index.ts";
import { checkFixedOffset } from "./access/context.ts";
import type { CallMeta } from "./calls/meta.ts";
import type { Environment } from "./environment.ts";
import { inRcuSection, isAllocatedObject, nameOf, setLoaded } from "./kernel-types/access.ts";
import {
  type RecordField,
  findRecordField,
  hasField,
  mapRecord,
  structRecord,
} from "./kernel-types/record.ts";
import { structsMatch } from "./kernel-types/walk.ts";
import { recordOf } from "./locks.ts";
import type { MemoryAccess } from "./memory.ts";
import {
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RCU,
  NON_OWN_REF,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_MEM,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
  baseType,
  typeFlags,
  typeName,
} from "./register-types.ts";
import { isNull, markKnownZero } from "./registers.ts";
import { Rejection } from "./reject.ts";
import { constantNumber, isConstant } from "./scalar/index.ts";
import type { RegisterState } from "./state.ts";

type Pointer = NonNullable<RecordField["pointer"]>;

function pointerOf(env: Environment, field: RecordField): Pointer {
  if (env.program.kernelBtf === undefined)
    throw env.unsupported("kernel pointers without the kernel's types");
  if (field.pointer === undefined) throw env.unsupported("kernel pointers to structures that are not known");
  return field.pointer;
}

/** Whether a register may be stored in a field; says so in the log if not. */
export function matchesKptr(
  env: Environment,
  field: RecordField,
  reg: RegisterState,
  regno: number,
): boolean {
  const pointer = pointerOf(env, field);
  const fromKernel = reg.btf !== env.program.btf;
  let allowed = PTR_MAYBE_NULL;
  if (fromKernel) allowed |= PTR_TRUSTED | MEM_RCU | (field.kind === "kptr_unref" ? PTR_UNTRUSTED : 0);
  else allowed |= MEM_ALLOC | (field.kind === "kptr_percpu" ? MEM_PERCPU : 0);
  const isObject = baseType(reg.type) === PTR_TO_BTF_ID && (typeFlags(reg.type) & ~allowed) === 0;
  if (isObject && reg.btf !== undefined) {
    try {
      checkFixedOffset(env, reg, regno, true);
    } catch (error) {
      if (error instanceof Rejection && error.errno === "EACCES") return false;
      throw error;
    }
    const strict = field.kind !== "kptr_unref";
    if (structsMatch(env, reg.btf, reg.btfId, reg.off, pointer.btf, pointer.id, strict)) return true;
  }
  const own = isObject ? nameOf(reg.btf, reg.btfId) : "";
  const wanted = nameOf(pointer.btf, pointer.id);
  const alternative =
    field.kind === "kptr_unref" ? ` or ${typeName(PTR_TO_BTF_ID | PTR_UNTRUSTED)}${wanted}` : "";
  env.verbose(
    `invalid kptr access, R${regno} type=${typeName(reg.type)}${own} expected=${typeName(PTR_TO_BTF_ID)}${wanted}${alternative}\n`,
  );
  return false;
}

/** Objects of the kernel that are freed after a grace period only. */
const RCU_PROTECTED: ReadonlySet<string> = new Set([
  "prog_test_ref_kfunc",
  "cgroup",
  "bpf_cpumask",
  "task_struct",
  "bpf_crypto_ctx",
]);

function loadedFlags(env: Environment, field: RecordField, { btf, id, kernel }: Pointer): number {
  const protectedObject = !kernel || RCU_PROTECTED.has(nameOf(btf, id));
  const safe = field.kind === "kptr_percpu" || (field.kind === "kptr_ref" && protectedObject);
  if (!safe || !inRcuSection(env)) return PTR_MAYBE_NULL | PTR_UNTRUSTED;
  let flags = PTR_MAYBE_NULL | MEM_RCU;
  if (field.kind === "kptr_percpu") flags |= MEM_PERCPU;
  else if (!kernel) flags |= MEM_ALLOC;
  if (!kernel && hasField(structRecord(env, btf, id), "list_node", "rb_node")) flags |= NON_OWN_REF;
  return flags;
}

/** A load from or store to a field of a map value. */
export function checkKptrAccess(
  env: Environment,
  { index, valueRegno }: MemoryAccess,
  field: RecordField,
): void {
  const { opcode, imm } = env.instructions[index] as Instruction;
  if ((opcode & 0xe0) !== 0x60) {
    throw env.reject("EACCES", "kptr in map can only be accessed using BPF_MEM instruction mode");
  }
  const cls = opcode & 7;
  if (cls !== CLASSES.ldx) {
    if (field.kind === "kptr_ref" || field.kind === "kptr_percpu") {
      throw env.reject("EACCES", "store to referenced kptr disallowed");
    }
    if (field.kind === "uptr") throw env.reject("EACCES", "store to uptr disallowed");
  }
  if (cls === CLASSES.ldx) {
    const value = env.registers[valueRegno] as RegisterState;
    const pointer = pointerOf(env, field);
    if (field.kind !== "uptr") {
      return setLoaded(env, value, "pointer", pointer.btf, pointer.id, loadedFlags(env, field, pointer));
    }
    const type = pointer.btf.type(pointer.id);
    markKnownZero(value);
    value.type = PTR_TO_MEM | PTR_MAYBE_NULL;
    value.memSize = type.kind === "struct" ? type.size : 0;
    value.id = env.nextId();
  } else if (cls === CLASSES.stx) {
    const value = env.registers[valueRegno] as RegisterState;
    if (!isNull(value) && !matchesKptr(env, field, value, valueRegno)) throw env.reject("EACCES");
  } else if (cls === CLASSES.st) {
    if (imm !== 0) {
      throw env.reject("EACCES", `BPF_ST imm must be 0 when storing to kptr at off=${field.offset}`);
    }
  } else throw env.reject("EACCES", "kptr in map can only be accessed using BPF_LDX/BPF_STX/BPF_ST");
}

/** The first argument of bpf_kptr_xchg: the field. */
export function checkKptrArgument(env: Environment, regno: number, meta: CallMeta): void {
  const reg = env.registers[regno] as RegisterState;
  let record = recordOf(env, reg);
  if (!isAllocatedObject(reg.type) && reg.map !== undefined) {
    if (reg.map.btf === undefined) {
      throw env.reject("EINVAL", `map '${reg.map.name}' has to have BTF in order to use bpf_kptr_xchg`);
    }
    record = mapRecord(env, reg.map);
    meta.map = reg.map;
  }
  if (!isConstant(reg.scalar)) {
    throw env.reject(
      "EINVAL",
      `R${regno} doesn't have constant offset. kptr has to be at the constant offset`,
    );
  }
  if (!hasField(record, "kptr_unref", "kptr_ref", "kptr_percpu")) {
    throw env.reject("EINVAL", `R${regno} has no valid kptr`);
  }
  const off = reg.off + constantNumber(reg.scalar);
  const field = findRecordField(record, off, "kptr_unref", "kptr_ref", "kptr_percpu");
  if (field === undefined) throw env.reject("EACCES", `off=${off} doesn't point to kptr`);
  if (field.kind === "kptr_unref") throw env.reject("EACCES", `off=${off} kptr isn't referenced kptr`);
  meta.kptr = { field, pointer: pointerOf(env, field) };
}
