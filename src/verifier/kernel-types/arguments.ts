/**
 * Contexts that are arguments with types of the kernel (btf_ctx_access of kernel/bpf/btf.c): those of a tracepoint, of an iterator's
 * target, of a function or LSM hook that is attached to. Each takes eight bytes; numbers are loaded as they are, pointers to structures as
 * pointers that can be followed.
 */
import { type Btf, type BtfType, resolve } from "../../btf/index.ts";
import { hookOf, returnRule } from "../../hooks/index.ts";
import type { Environment } from "../environment.ts";
import { lineBefore } from "../lines.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TRUSTED,
  mayBeNull,
} from "../register-types.ts";
import { markKnownZero, markUnknown } from "../registers.ts";
import { UNKNOWN, withSignedRange } from "../scalar/index.ts";
import { DEF_NOT_SUBREG, type RegisterState } from "../state.ts";
import { type Target, targetOf } from "./target.ts";
import { TRACEPOINT_ARGUMENTS } from "./tracepoints.ts";
import { skipModifiers, tagFlag } from "./walk.ts";

const OR_NULL = PTR_TO_BTF_ID | PTR_MAYBE_NULL;
const TRUSTED_OR_NULL = OR_NULL | PTR_TRUSTED;
const KEY = PTR_TO_BUF | PTR_MAYBE_NULL | MEM_RDONLY;
const VALUE = PTR_TO_BUF | PTR_MAYBE_NULL;

/** Arguments of iterators beyond the first, by target (bpf_iter_reg of each). */
const ITERATORS: Readonly<Record<string, readonly number[]>> = {
  bpf_map: [TRUSTED_OR_NULL],
  bpf_map_elem: [0, KEY, VALUE],
  bpf_link: [OR_NULL],
  bpf_prog: [OR_NULL],
  task: [TRUSTED_OR_NULL],
  task_file: [OR_NULL, 0, OR_NULL],
  task_vma: [OR_NULL, OR_NULL],
  cgroup: [TRUSTED_OR_NULL],
  tcp: [TRUSTED_OR_NULL],
  udp: [TRUSTED_OR_NULL],
  unix: [OR_NULL],
  netlink: [OR_NULL],
  ipv6_route: [OR_NULL],
  sockmap: [0, KEY, OR_NULL],
  bpf_sk_storage_map: [0, OR_NULL, VALUE],
  ksym: [OR_NULL],
  kmem_cache: [TRUSTED_OR_NULL],
  dmabuf: [OR_NULL],
};

/** Which argument lies at an offset, as long as all before take eight bytes or more (btf_ctx_arg_idx). */
function argumentAt({ btf, prototype }: Target, off: number): number {
  let end = 0;
  for (const [index, { type }] of prototype.parameters.entries()) {
    end += wordsOf(resolve(btf, type));
    if (off < end) return index;
  }
  end += wordsOf(resolve(btf, prototype.type));
  return off < end ? prototype.parameters.length : prototype.parameters.length + 1;
}

function wordsOf(type: BtfType): number {
  return "size" in type ? Math.ceil(type.size / 8) * 8 : type.kind === "void" ? 0 : 8;
}

/** MAX_BPF_FUNC_ARGS. */
const MAX_ARGUMENTS = 12;

const SMALL: ReadonlySet<string> = new Set(["int", "enum", "enum64", "struct", "union"]);

/** LSM hooks whose arguments are half made or half gone (untrusted_lsm_hooks of kernel/bpf/bpf_lsm.c). */
const UNTRUSTED_HOOKS: ReadonlySet<string> = new Set([
  "bpf_map_free",
  "bpf_prog_free",
  "file_alloc_security",
  "file_free_security",
  "sk_alloc_security",
  "sk_free_security",
  "task_free",
]);

/** prog_args_trusted. */
function areTrusted({ type, program: { attachType, attachTo = "" } }: Environment): boolean {
  switch (type) {
    case "tracing":
      return attachType === "trace_raw_tp" || attachType === "trace_iter";
    case "lsm":
      return !UNTRUSTED_HOOKS.has(attachTo);
    default:
      return type === "struct_ops";
  }
}

/** The type behind the arguments, which some attach types may read: what the function returned. */
function returnedType(env: Environment, { prototype, btf, name }: Target, at: number): BtfType | undefined {
  switch (env.program.attachType) {
    case "lsm_mac":
    case "lsm_cgroup":
    case "trace_fexit":
      return resolve(btf, prototype.type);
    case "modify_return": {
      const type = resolve(btf, prototype.type);
      if (type.kind === "int") return type;
      env.verbose(`ret type ${type.kind.toUpperCase()} not allowed for fmod_ret\n`);
      return undefined;
    }
    default:
      env.verbose(`func '${name}' doesn't have ${at + 1}-th argument\n`);
      return undefined;
  }
}

/** Typed contexts are never written. */
export function checkTypedContext(env: Environment, access: MemoryAccess): void {
  const { index, off, size, write, valueRegno } = access;
  const target = targetOf(env);
  const fail = (message: string): unknown => {
    if (message !== "") env.verbose(`${message}\n`);
    env.verbose(`invalid bpf_context access off=${off} size=${size}\n`);
    lineBefore(env, index, "; ");
    return env.reject("EACCES");
  };
  if (off < 0 || off >= MAX_ARGUMENTS * 8 || write || off % size !== 0) throw fail("");
  const { name, btf, parameters } = target;
  if (off % 8 !== 0) throw fail(`func '${name}' offset ${off} is not multiple of 8`);
  const at = argumentAt(target, off);
  const parameter = parameters[at];
  if (at > parameters.length) throw fail(`func '${name}' doesn't have ${at + 1}-th argument`);
  const type = parameter === undefined ? returnedType(env, target, at) : resolve(btf, parameter.type);
  if (type === undefined) throw fail("");
  const value = valueRegno < 0 ? undefined : (env.registers[valueRegno] as RegisterState);
  env.maxContextOffset = Math.max(env.maxContextOffset, off + size);
  if (SMALL.has(type.kind)) return setNumber(env, value, parameter === undefined);
  if (type.kind !== "ptr") {
    const kind = type.kind === "void" ? "UNKNOWN" : type.kind.toUpperCase();
    throw fail(`func '${name}' arg${at} '${type.name}' has type ${kind}. Only pointer access is allowed`);
  }
  if (size !== 8) throw fail(`func '${name}' size ${size} must be 8`);
  const iterated = env.program.attachType === "trace_iter" ? iteratorArgument(env, off) : 0;
  if ((iterated & 0xff) === PTR_TO_BUF) return setArgument(env, value, iterated, undefined, 0);
  const pointee = resolve(btf, type.type);
  if (pointee.kind === "void" || pointee.kind === "int") return setNumber(env, value, false);
  const id = skipModifiers(btf, type.type);
  if (iterated !== 0) return setArgument(env, value, iterated, btf, id);
  const suffixed = target.stub?.[at]?.name ?? "";
  if (suffixed.endsWith("__nullable") || isNullable(target, at)) {
    return setArgument(env, value, PTR_TO_BTF_ID | PTR_TRUSTED | PTR_MAYBE_NULL, btf, id);
  }
  let flags = areTrusted(env) ? PTR_TRUSTED : 0;
  if (parameter?.name.endsWith("__nullable") === true) flags |= PTR_MAYBE_NULL;
  const bits = env.program.attachType === "trace_raw_tp" ? tracepointBits(name, at) : 0;
  if ((bits & 1) !== 0) flags |= PTR_MAYBE_NULL;
  flags |= tagFlag(btf, type.type);
  const kind = pointee.kind.toUpperCase();
  if (pointee.kind !== "struct" && pointee.kind !== "union") {
    throw fail(`func '${name}' arg${at} type ${kind} is not a struct`);
  }
  env.verbose(`func '${name}' arg${at} has btf_id ${id} type ${kind} '${pointee.name}'\n`);
  if ((bits & 2) !== 0) {
    env.verbose(`marking pointer arg${at} as scalar as it may encode error`);
    return setNumber(env, value, false);
  }
  setArgument(env, value, PTR_TO_BTF_ID | flags, btf, promoted(target, id));
}

/** Tasks that there may not be, whether the kernel's stubs say so (6.13) or not (bpf_scx_is_valid_access of 6.12). */
function isNullable({ struct, name }: Target, at: number): boolean {
  return struct === "sched_ext_ops" && at === 1 && (name === "dispatch" || name === "yield");
}

function tracepointBits(name: string, at: number): number {
  return Math.floor((TRACEPOINT_ARGUMENTS[name] ?? 0) / 16 ** at) & 15;
}

/** Congestion control sees every socket as a TCP one (bpf_tcp_ca_is_valid_access). */
function promoted({ struct, btf }: Target, id: number): number {
  if (struct !== "tcp_congestion_ops" || btf.type(id).name !== "sock") return id;
  return btf.find("tcp_sock", "struct")[0]?.id ?? id;
}

function setNumber(env: Environment, value: RegisterState | undefined, isResult: boolean): void {
  if (value === undefined) return;
  markUnknown(value);
  if (!isResult || env.program.attachType !== "lsm_mac") return;
  const { range } = returnRule(hookOf("lsm"), "lsm_mac", env.program.attachTo);
  if (range !== undefined) value.scalar = withSignedRange(UNKNOWN, range[0], range[1]);
}

/** The type of an iterator's argument; 0 if its type in BTF says all. */
function iteratorArgument(env: Environment, off: number): number {
  const row = ITERATORS[env.program.attachTo ?? ""];
  if (row === undefined) throw env.unsupported(`iterator ${env.program.attachTo ?? ""}`);
  return row[off / 8 - 1] ?? 0;
}

function setArgument(
  env: Environment,
  value: RegisterState | undefined,
  type: number,
  btf: Btf | undefined,
  id: number,
): void {
  if (value === undefined) return;
  markKnownZero(value);
  if (mayBeNull(type)) value.id = env.nextId();
  value.subregDef = DEF_NOT_SUBREG;
  value.type = type;
  value.btf = btf;
  value.btfId = id;
}
