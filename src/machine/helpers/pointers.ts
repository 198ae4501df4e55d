/** Pointers in maps, per-CPU variables, memory areas. */
import { EXEC_CPU, SPACE_KERNEL } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { cpuCopy, currentCpu, handOver, takeBack } from "../kfuncs/objects.ts";
import { mayRead } from "./memory.ts";
import type { HostHelper } from "./types.ts";

export const POINTERS: readonly HostHelper[] = [
  {
    // Puts a pointer into a map's value and takes out what was there.
    name: "kptr_xchg",
    args: 2,
    call(world, args) {
      const { memory } = world;
      const field = args.u32(1);
      const before = memory.u64(field);
      memory.setU64(field, args.u64(2));
      handOver(world, args.u32(2), field);
      takeBack(world, Number(before & 0xffffffffn), args.exec);
      return before;
    },
  },
  { name: "per_cpu_ptr", args: 2, call: (world, args) => cpuCopy(world, args.u32(1), args.u32(2)) },
  {
    name: "this_cpu_ptr",
    args: 1,
    call: (world, args) => cpuCopy(world, args.u32(1), currentCpu(world, args)),
  },
  {
    // All processes' memory lies in the machine's, so the one that is named need only exist.
    name: "copy_from_user_task",
    args: 5,
    call({ memory, world, core }, args) {
      const [to, size] = [args.u32(1), args.u32(2)];
      if (args.u64(5) !== 0n) return -ERRNO.EINVAL;
      if (size === 0) return 0;
      const known = world.tasks.byObject(args.u32(4)) !== undefined;
      const there = known && mayRead(core, args.u64(3), size) && core.space_of(args.u64(3)) !== SPACE_KERNEL;
      if (there) memory.write(to, memory.read(args.u32(3), size));
      else memory.u8.fill(0, to, to + size);
      return there ? 0 : -ERRNO.EFAULT;
    },
  },
  {
    name: "find_vma",
    args: 5,
    call(world, args) {
      const task = world.world.tasks.byObject(args.u32(1));
      const address = args.u64(2);
      if (args.u64(5) !== 0n || task === undefined) return -ERRNO.EINVAL;
      const vma = task.vmas.find(({ start, end }) => BigInt(start) <= address && address < BigInt(end));
      if (vma === undefined) return -ERRNO.ENOENT;
      world.callBack(args.u32(3), args.u32(1), vma.object, args.u64(4));
      return 0;
    },
  },
  {
    // Nothing is done: a signal would need somebody to send it to. The world notes it.
    name: "send_signal",
    args: 1,
    call({ world }, args) {
      if (args.u32(1) > 64) return -ERRNO.EINVAL;
      world.signals.push({ pid: world.current.tgid, signal: args.u32(1), thread: false });
      return 0;
    },
  },
  {
    name: "send_signal_thread",
    args: 1,
    call({ world }, args) {
      if (args.u32(1) > 64) return -ERRNO.EINVAL;
      world.signals.push({ pid: world.current.pid, signal: args.u32(1), thread: true });
      return 0;
    },
  },
  {
    name: "kallsyms_lookup_name",
    args: 4,
    call({ memory, world }, args) {
      const [from, size, flags, to] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
      const bytes = memory.read(from, size);
      memory.setU64(to, 0n);
      if (flags !== 0 || size <= 1 || bytes[size - 1] !== 0) return -ERRNO.EINVAL;
      const address = world.symbols.get(new TextDecoder().decode(bytes.subarray(0, bytes.indexOf(0))));
      if (address === undefined) return -ERRNO.ENOENT;
      memory.setU64(to, address);
      return 0;
    },
  },
  {
    // No branch records: what the kernel answers of an event that samples none. BPF_F_GET_BRANCH_RECORDS_SIZE is the one flag.
    name: "read_branch_records",
    args: 4,
    call: (_, args) => (args.u64(4) > 1n ? -ERRNO.EINVAL : -ERRNO.ENOENT),
  },
  {
    name: "get_numa_node_id",
    args: 0,
    call: ({ world, memory }, { exec }) => world.numaNode(memory.u32(exec + EXEC_CPU)),
  },
];
