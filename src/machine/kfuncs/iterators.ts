/** Open-coded iterators: numbers, bits, tasks, control groups. Their state lies in the program's own struct. */
import { ERRNO } from "../../uapi/index.ts";
import { mayRead } from "../helpers/memory.ts";
import { notInWorld, type HelperWorld } from "../helpers/types.ts";
import type { Cgroup, Task } from "../world/tasks.ts";
import type { HostKfunc } from "./types.ts";

// linux/bpf.h BPF_MAX_LOOPS.
const MAX_LOOPS = 1 << 23;
// kernel/bpf/helpers.c BITS_ITER_NR_WORDS_MAX.
const MAX_WORDS = 511;

const NUM = { current: 0, end: 4 } as const;
const BITS = { bits: 0, count: 8, bit: 12 } as const;

/** Iterators over objects keep a list of their addresses, ended by 0, and where they are in it. */
const LIST = { list: 0, at: 4 } as const;

export function startList({ memory }: HelperWorld, iterator: number, addresses: readonly number[]): number {
  const list = memory.alloc(4 * (addresses.length + 1), "iterator", 8);
  addresses.forEach((address, index) => memory.setU32(list + 4 * index, address));
  memory.setU32(iterator + LIST.list, list);
  memory.setU32(iterator + LIST.at, list);
  return 0;
}

function nextInList({ memory }: HelperWorld, iterator: number): bigint {
  const at = memory.u32(iterator + LIST.at);
  if (at === 0) return 0n;
  const address = memory.u32(at);
  if (address !== 0) memory.setU32(iterator + LIST.at, at + 4);
  return BigInt(address);
}

function endList({ memory }: HelperWorld, iterator: number): void {
  const list = memory.u32(iterator + LIST.list);
  if (list !== 0) memory.free(list);
  memory.setU64(iterator, 0n);
}

function failed({ memory }: HelperWorld, iterator: number, errno: number): number {
  memory.setU64(iterator, 0n);
  return -errno;
}

export const listKfuncs = (name: string): readonly HostKfunc[] => [
  { name: `bpf_iter_${name}_next`, call: (world, args) => nextInList(world, args.u32(1)) },
  { name: `bpf_iter_${name}_destroy`, call: (world, args) => endList(world, args.u32(1)) },
];

/** The address of a process's structure, or the error that says how to give one. */
export function taskOf(kfunc: string, world: HelperWorld, task: Task): number {
  const object = world.taskObject(task);
  if (object !== undefined) return object;
  throw notInWorld(
    kfunc.replace(/^bpf_/, ""),
    `task ${task.pid} has no struct task_struct`,
    "give its address as 'object', or the kernel's types: Machine.create({ btf })",
  );
}

/** A cgroup and all below it: parents first, in the order in which they were made. */
function descendants(world: HelperWorld, top: Cgroup): Cgroup[] {
  const children = world.world.cgroups.all.filter(({ parent }) => parent === top);
  return [top, ...children.flatMap((child) => descendants(world, child))];
}

const CSS_ORDER = { pre: 2, post: 3, up: 4 } as const;
const TASK_ORDER = { processes: 0, allThreads: 1, threads: 2 } as const;

export const ITERATORS: readonly HostKfunc[] = [
  {
    name: "bpf_iter_num_new",
    call({ memory }, args) {
      const [iterator, start, end] = [args.u32(1), args.i32(2), args.i32(3)];
      memory.setU64(iterator, 0n);
      if (start > end) return -ERRNO.EINVAL;
      if (end - start > MAX_LOOPS) return -ERRNO.E2BIG;
      memory.setU32(iterator + NUM.current, (start - 1) >>> 0);
      memory.setU32(iterator + NUM.end, end >>> 0);
      return 0;
    },
  },
  {
    name: "bpf_iter_num_next",
    call({ memory }, args) {
      const iterator = args.u32(1);
      const next = (memory.u32(iterator + NUM.current) | 0) + 1;
      if (next >= (memory.u32(iterator + NUM.end) | 0)) {
        memory.setU64(iterator, 0n);
        return 0n;
      }
      memory.setU32(iterator + NUM.current, next >>> 0);
      return BigInt(iterator + NUM.current);
    },
  },
  {
    name: "bpf_iter_num_destroy",
    call: ({ memory }, args) => memory.setU64(args.u32(1), 0n),
  },
  {
    name: "bpf_iter_bits_new",
    call({ memory, core }, args) {
      const [iterator, words] = [args.u32(1), args.u32(3)];
      const from = args.u64(2);
      memory.setU64(iterator, 0n);
      memory.setU32(iterator + BITS.count, 0);
      memory.setU32(iterator + BITS.bit, 0xffffffff);
      if (from === 0n || words === 0) return -ERRNO.EINVAL;
      if (words > MAX_WORDS) return -ERRNO.E2BIG;
      if (!mayRead(core, from, 8 * words)) return -ERRNO.EFAULT;
      const bits = memory.alloc(8 * words, "iterator");
      memory.write(bits, memory.read(Number(from), 8 * words));
      memory.setU32(iterator + BITS.bits, bits);
      memory.setU32(iterator + BITS.count, 64 * words);
      return 0;
    },
  },
  {
    name: "bpf_iter_bits_next",
    call({ memory }, args) {
      const iterator = args.u32(1);
      const [bits, count] = [memory.u32(iterator + BITS.bits), memory.u32(iterator + BITS.count)];
      const { u8 } = memory;
      for (let bit = (memory.u32(iterator + BITS.bit) | 0) + 1; bit < count; bit++) {
        if ((((u8[bits + (bit >> 3)] as number) >> (bit & 7)) & 1) === 0) continue;
        memory.setU32(iterator + BITS.bit, bit);
        return BigInt(iterator + BITS.bit);
      }
      memory.setU32(iterator + BITS.bit, count);
      return 0n;
    },
  },
  {
    name: "bpf_iter_bits_destroy",
    call({ memory }, args) {
      const iterator = args.u32(1);
      if (memory.u32(iterator + BITS.bits) !== 0) memory.free(memory.u32(iterator + BITS.bits));
      memory.setU64(iterator, 0n);
      memory.setU64(iterator + 8, 0n);
    },
  },
  {
    name: "bpf_iter_task_new",
    call(world, args) {
      const [iterator, task, flags] = [args.u32(1), args.u32(2), args.u32(3)];
      const { tasks } = world.world;
      if (flags > TASK_ORDER.threads || (flags === TASK_ORDER.threads && task === 0))
        return failed(world, iterator, ERRNO.EINVAL);
      const leader = tasks.byObject(task)?.tgid;
      const wanted = tasks.all
        .filter(({ pid, tgid }) =>
          flags === TASK_ORDER.processes ? pid === tgid : flags === TASK_ORDER.allThreads || tgid === leader,
        )
        .toSorted((a, b) => a.tgid - b.tgid || a.pid - b.pid);
      return startList(
        world,
        iterator,
        wanted.map((row) => taskOf("bpf_iter_task_new", world, row)),
      );
    },
  },
  ...listKfuncs("task"),
  {
    name: "bpf_iter_css_new",
    call(world, args) {
      const [iterator, start, order] = [args.u32(1), args.u32(2), args.u32(3)];
      const { cgroups } = world.world;
      if (order < CSS_ORDER.pre || order > CSS_ORDER.up) return failed(world, iterator, ERRNO.EINVAL);
      // The first member of a struct cgroup is its own cgroup_subsys_state.
      const top = cgroups.byObject(start);
      const wanted: Cgroup[] = [];
      if (order === CSS_ORDER.up) {
        for (let at = top; at !== undefined; at = at.parent) wanted.push(at);
      } else if (top !== undefined) {
        wanted.push(...descendants(world, top));
        if (order === CSS_ORDER.post) wanted.reverse();
      }
      return startList(
        world,
        iterator,
        wanted.map((row) => world.cgroupObject(row)),
      );
    },
  },
  ...listKfuncs("css"),
  {
    name: "bpf_iter_css_task_new",
    call(world, args) {
      const [iterator, css, flags] = [args.u32(1), args.u32(2), args.u32(3)];
      if (flags !== 0 && flags !== 1 && flags !== 3) return failed(world, iterator, ERRNO.EINVAL);
      const cgroup = world.world.cgroups.byObject(css);
      const wanted = world.world.tasks.all.filter(
        (task) => task.cgroup === cgroup && (flags === 0 || task.pid === task.tgid),
      );
      return startList(
        world,
        iterator,
        wanted.map((row) => taskOf("bpf_iter_css_task_new", world, row)),
      );
    },
  },
  ...listKfuncs("css_task"),
  {
    name: "bpf_iter_task_vma_new",
    call(world, args) {
      const iterator = args.u32(1);
      const task = world.world.tasks.byObject(args.u32(2));
      if (task === undefined) return failed(world, iterator, ERRNO.ENOENT);
      const vmas = task.vmas
        .filter(({ end }) => BigInt(end) > args.u64(3))
        .toSorted((a, b) => (BigInt(a.start) < BigInt(b.start) ? -1 : 1));
      return startList(
        world,
        iterator,
        vmas.map(({ object }) => object),
      );
    },
  },
  ...listKfuncs("task_vma"),
];
