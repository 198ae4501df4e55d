/**
 * Program types on the way of packets through the network stack. Return values are those of uapi/linux/bpf.h, pkt_cls.h and
 * netfilter.h.
 */
import {
  KIND_SKB_LINK,
  KIND_SKB_NETWORK,
  KIND_XDP,
  XDP_HEADROOM,
  XDP_INGRESS_IFINDEX,
} from "../core/layout.ts";
import { WHOLE, WHOLE64, only } from "./rights.ts";
import { SKB_SOCKET, type SkbRights, skbContext } from "./skb.ts";
import type { ContextLayout, Fate, Hook, PacketRules, ReturnValue } from "./types.ts";

const LINKTYPE_ETHERNET = 1;

/** sizeof(struct skb_shared_info) on x86-64, cache-line aligned: what the kernel keeps free behind a packet. */
const SHARED_INFO = 320;

/** Names of the values 0, 1, 2, ... */
export const numbered = (...names: readonly string[]): ReturnValue[] =>
  names.map((name, value) => ({ value, name }));

/** Results at whose values `ends` the packet goes no further; `unknown` tells for all from 31 up and for negative ones. */
export function packetRules(kind: number, passes: (result: number) => boolean): PacketRules {
  const bits = Array.from({ length: 32 }, (_, bit) => (passes(bit) ? 2 ** bit : 0));
  return {
    kind,
    fate: (value): Fate => (passes(value) ? "pass" : "drop"),
    passMask: bits.reduce((sum, bit) => sum + bit, 0),
    linktypes: [LINKTYPE_ETHERNET],
    headroom: XDP_HEADROOM,
    tailReserve: SHARED_INFO,
  };
}

const XDP_MD: ContextLayout = {
  struct: "xdp_md",
  size: 24,
  fields: [
    { name: "data", offset: 0, size: 4, read: WHOLE, kind: "packet" },
    { name: "data_end", offset: 4, size: 4, read: WHOLE, kind: "packet_end" },
    { name: "data_meta", offset: 8, size: 4, read: WHOLE, kind: "packet_meta" },
    { name: "ingress_ifindex", offset: XDP_INGRESS_IFINDEX, size: 4, input: true, read: WHOLE },
    { name: "rx_queue_index", offset: 16, size: 4, input: true, read: WHOLE },
    { name: "egress_ifindex", offset: 20, size: 4, input: true, read: only(WHOLE, ["xdp_devmap"]) },
  ],
};

const TC_ACTIONS: readonly ReturnValue[] = [
  { value: -1, name: "TC_ACT_UNSPEC" },
  ...numbered(
    "TC_ACT_OK",
    "TC_ACT_RECLASSIFY",
    "TC_ACT_SHOT",
    "TC_ACT_PIPE",
    "TC_ACT_STOLEN",
    "TC_ACT_QUEUED",
    "TC_ACT_REPEAT",
    "TC_ACT_REDIRECT",
    "TC_ACT_TRAP",
  ),
];

// The packet ends here: dropped, or kept by somebody else (pkt_cls.h).
const TC_ENDS: readonly number[] = [2, 4, 5, 8];

/** sched_cls and sched_act differ in where they are attached, not in what they see or answer. */
const TRAFFIC_CONTROL: Omit<Hook, "type" | "title"> = {
  context: skbContext({
    hidden: [...SKB_SOCKET],
    writable: ["mark", "tc_index", "priority", "tc_classid", "cb", "tstamp", "queue_mapping"],
    read: { tstamp_type: { sizes: [1] } },
  }),
  returns: [{ values: TC_ACTIONS }],
  signed: true,
  anyAttach: true,
  packetAccess: "write",
  testRun: true,
  // Codes that tc does not know count as TC_ACT_UNSPEC: the packet goes on.
  packet: packetRules(KIND_SKB_LINK, (value) => !TC_ENDS.includes(value)),
};

/** What routes' programs see (lwt_is_valid_access). */
const LIGHTWEIGHT: SkbRights = {
  hidden: [...SKB_SOCKET, "tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp"],
  writable: ["mark", "priority", "cb"],
};

const LWT_RETURNS: readonly ReturnValue[] = [
  { value: 0, name: "BPF_OK" },
  { value: 2, name: "BPF_DROP" },
  { value: 7, name: "BPF_REDIRECT" },
  { value: 128, name: "BPF_LWT_REROUTE" },
];

const lightweight = (type: Hook["type"], title: string, packetAccess: "read" | "write"): Hook => ({
  type,
  title,
  context: skbContext(LIGHTWEIGHT),
  returns: [{ values: LWT_RETURNS }],
  signed: true,
  anyAttach: true,
  packetAccess,
  testRun: true,
  // Others than these are errors, for which the packet is freed (net/core/lwt_bpf.c: run_lwt_bpf).
  packet: packetRules(KIND_SKB_NETWORK, (value) => value === 0 || value === 7 || value === 128),
});

export const NETWORK_HOOKS: readonly Hook[] = [
  {
    type: "xdp",
    title: "XDP: frames as a network driver receives them",
    context: XDP_MD,
    returns: [{ values: numbered("XDP_ABORTED", "XDP_DROP", "XDP_PASS", "XDP_TX", "XDP_REDIRECT") }],
    signed: false,
    attach: ["xdp", "xdp_devmap", "xdp_cpumap"],
    anyAttach: true,
    packetAccess: "write",
    testRun: true,
    // An unknown action is handled as XDP_ABORTED (net/core/filter.c: bpf_warn_invalid_xdp_action).
    packet: packetRules(KIND_XDP, (value) => value >= 2 && value <= 4),
  },
  {
    type: "sched_cls",
    title: "traffic control: frames at a queueing discipline",
    ...TRAFFIC_CONTROL,
    attach: ["tcx_ingress", "tcx_egress", "netkit_primary", "netkit_peer"],
  },
  { type: "sched_act", title: "traffic control: frames at an action", ...TRAFFIC_CONTROL },
  {
    type: "socket_filter",
    title: "socket filter: packets at a socket, from the network header on",
    context: skbContext({
      hidden: [
        ...SKB_SOCKET,
        "tc_classid",
        "data",
        "data_meta",
        "data_end",
        "tstamp",
        "wire_len",
        "hwtstamp",
      ],
      writable: ["cb"],
    }),
    returns: [{ values: [{ value: 0, name: "DROP" }] }],
    signed: false,
    anyAttach: true,
    testRun: true,
    // The value is the number of bytes to keep (net/core/filter.c: sk_filter_trim_cap).
    packet: packetRules(KIND_SKB_NETWORK, (value) => value !== 0),
  },
  lightweight("lwt_in", "lightweight tunnel: packets that a route takes in", "read"),
  lightweight("lwt_out", "lightweight tunnel: packets that a route sends out", "read"),
  lightweight("lwt_xmit", "lightweight tunnel: packets before their link header is added", "write"),
  {
    ...lightweight("lwt_seg6local", "lightweight tunnel: packets at an SRv6 segment", "read"),
    testRun: false,
  },
  {
    type: "flow_dissector",
    title: "flow dissector: finds addresses and ports in a packet",
    context: skbContext({
      hidden: [],
      shown: ["data", "data_end"],
      writable: [],
      read: { flow_keys: WHOLE64 },
    }),
    returns: [
      {
        values: [
          { value: 0, name: "BPF_OK" },
          { value: 2, name: "BPF_DROP" },
          { value: 129, name: "BPF_FLOW_DISSECTOR_CONTINUE" },
        ],
      },
    ],
    signed: false,
    attach: ["flow_dissector"],
    anyAttach: true,
    packetAccess: "read",
    testRun: true,
  },
  {
    type: "netfilter",
    title: "netfilter: packets at a hook of the firewall",
    context: {
      struct: "bpf_nf_ctx",
      size: 16,
      fields: [
        { name: "state", offset: 0, size: 8, read: WHOLE64, kind: "btf", btf: "nf_hook_state" },
        { name: "skb", offset: 8, size: 8, read: WHOLE64, kind: "btf", btf: "sk_buff" },
      ],
    },
    returns: [{ values: numbered("NF_DROP", "NF_ACCEPT"), range: [0, 1] }],
    signed: false,
    attach: ["netfilter"],
    testRun: true,
  },
];
