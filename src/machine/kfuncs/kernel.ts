/** Guards, locks, casts, tasks and control groups. */
import { EXEC_CPU, MAP_COUNT } from "../../core/layout.ts";
import { milliseconds } from "../../elapsed.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import { ancestorOf, type Cgroup, type Task } from "../world/tasks.ts";
import { taskOf } from "./iterators.ts";
import { copyUserText } from "./reads.ts";
import type { HostKfunc } from "./types.ts";

/** A program runs to its end before anything else does: there is nothing that a guard must keep away. */
const guard = (name: string): HostKfunc => ({ name, call: () => 0 });

const same = (name: string): HostKfunc => ({ name, call: (_world, args) => args.u64(1) });

/** How long the kernel lets a CPU wait for a resilient lock (include/asm-generic/rqspinlock.h, RES_DEF_TIMEOUT: a quarter of a second). */
const PATIENCE_MS = 250;

/** The word of a struct bpf_res_spin_lock: 0, or the CPU that holds it, from 1. */
function lock({ memory }: HelperWorld, args: HelperArguments): number {
  const words = new Int32Array(memory.u8.buffer);
  const index = args.u32(1) >>> 2;
  const own = memory.u32(args.exec + EXEC_CPU) + 1;
  let holder = Atomics.compareExchange(words, index, 0, own);
  const end = holder === 0 || holder === own ? 0 : milliseconds() + PATIENCE_MS;
  while (holder !== 0) {
    if (holder === own) return -ERRNO.EDEADLK;
    if (milliseconds() > end) return -ERRNO.ETIMEDOUT;
    holder = Atomics.compareExchange(words, index, 0, own);
  }
  return 0;
}

function unlock({ memory }: HelperWorld, args: HelperArguments): void {
  Atomics.store(new Int32Array(memory.u8.buffer), args.u32(1) >>> 2, 0);
}

const taskAt = (name: string, world: HelperWorld, task: Task | undefined): bigint =>
  task === undefined ? 0n : BigInt(taskOf(name, world, task));

const cgroupAt = (world: HelperWorld, cgroup: Cgroup | undefined): bigint =>
  cgroup === undefined ? 0n : BigInt(world.cgroupObject(cgroup));

/** Without hints from a driver the kernel's own functions answer so. */
const noHint = (name: string): HostKfunc => ({ name, call: () => -ERRNO.EOPNOTSUPP });

const PAD_ZEROS = 1n;

export const KERNEL: readonly HostKfunc[] = [
  guard("bpf_rcu_read_lock"),
  guard("bpf_rcu_read_unlock"),
  guard("bpf_preempt_disable"),
  guard("bpf_preempt_enable"),
  { name: "bpf_local_irq_save", call: ({ memory }, args) => memory.setU64(args.u32(1), 0x200n) },
  guard("bpf_local_irq_restore"),
  { name: "bpf_res_spin_lock", call: lock },
  { name: "bpf_res_spin_unlock", call: unlock },
  { name: "bpf_res_spin_lock_irqsave", call: lock },
  { name: "bpf_res_spin_unlock_irqrestore", call: unlock },
  same("bpf_rdonly_cast"),
  same("bpf_task_acquire"),
  guard("bpf_task_release"),
  same("bpf_cgroup_acquire"),
  guard("bpf_cgroup_release"),
  {
    name: "bpf_task_from_pid",
    call: (world, args) => taskAt("bpf_task_from_pid", world, world.world.tasks.byPid(args.i32(1))),
  },
  {
    name: "bpf_task_from_vpid",
    call: (world, args) => taskAt("bpf_task_from_vpid", world, world.world.tasks.byPid(args.i32(1))),
  },
  {
    name: "bpf_task_under_cgroup",
    call({ world }, args) {
      const task = world.tasks.byObject(args.u32(1));
      const ancestor = world.cgroups.byObject(args.u32(2));
      if (task === undefined || ancestor === undefined) return 0;
      return ancestorOf(task.cgroup, ancestor.level) === ancestor ? 1 : 0;
    },
  },
  // No process here is in a hierarchy of the first version.
  { name: "bpf_task_get_cgroup1", call: () => 0n },
  {
    name: "bpf_cgroup_from_id",
    call: (world, args) => cgroupAt(world, world.world.cgroups.byId(args.u64(1))),
  },
  {
    name: "bpf_cgroup_ancestor",
    call(world, args) {
      const cgroup = world.world.cgroups.byObject(args.u32(1));
      return cgroup === undefined ? 0n : cgroupAt(world, ancestorOf(cgroup, args.i32(2)));
    },
  },
  noHint("bpf_xdp_metadata_rx_hash"),
  noHint("bpf_xdp_metadata_rx_timestamp"),
  noHint("bpf_xdp_metadata_rx_vlan_tag"),
  {
    name: "bpf_map_sum_elem_count",
    call: ({ memory }, args) => BigInt(memory.u32(args.u32(1) + MAP_COUNT)),
  },
  {
    name: "bpf_copy_from_user_str",
    call(world, args) {
      const { memory } = world;
      const [to, size] = [args.u32(1), args.u32(2)];
      const [from, flags] = [args.u64(3), args.u64(4)];
      if ((flags & ~PAD_ZEROS) !== 0n) return -ERRNO.EINVAL;
      if (size === 0) return 0;
      const length = copyUserText(world, to, from, size);
      if (length < 0) memory.u8.fill(0, to, to + size);
      else if (flags === PAD_ZEROS) memory.u8.fill(0, to + length, to + size);
      return length;
    },
  },
];
