/** Sessions, signals, streams, deferred work, sockets and packets: what programs ask for here and there. */
import { CTX_KIND, EXEC_PROG, KIND_XDP } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import { worldSocket } from "../helpers/sockets.ts";
import { PRINT_BYTES } from "../helpers/printf.ts";
import { fill, textAt, valuesAt } from "../helpers/trace.ts";
import { type HelperArguments, type HelperWorld, notInWorld } from "../helpers/types.ts";
import { kernelContext } from "./contexts.ts";
import type { HostKfunc } from "./types.ts";

const cookies = new WeakMap<HelperWorld, Map<number, number>>();

/** A word of each program that its run at the entry of a function leaves to that at the return. */
function sessionCookie(world: HelperWorld, { exec }: HelperArguments): bigint {
  const { memory, regions } = world;
  let known = cookies.get(world);
  if (known === undefined) cookies.set(world, (known = new Map()));
  const program = memory.u32(exec + EXEC_PROG);
  let address = known.get(program);
  if (address === undefined) {
    address = memory.alloc(8, "cookie of a session", 8);
    known.set(program, address);
    regions.add({ kind: "object", label: "cookie of a session", address, size: 8, owner: program });
  }
  return BigInt(address);
}

// enum pid_type: one thread, or all of a process.
const PIDTYPE_PID = 0;
const PIDTYPE_TGID = 1;
const LAST_SIGNAL = 64;

function sendSignal({ world }: HelperWorld, args: HelperArguments): number {
  const [signal, type] = [args.u32(2), args.u32(3)];
  if ((type !== PIDTYPE_PID && type !== PIDTYPE_TGID) || signal > LAST_SIGNAL) return -ERRNO.EINVAL;
  const task = world.tasks.byObject(args.u32(1));
  if (task === undefined) return -ERRNO.ESRCH;
  const thread = type === PIDTYPE_PID;
  world.signals.push({ pid: thread ? task.pid : task.tgid, signal, thread });
  return 0;
}

// enum bpf_stream_id.
const STDOUT = 1;
const STDERR = 2;

function print(world: HelperWorld, args: HelperArguments): number {
  const [stream, format, from, length] = [args.u32(1), args.u32(2), args.u32(3), args.u32(4)];
  if (stream !== STDOUT && stream !== STDERR) return -ERRNO.ENOENT;
  const values = valuesAt(world, from, length);
  const text = textAt(world, format);
  if (values === undefined || text === undefined) return -ERRNO.EINVAL;
  const filled = fill(world, text, PRINT_BYTES, values);
  if (typeof filled === "number") return filled;
  const printed = Array.from(filled.bytes, (byte) => String.fromCharCode(byte)).join("");
  world.world.writeStream(stream === STDOUT ? "stdout" : "stderr", printed);
  return 0;
}

/** A callback that the process runs before it goes on: here when the run is over, like a timer that is due at once. */
function schedule(world: HelperWorld, args: HelperArguments): number {
  const { timers, memory, mapAt } = world;
  const [task, work, callback] = [args.u32(1), args.u32(2), args.u32(4)];
  const map = mapAt(args.u32(3));
  if (map === undefined || world.world.tasks.byObject(task) === undefined) return -ERRNO.EINVAL;
  const known = timers.at(work);
  if (known?.expires !== undefined) return -ERRNO.EBUSY;
  if (known === undefined) timers.create(work, map);
  const timer = timers.at(work);
  if (timer === undefined) return -ERRNO.EINVAL;
  timer.callback = callback;
  timer.program = memory.u32(args.exec + EXEC_PROG);
  timer.expires = world.now();
  return 0;
}

// struct bpf_xfrm_state_opts.
const XFRM = { error: 0, netns: 4, bytes: 36 } as const;

export const OTHERS: readonly HostKfunc[] = [
  {
    name: "bpf_session_is_return",
    call({ run }) {
      if (run.returns !== undefined) return run.returns ? 1 : 0;
      throw notInWorld(
        "session_is_return",
        "no function is being traced",
        "run the program with run({ args }) or run({ ret })",
      );
    },
  },
  { name: "bpf_cast_to_kern_ctx", call: kernelContext },
  { name: "bpf_session_cookie", call: sessionCookie },
  { name: "bpf_send_signal_task", call: sendSignal },
  { name: "bpf_stream_vprintk_impl", call: print },
  { name: "bpf_task_work_schedule_signal_impl", call: schedule },
  { name: "bpf_task_work_schedule_resume_impl", call: schedule },
  {
    name: "bpf_xdp_pull_data",
    call({ core, memory }, args) {
      const context = args.u32(1);
      if (memory.u32(context + CTX_KIND) !== KIND_XDP) return -ERRNO.EINVAL;
      return core.xdp_pull_data(context, args.u32(2));
    },
  },
  {
    // No packet here goes through IPsec.
    name: "bpf_xdp_get_xfrm_state",
    call({ memory }, args) {
      const [opts, size] = [args.u32(2), args.u32(3)];
      if (opts === 0 || size < 4) return 0n;
      const valid = size === XFRM.bytes && memory.view.getInt32(opts + XFRM.netns, true) >= -1;
      memory.setU32(opts + XFRM.error, -(valid ? ERRNO.ENOENT : ERRNO.EINVAL) >>> 0);
      return 0n;
    },
  },
  { name: "bpf_xdp_xfrm_state_release", call: () => undefined },
  {
    name: "bpf_sock_destroy",
    call(world, args) {
      world.world.sockets.remove(worldSocket("sock_destroy", world, args.u32(1)));
      return 0;
    },
  },
];
