/** The flow dissector's context: a packet from its link header on, and the keys that the program fills in. */
import { contextTemplate } from "../../hooks/index.ts";
import { bytesOf, setPointer } from "./sockets.ts";
import type { Arrangement, Arranger } from "./types.ts";

const ETHERNET_HEADER = 14;
const ETHERTYPE = 12;

// Offsets of __sk_buff.
const SKB_DATA = 76;
const SKB_DATA_END = 80;
const SKB_FLOW_KEYS = 144;

/** struct bpf_flow_keys: name, offset, bytes of an element, elements. Ports and addresses are in network order. */
const FLOW_KEYS = [
  ["nhoff", 0, 2, 1],
  ["thoff", 2, 2, 1],
  ["addr_proto", 4, 2, 1],
  ["is_frag", 6, 1, 1],
  ["is_first_frag", 7, 1, 1],
  ["is_encap", 8, 1, 1],
  ["ip_proto", 9, 1, 1],
  ["n_proto", 10, 2, 1],
  ["sport", 12, 2, 1],
  ["dport", 14, 2, 1],
  ["ipv4_src", 16, 4, 1],
  ["ipv4_dst", 20, 4, 1],
  ["ipv6_src", 16, 4, 4],
  ["ipv6_dst", 32, 4, 4],
  ["flags", 48, 4, 1],
  ["flow_label", 52, 4, 1],
] as const;
const FLOW_KEYS_SIZE = 56;
const THOFF = 2;
const N_PROTO = 10;
const FLAGS = 48;

export const FLOW_DISSECTOR: Arranger = {
  takes: ["data", "fields"],
  arrange(subject, { data, fields = {} }): Arrangement {
    const { scratch, name } = subject;
    const packet = bytesOf(data);
    const start = scratch.place(packet);
    const keys = scratch.room(FLOW_KEYS_SIZE);
    const { view, u8 } = scratch.memory;
    const link = Math.min(ETHERNET_HEADER, packet.length);
    // net/core/flow_dissector.c: bpf_flow_dissect. All else is zero.
    view.setUint16(keys, link, true);
    view.setUint16(keys + THOFF, link, true);
    u8.set(packet.subarray(ETHERTYPE, ETHERTYPE + 2), keys + N_PROTO);
    const flags = Number(scratch.word(fields["flags"] ?? 0, name, "fields.flags"));
    view.setUint32(keys + FLAGS, flags, true);
    const context = contextTemplate(subject.hook);
    const words = new DataView(context.buffer);
    words.setUint32(SKB_DATA, start, true);
    words.setUint32(SKB_DATA_END, start + packet.length, true);
    setPointer(context, SKB_FLOW_KEYS, keys);
    return {
      context,
      result() {
        const after = scratch.memory.view;
        // The kernel keeps both offsets inside the packet, and the transport header behind the network header.
        const clamp = (value: number, least: number): number =>
          Math.min(Math.max(value, least), Math.max(packet.length, least));
        const nhoff = clamp(after.getUint16(keys, true), link);
        after.setUint16(keys, nhoff, true);
        after.setUint16(keys + THOFF, clamp(after.getUint16(keys + THOFF, true), nhoff), true);
        const read = (at: number, size: number): number =>
          size === 1
            ? after.getUint8(at)
            : size === 2
              ? after.getUint16(at, true)
              : after.getUint32(at, true);
        return {
          flowKeys: Object.fromEntries(
            FLOW_KEYS.map(([key, offset, size, count]) => [
              key,
              count === 1
                ? read(keys + offset, size)
                : Array.from({ length: count }, (_, index) => read(keys + offset + index * size, size)),
            ]),
          ),
          flowKeyBytes: scratch.memory.read(keys, FLOW_KEYS_SIZE),
        };
      },
    };
  },
};
