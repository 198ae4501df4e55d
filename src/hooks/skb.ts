import type { ContextLayout } from "./types.ts";

/**
 * struct __sk_buff of uapi/linux/bpf.h. Values are as a program reads them: `protocol` and the addresses are in network
 * byte order.
 */
export const SK_BUFF: ContextLayout = {
  struct: "__sk_buff",
  size: 192,
  fields: [
    { name: "len", offset: 0, size: 4 },
    { name: "pkt_type", offset: 4, size: 4 },
    { name: "mark", offset: 8, size: 4, input: true },
    { name: "queue_mapping", offset: 12, size: 4, input: true },
    { name: "protocol", offset: 16, size: 4 },
    { name: "vlan_present", offset: 20, size: 4, input: true },
    { name: "vlan_tci", offset: 24, size: 4, input: true },
    { name: "vlan_proto", offset: 28, size: 4, input: true },
    { name: "priority", offset: 32, size: 4, input: true },
    { name: "ingress_ifindex", offset: 36, size: 4, input: true },
    { name: "ifindex", offset: 40, size: 4, input: true },
    { name: "tc_index", offset: 44, size: 4, input: true },
    { name: "cb", offset: 48, size: 4, count: 5, input: true },
    { name: "hash", offset: 68, size: 4, input: true },
    { name: "tc_classid", offset: 72, size: 4, input: true },
    { name: "data", offset: 76, size: 4 },
    { name: "data_end", offset: 80, size: 4 },
    { name: "napi_id", offset: 84, size: 4, input: true },
    { name: "family", offset: 88, size: 4, input: true },
    { name: "remote_ip4", offset: 92, size: 4, input: true },
    { name: "local_ip4", offset: 96, size: 4, input: true },
    { name: "remote_ip6", offset: 100, size: 4, count: 4, input: true },
    { name: "local_ip6", offset: 116, size: 4, count: 4, input: true },
    { name: "remote_port", offset: 132, size: 4, input: true },
    { name: "local_port", offset: 136, size: 4, input: true },
    { name: "data_meta", offset: 140, size: 4 },
    { name: "flow_keys", offset: 144, size: 8 },
    { name: "tstamp", offset: 152, size: 8, input: true },
    { name: "wire_len", offset: 160, size: 4, input: true },
    { name: "gso_segs", offset: 164, size: 4, input: true },
    { name: "sk", offset: 168, size: 8 },
    { name: "gso_size", offset: 176, size: 4, input: true },
    { name: "tstamp_type", offset: 180, size: 1, input: true },
    { name: "hwtstamp", offset: 184, size: 8, input: true },
  ],
};
