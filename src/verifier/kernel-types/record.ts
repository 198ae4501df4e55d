/**
 * The fields of a map value or an allocated object that the kernel keeps for itself: locks, timers, kernel pointers, roots and nodes
 * of lists and trees (btf_parse_fields of kernel/bpf/btf.c). Programs reach them through helpers and kernel functions only.
 */
import { type Btf, type BtfType, containsTags, resolve } from "../../btf/index.ts";
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

/** BTF_FIELDS_MAX. */
const MOST_FIELDS = 11;

/** Fields of which a value has one at most. */
const SINGLE: ReadonlySet<FieldKind> = new Set<FieldKind>([
  "spin_lock",
  "res_spin_lock",
  "timer",
  "wq",
  "task_work",
  "refcount",
]);
/** Fields that arrays may repeat. */
const REPEATED: ReadonlySet<FieldKind> = new Set<FieldKind>([
  "kptr_unref",
  "kptr_ref",
  "kptr_percpu",
  "uptr",
  "list_head",
  "rb_root",
]);

/** What makes all fields of a type unknown to the kernel. */
class Malformed {
  readonly reason: string;
  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A type whose fields make no sense has none: loaders create the map without its types then. */
function fieldsOf(btf: Btf, id: number, wanted: ReadonlySet<FieldKind>, kernel: Btf | undefined): BtfRecord {
  const fields: RecordField[] = [];
  try {
    const type = resolve(btf, id);
    collectMembers({ btf, kernel, wanted, fields }, type, 0, 0);
    checkTogether(fields);
  } catch (error) {
    if (error instanceof Malformed) return EMPTY;
    throw error;
  }
  return fields.length === 0 ? EMPTY : fields.toSorted((left, right) => left.offset - right.offset);
}

function checkTogether(fields: BtfRecord): void {
  const hasLock = hasField(fields, "spin_lock", "res_spin_lock");
  if (hasField(fields, "list_head", "rb_root") && !hasLock) throw new Malformed("a root without a lock");
  const both = hasField(fields, "list_node") && hasField(fields, "rb_node");
  if (both && !hasField(fields, "refcount")) throw new Malformed("two nodes and no count of references");
}

interface Collection {
  readonly btf: Btf;
  readonly kernel: Btf | undefined;
  readonly wanted: ReadonlySet<FieldKind>;
  readonly fields: RecordField[];
}

function collectMembers(found: Collection, type: BtfType, at: number, depth: number): void {
  const { btf } = found;
  if (depth > 31) throw new Malformed("too deep");
  if (type.kind === "struct" || type.kind === "union") {
    for (const [index, { type: member, bitOffset, bitSize }] of type.members.entries()) {
      if (bitSize !== 0 || bitOffset % 8 !== 0) continue;
      collectOne(found, member, at + bitOffset / 8, depth, [type.id, index], undefined);
    }
  } else if (type.kind === "datasec") {
    for (const { type: variable, offset, size } of type.variables) {
      const target = btf.type(variable);
      if (target.kind !== "var") continue;
      collectOne(found, target.type, at + offset, depth, [variable, -1], size);
    }
  }
}

/** One member or variable (btf_find_field_one). Names of types are not looked through. `tagged`: where its declaration tags stand. */
function collectOne(
  found: Collection,
  id: number,
  at: number,
  depth: number,
  tagged: readonly [type: number, component: number],
  expected: number | undefined,
): void {
  const { btf, wanted, fields } = found;
  let type = btf.type(id);
  let count = 1;
  while (type.kind === "array") {
    count *= type.length;
    type = btf.type(type.type);
  }
  if (count === 0) return;
  const before = fields.length;
  let size = 8;
  const kind =
    (type.kind === "struct" || type.kind === "union") && Object.hasOwn(STRUCTS, type.name)
      ? STRUCTS[type.name]
      : undefined;
  if (type.kind === "struct" || type.kind === "union") {
    ({ size } = type);
    if (expected !== undefined && expected !== size * count) return;
    if (kind === undefined || !wanted.has(kind)) collectMembers(found, type, at, depth + 1);
    else fields.push({ kind, offset: at, size, graph: rootOf(btf, tagged, kind) });
  } else {
    const pointer = pointerField(found, type, at);
    if (pointer !== undefined) fields.push(pointer);
  }
  const each = fields.slice(before);
  if (each.length === 0) return;
  if (count > 1 && !each.every((field) => REPEATED.has(field.kind))) throw new Malformed("it repeats");
  if (before + each.length * count > MOST_FIELDS) throw new Malformed("too many");
  for (let index = 1; index < count; index++) {
    for (const field of each) fields.push({ ...field, offset: field.offset + index * size });
  }
  for (const single of SINGLE) {
    if (fields.filter((field) => field.kind === single).length > 1) throw new Malformed(`two ${single}s`);
  }
}

function pointerField(found: Collection, type: BtfType, at: number): RecordField | undefined {
  const { btf, wanted } = found;
  const pointer = type.kind === "volatile" ? btf.type(type.type) : type;
  if (pointer.kind !== "ptr") return undefined;
  const tag = btf.type(pointer.type);
  if (tag.kind !== "type_tag" || tag.attribute === true) return undefined;
  if (btf.kind(tag.type) === "type_tag") throw new Malformed("two tags");
  const kind = Object.hasOwn(POINTERS, tag.name) ? POINTERS[tag.name] : undefined;
  if (kind === undefined) throw new Malformed(`tag ${tag.name}`);
  if (!wanted.has(kind)) return undefined;
  const target = resolve(btf, tag.type);
  if (target.kind !== "struct") {
    throw new Malformed("a pointer to no structure");
  }
  return { kind, offset: at, size: 8, pointer: pointee(found, tag.type, kind) };
}

function rootOf(
  btf: Btf,
  tagged: readonly [type: number, component: number],
  kind: FieldKind,
): RecordField["graph"] {
  if (kind !== "list_head" && kind !== "rb_root") return undefined;
  const graph = contained(btf, tagged, kind);
  if (graph === undefined) throw new Malformed("a root of nothing");
  return graph;
}

/** A structure that the kernel does not know is one that the program allocates. */
function pointee({ btf, kernel }: Collection, id: number, kind: FieldKind): RecordField["pointer"] {
  const type: BtfType = resolve(btf, id);
  if (type.kind !== "struct") return undefined;
  if (kind !== "uptr") {
    const known = kernel?.find(type.name, "struct")[0];
    if (kernel !== undefined && known !== undefined) return { btf: kernel, id: known.id, kernel: true };
  }
  return { btf, id: type.id, kernel: false };
}

/** What "contains:struct:member" at a root says. */
function contained(
  btf: Btf,
  [type, component]: readonly [type: number, component: number],
  kind: FieldKind,
): RecordField["graph"] {
  const tag = containsTags(btf).get(`${type}:${component}`);
  const [name, field] = tag?.slice("contains:".length).split(":") ?? [];
  if (name === undefined || field === undefined) return undefined;
  const [struct] = btf.find(name, "struct");
  if (struct?.kind !== "struct") return undefined;
  const node = kind === "list_head" ? "bpf_list_node" : "bpf_rb_node";
  const member = struct.members.find((row) => row.name === field && resolve(btf, row.type).name === node);
  if (member === undefined) return undefined;
  return { btf, id: struct.id, nodeOffset: member.bitOffset / 8 };
}
