/**
 * What the argument of a kernel function is, told by its type and the suffix of its name in the kernel's BTF
 * (get_kfunc_ptr_arg_type of kernel/bpf/verifier.c; Documentation/bpf/kfuncs.rst).
 */
import { type Btf, type BtfParameter, type BtfType, resolve } from "../../btf/index.ts";
import { hookOf } from "../../hooks/index.ts";
import type { Environment } from "../environment.ts";
import {
  CONST_PTR_TO_MAP,
  PTR_TO_BTF_ID,
  PTR_TO_SOCKET,
  PTR_TO_SOCK_COMMON,
  PTR_TO_TCP_SOCK,
  SCALAR_VALUE,
  baseType,
} from "../register-types.ts";
import { isNull } from "../registers.ts";
import type { RegisterState } from "../state.ts";
import type { KfuncMeta } from "./kfunc-meta.ts";

export type ArgumentKind =
  | "context"
  | "null"
  | "allocated"
  | "refcounted"
  | "dynptr"
  | "iterator"
  | "list_head"
  | "list_node"
  | "rb_root"
  | "rb_node"
  | "string"
  | "map"
  | "wq"
  | "task_work"
  | "irq_flag"
  | "res_spin_lock"
  | "struct"
  | "callback"
  | "memory"
  | "memory_and_size";

const BY_STRUCT: Readonly<Record<string, ArgumentKind>> = {
  bpf_dynptr: "dynptr",
  bpf_list_head: "list_head",
  bpf_list_node: "list_node",
  bpf_rb_root: "rb_root",
  bpf_rb_node: "rb_node",
  bpf_wq: "wq",
  bpf_task_work: "task_work",
  bpf_res_spin_lock: "res_spin_lock",
};

/** Structures of the kernel that pointers of other types stand for (reg2btf_ids). */
const STAND_FOR: ReadonlyMap<number, string> = new Map([
  [PTR_TO_SOCKET, "sock"],
  [PTR_TO_SOCK_COMMON, "sock_common"],
  [PTR_TO_TCP_SOCK, "tcp_sock"],
  [CONST_PTR_TO_MAP, "bpf_map"],
]);

export function standsFor(type: number): string | undefined {
  return STAND_FOR.get(baseType(type));
}

export function hasSuffix({ name }: BtfParameter, suffix: string): boolean {
  return name.endsWith(suffix);
}

/** A number, as far as prototypes go. */
export function isNumber({ kind }: BtfType): boolean {
  return kind === "int" || kind === "enum" || kind === "enum64";
}

/** The kind in capitals, as messages name it (btf_type_str). */
export function kindText({ kind }: BtfType): string {
  return kind === "void" ? "UNKNOWN" : kind.toUpperCase();
}

/** Names of contexts in uapi headers, and of what the kernel has in their place (btf_is_projection_of). */
const PROJECTIONS: Readonly<Record<string, string>> = { __sk_buff: "sk_buff", xdp_md: "xdp_buff" };

export function isProjection(outer: string, inner: string): boolean {
  return Object.hasOwn(PROJECTIONS, outer) && PROJECTIONS[outer] === inner;
}

/** Whether a pointer is one to the context of the program's type (btf_is_prog_ctx_type). */
export function isContextPointer(env: Environment, btf: Btf, pointee: number): boolean {
  if (env.type === "kprobe") {
    let type = btf.type(pointee);
    while (type.kind === "const" || type.kind === "volatile" || type.kind === "restrict") {
      type = btf.type(type.type);
    }
    if (type.kind === "typedef" && type.name === "bpf_user_pt_regs_t") return true;
  }
  const type = resolve(btf, pointee);
  if (type.kind !== "struct") return false;
  const expected = hookOf(env.type).context.struct;
  if (env.type === "kprobe" && type.name === "bpf_user_pt_regs_t") return true;
  return type.name === expected || isProjection(expected, type.name);
}

/** Structures of numbers only, arrays and structures inside of it included. */
function isNumberStruct(btf: Btf, type: BtfType, depth: number): boolean {
  if (type.kind !== "struct" && type.kind !== "union") return false;
  return type.members.every((member) => {
    const inner = resolve(btf, member.type);
    if (inner.kind === "struct" || inner.kind === "union")
      return depth < 3 && isNumberStruct(btf, inner, depth + 1);
    if (inner.kind === "array") return inner.length > 0 && isNumber(resolve(btf, inner.type));
    return isNumber(inner);
  });
}

export function isStructOfNumbers(btf: Btf, type: BtfType): boolean {
  return isNumberStruct(btf, type, 0);
}

/** The kind of an argument that is a pointer, `target` what it points to. */
export function argumentKind(
  env: Environment,
  { kfunc: { btf, name, flags, prototype } }: KfuncMeta,
  at: number,
  pointee: number,
  target: BtfType,
): ArgumentKind {
  const parameter = prototype.parameters[at] as BtfParameter;
  const reg = env.registers[at + 1] as RegisterState;
  if (name === "bpf_cast_to_kern_ctx" || isContextPointer(env, btf, pointee)) return "context";
  if (hasSuffix(parameter, "__nullable") && isNull(reg)) return "null";
  if (hasSuffix(parameter, "__alloc")) return "allocated";
  if (hasSuffix(parameter, "__refcounted_kptr")) return "refcounted";
  const special =
    target.kind === "struct" && Object.hasOwn(BY_STRUCT, target.name) ? BY_STRUCT[target.name] : undefined;
  if (special === "dynptr") return special;
  const isIterator = flags.has("iter_new") || flags.has("iter_next") || flags.has("iter_destroy");
  if (isIterator ? at === 0 : hasSuffix(parameter, "__iter")) return "iterator";
  if (special?.startsWith("list_") === true || special?.startsWith("rb_") === true) return special;
  if (hasSuffix(parameter, "__str")) return "string";
  if (hasSuffix(parameter, "__map")) return "map";
  if (special === "wq" || special === "task_work") return special;
  if (hasSuffix(parameter, "__irq_flag")) return "irq_flag";
  if (special === "res_spin_lock") return special;
  if (baseType(reg.type) === PTR_TO_BTF_ID || standsFor(reg.type) !== undefined) {
    if (target.kind !== "struct" && target.kind !== "union") {
      throw env.reject(
        "EINVAL",
        `kernel function ${name} args#${at} pointer type ${kindText(target)} ${target.name} is not supported`,
      );
    }
    return "struct";
  }
  if (target.kind === "func_proto") return "callback";
  const next = prototype.parameters[at + 1];
  const sized =
    next !== undefined &&
    isNumber(resolve(btf, next.type)) &&
    (env.registers[at + 2] as RegisterState).type === SCALAR_VALUE &&
    (hasSuffix(next, "__sz") || hasSuffix(next, "__szk"));
  if (!isNumber(target) && !isStructOfNumbers(btf, target) && (!sized || target.kind !== "void")) {
    throw env.reject(
      "EINVAL",
      `arg#${at} pointer type ${kindText(target)} ${target.name} must point to ${sized ? "void, " : ""}scalar, or struct with scalar`,
    );
  }
  return sized ? "memory_and_size" : "memory";
}
