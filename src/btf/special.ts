/** Fields of a value that the kernel keeps for itself: locks, timers, kernel pointers, roots of lists and trees. */
import { BpfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { resolve, sizeOf } from "./resolve.ts";
import { MAX_DEPTH } from "./types.ts";

/** Where one lies; `kind` as enum btf_field_type of linux/bpf.h has it, in lower case and without prefix. */
export interface BtfSpecialField {
  readonly kind: (typeof SPECIAL_STRUCTS)[number]["kind"] | "kptr" | "percpu_kptr" | "uptr";
  /** Bytes from the start of the value. */
  readonly offset: number;
  readonly size: number;
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

/** Type tags that mean a kernel pointer. */
const POINTER_TAGS: Readonly<Record<string, "kptr" | "percpu_kptr" | "uptr">> = {
  kptr: "kptr",
  kptr_untrusted: "kptr",
  percpu_kptr: "percpu_kptr",
  uptr: "uptr",
};

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
  const found: BtfSpecialField[] = [];
  collect(btf, id, 0, 0, found);
  return found.toSorted((a, b) => a.offset - b.offset);
}

function collect(btf: Btf, id: number, offset: number, depth: number, found: BtfSpecialField[]): void {
  if (depth > MAX_DEPTH) return;
  const tag = pointerTag(btf, id);
  if (tag !== undefined) {
    add(found, { kind: tag, offset, size: 8 });
    return;
  }
  const type = resolve(btf, id);
  if (type.kind === "array") {
    if (!mayHold(btf, type.type)) return;
    const size = sizeOf(btf, type.type);
    for (let index = 0; index < type.length; index++) {
      collect(btf, type.type, offset + index * size, depth + 1, found);
    }
    return;
  }
  if (type.kind === "datasec") {
    for (const variable of type.variables) {
      const target = btf.type(variable.type);
      if (target.kind === "var") collect(btf, target.type, offset + variable.offset, depth + 1, found);
    }
    return;
  }
  if (type.kind !== "struct") return;
  const special = SPECIAL_STRUCTS.find(({ name }) => name === type.name);
  if (special !== undefined) {
    add(found, { kind: special.kind, offset, size: type.size });
    return;
  }
  for (const member of type.members) {
    if (member.bitSize === 0) collect(btf, member.type, offset + member.bitOffset / 8, depth + 1, found);
  }
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
function pointerTag(btf: Btf, id: number): "kptr" | "percpu_kptr" | "uptr" | undefined {
  let type = btf.type(id);
  for (let steps = 0; steps < MAX_DEPTH; steps++) {
    if (type.kind === "typedef" || type.kind === "const" || type.kind === "volatile")
      type = btf.type(type.type);
    else break;
  }
  if (type.kind !== "ptr") return undefined;
  const target = btf.type(type.type);
  return target.kind === "type_tag" ? POINTER_TAGS[target.name] : undefined;
}
