/**
 * What lies at an offset of a structure (btf_struct_walk, btf_struct_access, btf_struct_ids_match of kernel/bpf/btf.c): a number, a
 * pointer to another structure, a pointer to something else, or a structure that is embedded there. Arrays are seen as their elements
 * one after the other; what is read through a union of several members may be anything, so a pointer found there is untrusted.
 */
import { type Btf, type BtfType, resolve } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";
import { MEM_PERCPU, MEM_RCU, MEM_USER, PTR_UNTRUSTED } from "../register-types.ts";
import type { RejectionErrno } from "../reject.ts";

/** What a walk found. */
export type Found =
  | { readonly kind: "scalar" }
  /** To the structure `id`; flags of its type. */
  | { readonly kind: "pointer"; readonly id: number; readonly flags: number; readonly field: string }
  /** To something that is no structure. */
  | { readonly kind: "other_pointer" }
  | { readonly kind: "struct"; readonly id: number; readonly flags: number }
  | { readonly kind: "error"; readonly errno: RejectionErrno; readonly message: string };

const MODIFIERS: ReadonlySet<string> = new Set(["typedef", "volatile", "const", "restrict", "type_tag"]);

const TAG_FLAGS: Readonly<Record<string, number>> = { user: MEM_USER, percpu: MEM_PERCPU, rcu: MEM_RCU };

/** The id behind modifiers. */
export function skipModifiers(btf: Btf, id: number): number {
  let at = id;
  for (;;) {
    const type = btf.type(at);
    if (!MODIFIERS.has(type.kind) || !("type" in type)) return at;
    at = type.type as number;
  }
}

/** The flag of a tag like __rcu that a pointer's target has. */
export function tagFlag(btf: Btf, target: number): number {
  const type = btf.type(target);
  return type.kind === "type_tag" && type.attribute !== true ? (TAG_FLAGS[type.name] ?? 0) : 0;
}

interface Sized {
  readonly type: BtfType;
  readonly size: number;
  /** Of arrays: the element's type and how many there are over all dimensions. */
  readonly element: BtfType;
  readonly count: number;
}

/** Type and size, arrays of arrays as one (__btf_resolve_size); undefined for what has no size. */
export function resolveSize(btf: Btf, id: number): Sized | undefined {
  const type = resolve(btf, id);
  let count = 1;
  let element = type;
  while (element.kind === "array") {
    count *= element.length;
    element = resolve(btf, element.type);
  }
  let size: number;
  switch (element.kind) {
    case "int":
    case "enum":
    case "enum64":
    case "float":
    case "struct":
    case "union":
      ({ size } = element);
      break;
    case "ptr":
      size = 8;
      break;
    default:
      return undefined;
  }
  return { type, size: size * count, element, count };
}

function isComposite(type: BtfType): type is Extract<BtfType, { kind: "struct" | "union" }> {
  return type.kind === "struct" || type.kind === "union";
}

function named(name: string): string {
  return name === "" ? "(anon)" : name;
}

/** One step: into the structure `id` at `off`. `flexible`: its last member may be an array of open length. */
export function walkStruct(
  btf: Btf,
  id: number,
  off: number,
  size: number,
  flags: number,
  flexible: boolean,
): Found {
  let type = btf.type(skipModifiers(btf, id));
  let at = off;
  let walked = flags;
  for (;;) {
    if (!isComposite(type)) {
      return { kind: "error", errno: "EINVAL", message: `Type '${named(type.name)}' is not a struct` };
    }
    if (type.kind === "union" && type.members.length !== 1) walked |= PTR_UNTRUSTED;
    if (at + size > type.size) {
      const inner = flexible ? flexibleArray(btf, type, at) : undefined;
      if (inner === undefined) {
        const message = `access beyond struct ${named(type.name)} at off ${at >>> 0} size ${size >>> 0}`;
        return { kind: "error", errno: "EACCES", message };
      }
      if (inner === "scalar") return { kind: "scalar" };
      // The running kernel, not the source, says that a pointer from beyond the end is untrusted.
      walked |= PTR_UNTRUSTED;
      type = inner.type;
      at = inner.off;
      continue;
    }
    const next = member(btf, type, at, size, walked);
    if ("kind" in next) return next;
    ({ type } = next);
    at = next.off;
  }
}

interface Inner {
  readonly type: BtfType;
  readonly off: number;
}

/** Beyond the end of a structure: its last member may have more elements than it says. */
function flexibleArray(
  btf: Btf,
  type: Extract<BtfType, { kind: "struct" | "union" }>,
  off: number,
): Inner | "scalar" | undefined {
  const last = type.members.at(-1);
  if (last === undefined) return undefined;
  const array = resolve(btf, last.type);
  if (array.kind !== "array" || array.length !== 0) return undefined;
  const begin = last.bitOffset / 8;
  if (off < begin) return undefined;
  const element = resolve(btf, array.type);
  if (element.kind === "int") return "scalar";
  if (!isComposite(element) || element.size === 0) return undefined;
  return { type: element, off: (off - begin) % element.size };
}

function member(
  btf: Btf,
  type: Extract<BtfType, { kind: "struct" | "union" }>,
  off: number,
  size: number,
  flags: number,
): Found | Inner {
  for (const field of type.members) {
    let begin = Math.floor(field.bitOffset / 8);
    if (off + size <= begin) break;
    if (field.bitSize !== 0) {
      const end = Math.ceil((field.bitOffset + field.bitSize) / 8);
      if (off <= begin && end <= off + size) return { kind: "scalar" };
      continue;
    }
    if (off < begin) break;
    const sized = resolveSize(btf, field.type);
    if (sized === undefined) {
      return { kind: "error", errno: "EFAULT", message: `field ${named(field.name)} doesn't have size` };
    }
    const end = begin + sized.size;
    if (off >= end) continue;
    const inner = sized.element;
    let innerSize = sized.size;
    if (sized.type.kind === "array") {
      if (begin === end) continue;
      innerSize = sized.size / sized.count;
      begin += Math.floor((off - begin) / innerSize) * innerSize;
    }
    if (isComposite(inner)) {
      if (off === begin) return { kind: "struct", id: inner.id, flags };
      return { type: inner, off: off - begin };
    }
    if (inner.kind === "ptr") {
      if (innerSize !== size || off !== begin) {
        const message =
          `cannot access ptr member ${named(field.name)} with moff ${begin} in struct ${named(type.name)} ` +
          `with off ${off} size ${size}`;
        return { kind: "error", errno: "EACCES", message };
      }
      const target = skipModifiers(btf, inner.type);
      if (!isComposite(btf.type(target))) return { kind: "other_pointer" };
      return {
        kind: "pointer",
        id: target,
        flags: flags | tagFlag(btf, inner.type),
        field: field.name,
      };
    }
    if (off + size > end && (flags & PTR_UNTRUSTED) === 0) {
      const message =
        `access beyond the end of member ${named(field.name)} (mend:${end}) in struct ${named(type.name)} ` +
        `with off ${off} size ${size}`;
      return { kind: "error", errno: "EACCES", message };
    }
    return { kind: "scalar" };
  }
  return {
    kind: "error",
    errno: "EINVAL",
    message: `struct ${named(type.name)} doesn't have field at offset ${off}`,
  };
}

/** What a load of `size` bytes at an offset of a structure finds, embedded structures looked through. */
export function findField(
  env: Environment,
  btf: Btf,
  id: number,
  off: number,
  size: number,
  flexible: boolean,
): Exclude<Found, { kind: "struct" | "error" }> {
  let at = id;
  let from = off;
  let flags = 0;
  for (;;) {
    const found = walkStruct(btf, at, from, size, flags, flexible);
    if (found.kind === "error") throw env.reject(found.errno, found.message);
    if (found.kind !== "struct") return found;
    at = found.id;
    flags = found.flags;
    from = 0;
  }
}

/**
 * Whether a pointer to structure `id` plus `off` is one to structure `wanted`: it is that structure, or, unless `strict`, the wanted
 * one is embedded exactly there.
 */
export function structsMatch(
  env: Environment,
  btf: Btf,
  id: number,
  off: number,
  wantedBtf: Btf,
  wanted: number,
  strict: boolean,
): boolean {
  if (off === 0 && id === wanted && sameBtf(btf, wantedBtf, id)) return true;
  if (strict) return false;
  let at = id;
  let from = off;
  for (;;) {
    const found = walkStruct(btf, at, from, 1, 0, true);
    if (found.kind === "error") env.verbose(`${found.message}\n`);
    if (found.kind !== "struct") return false;
    if (found.id === wanted && sameBtf(btf, wantedBtf, found.id)) return true;
    at = found.id;
    from = 0;
  }
}

/** Types of a module's BTF below its own first one are those of vmlinux. */
function sameBtf(a: Btf, b: Btf, id: number): boolean {
  if (a === b) return true;
  const root = (btf: Btf): Btf => (btf.base !== undefined && id < btf.firstId ? btf.base : btf);
  return root(a) === root(b);
}
