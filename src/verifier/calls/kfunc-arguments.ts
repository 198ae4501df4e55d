/** The arguments of a kernel function (check_kfunc_args of kernel/bpf/verifier.c). */
import { type BtfParameter, type BtfType, resolve } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";
import { checkNode, checkRoot, inTreeCallback } from "../graph.ts";
import { isAllocatedObject, isNonOwning, isRcu, nameOf } from "../kernel-types/access.ts";
import { hasField, mapRecord } from "../kernel-types/record.ts";
import { resolveSize, skipModifiers, structsMatch } from "../kernel-types/walk.ts";
import { processLock, recordOf } from "../locks.ts";
import { markChainPrecision } from "../precision.ts";
import {
  CONST_PTR_TO_DYNPTR,
  DYNPTR_TYPE_SKB,
  DYNPTR_TYPE_SKB_META,
  DYNPTR_TYPE_XDP,
  MEM_ALLOC,
  MEM_PERCPU,
  MEM_RDONLY,
  MEM_UNINIT,
  NON_OWN_REF,
  OBJ_RELEASE,
  PTR_TO_BTF_ID,
  PTR_TO_CTX,
  PTR_TO_FUNC,
  PTR_TO_MAP_VALUE,
  PTR_TO_STACK,
  PTR_TRUSTED,
  SCALAR_VALUE,
  baseType,
  mayBeNull,
  typeFlags,
  typeName,
} from "../register-types.ts";
import { isNull, isTrusted } from "../registers.ts";
import { Rejection } from "../reject.ts";
import { constantNumber, isConstant, partsOf } from "../scalar/index.ts";
import { checkDynptr, dynptrFlag, dynptrView } from "../stack-objects/dynptr.ts";
import { checkIrqFlag } from "../stack-objects/irq-flag.ts";
import { checkIteratorArgument } from "../stack-objects/iterator.ts";
import type { RegisterState } from "../state.ts";
import { checkConstantString, checkOffset } from "./arguments.ts";
import {
  type ArgumentKind,
  argumentKind,
  hasSuffix,
  isNumber,
  isProjection,
  kindText,
  standsFor,
} from "./kfunc-kinds.ts";
import type { KfuncMeta } from "./kfunc-meta.ts";
import { checkKernelMemory, checkKernelMemoryAndSize } from "./memory-argument.ts";

const MAX_ARGUMENTS = 5;

export function checkKfuncArguments(env: Environment, meta: KfuncMeta): void {
  const { name, btf, prototype, flags } = meta.kfunc;
  const { parameters } = prototype;
  if (parameters.length > MAX_ARGUMENTS) {
    throw env.reject("EINVAL", `Function ${name} has ${parameters.length} > ${MAX_ARGUMENTS} args`);
  }
  for (let at = 0; at < parameters.length; at++) {
    const parameter = parameters[at] as BtfParameter;
    if (hasSuffix(parameter, "__ign") || hasSuffix(parameter, "__prog")) continue;
    const type = resolve(btf, parameter.type);
    if (isNumber(type)) checkNumber(env, at, parameter, meta);
    else if (type.kind !== "ptr") {
      throw env.reject("EINVAL", `Unrecognized arg#${at} type ${kindText(type)}`);
    } else if (checkPointer(env, at, type.type, meta)) at++;
  }
  if (flags.has("release") && meta.releaseRegno === 0) {
    throw env.reject("EINVAL", `release kernel function ${name} expects refcounted PTR_TO_BTF_ID`);
  }
}

function checkNumber(env: Environment, at: number, parameter: BtfParameter, meta: KfuncMeta): void {
  const regno = at + 1;
  const reg = env.registers[regno] as RegisterState;
  if (reg.type !== SCALAR_VALUE) throw env.reject("EINVAL", `R${regno} is not a scalar`);
  if (hasSuffix(parameter, "__k")) {
    if (meta.constant !== undefined) throw env.bug("only one constant argument permitted");
    if (!isConstant(reg.scalar)) throw env.reject("EINVAL", `R${regno} must be a known constant`);
    markChainPrecision(env, regno);
    meta.constant = partsOf(reg.scalar).value;
    return;
  }
  const readOnly = parameter.name === "rdonly_buf_size";
  if (!readOnly && parameter.name !== "rdwr_buf_size") return;
  if (readOnly) meta.resultReadOnly = true;
  if (meta.resultSize !== 0) {
    throw env.reject("EINVAL", "2 or more rdonly/rdwr_buf_size parameters for kfunc");
  }
  if (!isConstant(reg.scalar)) throw env.reject("EINVAL", `R${regno} is not a const`);
  meta.resultSize = constantNumber(reg.scalar);
  markChainPrecision(env, regno);
}

/** True if the next argument, a length, belongs to this one. */
function checkPointer(env: Environment, at: number, pointee: number, meta: KfuncMeta): boolean {
  const { btf, prototype, flags } = meta.kfunc;
  const regno = at + 1;
  const parameter = prototype.parameters[at] as BtfParameter;
  const reg = env.registers[regno] as RegisterState;
  const releases = flags.has("release");
  // All functions demand pointers that can be relied on: Linux 6.18 has no others any more.
  const optional = hasSuffix(parameter, "__nullable") || hasSuffix(parameter, "__opt");
  if ((isNull(reg) || mayBeNull(reg.type)) && !optional) {
    throw env.reject("EACCES", `Possibly NULL pointer passed to trusted arg${at}`);
  }
  if (reg.refObjId !== 0) {
    if (releases && meta.refObjId !== 0) {
      throw env.bug(`more than one arg with ref_obj_id R${regno} ${reg.refObjId} ${meta.refObjId}`);
    }
    meta.refObjId = reg.refObjId;
    if (releases) meta.releaseRegno = regno;
  }
  const id = skipModifiers(btf, pointee);
  const target = btf.type(id);
  const kind = argumentKind(env, meta, at, pointee, target);
  if (kind === "null") return false;
  if (kind === "map") rememberMap(env, regno, reg, meta);
  if (kind === "map" || kind === "allocated" || kind === "struct") checkTrust(env, regno, reg, meta);
  const release = releases && reg.refObjId !== 0 ? OBJ_RELEASE : 0;
  checkOffset(env, regno, { base: "anything", flags: release, size: 0, struct: undefined });
  return checkKind(env, kind, at, target, id, meta);
}

function checkTrust(env: Environment, regno: number, reg: RegisterState, meta: KfuncMeta): void {
  const rcu = meta.kfunc.flags.has("rcu");
  if (isTrusted(reg)) return;
  if (!rcu) throw env.reject("EINVAL", `R${regno} must be referenced or trusted`);
  if (!isRcu(reg)) throw env.reject("EINVAL", `R${regno} must be a rcu pointer`);
}

function rememberMap(env: Environment, regno: number, reg: RegisterState, meta: KfuncMeta): void {
  // In the kernel's union any pointer with a type behind it will do here; what it points to is compared later.
  if (reg.map === undefined && reg.btf === undefined) {
    throw env.reject("EINVAL", `pointer in R${regno} isn't map pointer`);
  }
  if (reg.map === undefined) return;
  const record = mapRecord(env, reg.map);
  if (meta.map !== undefined && hasField(record, "wq", "task_work")) {
    // Inner maps of one outer map are told apart by the lookup that gave them.
    if (meta.map !== reg.map || meta.mapUid !== reg.mapUid) {
      throw env.reject(
        "EINVAL",
        hasField(record, "task_work")
          ? `bpf_task_work pointer in R2 map_uid=${meta.mapUid} doesn't match map pointer in R3 map_uid=${reg.mapUid}`
          : `workqueue pointer in R1 map_uid=${meta.mapUid} doesn't match map pointer in R2 map_uid=${reg.mapUid}`,
      );
    }
  }
  meta.map = reg.map;
  meta.mapUid = reg.mapUid;
}

/** The check of one kind; true if it took the next argument as well. */
function checkKind(
  env: Environment,
  kind: ArgumentKind,
  at: number,
  target: BtfType,
  targetId: number,
  meta: KfuncMeta,
): boolean {
  const regno = at + 1;
  const reg = env.registers[regno] as RegisterState;
  const { btf, name } = meta.kfunc;
  switch (kind) {
    case "context":
      if (reg.type !== PTR_TO_CTX) {
        throw env.reject("EINVAL", `arg#${at} expected pointer to ctx, but got ${typeName(reg.type)}`);
      }
      return false;
    case "allocated":
      checkAllocated(env, at, reg, meta);
      return false;
    case "dynptr":
      checkDynptrArgument(env, at, meta);
      return false;
    case "iterator":
      if (name === "bpf_iter_css_task_new" && !mayIterateTasks(env)) {
        throw env.reject("EINVAL", "css_task_iter is only allowed in bpf_lsm, bpf_iter and sleepable progs");
      }
      checkIteratorArgument(env, regno, meta);
      return false;
    case "list_head":
    case "rb_root":
      if (reg.type !== PTR_TO_MAP_VALUE && reg.type !== (PTR_TO_BTF_ID | MEM_ALLOC)) {
        throw env.reject("EINVAL", `arg#${at} expected pointer to map value or allocated object`);
      }
      if (reg.type !== PTR_TO_MAP_VALUE && reg.refObjId === 0) {
        throw env.reject("EINVAL", "allocated object must be referenced");
      }
      checkRoot(env, regno, kind, meta);
      return false;
    case "list_node":
    case "rb_node":
      checkNodeArgument(env, at, kind, meta);
      return false;
    case "map":
    case "struct":
      checkStructArgument(env, at, kind, target, targetId, meta);
      return false;
    case "memory": {
      const size = resolveSize(btf, targetId)?.size;
      if (size === undefined) {
        throw env.reject(
          "EINVAL",
          `arg#${at} reference type('${kindText(target)} ${target.name}') size cannot be determined: -22`,
        );
      }
      checkKernelMemory(env, regno, size);
      return false;
    }
    case "memory_and_size":
      checkMemoryAndSize(env, at, meta);
      return true;
    case "callback":
      if (reg.type !== PTR_TO_FUNC) throw env.reject("EINVAL", `arg${at} expected pointer to func`);
      meta.subprogno = reg.subprogno;
      return false;
    case "refcounted":
      if (!isAllocatedObject(reg.type)) {
        throw env.reject("EINVAL", `arg#${at} is neither owning or non-owning ref`);
      }
      if (!isNonOwning(reg.type)) meta.owning = true;
      if (!hasField(recordOf(env, reg), "refcount")) {
        throw env.reject("EINVAL", `arg#${at} doesn't point to a type with bpf_refcount field`);
      }
      if (reg.btf !== undefined) meta.object = { btf: reg.btf, id: reg.btfId };
      return false;
    case "string":
      if (reg.type !== PTR_TO_MAP_VALUE) {
        throw env.reject("EINVAL", `arg#${at} doesn't point to a const string`);
      }
      checkConstantString(env, regno);
      return false;
    case "wq":
    case "task_work":
      if (reg.type !== PTR_TO_MAP_VALUE) {
        throw env.reject("EINVAL", `arg#${at} doesn't point to a map value`);
      }
      checkMapField(env, regno, kind, meta);
      return false;
    case "irq_flag":
      if (reg.type !== PTR_TO_STACK) {
        throw env.reject("EINVAL", `arg#${at} doesn't point to an irq flag on stack`);
      }
      checkIrqFlag(env, regno, meta);
      return false;
    case "res_spin_lock":
      if (reg.type !== PTR_TO_MAP_VALUE && reg.type !== (PTR_TO_BTF_ID | MEM_ALLOC)) {
        throw env.reject("EINVAL", `arg#${at} doesn't point to map value or allocated object`);
      }
      processLock(
        env,
        regno,
        name.includes("_irq") ? "res_lock_irq" : "res_lock",
        name.startsWith("bpf_res_spin_lock"),
      );
      return false;
    default:
      throw env.bug(`unknown kfunc arg type ${kind}`);
  }
}

function checkAllocated(env: Environment, at: number, reg: RegisterState, meta: KfuncMeta): void {
  const { name } = meta.kfunc;
  if (reg.type === (PTR_TO_BTF_ID | MEM_ALLOC)) {
    if (name !== "bpf_obj_drop_impl") {
      throw env.reject("EINVAL", `arg#${at} expected for bpf_obj_drop_impl()`);
    }
  } else if (reg.type === (PTR_TO_BTF_ID | MEM_ALLOC | MEM_PERCPU)) {
    if (name !== "bpf_percpu_obj_drop_impl") {
      throw env.reject("EINVAL", `arg#${at} expected for bpf_percpu_obj_drop_impl()`);
    }
  } else throw env.reject("EINVAL", `arg#${at} expected pointer to allocated object`);
  if (reg.refObjId === 0) throw env.reject("EINVAL", "allocated object must be referenced");
  if (reg.btf !== undefined) meta.object = { btf: reg.btf, id: reg.btfId };
}

const DYNPTR_MAKERS: Readonly<Record<string, number>> = {
  bpf_dynptr_from_skb: DYNPTR_TYPE_SKB,
  bpf_dynptr_from_xdp: DYNPTR_TYPE_XDP,
  bpf_dynptr_from_skb_meta: DYNPTR_TYPE_SKB_META,
};

function checkDynptrArgument(env: Environment, at: number, meta: KfuncMeta): void {
  const { name, prototype } = meta.kfunc;
  const reg = env.registers[at + 1] as RegisterState;
  const isNew = hasSuffix(prototype.parameters[at] as BtfParameter, "__uninit");
  let flags = (reg.type === CONST_PTR_TO_DYNPTR ? MEM_RDONLY : 0) | (isNew ? MEM_UNINIT : 0);
  let clone = 0;
  const made = DYNPTR_MAKERS[name];
  if (made !== undefined) flags |= made;
  else if (name === "bpf_dynptr_clone" && isNew) {
    if (meta.dynptr === undefined) throw env.bug("no dynptr type for parent of clone");
    flags |= dynptrFlag(meta.dynptr.type);
    clone = meta.dynptr.refObjId;
  }
  if ((flags & (MEM_UNINIT | MEM_RDONLY)) === (MEM_UNINIT | MEM_RDONLY)) {
    throw env.bug("misconfigured dynptr helper type flags");
  }
  checkDynptr(env, at + 1, flags, clone);
  if (!isNew) meta.dynptr = dynptrView(env, reg);
}

/** check_css_task_iter_allowlist. */
function mayIterateTasks(env: Environment): boolean {
  const { type, attachType, sleepable = false } = env.program;
  return (
    type === "lsm" ||
    (type === "tracing" && attachType === "trace_iter") ||
    sleepable ||
    env.state.inSleepable
  );
}

function checkNodeArgument(
  env: Environment,
  at: number,
  kind: "list_node" | "rb_node",
  meta: KfuncMeta,
): void {
  const { name } = meta.kfunc;
  const reg = env.registers[at + 1] as RegisterState;
  if (kind === "list_node" || name === "bpf_rbtree_add_impl") {
    if (reg.type !== (PTR_TO_BTF_ID | MEM_ALLOC)) {
      throw env.reject("EINVAL", `arg#${at} expected pointer to allocated object`);
    }
    if (reg.refObjId === 0) throw env.reject("EINVAL", "allocated object must be referenced");
  } else {
    if (!isNonOwning(reg.type) && reg.refObjId === 0) {
      throw env.reject("EINVAL", `${name} can only take non-owning or refcounted bpf_rb_node pointer`);
    }
    if (inTreeCallback(env)) throw env.reject("EINVAL", `${name} not allowed in rbtree cb`);
  }
  checkNode(env, at + 1, kind, meta);
}

const SAFE_FLAGS = MEM_ALLOC | PTR_TRUSTED | NON_OWN_REF;

/** A pointer to a structure of the kernel (process_kf_arg_ptr_to_btf_id). */
function checkStructArgument(
  env: Environment,
  at: number,
  kind: "map" | "struct",
  parameterTarget: BtfType,
  parameterTargetId: number,
  meta: KfuncMeta,
): void {
  const { btf, name, flags } = meta.kfunc;
  const reg = env.registers[at + 1] as RegisterState;
  const other = standsFor(reg.type);
  const isStruct = baseType(reg.type) === PTR_TO_BTF_ID;
  if (!(isStruct && ((typeFlags(reg.type) & ~SAFE_FLAGS) === 0 || isRcu(reg))) && other === undefined) {
    env.verbose(`arg#${at} is ${typeName(reg.type)} `);
    throw env.reject(
      "EINVAL",
      `expected ${typeName(baseType(reg.type) | (typeFlags(reg.type) & SAFE_FLAGS))} or socket`,
    );
  }
  const map = kind === "map" ? btf.find("bpf_map", "struct")[0] : undefined;
  const target = map ?? parameterTarget;
  const targetId = map?.id ?? parameterTargetId;
  const ownBtf = isStruct ? reg.btf : btf;
  const own = isStruct ? reg.btfId : btf.find(other ?? "", "struct")[0]?.id;
  if (ownBtf === undefined || own === undefined) throw env.unsupported(`structure ${other ?? ""}`);
  const ownName = nameOf(ownBtf, own);
  const strict = (flags.has("release") && reg.refObjId !== 0) || areNoCastAliases(ownName, target.name);
  const same = structsMatch(env, ownBtf, skipModifiers(ownBtf, own), reg.off, btf, targetId, strict);
  if (same || isProjection(target.name, ownName)) return;
  throw env.reject(
    "EINVAL",
    `kernel function ${name} args#${at} expected pointer to ${kindText(target)} ${target.name} but R${at + 1} has a pointer to ` +
      `${kindText(ownBtf.type(own))} ${ownName}`,
  );
}

/** "nf_conn" and "nf_conn___init": alike in memory, but not to be mixed (btf_type_ids_nocast_alias). */
function areNoCastAliases(a: string, b: string): boolean {
  return a === `${b}___init` || b === `${a}___init`;
}

function checkMemoryAndSize(env: Environment, at: number, meta: KfuncMeta): void {
  const { parameters } = meta.kfunc.prototype;
  const reg = env.registers[at + 1] as RegisterState;
  const size = env.registers[at + 2] as RegisterState;
  if (!isNull(reg) || !hasSuffix(parameters[at] as BtfParameter, "__opt")) {
    try {
      checkKernelMemoryAndSize(env, at + 2);
    } catch (error) {
      if (error instanceof Rejection && error.errno !== "EOPNOTSUPP") {
        env.verbose(`arg#${at} arg#${at + 1} memory, len pair leads to invalid memory access\n`);
      }
      throw error;
    }
  }
  if (!hasSuffix(parameters[at + 1] as BtfParameter, "__szk")) return;
  if (meta.constant !== undefined) throw env.bug("only one constant argument permitted");
  if (!isConstant(size.scalar)) throw env.reject("EINVAL", `R${at + 2} must be a known constant`);
  meta.constant = partsOf(size.scalar).value;
}

/** An argument that is a work queue or task work in a map value (process_wq_func, process_task_work_func). */
function checkMapField(env: Environment, regno: number, kind: "wq" | "task_work", meta: KfuncMeta): void {
  const reg = env.registers[regno] as RegisterState;
  const { map } = reg;
  if (map === undefined) throw env.bug("no map");
  const name = kind === "wq" ? "bpf_wq" : "bpf_task_work";
  if (kind === "task_work") {
    if (!isConstant(reg.scalar)) {
      throw env.reject(
        "EINVAL",
        `R${regno} doesn't have constant offset. ${name} has to be at the constant offset`,
      );
    }
    if (map.btf === undefined) {
      throw env.reject("EINVAL", `map '${map.name}' has to have BTF in order to use ${name}`);
    }
  }
  const field = mapRecord(env, map).find((row) => row.kind === kind);
  if (kind === "task_work" && field === undefined) {
    throw env.reject("EINVAL", `map '${map.name}' has no valid ${name}`);
  }
  const off = Number(partsOf(reg.scalar).value) + reg.off;
  if ((field?.offset ?? -22) !== off) {
    throw env.reject(
      "EINVAL",
      `off ${off} doesn't point to 'struct ${name}' that is at ${field?.offset ?? -22}`,
    );
  }
  if (kind === "task_work" && meta.map !== undefined) {
    throw env.bug("Two map pointers in a bpf_task_work helper");
  }
  meta.map = map;
  meta.mapUid = reg.mapUid;
}
