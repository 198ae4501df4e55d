/**
 * The fields of a map value or an allocated object that the kernel keeps for itself: locks, timers, kernel pointers, roots and nodes
 * of lists and trees (btf_parse_fields of kernel/bpf/btf.c). Programs reach them through helpers and kernel functions only.
 */
import { type Btf, type BtfType, resolve, sizeOf } from "../../btf/index.ts";
import type { Environment } from "../environment.ts";
import type { VerifierMap } from "../input.ts";

/** What a field is. A "kptr" comes in two kinds: with a reference that it owns, and without. */
export type FieldKind =
  | "spin_lock"
  | "res_spin_lock"
  | "timer"
  | "wq"
  | "task_work"
  | "list_head"
  | "list_node"
  | "rb_root"
  | "rb_node"
  | "refcount"
  | "kptr_unref"
  | "kptr_ref"
  | "kptr_percpu"
  | "uptr";

/** One such field. */
export interface RecordField {
  readonly kind: FieldKind;
  readonly offset: number;
  readonly size: number;
  /** Kernel pointers: what they point to; undefined if neither the kernel nor the program knows the structure. */
  readonly pointer?: { readonly btf: Btf; readonly id: number; readonly kernel: boolean } | undefined;
  /** Roots: the structures that they hold, and where their node lies in them. */
  readonly graph?: { readonly btf: Btf; readonly id: number; readonly nodeOffset: number } | undefined;
}

/** All fields of a type, by offset. */
export type BtfRecord = readonly RecordField[];

const STRUCTS: Readonly<Record<string, FieldKind>> = {
  bpf_spin_lock: "spin_lock",
  bpf_res_spin_lock: "res_spin_lock",
  bpf_timer: "timer",
  bpf_wq: "wq",
  bpf_task_work: "task_work",
  bpf_list_head: "list_head",
  bpf_list_node: "list_node",
  bpf_rb_root: "rb_root",
  bpf_rb_node: "rb_node",
  bpf_refcount: "refcount",
};
const POINTERS: Readonly<Record<string, FieldKind>> = {
  kptr: "kptr_ref",
  kptr_untrusted: "kptr_unref",
  percpu_kptr: "kptr_percpu",
  uptr: "uptr",
};

/** Nodes have no meaning in map values. */
const IN_MAPS: ReadonlySet<FieldKind> = new Set<FieldKind>([
  "spin_lock",
  "res_spin_lock",
  "timer",
  "wq",
  "task_work",
  "list_head",
  "rb_root",
  "refcount",
  "kptr_unref",
  "kptr_ref",
  "kptr_percpu",
  "uptr",
]);
const IN_STRUCTS: ReadonlySet<FieldKind> = new Set<FieldKind>([
  "spin_lock",
  "res_spin_lock",
  "list_head",
  "list_node",
  "rb_root",
  "rb_node",
  "refcount",
  "kptr_unref",
  "kptr_ref",
  "kptr_percpu",
]);

const NAMES: Readonly<Record<FieldKind, string>> = {
  spin_lock: "bpf_spin_lock",
  res_spin_lock: "bpf_res_spin_lock",
  timer: "bpf_timer",
  wq: "bpf_wq",
  task_work: "bpf_task_work",
  list_head: "bpf_list_head",
  list_node: "bpf_list_node",
  rb_root: "bpf_rb_root",
  rb_node: "bpf_rb_node",
  refcount: "bpf_refcount",
  kptr_unref: "kptr",
  kptr_ref: "kptr",
  kptr_percpu: "percpu_kptr",
  uptr: "uptr",
};

/** As messages call it (btf_field_type_name). */
export function fieldName(kind: FieldKind): string {
  return NAMES[kind];
}

export function isKptr(kind: FieldKind): boolean {
  return kind === "kptr_unref" || kind === "kptr_ref" || kind === "kptr_percpu";
}

const EMPTY: BtfRecord = [];
const ofMaps = new WeakMap<VerifierMap, BtfRecord>();
const ofStructs = new WeakMap<Btf, Map<number, BtfRecord>>();

/** The fields of a map's values. */
export function mapRecord(env: Environment, map: VerifierMap): BtfRecord {
  const { btf, value } = map;
  if (btf === undefined || value === undefined || value === 0) return EMPTY;
  let record = ofMaps.get(map);
  if (record === undefined) {
    record = fieldsOf(btf, value, IN_MAPS, env.program.kernelBtf);
    ofMaps.set(map, record);
  }
  return record;
}

const kindsOfMaps = new WeakMap<VerifierMap, ReadonlySet<FieldKind>>();

/** Whether a map's values have a field of one of these kinds. */
export function mapHolds(map: VerifierMap, ...kinds: readonly FieldKind[]): boolean {
  const { btf, value } = map;
  if (btf === undefined || value === undefined || value === 0) return false;
  let known = kindsOfMaps.get(map);
  if (known === undefined) {
    known = new Set(fieldsOf(btf, value, IN_MAPS, undefined).map(({ kind }) => kind));
    kindsOfMaps.set(map, known);
  }
  return kinds.some((kind) => known.has(kind));
}

/** The fields of a structure of the program; none for structures of the kernel (btf_find_struct_meta). */
export function structRecord(env: Environment, btf: Btf, id: number): BtfRecord {
  if (btf !== env.program.btf) return EMPTY;
  let known = ofStructs.get(btf);
  if (known === undefined) {
    known = new Map();
    ofStructs.set(btf, known);
  }
  let record = known.get(id);
  if (record === undefined) {
    record = fieldsOf(btf, id, IN_STRUCTS, env.program.kernelBtf);
    known.set(id, record);
  }
  return record;
}

export function findRecordField(
  record: BtfRecord,
  offset: number,
  ...kinds: readonly FieldKind[]
): RecordField | undefined {
  return record.find((field) => field.offset === offset && kinds.includes(field.kind));
}

export function hasField(record: BtfRecord, ...kinds: readonly FieldKind[]): boolean {
  return record.some(({ kind }) => kinds.includes(kind));
}

function fieldsOf(btf: Btf, id: number, wanted: ReadonlySet<FieldKind>, kernel: Btf | undefined): BtfRecord {
  const fields: RecordField[] = [];
  collect({ btf, kernel, wanted, fields }, id, 0, 0, undefined);
  return fields.length === 0 ? EMPTY : fields.toSorted((left, right) => left.offset - right.offset);
}

interface Collection {
  readonly btf: Btf;
  readonly kernel: Btf | undefined;
  readonly wanted: ReadonlySet<FieldKind>;
  readonly fields: RecordField[];
}

/** `tagged`: the type and member, or variable, that a declaration tag would stand at. */
function collect(
  found: Collection,
  id: number,
  at: number,
  depth: number,
  tagged: readonly [type: number, component: number] | undefined,
): void {
  if (depth > 8) return;
  const { btf, wanted, fields } = found;
  const type = resolve(btf, id);
  switch (type.kind) {
    case "struct":
    case "union": {
      const kind = Object.hasOwn(STRUCTS, type.name) ? STRUCTS[type.name] : undefined;
      if (kind !== undefined && depth > 0) {
        if (!wanted.has(kind)) return;
        const graph =
          (kind === "list_head" || kind === "rb_root") && tagged !== undefined
            ? contained(btf, tagged, kind)
            : undefined;
        fields.push({ kind, offset: at, size: type.size, graph });
        return;
      }
      for (const [index, member] of type.members.entries()) {
        if (member.bitSize !== 0) continue;
        collect(found, member.type, at + member.bitOffset / 8, depth + 1, [type.id, index]);
      }
      return;
    }
    case "datasec":
      for (const { type: variable, offset } of type.variables) {
        const target = btf.type(variable);
        if (target.kind === "var") collect(found, target.type, at + offset, depth + 1, [variable, -1]);
      }
      return;
    case "array": {
      const before = fields.length;
      collect(found, type.type, at, depth + 1, tagged);
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
      const kind = target.kind === "type_tag" ? POINTERS[target.name] : undefined;
      if (kind !== undefined && wanted.has(kind)) {
        fields.push({ kind, offset: at, size: 8, pointer: pointee(found, type.type, kind) });
      }
      return;
    }
    default:
  }
}

/** A structure that the kernel does not know is one that the program allocates. */
function pointee({ btf, kernel }: Collection, id: number, kind: FieldKind): RecordField["pointer"] {
  const type: BtfType = resolve(btf, id);
  if (type.kind !== "struct" && type.kind !== "fwd") return undefined;
  if (kind !== "uptr") {
    const known = kernel?.find(type.name, "struct")[0];
    if (kernel !== undefined && known !== undefined) return { btf: kernel, id: known.id, kernel: true };
  }
  return type.kind === "struct" ? { btf, id: type.id, kernel: false } : undefined;
}

/** What "contains:struct:member" at a root says. */
function contained(
  btf: Btf,
  [type, component]: readonly [type: number, component: number],
  kind: FieldKind,
): RecordField["graph"] {
  const tag = declarationTags(btf).get(`${type}:${component}`);
  const [name, field] = tag?.slice("contains:".length).split(":") ?? [];
  if (name === undefined || field === undefined) return undefined;
  const [struct] = btf.find(name, "struct");
  if (struct?.kind !== "struct") return undefined;
  const node = kind === "list_head" ? "bpf_list_node" : "bpf_rb_node";
  const member = struct.members.find((row) => row.name === field && resolve(btf, row.type).name === node);
  if (member === undefined) return undefined;
  return { btf, id: struct.id, nodeOffset: member.bitOffset / 8 };
}

const tags = new WeakMap<Btf, ReadonlyMap<string, string>>();

/** "contains:" tags by type and member. */
function declarationTags(btf: Btf): ReadonlyMap<string, string> {
  let known = tags.get(btf);
  if (known === undefined) {
    const found = new Map<string, string>();
    for (let id = btf.firstId; id < btf.count; id++) {
      if (btf.kind(id) !== "decl_tag") continue;
      const tag = btf.type(id);
      if (tag.kind === "decl_tag" && tag.name.startsWith("contains:")) {
        found.set(`${tag.type}:${tag.component}`, tag.name);
      }
    }
    known = found;
    tags.set(btf, known);
  }
  return known;
}
