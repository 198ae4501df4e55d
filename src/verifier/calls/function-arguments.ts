/** Prototypes of helpers with the kernel's flags instead of words (struct bpf_func_proto). */
import { type PrototypeRow, allowedHelpers, helperName, prototypeOf } from "../../uapi/index.ts";
import type { Environment } from "../environment.ts";
import {
  DYNPTR_TYPE_LOCAL,
  DYNPTR_TYPE_RINGBUF,
  MEM_ALIGNED,
  MEM_FIXED_SIZE,
  MEM_RDONLY,
  MEM_RINGBUF,
  MEM_UNINIT,
  MEM_WRITE,
  OBJ_RELEASE,
  PTR_MAYBE_NULL,
  PTR_TRUSTED,
} from "../register-types.ts";

/** What an argument must be. */
export interface Argument {
  /** The kernel's ARG_ name in lower case. */
  readonly base: string;
  readonly flags: number;
  /** Bytes of memory of fixed size. */
  readonly size: number;
  /** The kernel's struct that it must point to. */
  readonly struct: string | undefined;
}

/** A helper as a program of one type and attach type has it. */
export interface Prototype {
  readonly row: PrototypeRow;
  readonly args: readonly Argument[];
  /** The kernel's RET_ name in lower case, and what comes to it. */
  readonly returns: string;
  readonly returnFlags: number;
  readonly returnStruct: string | undefined;
}

const FLAGS: Readonly<Record<string, number>> = {
  maybe_null: PTR_MAYBE_NULL,
  rdonly: MEM_RDONLY,
  uninit: MEM_UNINIT,
  write: MEM_WRITE,
  aligned: MEM_ALIGNED,
  release: OBJ_RELEASE,
  ringbuf: MEM_RINGBUF,
  trusted: PTR_TRUSTED,
  "dynptr=local": DYNPTR_TYPE_LOCAL,
  "dynptr=ringbuf": DYNPTR_TYPE_RINGBUF,
};

function parse(text: string): Argument {
  const [base = "", ...words] = text.split(" ");
  let flags = 0;
  let size = 0;
  let struct: string | undefined;
  for (const word of words) {
    if (word.startsWith("size=")) {
      size = Number(word.slice(5));
      flags |= MEM_FIXED_SIZE;
    } else if (word.startsWith("btf=")) struct = word.slice(4);
    else flags |= FLAGS[word] ?? 0;
  }
  return { base, flags, size, struct };
}

<<<<<<< HEAD
const parsed = new Map<PrototypeRow, Prototype>();

function prototypeOfRow(row: PrototypeRow): Prototype {
  const seen = parsed.get(row);
  if (seen !== undefined) return seen;
  const { base, flags, struct } = parse(row.returns);
  const made: Prototype = {
    row,
    args: row.args.map(parse),
    returns: base,
    returnFlags: flags,
    returnStruct: struct,
  };
  parsed.set(row, made);
  return made;
=======
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
>>>>>>> 0801325 (Verifier: helper calls, map values, packets, contexts, sockets, references)
}

/** Why there is no prototype: no helper has the id, or the program may not call it. */
export type NoHelper = "unknown" | "not_allowed";

const contexts = new WeakMap<Environment, Map<number, Prototype | NoHelper>>();

/** The helper with an id, for the program under verification (get_helper_proto). */
export function helperOf(env: Environment, id: number): Prototype | NoHelper {
  let known = contexts.get(env);
  if (known === undefined) {
    known = new Map();
    contexts.set(env, known);
  }
  let found = known.get(id);
  if (found === undefined) {
    found = findHelper(env, id);
    known.set(id, found);
  }
  return found;
}

function findHelper({ program }: Environment, id: number): Prototype | NoHelper {
  if (helperName(id) === undefined) return "unknown";
  const context = {
    type: program.type,
    ...(program.attachType === undefined ? {} : { attachType: program.attachType }),
    sleepable: program.sleepable ?? false,
  };
  const row = prototypeOf(id, context);
  if (row === undefined || !allowedHelpers(context).has(id)) return "not_allowed";
  return prototypeOfRow(row);
}

<<<<<<< HEAD
/** "bpf_map_lookup_elem", or "unknown" (func_id_name). */
export function helperLabel(id: number): string {
  const name = helperName(id);
  return `${name === undefined ? "unknown" : `bpf_${name}`}#${id}`;
=======
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
>>>>>>> 8737bdf (Verifier: BTF ids end at count)
}
