/** What BTF says of a function's arguments (btf_prepare_func_args, btf_check_func_arg_match). */
import { type Btf, type BtfType, resolve, sizeOf } from "../../btf/index.ts";
import { hookOf } from "../../hooks/index.ts";
import type { ArgumentInfo, Environment, Subprogram } from "../environment.ts";
import { PTR_TO_CTX, SCALAR_VALUE } from "../register-types.ts";
import type { RegisterState } from "../state.ts";
import { checkGlobalMemoryArgument } from "./memory-argument.ts";

/** Why arguments are not known: `message` is empty where the kernel says nothing. */
interface Failure {
  readonly errno: "EINVAL" | "EFAULT" | "EOPNOTSUPP";
  readonly message: string;
}

const MODIFIERS: ReadonlySet<string> = new Set(["typedef", "volatile", "const", "restrict", "type_tag"]);

function skipModifiers(btf: Btf, id: number): BtfType {
  let type = btf.type(id);
  while (MODIFIERS.has(type.kind)) type = btf.type((type as unknown as { type: number }).type);
  return type;
}

function isContext(env: Environment, btf: Btf, pointee: number): boolean {
  if (env.type === "kprobe") {
    let type = btf.type(pointee);
    while (MODIFIERS.has(type.kind) && type.kind !== "typedef") {
      type = btf.type((type as unknown as { type: number }).type);
    }
    if (type.kind === "typedef" && type.name === "bpf_user_pt_regs_t") return true;
  }
  const type = skipModifiers(btf, pointee);
  if (type.kind !== "struct") return false;
  const expected = hookOf(env.type).context.struct;
  return type.name === expected || type.name.startsWith(`${expected}___`);
}

/** Fills in a function's arguments, once; what prevents it otherwise. */
export function prepareArguments(env: Environment, number: number): Failure | undefined {
  const subprogram = env.subprograms[number] as Subprogram;
  if (subprogram.argumentsCached) return undefined;
  const { btf, functionInfo = [] } = env.program;
  const info = functionInfo[number];
  if (btf === undefined || info === undefined) return { errno: "EFAULT", message: "Verifier bug" };
  const isGlobal = subprogram.linkage === "global";
  const silent = (message: string): Failure => ({ errno: "EINVAL", message: isGlobal ? message : "" });
  const { name } = subprogram;
  const func = btf.type(info.type);
  const prototype = func.kind === "func" ? btf.type(func.type) : undefined;
  if (prototype === undefined || prototype.kind !== "func_proto") {
    return { errno: "EFAULT", message: `Invalid type of function ${name}()` };
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
    if (hasTag(btf, info.type, index)) throw env.unsupported("argument tags of functions");
    const type = skipModifiers(btf, parameter.type);
    if (type.kind === "ptr") {
      if (isContext(env, btf, type.type)) {
        found.push({ kind: "context", nullable: false, memSize: 0 });
        continue;
      }
      const pointee = skipModifiers(btf, type.type);
      if (pointee.kind === "struct" && pointee.name === "bpf_dynptr")
        throw env.unsupported("dynptr arguments");
      if (!isGlobal) return { errno: "EINVAL", message: "" };
      const size = knownSize(btf, type.type);
      if (size === undefined) {
        return {
          errno: "EINVAL",
          message: `arg#${index} reference type('${kindText(pointee)} ${pointee.name}') size cannot be determined: -22`,
        };
      }
      found.push({ kind: "memory", nullable: true, memSize: size });
      continue;
    }
    if (type.kind === "int" || type.kind === "enum" || type.kind === "enum64") {
      found.push({ kind: "scalar", nullable: false, memSize: 0 });
      continue;
    }
    return silent(`Arg#${index} type ${kindText(type)} in ${name}() is not supported yet.`);
  }
  subprogram.arguments = found;
  subprogram.argumentsCached = true;
  return undefined;
}

function knownSize(btf: Btf, id: number): number | undefined {
  const type = skipModifiers(btf, id);
  if (type.kind === "void" || type.kind === "fwd" || type.kind === "func" || type.kind === "func_proto") {
    return undefined;
  }
  return sizeOf(btf, resolve(btf, id).id);
}

/** btf_type_str: the kind in capitals. */
function kindText({ kind }: BtfType): string {
  return kind === "void" ? "UNKNOWN" : kind.toUpperCase();
}

/** Whether an argument has a tag "arg:...". */
function hasTag(btf: Btf, func: number, index: number): boolean {
  return tagged(btf).has(`${func}:${index}`);
}

const tagsOf = new WeakMap<Btf, ReadonlySet<string>>();

function tagged(btf: Btf): ReadonlySet<string> {
  let tags = tagsOf.get(btf);
  if (tags === undefined) {
    const found = new Set<string>();
    for (let id = btf.firstId; id < btf.count; id++) {
      if (btf.kind(id) !== "decl_tag") continue;
      const tag = btf.type(id);
      if (tag.kind === "decl_tag" && tag.name.startsWith("arg:")) found.add(`${tag.type}:${tag.component}`);
    }
    tags = found;
    tagsOf.set(btf, tags);
  }
  return tags;
}

/** Whether the registers of a call fit what BTF says (btf_check_subprog_call); if not, BTF is not believed any more. */
export function matchArguments(env: Environment, number: number): Failure | undefined {
  if ((env.program.functionInfo ?? []).length === 0) return { errno: "EINVAL", message: "" };
  const subprogram = env.subprograms[number] as Subprogram;
  if (subprogram.unreliable) return { errno: "EINVAL", message: "" };
  const failure = prepareArguments(env, number) ?? compareArguments(env, subprogram);
  if (failure === undefined) return undefined;
  if (failure.message !== "") env.verbose(`${failure.message}\n`);
  subprogram.unreliable = true;
  return failure;
}

function compareArguments(env: Environment, subprogram: Subprogram): Failure | undefined {
  for (const [index, { kind, nullable, memSize }] of subprogram.arguments.entries()) {
    const regno = index + 1;
    const reg = env.registers[regno] as RegisterState;
    if (kind === "scalar") {
      if (reg.type !== SCALAR_VALUE) return { errno: "EINVAL", message: `R${regno} is not a scalar` };
    } else if (kind === "context") {
      if (reg.type === PTR_TO_CTX && reg.off !== 0) throw env.unsupported("modified context as an argument");
      if (reg.type !== PTR_TO_CTX) return { errno: "EINVAL", message: `arg#${index} expects pointer to ctx` };
    } else {
      const message = checkGlobalMemoryArgument(env, regno, memSize, nullable);
      if (message !== undefined) return { errno: "EINVAL", message };
    }
  }
  return undefined;
}
