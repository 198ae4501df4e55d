/**
 * What a program's target is declared as: the parameters of the kernel function, tracepoint, LSM hook, iterator or method that
 * it attaches to. The kernel's types tell it; of iterators and of functions that are not inlined the program's own do.
 */
import { type Btf, type BtfComposite, type BtfPrototype, resolve } from "../../btf/index.ts";
import type { AttachType } from "../../uapi/index.ts";
import { syscallArguments } from "./syscalls.ts";
import type { Subject } from "./types.ts";

export interface Parameter {
  readonly name: string;
  /** Id of its type in {@link Signature.btf}. */
  readonly type: number;
}

export interface Signature {
  readonly btf: Btf;
  readonly parameters: readonly Parameter[];
  /** Id of the type of its result; 0 is void. */
  readonly result: number;
}

/** What the kernel calls the declaration of a target: its kind, and what stands before the name (kernel/bpf/btf.c, bpf_lsm.c). */
const DECLARATIONS: Readonly<Partial<Record<AttachType, { prefix: string; skip?: number }>>> = {
  // The first parameter of a tracepoint's function is its own data.
  trace_raw_tp: { prefix: "btf_trace_", skip: 1 },
  trace_iter: { prefix: "bpf_iter_" },
  lsm_mac: { prefix: "bpf_lsm_" },
  lsm_cgroup: { prefix: "bpf_lsm_" },
};

/** By program: nothing that tells it changes, and to look it up takes longer than most programs run. */
const SIGNATURES = new WeakMap<Subject, { readonly signature: Signature | undefined }>();
const NAMES = new WeakMap<Subject, readonly string[]>();

export function signatureOf(subject: Subject): Signature | undefined {
  let known = SIGNATURES.get(subject);
  if (known === undefined) {
    known = { signature: findSignature(subject) };
    SIGNATURES.set(subject, known);
  }
  return known.signature;
}

function findSignature(subject: Subject): Signature | undefined {
  const { image, types, attach, type } = subject;
  if (image.method !== undefined && image.ownTypes !== undefined) {
    const prototype = pointedPrototype(image.ownTypes, image.method);
    if (prototype !== undefined) return asSignature(image.ownTypes, prototype, 0);
  }
  const raw = type === "raw_tracepoint" || type === "raw_tracepoint_writable";
  const { prefix, skip = 0 } = DECLARATIONS[raw ? "trace_raw_tp" : (attach ?? "trace_fentry")] ?? {
    prefix: "",
  };
  const target = image.attachTo?.replace(/\+0x[0-9a-f]+$|\+\d+$/, "");
  for (const btf of types) {
    if (target === undefined) break;
    const tracepoint = prefix === "btf_trace_" ? prototypeOf(btf, `__traceiter_${target}`) : undefined;
    // The typedef of a tracepoint has no names; the function that goes through its probes has the same parameters.
    const prototype = tracepoint ?? prototypeOf(btf, prefix + target);
    if (prototype !== undefined) return asSignature(btf, prototype, skip);
  }
  return ownSignature(subject);
}

/** Names of a target's parameters; none if nothing is known of it. */
export function parameterNames(subject: Subject): readonly string[] {
  let names = NAMES.get(subject);
  if (names === undefined) {
    const { section, attachTo } = subject.image;
    const call = /^k(ret)?syscall/.test(section ?? "") ? syscallArguments(attachTo ?? "") : undefined;
    names = call ?? signatureOf(subject)?.parameters.map(({ name }) => name) ?? [];
    NAMES.set(subject, names);
  }
  return names;
}

function asSignature(btf: Btf, prototype: BtfPrototype, skip: number): Signature {
  return {
    btf,
    parameters: prototype.parameters
      .slice(skip)
      .map(({ name, type }, index) => ({ name: name || `arg${index}`, type })),
    result: prototype.type,
  };
}

/** Of a function, or of a typedef that is a pointer to one. */
function prototypeOf(btf: Btf, name: string): BtfPrototype | undefined {
  for (const type of btf.find(name)) {
    if (type.kind === "func") return pointedPrototype(btf, type.type);
    if (type.kind === "typedef") return pointedPrototype(btf, type.type);
  }
  return undefined;
}

function pointedPrototype(btf: Btf, id: number): BtfPrototype | undefined {
  const type = resolve(btf, id);
  const target = type.kind === "ptr" ? resolve(btf, type.type) : type;
  return target.kind === "func_proto" ? target : undefined;
}

/**
 * The members of `struct bpf_iter__task`, which an iterator's context is; `____name(ctx, ...)` of BPF_PROG, BPF_KPROBE and their
 * kin; or the program's own parameters if it has several.
 */
function ownSignature({ image }: Subject): Signature | undefined {
  const btf = image.ownTypes;
  if (btf === undefined) return undefined;
  const context = contextStruct(btf, image.name);
  if (context?.name.startsWith("bpf_iter__") === true) {
    return { btf, parameters: context.members.map((member) => iteratorPart(btf, member)), result: 0 };
  }
  for (const name of [`____${image.name}`, image.name]) {
    const prototype = prototypeOf(btf, name);
    if (prototype === undefined) continue;
    const skip = name === image.name ? 0 : 1;
    if (skip === 0 && prototype.parameters.length < 2) continue;
    return asSignature(btf, prototype, skip);
  }
  return undefined;
}

/** The struct that a program's only parameter points to. */
export function contextStruct(btf: Btf, program: string): BtfComposite | undefined {
  const [parameter] = prototypeOf(btf, program)?.parameters ?? [];
  const pointer = parameter === undefined ? undefined : resolve(btf, parameter.type);
  const struct = pointer?.kind === "ptr" ? resolve(btf, pointer.type) : undefined;
  return struct?.kind === "struct" ? struct : undefined;
}

/** Pointers stand in anonymous unions of one member. */
function iteratorPart(btf: Btf, { name, type }: { name: string; type: number }): Parameter {
  const inner = name === "" ? resolve(btf, type) : undefined;
  const [only] = inner?.kind === "union" ? inner.members : [];
  return only === undefined ? { name, type } : { name: only.name, type: only.type };
}
