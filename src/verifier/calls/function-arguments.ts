/**
 * What BTF says of a function's arguments (btf_prepare_func_args, btf_check_func_arg_match). Global functions may say more by tags: the
 * context, a trusted structure of the kernel, memory that is not NULL, an arena, an address that nobody vouches for.
 */
import { type Btf, type BtfType, resolve, sizeOf } from "../../btf/index.ts";
import type { ArgumentInfo, Environment, Subprogram } from "../environment.ts";
import { hookOf } from "../../hooks/index.ts";
import { resolveSize } from "../kernel-types/walk.ts";
import {
  MEM_RDONLY,
  PTR_MAYBE_NULL,
  PTR_TO_ARENA,
  PTR_TO_CTX,
  PTR_TRUSTED,
  SCALAR_VALUE,
} from "../register-types.ts";
import { isNull } from "../registers.ts";
import { Rejection, type RejectionErrno } from "../reject.ts";
import { checkDynptr } from "../stack-objects/dynptr.ts";
import type { RegisterState } from "../state.ts";
import { checkArgumentType } from "./argument-types.ts";
import { checkOffset } from "./arguments.ts";
import { isContextPointer, kindText } from "./kfunc-kinds.ts";
import { checkGlobalMemoryArgument } from "./memory-argument.ts";

/** Why arguments are not known: `message` is empty where the kernel says nothing. */
interface Failure {
  readonly errno: RejectionErrno;
  readonly message: string;
}

const MODIFIERS: ReadonlySet<string> = new Set(["typedef", "volatile", "const", "restrict", "type_tag"]);

function skipModifiers(btf: Btf, id: number): BtfType {
  let type = btf.type(id);
  while (MODIFIERS.has(type.kind)) type = btf.type((type as unknown as { type: number }).type);
  return type;
}

/** Tags of arguments, "arg:..." in declaration tags. */
const TAGS = ["ctx", "nonnull", "trusted", "nullable", "arena", "untrusted"] as const;
type Tag = (typeof TAGS)[number];

function failure(errno: RejectionErrno, message: string): Failure {
  return { errno, message };
}

function isFailure(found: ArgumentInfo | Failure): found is Failure {
  return "errno" in found;
}

const PLAIN: ArgumentInfo = { kind: "scalar", nullable: false, memSize: 0, untrusted: false, structId: 0 };

/** Fills in a function's arguments, once; what prevents it otherwise. */
export function prepareArguments(env: Environment, number: number): Failure | undefined {
  const subprogram = env.subprograms[number] as Subprogram;
  if (subprogram.argumentsCached) return undefined;
  const { btf, functionInfo = [] } = env.program;
  const info = functionInfo[number];
  if (btf === undefined || info === undefined) return failure("EFAULT", "Verifier bug");
  const isGlobal = subprogram.linkage === "global";
  const silent = (message: string): Failure => failure("EINVAL", isGlobal ? message : "");
  const { name } = subprogram;
  const func = btf.type(info.type);
  const prototype = func.kind === "func" ? btf.type(func.type) : undefined;
  if (prototype === undefined || prototype.kind !== "func_proto") {
    return failure("EFAULT", `Invalid type of function ${name}()`);
  }
  const { parameters } = prototype;
  if (parameters.length > 5) {
    return silent(`Global function ${name}() with ${parameters.length} > 5 args. Buggy compiler.`);
  }
  const result = skipModifiers(btf, prototype.type);
  if (result.kind !== "int" && result.kind !== "enum" && result.kind !== "enum64") {
    return silent(`Global function ${name}() doesn't return scalar. Only those are supported.`);
  }
  const found: ArgumentInfo[] = [];
  for (const [index, parameter] of parameters.entries()) {
    const tags = new Set<Tag>();
    for (const tag of tagged(btf).get(`${info.type}:${index}`) ?? []) {
      if (!isGlobal) {
        return failure("EOPNOTSUPP", `arg#${index} type tag is not supported in static functions`);
      }
      const known = TAGS.find((row) => row === tag);
      if (known === undefined) return failure("EOPNOTSUPP", `arg#${index} has unsupported set of tags`);
      tags.add(known);
    }
    const type = skipModifiers(btf, parameter.type);
    const argument =
      type.kind === "ptr"
        ? pointerArgument(env, btf, index, type.type, tags, isGlobal)
        : numberArgument(type, index, tags, name, silent);
    if (isFailure(argument)) return argument;
    found.push(argument);
  }
  subprogram.arguments = found;
  subprogram.argumentsCached = true;
  return undefined;
}

function numberArgument(
  type: BtfType,
  index: number,
  tags: ReadonlySet<Tag>,
  name: string,
  silent: (message: string) => Failure,
): ArgumentInfo | Failure {
  if (tags.size > 0) return failure("EINVAL", `arg#${index} has pointer tag, but is not a pointer type`);
  if (type.kind === "int" || type.kind === "enum" || type.kind === "enum64") return PLAIN;
  return silent(`Arg#${index} type ${kindText(type)} in ${name}() is not supported yet.`);
}

function pointerArgument(
  env: Environment,
  btf: Btf,
  index: number,
  pointee: number,
  tags: ReadonlySet<Tag>,
  isGlobal: boolean,
): ArgumentInfo | Failure {
  const invalid = failure("EINVAL", `arg#${index} has invalid combination of tags`);
  if (tags.has("ctx") || isContextPointer(env, btf, pointee)) {
    if (tags.size > (tags.has("ctx") ? 1 : 0)) return invalid;
    if (tags.has("ctx")) {
      const wrong = taggedContext(env, btf, index, pointee);
      if (wrong !== undefined) return failure("EINVAL", wrong);
    }
    return { ...PLAIN, kind: "context" };
  }
  const target = skipModifiers(btf, pointee);
  if (target.kind === "struct" && target.name === "bpf_dynptr") {
    return tags.size > 0 ? invalid : { ...PLAIN, kind: "dynptr" };
  }
  if (tags.has("trusted")) {
    if (tags.has("nonnull")) return invalid;
    const id = kernelStruct(env, index, target);
    if (typeof id !== "number") return id;
    return { ...PLAIN, kind: "struct", nullable: tags.has("nullable"), structId: id };
  }
  if (tags.has("untrusted")) {
    if (tags.size > 1) {
      return failure("EINVAL", `arg#${index} untrusted cannot be combined with any other tags`);
    }
    if (
      target.kind === "void" ||
      target.kind === "int" ||
      target.kind === "enum" ||
      target.kind === "enum64"
    ) {
      return { ...PLAIN, kind: "memory", untrusted: true };
    }
    const id = kernelStruct(env, index, target);
    return typeof id === "number" ? { ...PLAIN, kind: "struct", untrusted: true, structId: id } : id;
  }
  if (tags.has("arena")) {
    if (tags.size > 1) {
      return failure("EINVAL", `arg#${index} arena cannot be combined with any other tags`);
    }
    return { ...PLAIN, kind: "arena" };
  }
  if (!isGlobal) {
    return tags.size > 0
      ? failure("EINVAL", `arg#${index} has pointer tag, but is not a pointer type`)
      : failure("EINVAL", "");
  }
  if (tags.has("nullable")) return invalid;
  const size = knownSize(btf, pointee);
  if (size === undefined) {
    return failure(
      "EINVAL",
      `arg#${index} reference type('${kindText(target)} ${target.name}') size cannot be determined: -22`,
    );
  }
  return { ...PLAIN, kind: "memory", nullable: !tags.has("nonnull"), memSize: size };
}

/** The kernel's structure of the same name, but for a flavour (btf_get_ptr_to_btf_id). */
function kernelStruct(env: Environment, index: number, target: BtfType): number | Failure {
  const { kernelBtf } = env.program;
  if (kernelBtf === undefined) throw env.unsupported("structures of the kernel without its types");
  const where = `arg#${index} reference type('${kindText(target)} ${target.name}')`;
  const name = target.name.replace(/___.*$/, "");
  const candidates = kernelBtf.find(name, target.kind === "fwd" ? "struct" : target.kind);
  const [only, another] = candidates;
  if (only === undefined) return failure("ENOENT", `${where} has no matches`);
  if (another !== undefined) return failure("ESRCH", `${where} is ambiguous`);
  return only.id;
}

/** Whether what is tagged as the context may be it (btf_validate_prog_ctx_type); why not. */
function taggedContext(env: Environment, btf: Btf, index: number, pointee: number): string | undefined {
  let type = btf.type(pointee);
  while (MODIFIERS.has(type.kind) && type.kind !== "typedef") {
    type = btf.type((type as unknown as { type: number }).type);
  }
  const isTypedef = type.kind === "typedef" && type.name === "bpf_user_pt_regs_t";
  if (env.type === "kprobe" && isTypedef) return undefined;
  if (env.type === "perf_event" && isTypedef) return undefined;
  const target = skipModifiers(btf, pointee);
  if (target.kind === "void") return undefined;
  if (target.name === "") return `arg#${index} type doesn't have a name`;
  if (env.type === "tracepoint" || env.type === "syscall" || env.type === "ext") return undefined;
  const struct = target.kind === "struct" || target.kind === "union" ? target.name : undefined;
  if (isSpecialContext(env, struct, target.kind === "int" && target.size === 8)) return undefined;
  // Types without a struct of their own have `void *` only.
  const expected = CONTEXT_STRUCTS.has(env.type) ? hookOf(env.type).context.struct : undefined;
  if (expected === undefined) return `arg#${index} should be void pointer`;
  return struct === expected ? undefined : `arg#${index} should be \`struct ${expected} *\``;
}

function isSpecialContext(
  { type, program: { attachType } }: Environment,
  struct: string | undefined,
  isWord: boolean,
): boolean {
  switch (type) {
    case "kprobe":
    case "perf_event":
      return struct === "pt_regs";
    case "raw_tracepoint":
    case "raw_tracepoint_writable":
    case "lsm":
    case "struct_ops":
      return isWord;
    case "tracing":
      if (attachType === "trace_iter") return struct?.startsWith("bpf_iter__") === true;
      return isWord || (attachType === "trace_raw_tp" && struct === "bpf_raw_tracepoint_args");
    default:
      return false;
  }
}

/** Program types whose context has a struct of its own in the uapi headers. */
const CONTEXT_STRUCTS: ReadonlySet<string> = new Set([
  "socket_filter",
  "kprobe",
  "sched_cls",
  "sched_act",
  "xdp",
  "perf_event",
  "cgroup_skb",
  "cgroup_sock",
  "lwt_in",
  "lwt_out",
  "lwt_xmit",
  "lwt_seg6local",
  "sock_ops",
  "sk_skb",
  "cgroup_device",
  "sk_msg",
  "raw_tracepoint",
  "raw_tracepoint_writable",
  "cgroup_sock_addr",
  "sk_reuseport",
  "flow_dissector",
  "cgroup_sysctl",
  "cgroup_sockopt",
  "sk_lookup",
  "netfilter",
]);

function knownSize(btf: Btf, id: number): number | undefined {
  const type = skipModifiers(btf, id);
  if (type.kind === "void" || type.kind === "fwd" || type.kind === "func" || type.kind === "func_proto") {
    return undefined;
  }
  return resolveSize(btf, id) === undefined ? undefined : sizeOf(btf, resolve(btf, id).id);
}

const tagsOf = new WeakMap<Btf, ReadonlyMap<string, readonly string[]>>();

/** What follows "arg:" in the tags of a function's argument. */
function tagged(btf: Btf): ReadonlyMap<string, readonly string[]> {
  let tags = tagsOf.get(btf);
  if (tags === undefined) {
    const found = new Map<string, string[]>();
    for (let id = btf.firstId; id < btf.count; id++) {
      if (btf.kind(id) !== "decl_tag") continue;
      const tag = btf.type(id);
      if (tag.kind !== "decl_tag" || !tag.name.startsWith("arg:")) continue;
      const key = `${tag.type}:${tag.component}`;
      found.set(key, [...(found.get(key) ?? []), tag.name.slice("arg:".length)]);
    }
    tags = found;
    tagsOf.set(btf, tags);
  }
  return tags;
}

/** Whether the registers of a call fit what BTF says (btf_check_subprog_call); if not, BTF is not believed any more. */
export function matchArguments(env: Environment, number: number): Failure | undefined {
  if ((env.program.functionInfo ?? []).length === 0) return failure("EINVAL", "");
  const subprogram = env.subprograms[number] as Subprogram;
  if (subprogram.unreliable) return failure("EINVAL", "");
  const wrong = prepareArguments(env, number) ?? compareArguments(env, subprogram);
  if (wrong === undefined) return undefined;
  if (wrong.message !== "") env.verbose(`${wrong.message}\n`);
  subprogram.unreliable = true;
  return wrong;
}

function compareArguments(env: Environment, subprogram: Subprogram): Failure | undefined {
  for (const [index, argument] of subprogram.arguments.entries()) {
    try {
      const message = compareArgument(env, index, argument);
      if (message !== undefined) return failure("EINVAL", message);
    } catch (error) {
      // What is not implemented is no verdict; what else was wrong stands in the log.
      if (error instanceof Rejection && error.errno !== "EOPNOTSUPP") return failure(error.errno, "");
      throw error;
    }
  }
  return undefined;
}

/** Why a register does not fit; undefined if it does, "" if the log has said it. */
function compareArgument(env: Environment, index: number, argument: ArgumentInfo): string | undefined {
  const regno = index + 1;
  const reg = env.registers[regno] as RegisterState;
  const { kind, nullable, memSize, untrusted, structId } = argument;
  if (kind === "scalar") return reg.type === SCALAR_VALUE ? undefined : `R${regno} is not a scalar`;
  if (untrusted) return undefined;
  const offset = (base: string): void =>
    checkOffset(env, regno, { base, flags: 0, size: 0, struct: undefined });
  switch (kind) {
    case "context":
      offset("anything");
      return reg.type === PTR_TO_CTX ? undefined : `arg#${index} expects pointer to ctx`;
    case "memory":
      return checkGlobalMemoryArgument(env, regno, memSize, nullable);
    case "arena":
      if (reg.type === PTR_TO_ARENA || reg.type === SCALAR_VALUE) return undefined;
      return `R${regno} is not a pointer to arena or scalar.`;
    case "dynptr":
      offset("ptr_to_dynptr");
      checkDynptr(env, regno, MEM_RDONLY, 0);
      return undefined;
    default: {
      if (isNull(reg) && nullable) return undefined;
      const flags = PTR_TRUSTED | (nullable ? PTR_MAYBE_NULL : 0);
      checkArgumentType(env, regno, { base: "ptr_to_btf_id", flags, struct: structId }, NO_CALL);
      offset("ptr_to_btf_id");
      return undefined;
    }
  }
}

const NO_CALL = { name: undefined, kptr: undefined } as const;
