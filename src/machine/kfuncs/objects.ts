/**
 * Objects that programs allocate, and the lists and trees that they put them in. What lies before each object, references and
 * whose it is, is the core's (core/assembly/objects.ts). Lists are doubly linked; trees are binary search trees whose order is
 * what the program's `less` says.
 */
import { BpfError } from "../../errors.ts";
import {
  EXEC_CPU,
  EXEC_PROG,
  LIST_FIRST,
  LIST_LAST,
  LIST_NEXT,
  LIST_OWNER,
  LIST_PREVIOUS,
  TREE_LEFT,
  TREE_OWNER,
  TREE_PARENT,
  TREE_RIGHT,
} from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { HostKfunc } from "./types.ts";

function allocate(world: HelperWorld, args: HelperArguments, perCpu: boolean): bigint {
  const type = args.u32(1);
  const btf = world.btfOf(world.memory.u32(args.exec + EXEC_PROG), type);
  if (btf === undefined) {
    throw new BpfError("btf", `bpf_obj_new: the program has no BTF type ${type} of a known size`);
  }
  return BigInt(world.heap.allocate(btf, type, perCpu, args.exec));
}

/** One reference less; the object is free when it was the last. */
function drop({ heap }: HelperWorld, args: HelperArguments): void {
  const object = heap.objectOf(args.u32(1));
  if (object !== 0) heap.release(object);
}

/** Where a CPU's copy of a per-CPU object is; 0 if there is no such CPU. Variables of the kernel are the same for all. */
export function cpuCopy({ heap, cpus }: HelperWorld, address: number, cpu: number): bigint {
  if (address === 0 || cpu >= cpus) return 0n;
  const object = heap.objectOf(address);
  return BigInt(address + (object === 0 ? 0 : cpu * heap.copyStride(object)));
}

export function currentCpu({ memory }: HelperWorld, args: HelperArguments): number {
  return memory.u32(args.exec + EXEC_CPU);
}

/** An object goes from a run to the value or object that a root or pointer lies in. */
export function handOver({ core, heap }: HelperWorld, address: number, place: number): void {
  const object = heap.objectOf(address);
  if (object !== 0) heap.setOwner(object, core.owner_of(place) >>> 0);
}

/** And back. */
export function takeBack({ heap }: HelperWorld, address: number, exec: number): void {
  const object = heap.objectOf(address);
  if (object !== 0) heap.setOwner(object, exec);
}

/** A node that is in a list or tree already stays there; the reference that came with it ends (__bpf_list_add). */
function alreadyIn(world: HelperWorld, node: number): number {
  const object = world.heap.objectOf(node);
  if (object !== 0) world.heap.release(object);
  return -ERRNO.EINVAL;
}

function push(world: HelperWorld, args: HelperArguments, front: boolean): number {
  const { memory } = world;
  const [head, node] = [args.u32(1), args.u32(2)];
  if (memory.u32(node + LIST_OWNER) !== 0) return alreadyIn(world, node);
  const other = memory.u32(head + (front ? LIST_FIRST : LIST_LAST));
  memory.setU32(node + (front ? LIST_NEXT : LIST_PREVIOUS), other);
  memory.setU32(node + (front ? LIST_PREVIOUS : LIST_NEXT), 0);
  memory.setU32(node + LIST_OWNER, head);
  if (other === 0) memory.setU32(head + (front ? LIST_LAST : LIST_FIRST), node);
  else memory.setU32(other + (front ? LIST_PREVIOUS : LIST_NEXT), node);
  memory.setU32(head + (front ? LIST_FIRST : LIST_LAST), node);
  handOver(world, node, head);
  return 0;
}

function pop(world: HelperWorld, args: HelperArguments, front: boolean): bigint {
  const { memory } = world;
  const head = args.u32(1);
  const node = memory.u32(head + (front ? LIST_FIRST : LIST_LAST));
  if (node === 0) return 0n;
  const rest = memory.u32(node + (front ? LIST_NEXT : LIST_PREVIOUS));
  memory.setU32(head + (front ? LIST_FIRST : LIST_LAST), rest);
  if (rest === 0) memory.setU32(head + (front ? LIST_LAST : LIST_FIRST), 0);
  else memory.setU32(rest + (front ? LIST_PREVIOUS : LIST_NEXT), 0);
  memory.u8.fill(0, node, node + LIST_OWNER + 8);
  takeBack(world, node, args.exec);
  return BigInt(node);
}

function insert(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [root, node, less] = [args.u32(1), args.u32(2), args.u32(3)];
  if (memory.u32(node + TREE_OWNER) !== 0) return alreadyIn(world, node);
  let parent = 0;
  let link = root;
  for (let at = memory.u32(root); at !== 0; at = memory.u32(link)) {
    parent = at;
    link = at + (world.callBack(less, node, at) !== 0n ? TREE_LEFT : TREE_RIGHT);
  }
  memory.setU32(node + TREE_PARENT, parent);
  memory.setU32(node + TREE_LEFT, 0);
  memory.setU32(node + TREE_RIGHT, 0);
  memory.setU32(node + TREE_OWNER, root);
  memory.setU32(link, node);
  handOver(world, node, root);
  return 0;
}

function leftmost({ memory }: HelperWorld, top: number): number {
  let at = top;
  while (at !== 0 && memory.u32(at + TREE_LEFT) !== 0) at = memory.u32(at + TREE_LEFT);
  return at;
}

/** Puts `by` where `node` was. */
function replace({ memory }: HelperWorld, root: number, node: number, by: number): void {
  const parent = memory.u32(node + TREE_PARENT);
  if (parent === 0) memory.setU32(root, by);
  else memory.setU32(parent + (memory.u32(parent + TREE_LEFT) === node ? TREE_LEFT : TREE_RIGHT), by);
  if (by !== 0) memory.setU32(by + TREE_PARENT, parent);
}

function remove(world: HelperWorld, args: HelperArguments): bigint {
  const { memory } = world;
  const [root, node] = [args.u32(1), args.u32(2)];
  if (memory.u32(node + TREE_OWNER) !== root) return 0n;
  const [left, right] = [memory.u32(node + TREE_LEFT), memory.u32(node + TREE_RIGHT)];
  if (left === 0 || right === 0) replace(world, root, node, left === 0 ? right : left);
  else {
    const next = leftmost(world, right);
    if (next !== right) {
      replace(world, root, next, memory.u32(next + TREE_RIGHT));
      memory.setU32(next + TREE_RIGHT, right);
      memory.setU32(right + TREE_PARENT, next);
    }
    replace(world, root, node, next);
    memory.setU32(next + TREE_LEFT, left);
    memory.setU32(left + TREE_PARENT, next);
  }
  memory.u8.fill(0, node, node + TREE_OWNER + 8);
  takeBack(world, node, args.exec);
  return BigInt(node);
}

/** A neighbour of a node, if the node is in that tree. */
const child =
  (side: number) =>
  ({ memory }: HelperWorld, args: HelperArguments): bigint =>
    memory.u32(args.u32(2) + TREE_OWNER) === args.u32(1) ? BigInt(memory.u32(args.u32(2) + side)) : 0n;

export const OBJECTS: readonly HostKfunc[] = [
  { name: "bpf_obj_new_impl", call: (world, args) => allocate(world, args, false) },
  { name: "bpf_percpu_obj_new_impl", call: (world, args) => allocate(world, args, true) },
  { name: "bpf_obj_drop_impl", call: drop },
  { name: "bpf_percpu_obj_drop_impl", call: drop },
  {
    // NULL of an object that has gone in the meantime.
    name: "bpf_refcount_acquire_impl",
    call({ heap }, args) {
      const object = heap.objectOf(args.u32(1));
      if (object === 0) return 0n;
      heap.retain(object);
      return args.u64(1);
    },
  },
  { name: "bpf_list_push_front_impl", call: (world, args) => push(world, args, true) },
  { name: "bpf_list_push_back_impl", call: (world, args) => push(world, args, false) },
  { name: "bpf_list_pop_front", call: (world, args) => pop(world, args, true) },
  { name: "bpf_list_pop_back", call: (world, args) => pop(world, args, false) },
  { name: "bpf_list_front", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1) + LIST_FIRST)) },
  { name: "bpf_list_back", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1) + LIST_LAST)) },
  { name: "bpf_rbtree_add_impl", call: insert },
  { name: "bpf_rbtree_first", call: (world, args) => BigInt(leftmost(world, world.memory.u32(args.u32(1)))) },
  { name: "bpf_rbtree_root", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1))) },
  { name: "bpf_rbtree_left", call: child(TREE_LEFT) },
  { name: "bpf_rbtree_right", call: child(TREE_RIGHT) },
  { name: "bpf_rbtree_remove", call: remove },
];
