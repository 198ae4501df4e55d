/**
 * What a program uses that lies beyond the core of the verifier: kernel functions, pointers to kernel structs, dynptrs,
 * locks, callbacks, ... A program that uses none of it needs the core alone.
 */
import type { Btf } from "../../src/btf/index.ts";
import type { MapSpec } from "../../src/object/index.ts";
import { helperName, prototypeOf } from "../../src/uapi/index.ts";
import type { Subject } from "./subject.ts";

export type Need =
  | "kfunc"
  | "btf_pointer"
  | "ksym"
  | "callback"
  | "dynptr"
  | "spin_lock"
  | "timer"
  | "kptr"
  | "map_fields"
  | "arena"
  | "global_function"
  | "sleepable"
  | "struct_ops"
  | "extension";

const SPECIAL =
  /^(struct )?(bpf_spin_lock|bpf_res_spin_lock|bpf_timer|bpf_wq|bpf_task_work|bpf_list_head|bpf_rb_root|bpf_refcount)$/;

export function needsOf(subject: Subject): readonly Need[] {
  const { linked, type, attachType, flags } = subject;
  const needs = new Set<Need>();
  const context = {
    type,
    ...(attachType === undefined ? {} : { attachType }),
    sleepable: (flags & 16) !== 0,
  };
  for (const { opcode, src, imm, offset } of linked.instructions) {
    if (opcode === 0x85) {
      if (src === 2) needs.add("kfunc");
      if (src !== 0) continue;
      const name = helperName(imm) ?? "";
      if (/dynptr/.test(name)) needs.add("dynptr");
      if (/spin_(un)?lock/.test(name)) needs.add("spin_lock");
      if (name.startsWith("timer_")) needs.add("timer");
      if (name === "kptr_xchg") needs.add("kptr");
      const prototype = prototypeOf(imm, context);
      const words = [prototype?.returns ?? "", ...(prototype?.args ?? [])].join(" ");
      if (/ptr_to_func/.test(words)) needs.add("callback");
      if (/btf=|percpu_btf_id/.test(words)) needs.add("btf_pointer");
    }
    if (opcode === 0x18 && src === 3) needs.add("ksym");
    if (opcode === 0x18 && src === 4) needs.add("callback");
    if ((opcode & 7) === 7 && (opcode & 0xf8) === 0xb8 && offset === 1 && imm !== 0) needs.add("arena");
  }
  for (const reference of linked.references.values()) {
    if (reference.kind === "extern") needs.add(reference.extern.kind === "kfunc" ? "kfunc" : "ksym");
    else {
      if (reference.map.type === "arena") needs.add("arena");
      if (reference.map.type === "struct_ops") needs.add("struct_ops");
      if (hasSpecialFields(reference.map, linked.btf)) needs.add("map_fields");
    }
  }
  for (const { spec } of linked.functions.slice(1))
    if (spec.linkage === "global") needs.add("global_function");
  if ((flags & 16) !== 0) needs.add("sleepable");
  if (type === "struct_ops") needs.add("struct_ops");
  if (type === "ext") needs.add("extension");
  if (type === "lsm" || type === "tracing") needs.add("btf_pointer");
  return [...needs];
}

function hasSpecialFields({ value, innerMap }: MapSpec, btf: Btf | undefined): boolean {
  if (innerMap !== undefined && hasSpecialFields(innerMap, btf)) return true;
  return btf !== undefined && value !== undefined && typeHasFields(btf, value, 0);
}

function typeHasFields(btf: Btf, id: number, depth: number): boolean {
  if (depth > 16) return false;
  const type = btf.type(id);
  switch (type.kind) {
    case "struct":
    case "union":
      return (
        SPECIAL.test(type.name) || type.members.some((member) => typeHasFields(btf, member.type, depth + 1))
      );
    case "typedef":
    case "const":
    case "volatile":
    case "restrict":
    case "var":
      return typeHasFields(btf, type.type, depth + 1);
    case "array":
      return typeHasFields(btf, type.type, depth + 1);
    case "datasec":
      return type.variables.some((variable) => typeHasFields(btf, variable.type, depth + 1));
    case "ptr":
      return isKptr(btf, type.type);
    default:
      return false;
  }
}

function isKptr(btf: Btf, id: number): boolean {
  const type = btf.type(id);
  return type.kind === "type_tag" && /^(kptr|kptr_untrusted|percpu_kptr|uptr)$/.test(type.name);
}
