/** How each program type takes its input. The types that packets go through are run by the batch loop. */
import { BpfError } from "../../errors.ts";
import { isRunKey } from "../packet-context.ts";
import { hookOf } from "../../hooks/index.ts";
import type { ProgramType } from "../../uapi/index.ts";
import { ARGUMENTS } from "./arguments.ts";
import { CGROUP_DEVICE, CGROUP_SOCK, CGROUP_SOCKOPT, CGROUP_SOCK_ADDR, CGROUP_SYSCTL } from "./cgroup.ts";
import { FLOW_DISSECTOR } from "./dissector.ts";
import type { EventInput } from "./input.ts";
import { NETFILTER } from "./netfilter.ts";
import { LIRC, SYSCALL } from "./others.ts";
import { RECORD } from "./record.ts";
import { PROBE, SAMPLE } from "./registers.ts";
import { SK_LOOKUP, SK_MSG, SK_REUSEPORT, SK_SKB, SOCK_OPS } from "./sockets.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

const ARRANGERS: Readonly<Partial<Record<ProgramType, Arranger>>> = {
  kprobe: PROBE,
  perf_event: SAMPLE,
  tracepoint: RECORD,
  raw_tracepoint: ARGUMENTS,
  raw_tracepoint_writable: ARGUMENTS,
  tracing: ARGUMENTS,
  lsm: ARGUMENTS,
  struct_ops: ARGUMENTS,
  ext: ARGUMENTS,
  cgroup_sock: CGROUP_SOCK,
  cgroup_sock_addr: CGROUP_SOCK_ADDR,
  cgroup_sockopt: CGROUP_SOCKOPT,
  cgroup_sysctl: CGROUP_SYSCTL,
  cgroup_device: CGROUP_DEVICE,
  sock_ops: SOCK_OPS,
  sk_lookup: SK_LOOKUP,
  sk_msg: SK_MSG,
  sk_reuseport: SK_REUSEPORT,
  sk_skb: SK_SKB,
  flow_dissector: FLOW_DISSECTOR,
  netfilter: NETFILTER,
  lirc_mode2: LIRC,
  syscall: SYSCALL,
};

const KEYS: ReadonlyMap<string, readonly string[]> = new Map(
  Object.entries(ARRANGERS).map(([type, { takes }]) => {
    const fields = hookOf(type as ProgramType).context.fields.some(({ input }) => input === true);
    return [
      type,
      fields && !(takes as readonly string[]).includes("registers") ? [...takes, "context"] : takes,
    ];
  }),
);

/** Keys of the input that a type takes; none of those that packets go through. */
export function inputKeys(type: ProgramType): readonly string[] {
  return KEYS.get(type) ?? [];
}

/** Lays an input out, after looking whether the type takes all of its parts. */
export function arrange(subject: Subject, input: EventInput): Arrangement {
  const arranger = ARRANGERS[subject.type];
  if (arranger === undefined) {
    throw new BpfError(
      "unsupported",
      `program '${subject.name}': ${subject.type} programs are run over packets`,
    );
  }
  const takes = inputKeys(subject.type);
  for (const key in input) {
    if (takes.includes(key) || isRunKey(key)) continue;
    throw new BpfError(
      "context",
      `program '${subject.name}': ${subject.type} programs take no '${key}'; they take ${takes.join(", ")}`,
    );
  }
  return arranger.arrange(subject, input);
}
