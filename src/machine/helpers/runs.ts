/** What the run under way is about: the call that is traced, the file of /proc/sys, the verdict so far. */
import { EXEC_CPU, EXEC_PROG } from "../../core/layout.ts";
import { hookOf } from "../../hooks/index.ts";
import { ERRNO, type HelperName } from "../../uapi/index.ts";
import type { LinearMemory } from "../memory.ts";
import type { SysctlState } from "../run/cgroup.ts";
import type { PerfCounter } from "../world/options.ts";
import { type HelperArguments, type HelperWorld, type HostHelper, notInWorld } from "./types.ts";

/** How many words of arguments the context of a traced call has. */
function argumentCount(helper: HelperName, { run }: HelperWorld): number {
  if (run.arguments !== undefined) return run.arguments;
  throw notInWorld(helper, "no call is being traced", "run the program with run({ args })");
}

/** Copies a text or a value: shorter than the buffer it is padded with zeros, longer it is cut off and E2BIG. */
function copyOut(memory: LinearMemory, to: number, size: number, text: string | undefined): number {
  if (size === 0) return -ERRNO.E2BIG;
  memory.u8.fill(0, to, to + size);
  const bytes = new TextEncoder().encode(text ?? "");
  if (bytes.length === 0) return -ERRNO.EINVAL;
  memory.write(to, bytes.subarray(0, size - 1));
  return bytes.length < size ? bytes.length : -ERRNO.E2BIG;
}

function sysctlOf(helper: HelperName, { run }: HelperWorld): SysctlState {
  if (run.sysctl !== undefined) return run.sysctl;
  throw notInWorld(
    helper,
    "no sysctl is being read or written",
    "run the program with run({ sysctl: { name } })",
  );
}

const BASE_NAME = 1n;
const PAGE_SIZE = 4096;

/** Where the verdict lies: of options of sockets it is a field of the context. */
function verdictField(world: HelperWorld, args: HelperArguments): number | undefined {
  const { type } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
  if (type !== "cgroup_sockopt") return undefined;
  return hookOf(type)?.context.fields.find(({ name }) => name === "retval")?.offset;
}

/** uapi/linux/bpf.h BPF_SOCK_OPS_ALL_CB_FLAGS. */
const ALL_CALLBACKS = 0x7f;
// struct bpf_perf_event_value: counter, enabled, running.
const PERF_VALUE_SIZE = 24;
const INDEX_MASK = 0xffffffffn;
const CURRENT_CPU = 0xffffffffn;

function counterAt(world: HelperWorld, args: HelperArguments): PerfCounter | number {
  const map = world.mapAt(args.u32(1));
  const flags = args.u64(2);
  if ((flags & ~INDEX_MASK) !== 0n || map === undefined) return -ERRNO.EINVAL;
  const index = flags === CURRENT_CPU ? world.memory.u32(args.exec + EXEC_CPU) : Number(flags);
  if (index >= map.maxEntries) return -ERRNO.E2BIG;
  // As long as nobody has put an event there, programs are told so.
  return world.world.counters.get(map.name)?.[index] ?? -ERRNO.ENOENT;
}

function writeCounter(
  { memory }: HelperWorld,
  to: number,
  { counter, enabled = 0, running = 0 }: PerfCounter,
): void {
  [counter, enabled, running].forEach((value, index) =>
    memory.setU64(to + 8 * index, BigInt.asUintN(64, BigInt(value))),
  );
}

export const RUNS: readonly HostHelper[] = [
  {
    name: "get_func_arg",
    args: 3,
    call(world, args) {
      const index = args.u32(2);
      if (index >= argumentCount("get_func_arg", world)) return -ERRNO.EINVAL;
      world.memory.setU64(args.u32(3), world.memory.u64(args.u32(1) + 8 * index));
      return 0;
    },
  },
  {
    name: "get_func_ret",
    args: 2,
    call(world, args) {
      const { attachType } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
      if (attachType !== "trace_fexit" && attachType !== "modify_return") return -ERRNO.EOPNOTSUPP;
      const at = args.u32(1) + 8 * argumentCount("get_func_ret", world);
      world.memory.setU64(args.u32(2), world.memory.u64(at));
      return 0;
    },
  },
  { name: "get_func_arg_cnt", args: 1, call: (world) => argumentCount("get_func_arg_cnt", world) },
  {
    // Of a probe in the midst of a function 0.
    name: "get_func_ip",
    args: 1,
    call(world, args) {
      const { attachTo = "" } = world.programAt(world.memory.u32(args.exec + EXEC_PROG));
      return attachTo.includes("+") ? 0 : world.world.addressOf(attachTo);
    },
  },
  { name: "get_attach_cookie", args: 1, call: ({ run }) => BigInt.asUintN(64, BigInt(run.cookie ?? 0)) },
  {
    name: "override_return",
    args: 2,
    call({ run, memory }, args) {
      run.overridden = args.u64(2);
      if (run.returnAt !== undefined) memory.setU64(args.u32(1) + run.returnAt, args.u64(2));
      return 0;
    },
  },
  {
    name: "get_retval",
    args: 0,
    call(world, args) {
      const field = verdictField(world, args);
      const context = world.run.context ?? 0;
      return field === undefined ? (world.run.retval ?? 0) : world.memory.u32(context + field) | 0;
    },
  },
  {
    name: "set_retval",
    args: 1,
    call(world, args) {
      const field = verdictField(world, args);
      if (field === undefined) world.run.retval = args.i32(1);
      else world.memory.setU32((world.run.context ?? 0) + field, args.u32(1));
      return 0;
    },
  },
  {
    name: "sysctl_get_name",
    args: 4,
    call(world, args) {
      const { name } = sysctlOf("sysctl_get_name", world);
      const text = (args.u64(4) & BASE_NAME) === 0n ? name : name.slice(name.lastIndexOf("/") + 1);
      return copyOut(world.memory, args.u32(2), args.u32(3), text);
    },
  },
  {
    name: "sysctl_get_current_value",
    args: 3,
    call: (world, args) =>
      copyOut(world.memory, args.u32(2), args.u32(3), sysctlOf("sysctl_get_current_value", world).value),
  },
  {
    name: "sysctl_get_new_value",
    args: 3,
    call: (world, args) =>
      copyOut(world.memory, args.u32(2), args.u32(3), sysctlOf("sysctl_get_new_value", world).newValue),
  },
  {
    name: "sysctl_set_new_value",
    args: 3,
    call(world, args) {
      const state = sysctlOf("sysctl_set_new_value", world);
      const [from, size] = [args.u32(2), args.u32(3)];
      if (!state.newValue || size === 0) return -ERRNO.EINVAL;
      if (size > PAGE_SIZE - 1) return -ERRNO.E2BIG;
      const bytes = world.memory.read(from, size);
      const end = bytes.indexOf(0);
      state.newValue = new TextDecoder().decode(bytes.subarray(0, end < 0 ? size : end));
      state.replaced = true;
      return 0;
    },
  },
  {
    name: "sock_ops_cb_flags_set",
    args: 2,
    call({ memory }, args) {
      const fields = hookOf("sock_ops")?.context.fields ?? [];
      const at = (name: string): number =>
        args.u32(1) + (fields.find((field) => field.name === name)?.offset ?? 0);
      if (memory.u32(at("is_fullsock")) === 0) return -ERRNO.EINVAL;
      memory.setU32(at("bpf_sock_ops_cb_flags"), args.u32(2) & ALL_CALLBACKS);
      return args.i32(2) & ~ALL_CALLBACKS;
    },
  },
  {
    name: "perf_event_read",
    args: 2,
    call(world, args) {
      const found = counterAt(world, args);
      return typeof found === "number" ? found : BigInt(found.counter);
    },
  },
  {
    name: "perf_event_read_value",
    args: 4,
    call(world, args) {
      const [to, size] = [args.u32(3), args.u32(4)];
      world.memory.u8.fill(0, to, to + size);
      if (size !== PERF_VALUE_SIZE) return -ERRNO.EINVAL;
      const found = counterAt(world, args);
      if (typeof found === "number") return found;
      writeCounter(world, to, found);
      return 0;
    },
  },
  {
    name: "perf_prog_read_value",
    args: 3,
    call(world, args) {
      const [to, size] = [args.u32(2), args.u32(3)];
      world.memory.u8.fill(0, to, to + size);
      if (size !== PERF_VALUE_SIZE) return -ERRNO.EINVAL;
      const { counter, enabled = 0, running = 0 } = world.run.sample ?? {};
      if (counter === undefined) {
        throw notInWorld(
          "perf_prog_read_value",
          "nothing is known of the event's counter",
          "give it: run({ sample: { counter: 1000 } })",
        );
      }
      writeCounter(world, to, { counter, enabled, running });
      return 0;
    },
  },
  {
    name: "rc_repeat",
    args: 1,
    call({ run }) {
      (run.remote ??= []).push({ kind: "repeat" });
      return 0;
    },
  },
  {
    name: "rc_keydown",
    args: 4,
    call({ run }, args) {
      const key = { protocol: args.u32(2), scancode: args.u64(3), toggle: (args.u32(4) & 1) === 1 };
      (run.remote ??= []).push({ kind: "key", ...key });
      return 0;
    },
  },
  {
    name: "rc_pointer_rel",
    args: 3,
    call({ run }, args) {
      (run.remote ??= []).push({ kind: "pointer", x: args.i32(2), y: args.i32(3) });
      return 0;
    },
  },
  {
    // No hardware that records branches.
    name: "get_branch_snapshot",
    args: 3,
    call: (_, args) => (args.u64(3) === 0n ? -ERRNO.ENOENT : -ERRNO.EINVAL),
  },
];
