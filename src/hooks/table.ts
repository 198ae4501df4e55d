/**
 * The program types that run, one row each. Return values and contexts are uapi/linux/bpf.h's and pkt_cls.h's;
 * defaults of the context are what the kernel's BPF_PROG_TEST_RUN shows a program when no context is given.
 */
import {
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  KIND_XDP,
  XDP_HEADROOM,
  XDP_INGRESS_IFINDEX,
} from "../core/layout.ts";
import type { ProgramType } from "../uapi/index.ts";
import { SK_BUFF } from "./skb.ts";
import type { ContextLayout, Hook } from "./types.ts";

const LINKTYPE_ETHERNET = 1;

/** struct xdp_md. */
const XDP_MD: ContextLayout = {
  struct: "xdp_md",
  size: 24,
  fields: [
    { name: "data", offset: 0, size: 4 },
    { name: "data_end", offset: 4, size: 4 },
    { name: "data_meta", offset: 8, size: 4 },
    { name: "ingress_ifindex", offset: XDP_INGRESS_IFINDEX, size: 4, input: true },
    { name: "rx_queue_index", offset: 16, size: 4, input: true },
    { name: "egress_ifindex", offset: 20, size: 4, input: true },
  ],
};

/** sizeof(struct skb_shared_info) on x86-64, cache-line aligned: what the kernel keeps free behind a packet. */
const SHARED_INFO = 320;

const XDP_ACTIONS = ["XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT"] as const;

const TC_ACTIONS = [
  { value: -1, name: "TC_ACT_UNSPEC" },
  { value: 0, name: "TC_ACT_OK" },
  { value: 1, name: "TC_ACT_RECLASSIFY" },
  { value: 2, name: "TC_ACT_SHOT" },
  { value: 3, name: "TC_ACT_PIPE" },
  { value: 4, name: "TC_ACT_STOLEN" },
  { value: 5, name: "TC_ACT_QUEUED" },
  { value: 6, name: "TC_ACT_REPEAT" },
  { value: 7, name: "TC_ACT_REDIRECT" },
  { value: 8, name: "TC_ACT_TRAP" },
] as const;

// The packet ends here: dropped, or kept by somebody else (pkt_cls.h).
const TC_ENDS: readonly number[] = [2, 4, 5, 8];

/** Bits 0 to 31 for which `test` holds; bit 31 stands for all results from 31 up, and for negative ones. */
const mask = (test: (bit: number) => boolean): number =>
  Array.from({ length: 32 }, (_, bit) => (test(bit) ? 2 ** bit : 0)).reduce((sum, bit) => sum + bit, 0);

/** sched_cls and sched_act differ in where they are attached, not in what they see or answer. */
const TRAFFIC_CONTROL: Omit<Hook, "type" | "title"> = {
  kind: KIND_SKB_LINK,
  context: SK_BUFF,
  returns: TC_ACTIONS,
  signed: true,
  // Codes that tc does not know count as TC_ACT_UNSPEC: the packet goes on.
  fate: (value) => (TC_ENDS.includes(value) ? "drop" : "pass"),
  passMask: mask((bit) => !TC_ENDS.includes(bit)),
  linktypes: [LINKTYPE_ETHERNET],
  headroom: XDP_HEADROOM,
  tailReserve: SHARED_INFO,
};

/** Program types that have an engine behind them. */
export const HOOKS: readonly Hook[] = [
  {
    type: "xdp",
    title: "XDP: frames as a network driver receives them",
    kind: KIND_XDP,
    context: XDP_MD,
    returns: XDP_ACTIONS.map((name, value) => ({ value, name })),
    signed: false,
    // An unknown action is handled as XDP_ABORTED (net/core/filter.c: bpf_warn_invalid_xdp_action).
    fate: (value) => (value >= 2 && value <= 4 ? "pass" : "drop"),
    passMask: mask((bit) => bit >= 2 && bit <= 4),
    linktypes: [LINKTYPE_ETHERNET],
    headroom: XDP_HEADROOM,
    tailReserve: SHARED_INFO,
  },
  { type: "sched_cls", title: "traffic control: frames at a queueing discipline", ...TRAFFIC_CONTROL },
  { type: "sched_act", title: "traffic control: frames at an action", ...TRAFFIC_CONTROL },
  {
    type: "socket_filter",
    title: "socket filter: packets at a socket, from the network header on",
    kind: KIND_SKB_NETWORK,
    context: SK_BUFF,
    returns: [{ value: 0, name: "DROP" }],
    signed: false,
    // The value is the number of bytes to keep (net/core/filter.c: sk_filter_trim_cap).
    fate: (value) => (value === 0 ? "drop" : "pass"),
    passMask: mask((bit) => bit !== 0),
    linktypes: [LINKTYPE_ETHERNET],
    headroom: XDP_HEADROOM,
    tailReserve: SHARED_INFO,
  },
];

const BY_TYPE: ReadonlyMap<ProgramType, Hook> = new Map(HOOKS.map((hook) => [hook.type, hook]));

/** The row of a program type, or undefined if programs of that type cannot be run yet. */
export function hookOf(type: ProgramType): Hook | undefined {
  return BY_TYPE.get(type);
}

/** The name of a return value: "XDP_DROP"; "KEEP" for a socket filter that keeps bytes; the number if it has no name. */
export function returnName(hook: Hook, value: number): string {
  const known = hook.returns.find((row) => row.value === value);
  if (known !== undefined) return known.name;
  return hook.type === "socket_filter" ? "KEEP" : String(value);
}
