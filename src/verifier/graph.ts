/**
 * Lists and trees of allocated objects (process_kf_arg_ptr_to_graph_root and its kin of kernel/bpf/verifier.c). Adding an object
 * gives up its reference: the pointer goes on as a non-owning one, good while the lock is held. Taking one out gives a reference.
 */
import type { Btf } from "../btf/index.ts";
import type { KfuncMeta } from "./calls/kfunc-meta.ts";
import type { Environment } from "./environment.ts";
import { nameOf } from "./kernel-types/access.ts";
import { type RecordField, fieldName, findRecordField, hasField } from "./kernel-types/record.ts";
import { structsMatch } from "./kernel-types/walk.ts";
import { kfuncNameOf } from "./kfuncs.ts";
import { isLocked, recordOf } from "./locks.ts";
import { MEM_ALLOC, MEM_RCU, NON_OWN_REF, PTR_TO_BTF_ID } from "./register-types.ts";
import { markKnownZero } from "./registers.ts";
import { constantNumber, isConstant } from "./scalar/index.ts";
import { type RegisterState, changeRegisters } from "./state.ts";
import type { Instruction } from "../isa/index.ts";

const LIST_ADDERS: ReadonlySet<string> = new Set(["bpf_list_push_front_impl", "bpf_list_push_back_impl"]);
const LIST_FUNCTIONS: ReadonlySet<string> = new Set([
  ...LIST_ADDERS,
  "bpf_list_pop_front",
  "bpf_list_pop_back",
  "bpf_list_front",
  "bpf_list_back",
]);
const TREE_FUNCTIONS: ReadonlySet<string> = new Set([
  "bpf_rbtree_add_impl",
  "bpf_rbtree_remove",
  "bpf_rbtree_first",
  "bpf_rbtree_root",
  "bpf_rbtree_left",
  "bpf_rbtree_right",
]);

export function isGraphFunction(name: string): boolean {
  return LIST_FUNCTIONS.has(name) || TREE_FUNCTIONS.has(name) || name === "bpf_refcount_acquire_impl";
}

export function addsToGraph(name: string): boolean {
  return LIST_ADDERS.has(name) || name === "bpf_rbtree_add_impl";
}

/** Whether the callback of a tree is under way, which has the lock (in_rbtree_lock_required_cb). */
export function inTreeCallback(env: Environment): boolean {
  const { frames } = env.state;
  if (frames.length === 1 || !env.frame.inCallback) return false;
  return TREE_FUNCTIONS.has(kfuncNameOf(env, env.instructions[env.frame.callsite] as Instruction));
}

function offsetOf(env: Environment, regno: number, reg: RegisterState, name: string): number {
  if (isConstant(reg.scalar)) return reg.off + constantNumber(reg.scalar);
  throw env.reject(
    "EINVAL",
    `R${regno} doesn't have constant offset. ${name} has to be at the constant offset`,
  );
}

/** An argument that is the root of a list or tree. */
export function checkRoot(
  env: Environment,
  regno: number,
  kind: "list_head" | "rb_root",
  meta: KfuncMeta,
): void {
  const reg = env.registers[regno] as RegisterState;
  const name = fieldName(kind);
  const off = offsetOf(env, regno, reg, name);
  const record = recordOf(env, reg);
  const field = findRecordField(record, off, kind);
  if (field === undefined) throw env.reject("EINVAL", `${name} not found at offset=${off}`);
  if (!isLocked(env, reg)) {
    const lock = record.find((row) => row.kind === "spin_lock");
    throw env.reject("EINVAL", `bpf_spin_lock at off=${lock?.offset ?? -22} must be held for ${name}`);
  }
  if (meta.root !== undefined) throw env.bug(`repeating ${name} arg`);
  meta.root = field;
}

/** An argument that is a node of the list or tree whose root came before. */
export function checkNode(
  env: Environment,
  regno: number,
  kind: "list_node" | "rb_node",
  meta: KfuncMeta,
): void {
  const reg = env.registers[regno] as RegisterState;
  const name = fieldName(kind);
  const off = offsetOf(env, regno, reg, name);
  const found = findRecordField(recordOf(env, reg), off, kind);
  if (found === undefined) throw env.reject("EINVAL", `${name} not found at offset=${off}`);
  const graph = meta.root?.graph;
  if (graph === undefined) throw env.unsupported("nodes without a root");
  const { btf, btfId } = reg as { btf: Btf; btfId: number };
  const wanted = nameOf(graph.btf, graph.id);
  if (!structsMatch(env, btf, btfId, 0, graph.btf, graph.id, true)) {
    const root = fieldName(kind === "list_node" ? "list_head" : "rb_root");
    throw env.reject(
      "EINVAL",
      `operation on ${root} expects arg#1 ${name} at offset=${graph.nodeOffset} in struct ${wanted}, ` +
        `but arg is at offset=${off} in struct ${nameOf(btf, btfId)}`,
    );
  }
  meta.object = { btf, id: btfId };
  if (off !== graph.nodeOffset) {
    throw env.reject(
      "EINVAL",
      `arg#1 offset=${off}, but expected ${name} at offset=${graph.nodeOffset} in struct ${wanted}`,
    );
  }
}

/** A register becomes a pointer to the node of an object in a list or tree (mark_reg_graph_node). */
export function setNode(reg: RegisterState, { graph }: RecordField): void {
  markKnownZero(reg);
  reg.type = PTR_TO_BTF_ID | MEM_ALLOC;
  reg.btf = graph?.btf;
  reg.btfId = graph?.id ?? 0;
  reg.off = graph?.nodeOffset ?? 0;
}

/** An object that others own: good while the lock is held (ref_set_non_owning). */
export function setNonOwning(env: Environment, reg: RegisterState): void {
  if (env.state.activeLocks === 0) throw env.bug("ref_set_non_owning w/o active lock");
  if ((reg.type & NON_OWN_REF) !== 0) throw env.bug("NON_OWN_REF already set");
  const counted = hasField(recordOf(env, reg), "refcount");
  reg.type |= NON_OWN_REF | (counted ? MEM_RCU : 0);
}

/** All registers of a reference become non-owning; the reference itself is released afterwards. */
export function convertToNonOwning(env: Environment, refObjId: number): void {
  if (refObjId === 0) throw env.bug("ref_obj_id is zero for owning -> non-owning conversion");
  if (!env.state.references.some(({ id }) => id === refObjId))
    throw env.bug("ref state missing for ref_obj_id");
  changeRegisters(
    env.state,
    (reg) => reg.refObjId === refObjId,
    (reg) => {
      reg.refObjId = 0;
      setNonOwning(env, reg);
    },
  );
}
