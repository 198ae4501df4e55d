/** Fields of a value that the kernel keeps for itself: locks, timers, kernel pointers, roots of lists and trees. */
import { BpfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { resolve, sizeOf } from "./resolve.ts";
import { MAX_DEPTH } from "./types.ts";

/** Where one lies; `kind` as enum btf_field_type of linux/bpf.h has it, in lower case and without prefix. */
export interface BtfSpecialField {
  readonly kind:
    | (typeof SPECIAL_STRUCTS | typeof NODE_STRUCTS)[number]["kind"]
    | "kptr"
    | "percpu_kptr"
    | "uptr";
  /** Bytes from the start of the value. */
  readonly offset: number;
  readonly size: number;
  /** Of kernel pointers and roots, as far as the types say it: what they point to or hold. */
  readonly target?: BtfFieldTarget;
  /** `kptr_untrusted`: programs write it themselves. */
  readonly untrusted?: true;
}

/** A structure that a kernel pointer points to, or that a list or tree holds. */
export interface BtfFieldTarget {
  readonly btf: Btf;
  readonly type: number;
  /** Where the node of the list or tree lies in it; 0 for pointers. */
  readonly node: number;
}

/** Structures that mean such a field by their name (kernel/bpf/btf.c, btf_get_field_type). */
const SPECIAL_STRUCTS = [
  { name: "bpf_spin_lock", kind: "spin_lock" },
  { name: "bpf_res_spin_lock", kind: "res_spin_lock" },
  { name: "bpf_timer", kind: "timer" },
  { name: "bpf_wq", kind: "wq" },
  { name: "bpf_task_work", kind: "task_work" },
  { name: "bpf_list_head", kind: "list_head" },
  { name: "bpf_rb_root", kind: "rb_root" },
  { name: "bpf_refcount", kind: "refcount" },
] as const;

/** Of objects that programs allocate; in the values of maps they mean nothing. */
const NODE_STRUCTS = [
  { name: "bpf_list_node", kind: "list_node" },
  { name: "bpf_rb_node", kind: "rb_node" },
] as const;

/** Type tags that mean a kernel pointer. */
const POINTER_TAGS: Readonly<Record<string, "kptr" | "percpu_kptr" | "uptr">> = {
  kptr: "kptr",
  kptr_untrusted: "kptr",
  percpu_kptr: "percpu_kptr",
  uptr: "uptr",
};
const UNTRUSTED = "kptr_untrusted";

// linux/bpf.h BTF_FIELDS_MAX.
const MOST_FIELDS = 11;

/**
 * The special fields of a type, ascending. Structures and arrays inside are searched as well.
 *
 * @throws BpfError code "btf" for more of them than the kernel takes.
 * @example
 * specialFields(btf, id); // [{ kind: "spin_lock", offset: 8, size: 4 }]
 */
export function specialFields(btf: Btf, id: number): BtfSpecialField[] {
  return fieldsOf(btf, id, SPECIAL_STRUCTS);
}

/** Those of an object that programs allocate: nodes of lists and trees too. */
export function objectFields(btf: Btf, id: number): BtfSpecialField[] {
  return fieldsOf(btf, id, [...SPECIAL_STRUCTS, ...NODE_STRUCTS]);
}

type SpecialStructs = readonly (typeof SPECIAL_STRUCTS | typeof NODE_STRUCTS)[number][];

interface Search {
  readonly btf: Btf;
  readonly structs: SpecialStructs;
  readonly found: BtfSpecialField[];
}

function fieldsOf(btf: Btf, id: number, structs: SpecialStructs): BtfSpecialField[] {
  const found: BtfSpecialField[] = [];
  collect({ btf, structs, found }, id, 0, 0);
  return found.toSorted((a, b) => a.offset - b.offset);
}

/** `tagged` is the member or variable that declares the type, as declaration tags name it: type and component. */
function collect(search: Search, id: number, offset: number, depth: number, tagged?: string): void {
  if (depth > MAX_DEPTH) return;
  const { btf, structs, found } = search;
  const pointer = pointerField(btf, id, offset);
  if (pointer !== undefined) {
    add(found, pointer);
    return;
  }
  const type = resolve(btf, id);
  if (type.kind === "array") {
    if (!mayHold(btf, type.type)) return;
    const size = sizeOf(btf, type.type);
    for (let index = 0; index < type.length; index++)
      collect(search, type.type, offset + index * size, depth + 1, tagged);
    return;
  }
  if (type.kind === "datasec") {
    for (const variable of type.variables) {
      const target = btf.type(variable.type);
      if (target.kind === "var")
        collect(search, target.type, offset + variable.offset, depth + 1, `${variable.type}:-1`);
    }
    return;
  }
  if (type.kind !== "struct") return;
  const special = structs.find(({ name }) => name === type.name);
  if (special !== undefined) {
    const target = tagged === undefined ? undefined : contained(btf, tagged, special.kind);
    add(found, { kind: special.kind, offset, size: type.size, ...(target === undefined ? {} : { target }) });
    return;
  }
  type.members.forEach((member, index) => {
    if (member.bitSize === 0)
      collect(search, member.type, offset + member.bitOffset / 8, depth + 1, `${type.id}:${index}`);
  });
}

/** What "contains:struct:member" at a root says. */
function contained(btf: Btf, tagged: string, kind: BtfSpecialField["kind"]): BtfFieldTarget | undefined {
  const node = { list_head: "bpf_list_node", rb_root: "bpf_rb_node" }[kind as "list_head" | "rb_root"];
  if (node === undefined) return undefined;
  const [name = "", field] = containsTags(btf).get(tagged)?.slice(CONTAINS.length).split(":") ?? [];
  const [struct] = btf.find(name, "struct");
  if (struct?.kind !== "struct") return undefined;
  const member = struct.members.find((row) => row.name === field && resolve(btf, row.type).name === node);
  return member === undefined ? undefined : { btf, type: struct.id, node: member.bitOffset / 8 };
}

const CONTAINS = "contains:";
const tags = new WeakMap<Btf, ReadonlyMap<string, string>>();

/** "contains:" tags by type and component. */
export function containsTags(btf: Btf): ReadonlyMap<string, string> {
  let known = tags.get(btf);
  if (known === undefined) {
    const found = new Map<string, string>();
    for (let id = btf.firstId; id < btf.count; id++) {
      if (btf.kind(id) !== "decl_tag") continue;
      const tag = btf.type(id);
      if (tag.kind === "decl_tag" && tag.name.startsWith(CONTAINS))
        found.set(`${tag.type}:${tag.component}`, tag.name);
    }
    known = found;
    tags.set(btf, known);
  }
  return known;
}

function add(found: BtfSpecialField[], field: BtfSpecialField): void {
  if (found.push(field) <= MOST_FIELDS) return;
  throw new BpfError("btf", `a value has more than ${MOST_FIELDS} locks, timers and kernel pointers: E2BIG`);
}

/** Whether elements of an array are worth a look: a large array of numbers has nothing in it. */
function mayHold(btf: Btf, id: number): boolean {
  const { kind } = resolve(btf, id);
  return kind === "struct" || kind === "array" || kind === "ptr";
}

/** `struct task_struct __kptr *`: the tags stand between the pointer and what it points to. */
function pointerField(btf: Btf, id: number, offset: number): BtfSpecialField | undefined {
  let type = btf.type(id);
  for (let steps = 0; steps < MAX_DEPTH; steps++) {
    if (type.kind === "typedef" || type.kind === "const" || type.kind === "volatile")
      type = btf.type(type.type);
    else break;
  }
  if (type.kind !== "ptr") return undefined;
  const tag = btf.type(type.type);
  const kind = tag.kind === "type_tag" ? POINTER_TAGS[tag.name] : undefined;
  if (kind === undefined) return undefined;
  const target = resolve(btf, type.type);
  return {
    kind,
    offset,
    size: 8,
    ...(target.kind === "struct" || target.kind === "fwd"
      ? { target: { btf, type: target.id, node: 0 } }
      : {}),
    ...(tag.name === UNTRUSTED ? { untrusted: true } : {}),
  };
}
