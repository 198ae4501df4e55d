/** Program types at sockets: lookup, selection, TCP's events, messages between sockets. */
import { numbered } from "./network.ts";
import { NARROW, NARROW_FIRST, WHOLE, WHOLE64 } from "./rights.ts";
import { skbContext } from "./skb.ts";
import type { ContextField, Hook } from "./types.ts";

const SK_VERDICTS = numbered("SK_DROP", "SK_PASS");

/** 32-bit fields of TCP's state that follow each other in struct bpf_sock_ops, from offset 76 on. */
const TCP_STATE = [
  "snd_cwnd",
  "srtt_us",
  "bpf_sock_ops_cb_flags",
  "state",
  "rtt_min",
  "snd_ssthresh",
  "rcv_nxt",
  "snd_nxt",
  "snd_una",
  "mss_cache",
  "ecn_flags",
  "rate_delivered",
  "rate_interval_us",
  "packets_out",
  "retrans_out",
  "total_retrans",
  "segs_in",
  "data_segs_in",
  "segs_out",
  "data_segs_out",
  "lost_out",
  "sacked_out",
  "sk_txhash",
] as const;

const SOCK_OPS_FIELDS: readonly ContextField[] = [
  { name: "op", offset: 0, size: 4, input: true, read: WHOLE },
  { name: "args", offset: 4, size: 4, count: 4, input: true, read: WHOLE },
  { name: "reply", offset: 4, size: 4, read: WHOLE, write: WHOLE },
  { name: "replylong", offset: 4, size: 4, count: 4, read: WHOLE },
  { name: "family", offset: 20, size: 4, input: true, read: WHOLE },
  { name: "remote_ip4", offset: 24, size: 4, input: true, read: WHOLE },
  { name: "local_ip4", offset: 28, size: 4, input: true, read: WHOLE },
  { name: "remote_ip6", offset: 32, size: 4, count: 4, input: true, read: WHOLE },
  { name: "local_ip6", offset: 48, size: 4, count: 4, input: true, read: WHOLE },
  { name: "remote_port", offset: 64, size: 4, input: true, read: WHOLE },
  { name: "local_port", offset: 68, size: 4, input: true, read: WHOLE },
  { name: "is_fullsock", offset: 72, size: 4, input: true, read: WHOLE },
  ...TCP_STATE.map(
    (name, index): ContextField => ({
      name,
      offset: 76 + 4 * index,
      size: 4,
      input: true,
      read: WHOLE,
      ...(name === "sk_txhash" ? { write: WHOLE } : {}),
    }),
  ),
  { name: "bytes_received", offset: 168, size: 8, input: true, read: WHOLE64 },
  { name: "bytes_acked", offset: 176, size: 8, input: true, read: WHOLE64 },
  { name: "sk", offset: 184, size: 8, read: WHOLE64, kind: "socket_or_null" },
  { name: "skb_data", offset: 192, size: 8, read: WHOLE64, kind: "packet" },
  { name: "skb_data_end", offset: 200, size: 8, read: WHOLE64, kind: "packet_end" },
  { name: "skb_len", offset: 208, size: 4, input: true, read: WHOLE },
  { name: "skb_tcp_flags", offset: 212, size: 4, input: true, read: NARROW_FIRST },
  { name: "skb_hwtstamp", offset: 216, size: 8, input: true, read: WHOLE64 },
];

export const SOCKET_HOOKS: readonly Hook[] = [
  {
    type: "sk_lookup",
    title: "socket lookup: which socket takes a new connection",
    context: {
      struct: "bpf_sk_lookup",
      size: 72,
      fields: [
        { name: "sk", offset: 0, size: 8, read: WHOLE64, kind: "socket_or_null" },
        { name: "family", offset: 8, size: 4, kept: 2, input: true, read: NARROW },
        { name: "protocol", offset: 12, size: 4, kept: 2, input: true, read: NARROW },
        { name: "remote_ip4", offset: 16, size: 4, input: true, read: NARROW },
        { name: "remote_ip6", offset: 20, size: 4, count: 4, input: true, read: NARROW },
        // 2 bytes in network order; 4 bytes may be read, as when the field was declared so.
        { name: "remote_port", offset: 36, size: 2, input: true, read: NARROW },
        {
          name: "remote_port (high half)",
          offset: 38,
          size: 2,
          read: { sizes: [1, 2], inside: true },
          padding: true,
        },
        { name: "local_ip4", offset: 40, size: 4, input: true, read: NARROW },
        { name: "local_ip6", offset: 44, size: 4, count: 4, input: true, read: NARROW },
        { name: "local_port", offset: 60, size: 4, kept: 2, input: true, read: NARROW },
        { name: "ingress_ifindex", offset: 64, size: 4, input: true, read: NARROW },
      ],
    },
    returns: [{ values: SK_VERDICTS, range: [0, 1] }],
    signed: false,
    attach: ["sk_lookup"],
    testRun: true,
  },
  {
    type: "sk_reuseport",
    title: "socket selection: which socket of a SO_REUSEPORT group takes a packet",
    context: {
      struct: "sk_reuseport_md",
      size: 56,
      fields: [
        { name: "data", offset: 0, size: 8, read: WHOLE64, kind: "packet" },
        { name: "data_end", offset: 8, size: 8, read: WHOLE64, kind: "packet_end" },
        { name: "len", offset: 16, size: 4, read: NARROW },
        {
          name: "eth_protocol",
          offset: 20,
          size: 4,
          kept: 2,
          input: true,
          read: { sizes: [2, 4], inside: true },
        },
        { name: "ip_protocol", offset: 24, size: 4, kept: 2, input: true, read: NARROW },
        { name: "bind_inany", offset: 28, size: 4, kept: 1, input: true, read: NARROW },
        { name: "hash", offset: 32, size: 4, input: true, read: WHOLE },
        { name: "sk", offset: 40, size: 8, read: WHOLE64, kind: "socket" },
        { name: "migrating_sk", offset: 48, size: 8, read: WHOLE64, kind: "sock_common_or_null" },
      ],
    },
    returns: [{ values: SK_VERDICTS }],
    signed: false,
    attach: ["sk_reuseport_select", "sk_reuseport_select_or_migrate"],
    packetAccess: "read",
  },
  {
    type: "sock_ops",
    title: "TCP events: connections as they are set up, measured and closed",
    context: { struct: "bpf_sock_ops", size: 224, fields: SOCK_OPS_FIELDS },
    returns: [{ values: [], range: [0, 1] }],
    signed: false,
    attach: ["cgroup_sock_ops"],
    anyAttach: true,
  },
  {
    type: "sk_skb",
    title: "socket map: a stream's parser, or the verdict on what arrives at a socket",
    context: skbContext({
      hidden: ["tc_classid", "data_meta", "tstamp", "wire_len", "hwtstamp", "mark"],
      writable: ["tc_index", "priority"],
    }),
    returns: [
      // A parser answers with the length of the message, or 0 for "more is needed".
      { only: ["sk_skb_stream_parser"], values: [] },
      { values: SK_VERDICTS },
    ],
    signed: true,
    attach: ["sk_skb_stream_verdict", "sk_skb_stream_parser", "sk_skb_verdict"],
    anyAttach: true,
    packetAccess: "write",
  },
  {
    type: "sk_msg",
    title: "socket map: the verdict on what a socket sends",
    context: {
      struct: "sk_msg_md",
      size: 80,
      fields: [
        { name: "data", offset: 0, size: 8, read: WHOLE64, kind: "packet" },
        { name: "data_end", offset: 8, size: 8, read: WHOLE64, kind: "packet_end" },
        { name: "family", offset: 16, size: 4, input: true, read: WHOLE },
        { name: "remote_ip4", offset: 20, size: 4, input: true, read: WHOLE },
        { name: "local_ip4", offset: 24, size: 4, input: true, read: WHOLE },
        { name: "remote_ip6", offset: 28, size: 4, count: 4, input: true, read: WHOLE },
        { name: "local_ip6", offset: 44, size: 4, count: 4, input: true, read: WHOLE },
        { name: "remote_port", offset: 60, size: 4, input: true, read: WHOLE },
        { name: "local_port", offset: 64, size: 4, input: true, read: WHOLE },
        { name: "size", offset: 68, size: 4, read: WHOLE },
        { name: "sk", offset: 72, size: 8, read: WHOLE64, kind: "socket" },
      ],
    },
    returns: [{ values: SK_VERDICTS }],
    signed: false,
    attach: ["sk_msg_verdict"],
    anyAttach: true,
    packetAccess: "write",
  },
];
