/**
 * Loads through pointers to structures described by BTF, the kernel's and those that programs allocate (check_ptr_to_btf_access,
 * check_ptr_to_map_access of kernel/bpf/verifier.c).
 *
 * A load of a pointer member gives a pointer again. How far it may be relied on follows from the pointer it was loaded through
 * and from the member: some members are known to be as good as their structure; inside of an RCU critical section, members with the
 * tag __rcu are good as well, though perhaps NULL; all others may be read through (the read may fault), but not be passed on to
 * functions that demand a trusted pointer. Whatever is loaded through an untrusted pointer is untrusted.
 */
import type { Btf } from "../../btf/index.ts";
import { MAP_TYPES } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import type { VerifierMap } from "../input.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RCU,
  MEM_RDONLY,
  MEM_USER,
  NON_OWN_REF,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_MEM,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
  baseType,
  mayBeNull,
} from "../register-types.ts";
import { isTrusted, markKnownZero, markUnknown } from "../registers.ts";
import { isZero, tnumText } from "../scalar/index.ts";
import type { RegisterState } from "../state.ts";
import { fieldName, structRecord } from "./record.ts";
import { isSafeField } from "./safe-fields.ts";
import { checkKernelWrite } from "./writable.ts";
import { findField } from "./walk.ts";

/** Whether RCU protects what is read now (in_rcu_cs). */
export function inRcuSection(env: Environment): boolean {
  const { state } = env;
  return state.activeRcuLocks > 0 || state.activeLocks > 0 || !inSleepable(env);
}

export function inSleepable(env: Environment): boolean {
  return env.program.sleepable === true || env.state.inSleepable;
}

/** An object that the program allocated (type_is_alloc). */
export function isAllocated(type: number): boolean {
  return (type & MEM_ALLOC) !== 0;
}

/** One whose memory is still the program's (type_is_ptr_alloc_obj). */
export function isAllocatedObject(type: number): boolean {
  return baseType(type) === PTR_TO_BTF_ID && isAllocated(type) && (type & PTR_UNTRUSTED) === 0;
}

/** An object that lies in a list or tree: the program may look at it while it holds the lock (type_is_non_owning_ref). */
export function isNonOwning(type: number): boolean {
  return isAllocatedObject(type) && (type & NON_OWN_REF) !== 0;
}

/** A pointer that RCU keeps alive (is_rcu_reg). */
export function isRcu({ type }: RegisterState): boolean {
  return (type & MEM_RCU) !== 0;
}

/** A register becomes a loaded value: a number, untrusted memory, or a pointer to a structure (mark_btf_ld_reg). */
export function setLoaded(
  env: Environment,
  reg: RegisterState,
  base: "scalar" | "memory" | "pointer",
  btf: Btf | undefined,
  id: number,
  flags: number,
): void {
  if (base === "scalar") return markUnknown(reg);
  markKnownZero(reg);
  if (base === "memory") {
    reg.type = PTR_TO_MEM | flags;
    reg.memSize = 0;
    return;
  }
  reg.type = PTR_TO_BTF_ID | flags;
  reg.btf = btf;
  reg.btfId = id;
  if (mayBeNull(flags)) reg.id = env.nextId();
}

export function nameOf(btf: Btf | undefined, id: number): string {
  return btf?.type(id).name ?? "";
}

export function checkStructAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write, valueRegno } = access;
  checkStruct(env, regno, reg, off, size, write, valueRegno);
}

/** The kernel's structures hold addresses. */
function checkMayRead(env: Environment, name: string): void {
  if (env.hasPerfmon) return;
  throw env.reject("EPERM", `'struct ${name}' access is allowed only to CAP_PERFMON and CAP_SYS_ADMIN`);
}

/** `valueRegno` -1: nothing is loaded. */
export function checkStruct(
  env: Environment,
  regno: number,
  reg: RegisterState,
  off: number,
  size: number,
  write: boolean,
  valueRegno: number,
): void {
  const { type } = reg;
  const btf = reg.btf as Btf;
  const name = nameOf(btf, reg.btfId);
  const isKernel = btf !== env.program.btf;
  checkMayRead(env, name);
  if (!env.gplCompatible && isKernel) {
    throw env.reject("EINVAL", `Cannot access kernel 'struct ${name}' from non-GPL compatible program`);
  }
  if (off < 0) {
    throw env.reject("EACCES", `R${regno} is ptr_${name} invalid negative access: off=${off}`);
  }
  if (!isZero(reg.scalar)) {
    throw env.reject(
      "EACCES",
      `R${regno} is ptr_${name} invalid variable offset: off=${off}, var_off=${tnumText(reg.scalar)}`,
    );
  }
  if ((type & MEM_USER) !== 0) {
    throw env.reject("EACCES", `R${regno} is ptr_${name} access user memory: off=${off}`);
  }
  if ((type & MEM_PERCPU) !== 0) {
    throw env.reject("EACCES", `R${regno} is ptr_${name} access percpu memory: off=${off}`);
  }
  if (write && !isAllocated(type) && checkKernelWrite(env, name, off, size)) return;
  if (write && !isAllocatedObject(type)) throw env.reject("EACCES", "only read is supported");
  if (isAllocated(type)) {
    if ((type & (NON_OWN_REF | MEM_RCU)) === 0 && reg.refObjId === 0) {
      throw env.bug("ref_obj_id for allocated object must be non-zero");
    }
    refuseSpecial(env, btf, reg.btfId, off, size);
  }
  const found = findField(env, btf, reg.btfId, off, size, !isAllocated(type));
  if (write || valueRegno < 0) return;
  const value = env.registers[valueRegno] as RegisterState;
  if (found.kind === "scalar" || (found.kind === "pointer" && isAllocated(type))) {
    return setLoaded(env, value, "scalar", undefined, 0, 0);
  }
  if (found.kind === "other_pointer") {
    return setLoaded(env, value, "memory", undefined, 0, MEM_RDONLY | PTR_UNTRUSTED);
  }
  const flags = trustOf(env, reg, name, found.field, found.flags);
  setLoaded(env, value, "pointer", btf, found.id, flags);
}

/** What a pointer loses that nothing is known of; one that is untrusted stays so. */
const TRUST = MEM_ALLOC | PTR_TRUSTED | NON_OWN_REF | MEM_RCU;

function trustOf(env: Environment, reg: RegisterState, struct: string, field: string, flags: number): number {
  if ((reg.type & PTR_UNTRUSTED) !== 0) return PTR_UNTRUSTED;
  // Old programs: pointers that come from nowhere in particular are neither trusted nor not.
  if (!isTrusted(reg) && !isRcu(reg)) return flags & ~TRUST;
  if (isSafeField("trusted", struct, field)) return flags | PTR_TRUSTED;
  if (isSafeField("trusted_or_null", struct, field)) return flags | PTR_TRUSTED | PTR_MAYBE_NULL;
  if (!inRcuSection(env) || mayBeNull(reg.type)) return PTR_UNTRUSTED;
  if (isSafeField("rcu", struct, field)) return flags | MEM_RCU;
  const known = isSafeField("rcu_or_null", struct, field);
  if ((flags & MEM_RCU) !== 0 || known) {
    return (known ? flags & ~PTR_UNTRUSTED : flags) | MEM_RCU | PTR_MAYBE_NULL;
  }
  if ((flags & (MEM_PERCPU | MEM_USER)) !== 0) return flags;
  return flags & ~TRUST;
}

function refuseSpecial(env: Environment, btf: Btf, id: number, off: number, size: number): void {
  for (const field of structRecord(env, btf, id)) {
    if (off < field.offset + field.size && field.offset < off + size) {
      throw env.reject("EACCES", `direct access to ${fieldName(field.kind)} is disallowed`);
    }
  }
}

/** Structures of the kernel behind the types of maps (map_btf_id of each map's operations). */
const MAP_STRUCTS: Readonly<Partial<Record<(typeof MAP_TYPES)[number]["name"], string>>> = {
  hash: "bpf_htab",
  lru_hash: "bpf_htab",
  percpu_hash: "bpf_htab",
  lru_percpu_hash: "bpf_htab",
  hash_of_maps: "bpf_htab",
  array: "bpf_array",
  percpu_array: "bpf_array",
  prog_array: "bpf_array",
  perf_event_array: "bpf_array",
  cgroup_array: "bpf_array",
  array_of_maps: "bpf_array",
  lpm_trie: "lpm_trie",
  devmap: "bpf_dtab",
  devmap_hash: "bpf_dtab",
  cpumap: "bpf_cpu_map",
  queue: "bpf_queue_stack",
  stack: "bpf_queue_stack",
  ringbuf: "bpf_ringbuf_map",
  user_ringbuf: "bpf_ringbuf_map",
  bloom_filter: "bpf_bloom_filter",
  sk_storage: "bpf_local_storage_map",
  inode_storage: "bpf_local_storage_map",
  task_storage: "bpf_local_storage_map",
  cgrp_storage: "bpf_local_storage_map",
  sockmap: "bpf_stab",
  sockhash: "bpf_shtab",
  xskmap: "xsk_map",
  stack_trace: "bpf_stack_map",
  cgroup_storage: "bpf_cgroup_storage_map",
  percpu_cgroup_storage: "bpf_cgroup_storage_map",
  reuseport_sockarray: "reuseport_array",
  struct_ops: "bpf_struct_ops_map",
  arena: "bpf_arena",
};

/** Reading the kernel's own record of a map. */
export function checkMapPointerAccess(env: Environment, access: MemoryAccess): void {
  const { regno, reg, off, size, write, valueRegno } = access;
  const map = reg.map as VerifierMap;
  const btf = env.program.kernelBtf;
  const name = MAP_STRUCTS[map.type];
  if (name !== undefined) checkMayRead(env, name);
  const id = name === undefined ? undefined : btf?.find(name, "struct")[0]?.id;
  if (name === undefined || btf === undefined || id === undefined) {
    throw env.unsupported("fields of maps without the kernel's types");
  }
  if (off < 0) throw env.reject("EACCES", `R${regno} is ${name} invalid negative access: off=${off}`);
  if (write) throw env.reject("EACCES", `only read from ${name} is supported`);
  const found = findField(env, btf, id, off, size, true);
  if (valueRegno < 0) return;
  const value = env.registers[valueRegno] as RegisterState;
  if (found.kind === "scalar") setLoaded(env, value, "scalar", undefined, 0, 0);
  else if (found.kind === "other_pointer") {
    setLoaded(env, value, "memory", undefined, 0, MEM_RDONLY | PTR_UNTRUSTED);
  } else setLoaded(env, value, "pointer", btf, found.id, found.flags);
}
