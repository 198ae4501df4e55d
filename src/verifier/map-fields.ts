/**
 * Fields of map values that the kernel keeps for itself: locks, timers, kernel pointers, roots of lists and trees
 * (btf_parse_fields of kernel/bpf/btf.c). Programs reach them through helpers and kernel functions only.
 */
import { type Btf, type BtfType, sizeOf } from "../btf/index.ts";
import type { VerifierMap } from "./input.ts";

/** One such field. */
export interface MapField {
  /** "kptr" for a pointer to a kernel object; other kinds by their struct. */
  readonly kind: "kptr" | "special";
  /** As messages call it: "bpf_spin_lock", "kptr". */
  readonly name: string;
  readonly offset: number;
  readonly size: number;
}

const SPECIAL: ReadonlySet<string> = new Set([
  "bpf_spin_lock",
  "bpf_res_spin_lock",
  "bpf_timer",
  "bpf_wq",
  "bpf_task_work",
  "bpf_list_head",
  "bpf_list_node",
  "bpf_rb_root",
  "bpf_rb_node",
  "bpf_refcount",
]);
const POINTER_TAGS: ReadonlySet<string> = new Set(["kptr", "kptr_untrusted", "percpu_kptr", "uptr"]);

const known = new WeakMap<VerifierMap, readonly MapField[]>();
const NONE: readonly MapField[] = [];

/** The fields of a map's values, by offset. */
export function specialFields(map: VerifierMap): readonly MapField[] {
  const { btf, value } = map;
  if (btf === undefined || value === undefined || value === 0) return NONE;
  const seen = known.get(map);
  if (seen !== undefined) return seen;
  const fields: MapField[] = [];
  collect(btf, value, 0, fields, 0);
  fields.sort((left, right) => left.offset - right.offset);
  known.set(map, fields);
  return fields;
}

const MODIFIERS: ReadonlySet<string> = new Set(["typedef", "const", "volatile", "restrict", "type_tag"]);

/** The type behind modifiers. */
function plain(btf: Btf, id: number): BtfType {
  let type = btf.type(id);
  while (MODIFIERS.has(type.kind) && "type" in type) type = btf.type(type.type as number);
  return type;
}

function collect(btf: Btf, id: number, at: number, fields: MapField[], depth: number): void {
  if (depth > 8) return;
  const type = plain(btf, id);
  switch (type.kind) {
    case "struct":
    case "union":
      if (SPECIAL.has(type.name))
        fields.push({ kind: "special", name: type.name, offset: at, size: type.size });
      else {
        for (const member of type.members) {
          if (member.bitSize === 0) collect(btf, member.type, at + member.bitOffset / 8, fields, depth + 1);
        }
      }
      return;
    case "var":
      collect(btf, type.type, at, fields, depth);
      return;
    case "datasec":
      for (const variable of type.variables)
        collect(btf, variable.type, at + variable.offset, fields, depth + 1);
      return;
    case "array": {
      const before = fields.length;
      collect(btf, type.type, at, fields, depth + 1);
      const each = fields.slice(before);
      if (each.length === 0) return;
      const step = sizeOf(btf, type.type);
      for (let index = 1; index < Math.min(type.length, 64); index++) {
        for (const field of each) fields.push({ ...field, offset: field.offset + index * step });
      }
      return;
    }
    case "ptr": {
      const target = btf.type(type.type);
      if (target.kind === "type_tag" && POINTER_TAGS.has(target.name)) {
        fields.push({ kind: "kptr", name: "kptr", offset: at, size: 8 });
      }
      return;
    }
    default:
  }
}
