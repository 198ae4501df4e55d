/** Stacks of calls, as the world gives them (kernel/bpf/stackmap.c). */
import { EXEC_PROG } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { Task } from "../world/tasks.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

// uapi/linux/bpf.h.
const SKIP_MASK = 0xffn;
const USER_STACK = 1n << 8n;
const FAST_COMPARE = 1n << 9n;
const REUSE_ID = 1n << 10n;
const USER_BUILD_ID = 1n << 11n;
/** kernel.perf_event_max_stack of a kernel that nobody has told otherwise. */
const MAX_DEPTH = 127;

/** struct bpf_stack_build_id; of an address that no file is known of only the address is given. */
const BUILD_ID_SIZE = 32;
const BUILD_ID_IP = 2;
const BUILD_ID_ADDRESS = 24;

/** Where a static executable of x86-64 begins. */
const USER_TEXT = 0x401000n;

/** Of a process of which nothing is said, one call in the kernel, the function that the program watches, and one in user space. */
function stackOf(world: HelperWorld, args: HelperArguments, task: Task, flags: bigint): readonly bigint[] {
  if ((flags & USER_STACK) !== 0n) return task.userStack ?? [USER_TEXT];
  if (task.stack !== undefined) return task.stack;
  const { attachTo } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
  return [world.world.addressOf(attachTo ?? "entry_SYSCALL_64")];
}

function copyStack(
  { memory }: HelperWorld,
  stack: readonly bigint[],
  to: number,
  size: number,
  flags: bigint,
): number {
  const skip = Number(flags & SKIP_MASK);
  const build = (flags & USER_BUILD_ID) !== 0n;
  const element = build ? BUILD_ID_SIZE : 8;
  const depth = Math.min(size / element + skip, MAX_DEPTH, stack.length);
  if (depth < skip) return -ERRNO.EFAULT;
  for (let index = 0; index < depth - skip; index++) {
    const at = to + index * element;
    if (build) memory.setU32(at, BUILD_ID_IP);
    memory.setU64(at + (build ? BUILD_ID_ADDRESS : 0), BigInt.asUintN(64, stack[skip + index] as bigint));
  }
  return (depth - skip) * element;
}

/** bpf_get_stack and bpf_get_task_stack; all of the buffer is written, with zeros after an error. */
function getStack(
  world: HelperWorld,
  args: HelperArguments,
  task: Task,
  [to, size, flags]: readonly [number, number, bigint],
): number {
  world.memory.u8.fill(0, to, to + size);
  const build = (flags & USER_BUILD_ID) !== 0n;
  const user = (flags & USER_STACK) !== 0n;
  if ((flags & ~(SKIP_MASK | USER_STACK | USER_BUILD_ID)) !== 0n || (build && !user)) return -ERRNO.EINVAL;
  if (size % (build ? BUILD_ID_SIZE : 8) !== 0) return -ERRNO.EINVAL;
  if (user && task !== world.world.current) return -ERRNO.EOPNOTSUPP;
  return copyStack(world, stackOf(world, args, task, flags), to, size, flags);
}

export const STACKS: readonly HostHelper[] = [
  {
    name: "get_stackid",
    args: 3,
    call(world, args) {
      const flags = args.u64(3);
      if ((flags & ~(SKIP_MASK | USER_STACK | FAST_COMPARE | REUSE_ID)) !== 0n) return -ERRNO.EINVAL;
      const stack = stackOf(world, args, world.world.current, flags).slice(0, MAX_DEPTH);
      if (stack.length === 0) return -ERRNO.EFAULT;
      const { memory } = world;
      const addresses = memory.alloc(stack.length * 8, "stack of a process");
      try {
        stack.forEach((address, index) => memory.setU64(addresses + 8 * index, BigInt.asUintN(64, address)));
        return world.core.stack_map_put(args.u32(2), addresses, stack.length, flags);
      } finally {
        memory.free(addresses);
      }
    },
  },
  {
    name: "get_stack",
    args: 4,
    call: (world, args) =>
      getStack(world, args, world.world.current, [args.u32(2), args.u32(3), args.u64(4)]),
  },
  {
    name: "get_task_stack",
    args: 4,
    call(world, args) {
      const task = world.world.tasks.byObject(args.u32(1));
      if (task !== undefined) return getStack(world, args, task, [args.u32(2), args.u32(3), args.u64(4)]);
      throw notInWorld(
        "get_task_stack",
        `no process has its struct task_struct at 0x${args.u32(1).toString(16)}`,
        "name it: world: { tasks: [{ pid, object: ADDRESS, stack: [0xffffffff81000000n] }] }",
      );
    },
  },
];
