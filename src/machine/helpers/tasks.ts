/** The process that runs, and its control groups. */
import { ERRNO } from "../../uapi/index.ts";
import { ancestorOf } from "../world/tasks.ts";
import { mayRead } from "./memory.ts";
import { notInWorld, type HelperWorld, type HostHelper } from "./types.ts";

/** A process as its two numbers in one register: the second in the upper half. */
const pair = (low: number, high: number): bigint => (BigInt(high) << 32n) | BigInt(low);

function currentObject(helper: string, helperWorld: HelperWorld): number {
  const { current } = helperWorld.world;
  const object = helperWorld.taskObject(current);
  if (object !== undefined) return object;
  throw notInWorld(
    helper,
    `the current process (${current.pid}, '${current.comm}') has no struct task_struct`,
    "give its address: world: { current: { pid, object: ADDRESS } }, or the machine the kernel's types: Machine.create({ btf })",
  );
}

/** struct bpf_pidns_info of uapi/linux/bpf.h: pid, tgid. */
const PIDNS_INFO_SIZE = 8;
/** struct pt_regs of x86-64. */
const PT_REGS_SIZE = 168;

export const TASKS: readonly HostHelper[] = [
  {
    name: "get_current_pid_tgid",
    args: 0,
    call: ({ world: { current } }) => pair(current.pid, current.tgid),
  },
  {
    name: "get_current_uid_gid",
    args: 0,
    call: ({ world: { current } }) => pair(current.uid, current.gid),
  },
  {
    // The name is padded with NULs; a buffer that is too short gets what fits, ended by one (strscpy_pad).
    name: "get_current_comm",
    args: 2,
    call({ world, memory, core }, args) {
      const size = args.u32(2);
      const to = args.u32(1);
      if (!mayRead(core, args.u64(1), size)) return -ERRNO.EFAULT;
      const name = new TextEncoder().encode(world.current.comm);
      const { u8 } = memory;
      u8.fill(0, to, to + size);
      if (size > 0) u8.set(name.subarray(0, size - 1), to);
      return 0;
    },
  },
  { name: "get_current_task", args: 0, call: (world) => BigInt(currentObject("get_current_task", world)) },
  {
    name: "get_current_task_btf",
    args: 0,
    call: (world) => BigInt(currentObject("get_current_task_btf", world)),
  },
  {
    name: "task_pt_regs",
    args: 1,
    call({ world, memory, regions }, args) {
      const task = world.tasks.byObject(args.u32(1));
      if (task !== undefined && task.registers === undefined) {
        const label = `user registers of process ${task.pid}`;
        const address = memory.alloc(PT_REGS_SIZE, label);
        task.registers = address;
        regions.add({ kind: "object", label, address, size: PT_REGS_SIZE, writable: false });
      }
      if (task?.registers !== undefined) return BigInt(task.registers);
      throw notInWorld(
        "task_pt_regs",
        `nothing is known of the user registers of the process at 0x${args.u32(1).toString(16)}`,
        "give the address of their struct pt_regs: world: { current: { pid, object: ADDRESS, registers: ADDRESS } }",
      );
    },
  },
  {
    name: "get_ns_current_pid_tgid",
    args: 4,
    call({ world, memory }, args) {
      const to = args.u32(3);
      const size = args.u32(4);
      if (size !== PIDNS_INFO_SIZE) {
        memory.u8.fill(0, to, to + size);
        return -ERRNO.EINVAL;
      }
      const [dev, ino] = [args.u64(1), args.u64(2)];
      const found = world.current.namespaces.find((row) => row.dev === dev && row.ino === ino);
      memory.setU32(to, found?.pid ?? 0);
      memory.setU32(to + 4, found?.tgid ?? 0);
      return found === undefined ? -ERRNO.EINVAL : 0;
    },
  },
  { name: "get_current_cgroup_id", args: 0, call: ({ world }) => world.current.cgroup.id },
  {
    name: "get_current_ancestor_cgroup_id",
    args: 1,
    call: ({ world }, args) => ancestorOf(world.current.cgroup, args.i32(1))?.id ?? 0n,
  },
];
