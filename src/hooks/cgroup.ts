/** Program types of control groups: what the processes of a group may do. 0 refuses with EPERM, 1 allows. */
import { KIND_SKB_NETWORK } from "../core/layout.ts";
import type { AttachType } from "../uapi/index.ts";
import { packetRules } from "./network.ts";
import { NARROW, NARROW_FIRST, WHOLE, WHOLE64, only } from "./rights.ts";
import { skbContext } from "./skb.ts";
import type { AccessRule, ContextField, Hook, ReturnRule } from "./types.ts";

const ALLOW: ReturnRule = {
  values: [
    { value: 0, name: "DENY" },
    { value: 1, name: "ALLOW" },
  ],
  range: [0, 1],
};

const OF_SOCKET: readonly AttachType[] = ["cgroup_inet_sock_create", "cgroup_inet_sock_release"];
const POST_BIND4: readonly AttachType[] = ["cgroup_inet4_post_bind"];
const POST_BIND6: readonly AttachType[] = ["cgroup_inet6_post_bind"];
const POST_BIND: readonly AttachType[] = [...POST_BIND4, ...POST_BIND6];

const SOCK_FIELDS: readonly ContextField[] = [
  {
    name: "bound_dev_if",
    offset: 0,
    size: 4,
    input: true,
    read: only(WHOLE, OF_SOCKET),
    write: only(WHOLE, OF_SOCKET),
  },
  { name: "family", offset: 4, size: 4, input: true, read: NARROW_FIRST },
  { name: "type", offset: 8, size: 4, input: true, read: NARROW_FIRST },
  { name: "protocol", offset: 12, size: 4, input: true, read: NARROW_FIRST },
  {
    name: "mark",
    offset: 16,
    size: 4,
    input: true,
    read: only(WHOLE, OF_SOCKET),
    write: only(WHOLE, OF_SOCKET),
  },
  {
    name: "priority",
    offset: 20,
    size: 4,
    input: true,
    read: only(WHOLE, OF_SOCKET),
    write: only(WHOLE, OF_SOCKET),
  },
  { name: "src_ip4", offset: 24, size: 4, input: true, read: only(NARROW, POST_BIND4) },
  { name: "src_ip6", offset: 28, size: 4, count: 4, input: true, read: only(NARROW, POST_BIND6) },
  { name: "src_port", offset: 44, size: 4, input: true, read: only(NARROW_FIRST, POST_BIND) },
  { name: "dst_port", offset: 48, size: 2, input: true, read: { sizes: [1, 2, 4], inside: true } },
  { name: "dst_ip4", offset: 52, size: 4, input: true, read: NARROW },
  { name: "dst_ip6", offset: 56, size: 4, count: 4, input: true, read: NARROW },
  { name: "state", offset: 72, size: 4, input: true, read: NARROW_FIRST },
  { name: "rx_queue_mapping", offset: 76, size: 4, signed: true, input: true, read: NARROW_FIRST },
];

const EVENTS = ["bind", "connect", "getpeername", "getsockname"] as const;
const INET4: readonly AttachType[] = [
  ...EVENTS.map((event) => `cgroup_inet4_${event}` as const),
  "cgroup_udp4_sendmsg",
  "cgroup_udp4_recvmsg",
];
const INET6: readonly AttachType[] = [
  ...EVENTS.map((event) => `cgroup_inet6_${event}` as const),
  "cgroup_udp6_sendmsg",
  "cgroup_udp6_recvmsg",
];
const UNIX: readonly AttachType[] = [
  "cgroup_unix_connect",
  "cgroup_unix_sendmsg",
  "cgroup_unix_recvmsg",
  "cgroup_unix_getpeername",
  "cgroup_unix_getsockname",
];

/** Answers to questions: the address may be changed, the answer not be refused. */
const ONLY_ALLOW: readonly AttachType[] = [...INET4, ...INET6, ...UNIX].filter((type) =>
  /recvmsg|getpeername|getsockname/.test(type),
);

/** Two neighbouring words of an address may be moved at once (bpf_ctx_wide_access_ok). */
const WIDE_READ: AccessRule = { sizes: [1, 2, 4, 8], inside: true };
const WIDE_WRITE: AccessRule = { sizes: [4, 8] };

const addressField = (
  name: string,
  offset: number,
  types: readonly AttachType[],
  count?: number,
): ContextField => ({
  name,
  offset,
  size: 4,
  ...(count === undefined ? {} : { count }),
  input: true,
  read: only(count === undefined ? NARROW : WIDE_READ, types),
  write: only(count === undefined ? WHOLE : WIDE_WRITE, types),
});

const SOCK_ADDR_FIELDS: readonly ContextField[] = [
  { name: "user_family", offset: 0, size: 4, input: true, read: WHOLE },
  addressField("user_ip4", 4, INET4),
  addressField("user_ip6", 8, INET6, 4),
  { name: "user_port", offset: 24, size: 4, bits: 16, kept: 2, input: true, read: NARROW, write: WHOLE },
  { name: "family", offset: 28, size: 4, input: true, read: WHOLE },
  { name: "type", offset: 32, size: 4, input: true, read: WHOLE },
  { name: "protocol", offset: 36, size: 4, input: true, read: WHOLE },
  addressField("msg_src_ip4", 40, ["cgroup_udp4_sendmsg"]),
  addressField("msg_src_ip6", 44, ["cgroup_udp6_sendmsg"], 4),
  { name: "sk", offset: 64, size: 8, read: WHOLE64, kind: "socket" },
];

const GETSOCKOPT: readonly AttachType[] = ["cgroup_getsockopt"];
const SETSOCKOPT: readonly AttachType[] = ["cgroup_setsockopt"];

export const CGROUP_HOOKS: readonly Hook[] = [
  {
    type: "cgroup_skb",
    title: "control group: packets that its sockets send and receive, from the network header on",
    context: skbContext({
      hidden: ["tc_classid", "data_meta", "wire_len"],
      writable: ["mark", "priority", "cb", "tstamp"],
    }),
    returns: [
      {
        only: ["cgroup_inet_egress"],
        // Bit 1: congestion notification (linux/bpf-cgroup.h).
        values: [
          { value: 0, name: "DROP" },
          { value: 1, name: "PASS" },
          { value: 2, name: "DROP_CN" },
          { value: 3, name: "PASS_CN" },
        ],
        range: [0, 3],
      },
      {
        values: [
          { value: 0, name: "DROP" },
          { value: 1, name: "PASS" },
        ],
        range: [0, 1],
      },
    ],
    signed: false,
    attach: ["cgroup_inet_ingress", "cgroup_inet_egress"],
    packetAccess: "read",
    testRun: true,
    packet: packetRules(KIND_SKB_NETWORK, (value) => (value & 1) === 1),
  },
  {
    type: "cgroup_sock",
    title: "control group: sockets as they are made, bound and released",
    context: { struct: "bpf_sock", size: 80, fields: SOCK_FIELDS },
    returns: [ALLOW],
    signed: false,
    attach: [...OF_SOCKET, ...POST_BIND],
  },
  {
    type: "cgroup_sock_addr",
    title: "control group: the addresses of bind, connect, sendmsg, recvmsg, getpeername and getsockname",
    context: { struct: "bpf_sock_addr", size: 72, fields: SOCK_ADDR_FIELDS },
    returns: [
      { only: ONLY_ALLOW, values: [{ value: 1, name: "ALLOW" }], range: [1, 1] },
      {
        only: ["cgroup_inet4_bind", "cgroup_inet6_bind"],
        // Bit 1: ports below 1024 need no CAP_NET_BIND_SERVICE (BPF_RET_BIND_NO_CAP_NET_BIND_SERVICE).
        values: [...ALLOW.values, { value: 2, name: "DENY_NO_CAP" }, { value: 3, name: "ALLOW_NO_CAP" }],
        range: [0, 3],
      },
      ALLOW,
    ],
    signed: false,
    attach: [
      "cgroup_inet4_connect",
      ...[...INET4, ...INET6, ...UNIX].filter((type) => type !== "cgroup_inet4_connect"),
    ],
  },
  {
    type: "cgroup_sockopt",
    title: "control group: getsockopt and setsockopt",
    context: {
      struct: "bpf_sockopt",
      size: 40,
      fields: [
        { name: "sk", offset: 0, size: 8, read: WHOLE64, kind: "socket" },
        { name: "optval", offset: 8, size: 8, read: WHOLE64, kind: "packet" },
        { name: "optval_end", offset: 16, size: 8, read: WHOLE64, kind: "packet_end" },
        {
          name: "level",
          offset: 24,
          size: 4,
          signed: true,
          input: true,
          read: WHOLE,
          write: only(WHOLE, SETSOCKOPT),
        },
        {
          name: "optname",
          offset: 28,
          size: 4,
          signed: true,
          input: true,
          read: WHOLE,
          write: only(WHOLE, SETSOCKOPT),
        },
        { name: "optlen", offset: 32, size: 4, signed: true, input: true, read: WHOLE, write: WHOLE },
        {
          name: "retval",
          offset: 36,
          size: 4,
          signed: true,
          input: true,
          read: only(WHOLE, GETSOCKOPT),
          write: only(WHOLE, GETSOCKOPT),
        },
      ],
    },
    returns: [ALLOW],
    signed: false,
    attach: [...GETSOCKOPT, ...SETSOCKOPT],
    packetAccess: "write",
  },
  {
    type: "cgroup_sysctl",
    title: "control group: reading and writing files of /proc/sys",
    context: {
      struct: "bpf_sysctl",
      size: 8,
      fields: [
        { name: "write", offset: 0, size: 4, input: true, read: NARROW },
        { name: "file_pos", offset: 4, size: 4, input: true, read: NARROW, write: WHOLE },
      ],
    },
    returns: [ALLOW],
    signed: false,
    attach: ["cgroup_sysctl"],
    anyAttach: true,
  },
  {
    type: "cgroup_device",
    title: "control group: access to device files",
    context: {
      struct: "bpf_cgroup_dev_ctx",
      size: 12,
      fields: [
        // Lower half: the type of device, upper half: what is wanted of it.
        { name: "access_type", offset: 0, size: 4, input: true, read: NARROW },
        { name: "major", offset: 4, size: 4, input: true, read: WHOLE },
        { name: "minor", offset: 8, size: 4, input: true, read: WHOLE },
      ],
    },
    returns: [ALLOW],
    signed: false,
    attach: ["cgroup_device"],
    anyAttach: true,
  },
];
