/** What a kernel function returns (check_special_kfunc and the end of check_kfunc_call of kernel/bpf/verifier.c). */
import { type Btf, type BtfType, resolve } from "../../btf/index.ts";
import { mayTouchPacket } from "../access/packet.ts";
import type { Environment } from "../environment.ts";
import { setNode, setNonOwning } from "../graph.ts";
import { hasField, structRecord } from "../kernel-types/record.ts";
import { resolveSize, skipModifiers } from "../kernel-types/walk.ts";
import { recordOf } from "../locks.ts";
import { acquireReference } from "../references.ts";
import {
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RCU,
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_MEM,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
} from "../register-types.ts";
import { markConstantZero, markKnownZero, markUnknown } from "../registers.ts";
import { dynptrFlag } from "../stack-objects/dynptr.ts";
import { iteratorIn } from "../stack-objects/iterator.ts";
import { DEF_NOT_SUBREG, type RegisterState } from "../state.ts";
import { isNumber, isStructOfNumbers, kindText } from "./kfunc-kinds.ts";
import type { KfuncMeta } from "./kfunc-meta.ts";

export function setKfuncResult(env: Environment, meta: KfuncMeta): void {
  const { btf, prototype, name, flags } = meta.kfunc;
  const result = env.registers[0] as RegisterState;
  const type = resolve(btf, prototype.type);
  if (flags.has("acquire") && !ALLOCATORS.has(name) && !pointsToStruct(btf, type)) {
    throw env.reject("EINVAL", "acquire kernel function does not return PTR_TO_BTF_ID");
  }
  if (isNumber(type)) {
    markUnknown(result);
    if (name.startsWith("bpf_res_spin_lock")) markConstantZero(result);
    const { size } = type as { readonly size: number };
    result.subregDef = size === 8 ? DEF_NOT_SUBREG : env.index + 1;
    return;
  }
  if (type.kind !== "ptr") return;
  setPointer(env, meta, result, type.type);
  // An object whose reference the program has is there for certain.
  const maybeNull = flags.has("ret_null") && !(name === "bpf_refcount_acquire_impl" && meta.owning);
  if (maybeNull) {
    result.type |= PTR_MAYBE_NULL;
    result.id = env.nextId();
  }
  result.subregDef = DEF_NOT_SUBREG;
  if (flags.has("acquire")) {
    const id = acquireReference(env, env.index);
    if (maybeNull) result.id = id;
    result.refObjId = id;
  } else if (isNode(resolve(btf, type.type))) setNonOwning(env, result);
  const hasLock = hasField(recordOf(env, result), "spin_lock", "res_spin_lock");
  if (hasLock && result.id === 0) result.id = env.nextId();
}

const ALLOCATORS: ReadonlySet<string> = new Set([
  "bpf_obj_new_impl",
  "bpf_percpu_obj_new_impl",
  "bpf_refcount_acquire_impl",
]);

function pointsToStruct(btf: Btf, type: BtfType): boolean {
  if (type.kind !== "ptr") return false;
  const { kind } = resolve(btf, type.type);
  return kind === "struct" || kind === "union";
}

function isNode({ kind, name }: BtfType): boolean {
  return kind === "struct" && (name === "bpf_list_node" || name === "bpf_rb_node");
}

function setPointer(env: Environment, meta: KfuncMeta, result: RegisterState, pointee: number): void {
  const { btf, name, flags } = meta.kfunc;
  const id = skipModifiers(btf, pointee);
  const target = btf.type(id);
  if (setSpecial(env, meta, result, target)) return;
  if (target.kind === "void") return markUnknown(result);
  if (target.kind !== "struct" && target.kind !== "union") {
    if (meta.resultSize === 0) {
      const size = resolveSize(btf, id)?.size;
      if (size === undefined) {
        throw env.reject(
          "EINVAL",
          `kernel function ${name} returns pointer type ${kindText(target)} ${target.name} is not supported`,
        );
      }
      meta.resultSize = size;
      meta.resultReadOnly = true;
    }
    markKnownZero(result);
    result.type = PTR_TO_MEM | (meta.resultReadOnly ? MEM_RDONLY : 0);
    result.memSize = meta.resultSize;
    // It dies with the object that it belongs to.
    if (meta.refObjId !== 0) result.refObjId = meta.refObjId;
    if (flags.has("rcu_protected")) result.type |= MEM_RCU;
    return;
  }
  markKnownZero(result);
  result.btf = btf;
  result.btfId = id;
  result.type = PTR_TO_BTF_ID;
  if (name === "bpf_get_kmem_cache") result.type |= PTR_UNTRUSTED;
  else if (flags.has("rcu_protected")) result.type |= MEM_RCU;
  if (!flags.has("iter_next")) return;
  const iterator = iteratorIn(env.state, meta);
  result.type |= (iterator.type & MEM_RCU) !== 0 ? MEM_RCU : PTR_TRUSTED;
}

/** Functions whose result depends on more than their prototype. */
function setSpecial(env: Environment, meta: KfuncMeta, result: RegisterState, target: BtfType): boolean {
  const { name } = meta.kfunc;
  switch (name) {
    case "bpf_obj_new_impl":
    case "bpf_percpu_obj_new_impl":
      setAllocated(env, meta, result);
      return true;
    case "bpf_refcount_acquire_impl":
      markKnownZero(result);
      result.type = PTR_TO_BTF_ID | MEM_ALLOC;
      result.btf = meta.object?.btf;
      result.btfId = meta.object?.id ?? 0;
      return true;
    case "bpf_cast_to_kern_ctx":
      setKernelContext(env, meta, result);
      return true;
    case "bpf_rdonly_cast":
      setCast(env, meta, result);
      return true;
    case "bpf_dynptr_slice":
    case "bpf_dynptr_slice_rdwr":
      setSlice(env, meta, result);
      return true;
    default:
  }
  if (!isNode(target)) return false;
  if (meta.root === undefined) throw env.unsupported(`${name} without a root`);
  setNode(result, meta.root);
  return true;
}

/** Bytes of a per-CPU object at most (BPF_GLOBAL_PERCPU_MA_MAX_SIZE). */
const MOST_PERCPU = 512;

function setAllocated(
  env: Environment,
  { kfunc: { name }, constant = 0n }: KfuncMeta,
  result: RegisterState,
): void {
  const perCpu = name === "bpf_percpu_obj_new_impl";
  if (BigInt.asUintN(32, constant) !== constant) {
    throw env.reject("EINVAL", "local type ID argument must be in range [0, U32_MAX]");
  }
  const { btf } = env.program;
  if (btf === undefined) throw env.reject("EINVAL", "bpf_obj_new/bpf_percpu_obj_new requires prog BTF");
  const id = Number(constant);
  const type = id < btf.count ? btf.type(id) : undefined;
  if (type?.kind !== "struct") {
    throw env.reject("EINVAL", "bpf_obj_new/bpf_percpu_obj_new type ID argument must be of a struct");
  }
  if (perCpu) {
    if (type.size > MOST_PERCPU) {
      throw env.reject(
        "EINVAL",
        `bpf_percpu_obj_new type size (${type.size}) is greater than ${MOST_PERCPU}`,
      );
    }
    if (!isStructOfNumbers(btf, type)) {
      throw env.reject("EINVAL", "bpf_percpu_obj_new type ID argument must be of a struct of scalars");
    }
    if (structRecord(env, btf, id).length > 0) {
      throw env.reject("EINVAL", "bpf_percpu_obj_new type ID argument must not contain special fields");
    }
  }
  markKnownZero(result);
  result.type = PTR_TO_BTF_ID | MEM_ALLOC | (perCpu ? MEM_PERCPU : 0);
  result.btf = btf;
  result.btfId = id;
}

/** What the kernel has where a program sees its context: a structure of its BTF lists all (get_kern_ctx_btf_id). */
function setKernelContext(env: Environment, { kfunc: { btf } }: KfuncMeta, result: RegisterState): void {
  const [list] = btf.find("bpf_ctx_convert", "struct");
  const name = `BPF_PROG_TYPE_${env.type.toUpperCase()}_kern`;
  const id = list?.kind === "struct" ? list.members.find((member) => member.name === name)?.type : undefined;
  if (id === undefined) throw env.unsupported(`the kernel's context of ${env.type} programs`);
  const { kind } = btf.type(id);
  if (kind !== "struct" && kind !== "union") {
    throw env.reject("EINVAL", `kern ctx type id ${id} is not a struct`);
  }
  markKnownZero(result);
  result.type = PTR_TO_BTF_ID | PTR_TRUSTED;
  result.btf = btf;
  result.btfId = id;
}

function setCast(
  env: Environment,
  { kfunc: { btf }, constant = 0n }: KfuncMeta,
  result: RegisterState,
): void {
  const id = Number(constant);
  if (id >= btf.count) {
    throw env.reject(
      "EINVAL",
      `Unknown type ID ${BigInt.asIntN(64, constant)} passed to kfunc bpf_rdonly_cast`,
    );
  }
  const { kind } = btf.type(id);
  markKnownZero(result);
  if (kind === "struct" || kind === "union") {
    result.type = PTR_TO_BTF_ID | PTR_UNTRUSTED;
    result.btf = btf;
    result.btfId = id;
  } else if (kind === "void") {
    result.type = PTR_TO_MEM | MEM_RDONLY | PTR_UNTRUSTED;
    result.memSize = 0;
  } else {
    throw env.reject("EINVAL", "kfunc bpf_rdonly_cast type ID argument must be of a struct or void");
  }
}

function setSlice(
  env: Environment,
  { kfunc: { name }, constant, dynptr }: KfuncMeta,
  result: RegisterState,
): void {
  if (constant === undefined) throw env.bug("bpf_dynptr_slice(_rdwr) no constant size");
  if (dynptr === undefined || dynptr.id === 0) throw env.bug("no dynptr id");
  markKnownZero(result);
  result.memSize = Number(BigInt.asUintN(32, constant));
  result.type = PTR_TO_MEM | dynptrFlag(dynptr.type);
  if (name === "bpf_dynptr_slice") result.type |= MEM_RDONLY;
  else if (!mayTouchPacket(env, true)) {
    throw env.reject("EINVAL", "the prog does not allow writes to packet data");
  }
  result.dynptrId = dynptr.id;
}
