/**
 * Contexts that are arguments with types of the kernel (btf_ctx_access of kernel/bpf/btf.c): those of a tracepoint, of an iterator's
 * target, of a function or LSM hook that is attached to. Each takes eight bytes; numbers are loaded as they are, pointers to structures as
 * pointers that can be followed.
 */
import { type Btf, type BtfParameter, type BtfPrototype, type BtfType, resolve } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";
import { lineBefore } from "../lines.ts";
import type { MemoryAccess } from "../memory.ts";
import {
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_BTF_ID,
  PTR_TO_BUF,
  PTR_TRUSTED,
  PTR_UNTRUSTED,
  mayBeNull,
} from "../register-types.ts";
import { markKnownZero, markUnknown } from "../registers.ts";
import { DEF_NOT_SUBREG, type RegisterState } from "../state.ts";
import { TRACEPOINT_ARGUMENTS } from "./tracepoints.ts";
import { skipModifiers, tagFlag } from "./walk.ts";

/** What a program attaches to. */
interface Target {
  readonly btf: Btf;
  /** Its name in messages. */
  readonly name: string;
  readonly prototype: BtfPrototype;
  /** Without what the kernel puts before the arguments. */
  readonly parameters: readonly BtfParameter[];
}

/** Where each attach type finds its target in the kernel's BTF. */
const PREFIXES = { trace_raw_tp: "btf_trace_", trace_iter: "bpf_iter_" } as const;

function targetOf(env: Environment): Target {
  const { kernelBtf: btf, attachType, attachTo } = env.program;
  if (btf === undefined) throw env.unsupported("typed contexts without the kernel's types");
  if (attachTo === undefined) throw env.unsupported("typed contexts of programs that attach to nothing");
  if (attachType === "trace_raw_tp") {
    const name = PREFIXES.trace_raw_tp + attachTo;
    const [type] = btf.find(name, "typedef");
    const pointer = type === undefined ? undefined : resolve(btf, type.id);
    const prototype = pointer?.kind === "ptr" ? btf.type(pointer.type) : undefined;
    if (prototype?.kind !== "func_proto") throw env.unsupported(`tracepoint ${attachTo}`);
    return { btf, name: attachTo, prototype, parameters: prototype.parameters.slice(1) };
  }
  if (attachType === "trace_iter") {
    const name = PREFIXES.trace_iter + attachTo;
    const [func] = btf.find(name, "func");
    const prototype = func?.kind === "func" ? btf.type(func.type) : undefined;
    if (prototype?.kind !== "func_proto") throw env.unsupported(`iterator ${attachTo}`);
    return { btf, name, prototype, parameters: prototype.parameters };
  }
  throw env.unsupported(`context of ${env.type} programs`);
}

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
  kmem_cache: [OR_NULL | PTR_UNTRUSTED],
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
  const count = MAX_ARGUMENTS;
  if (off < 0 || off >= count * 8 || write || off % size !== 0) throw fail("");
  const { name, btf, parameters } = target;
  if (off % 8 !== 0) throw fail(`func '${name}' offset ${off} is not multiple of 8`);
  const at = argumentAt(target, off);
  const parameter = parameters[at];
  if (parameter === undefined) throw fail(`func '${name}' doesn't have ${at + 1}-th argument`);
  const type = resolve(btf, parameter.type);
  const value = valueRegno < 0 ? undefined : (env.registers[valueRegno] as RegisterState);
  env.maxContextOffset = Math.max(env.maxContextOffset, off + size);
  const scalar = (): void => {
    if (value !== undefined) markUnknown(value);
  };
  if (SMALL.has(type.kind)) return scalar();
  if (type.kind !== "ptr") {
    const kind = type.kind.toUpperCase();
    throw fail(`func '${name}' arg${at} '${type.name}' has type ${kind}. Only pointer access is allowed`);
  }
  if (size !== 8) throw fail(`func '${name}' size ${size} must be 8`);
  const iterated = env.program.attachType === "trace_iter" ? iteratorArgument(env, off) : 0;
  if ((iterated & 0xff) === PTR_TO_BUF) return setArgument(env, value, iterated, undefined, 0);
  const pointee = resolve(btf, type.type);
  if (pointee.kind === "void" || pointee.kind === "int") return scalar();
  if (iterated !== 0) return setArgument(env, value, iterated, btf, skipModifiers(btf, type.type));
  let flags = PTR_TRUSTED;
  if (parameter.name.endsWith("__nullable")) flags |= PTR_MAYBE_NULL;
  let isError = false;
  if (env.program.attachType === "trace_raw_tp") {
    const mask = TRACEPOINT_ARGUMENTS[name] ?? 0;
    const bits = Math.floor(mask / 16 ** at) & 15;
    if ((bits & 1) !== 0) flags |= PTR_MAYBE_NULL;
    isError = (bits & 2) !== 0;
  }
  flags |= tagFlag(btf, type.type);
  const id = skipModifiers(btf, type.type);
  const kind = pointee.kind.toUpperCase();
  if (pointee.kind !== "struct" && pointee.kind !== "union") {
    throw fail(`func '${name}' arg${at} type ${kind} is not a struct`);
  }
  env.verbose(`func '${name}' arg${at} has btf_id ${id} type ${kind} '${pointee.name}'\n`);
  if (isError) {
    env.verbose(`marking pointer arg${at} as scalar as it may encode error`);
    return scalar();
  }
  setArgument(env, value, PTR_TO_BTF_ID | flags, btf, id);
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
