/**
 * Objects that programs allocate, and the lists and trees that they put them in.
 *
 * Before each object lies a header: the number of references to it, and for per-CPU objects the distance between two CPUs'
 * copies. Lists are doubly linked; trees are binary search trees whose order is what the program's `less` says.
 */
import { BpfError } from "../../errors.ts";
import { EXEC_CPU, EXEC_PROG } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import type { LinearMemory } from "../memory.ts";
import type { HostKfunc } from "./types.ts";

const HEADER = 16;
const REFERENCES = -16;
const STRIDE = -12;

function allocate({ memory, typeSize, cpus }: HelperWorld, args: HelperArguments, perCpu: boolean): bigint {
  const type = args.u32(1);
  const size = typeSize(memory.u32(args.exec + EXEC_PROG), type);
  if (size === undefined) {
    throw new BpfError("btf", `bpf_obj_new: the program has no BTF type ${type} of a known size`);
  }
  const stride = Math.ceil(size / 8) * 8;
  const object = memory.alloc(HEADER + (perCpu ? stride * cpus : size), "object", 8) + HEADER;
  memory.setU32(object + REFERENCES, 1);
  memory.setU32(object + STRIDE, perCpu ? stride : 0);
  return BigInt(object);
}

/** One reference less; the object is free when it was the last. */
export function dropObject(memory: LinearMemory, object: number): void {
  if (object === 0) return;
  const references = memory.u32(object + REFERENCES);
  memory.setU32(object + REFERENCES, references - 1);
  if (references === 1) memory.free(object - HEADER);
}

/** Where a CPU's copy of a per-CPU object is; 0 if there is no such CPU. */
export function cpuCopy({ memory, cpus }: HelperWorld, object: number, cpu: number): bigint {
  if (object === 0 || cpu >= cpus) return 0n;
  return BigInt(object + cpu * memory.u32(object + STRIDE));
}

export function currentCpu({ memory }: HelperWorld, args: HelperArguments): number {
  return memory.u32(args.exec + EXEC_CPU);
}

// Of a list node and a list head (struct bpf_list_node, 24 bytes; bpf_list_head, 16); addresses, 0 for none.
const NEXT = 0;
const PREVIOUS = 8;
const LIST_OWNER = 16;
const FIRST = 0;
const LAST = 8;

function push(world: HelperWorld, args: HelperArguments, front: boolean): number {
  const { memory } = world;
  const [head, node] = [args.u32(1), args.u32(2)];
  if (memory.u32(node + LIST_OWNER) !== 0) {
    // It is in a list already. The kernel drops the reference that it was given; here the object stays.
    return -ERRNO.EINVAL;
  }
  const other = memory.u32(head + (front ? FIRST : LAST));
  memory.setU32(node + (front ? NEXT : PREVIOUS), other);
  memory.setU32(node + (front ? PREVIOUS : NEXT), 0);
  memory.setU32(node + LIST_OWNER, head);
  if (other === 0) memory.setU32(head + (front ? LAST : FIRST), node);
  else memory.setU32(other + (front ? PREVIOUS : NEXT), node);
  memory.setU32(head + (front ? FIRST : LAST), node);
  return 0;
}

function pop({ memory }: HelperWorld, args: HelperArguments, front: boolean): bigint {
  const head = args.u32(1);
  const node = memory.u32(head + (front ? FIRST : LAST));
  if (node === 0) return 0n;
  const rest = memory.u32(node + (front ? NEXT : PREVIOUS));
  memory.setU32(head + (front ? FIRST : LAST), rest);
  if (rest === 0) memory.setU32(head + (front ? LAST : FIRST), 0);
  else memory.setU32(rest + (front ? PREVIOUS : NEXT), 0);
  memory.u8.fill(0, node, node + LIST_OWNER + 8);
  return BigInt(node);
}

// Of a tree node (struct bpf_rb_node, 32 bytes); the root's first word is the top node.
const PARENT = 0;
const RIGHT = 8;
const LEFT = 16;
const TREE_OWNER = 24;

function insert(world: HelperWorld, args: HelperArguments): number {
  const { memory } = world;
  const [root, node, less] = [args.u32(1), args.u32(2), args.u32(3)];
  if (memory.u32(node + TREE_OWNER) !== 0) return -ERRNO.EINVAL;
  let parent = 0;
  let link = root;
  for (let at = memory.u32(root); at !== 0; at = memory.u32(link)) {
    parent = at;
    link = at + (world.callBack(less, node, at) !== 0n ? LEFT : RIGHT);
  }
  memory.setU32(node + PARENT, parent);
  memory.setU32(node + LEFT, 0);
  memory.setU32(node + RIGHT, 0);
  memory.setU32(node + TREE_OWNER, root);
  memory.setU32(link, node);
  return 0;
}

function leftmost({ memory }: HelperWorld, top: number): number {
  let at = top;
  while (at !== 0 && memory.u32(at + LEFT) !== 0) at = memory.u32(at + LEFT);
  return at;
}

/** Puts `by` where `node` was. */
function replace({ memory }: HelperWorld, root: number, node: number, by: number): void {
  const parent = memory.u32(node + PARENT);
  if (parent === 0) memory.setU32(root, by);
  else memory.setU32(parent + (memory.u32(parent + LEFT) === node ? LEFT : RIGHT), by);
  if (by !== 0) memory.setU32(by + PARENT, parent);
}

function remove(world: HelperWorld, root: number, node: number): bigint {
  const { memory } = world;
  if (memory.u32(node + TREE_OWNER) !== root) return 0n;
  const [left, right] = [memory.u32(node + LEFT), memory.u32(node + RIGHT)];
  if (left === 0 || right === 0) replace(world, root, node, left === 0 ? right : left);
  else {
    const next = leftmost(world, right);
    if (next !== right) {
      replace(world, root, next, memory.u32(next + RIGHT));
      memory.setU32(next + RIGHT, right);
      memory.setU32(right + PARENT, next);
    }
    replace(world, root, node, next);
    memory.setU32(next + LEFT, left);
    memory.setU32(left + PARENT, next);
  }
  memory.u8.fill(0, node, node + TREE_OWNER + 8);
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
  { name: "bpf_obj_drop_impl", call: ({ memory }, args) => dropObject(memory, args.u32(1)) },
  { name: "bpf_percpu_obj_drop_impl", call: ({ memory }, args) => dropObject(memory, args.u32(1)) },
  {
    name: "bpf_refcount_acquire_impl",
    call({ memory }, args) {
      const object = args.u32(1);
      memory.setU32(object + REFERENCES, memory.u32(object + REFERENCES) + 1);
      return BigInt(object);
    },
  },
  { name: "bpf_list_push_front_impl", call: (world, args) => push(world, args, true) },
  { name: "bpf_list_push_back_impl", call: (world, args) => push(world, args, false) },
  { name: "bpf_list_pop_front", call: (world, args) => pop(world, args, true) },
  { name: "bpf_list_pop_back", call: (world, args) => pop(world, args, false) },
  { name: "bpf_list_front", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1) + FIRST)) },
  { name: "bpf_list_back", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1) + LAST)) },
  { name: "bpf_rbtree_add_impl", call: insert },
  { name: "bpf_rbtree_first", call: (world, args) => BigInt(leftmost(world, world.memory.u32(args.u32(1)))) },
  { name: "bpf_rbtree_root", call: ({ memory }, args) => BigInt(memory.u32(args.u32(1))) },
  { name: "bpf_rbtree_left", call: child(LEFT) },
  { name: "bpf_rbtree_right", call: child(RIGHT) },
  { name: "bpf_rbtree_remove", call: (world, args) => remove(world, args.u32(1), args.u32(2)) },
];
