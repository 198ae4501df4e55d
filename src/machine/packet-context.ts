/** What BPF_PROG_TEST_RUN puts into the context of a packet beside what it is given (net/bpf/test_run.c). */
import { KIND_SKB_NETWORK } from "../core/layout.ts";
import type { ContextValues, Hook } from "../hooks/index.ts";

const ETHERNET_HEADER = 14;

/** The values that a packet's context starts from: the caller's, and what follows from the packet where those say nothing. */
export function packetContext(
  hook: Hook,
  values: ContextValues | undefined,
  kind: number,
  packet: Uint8Array,
): ContextValues | undefined {
  return withEnds(hook, withWireLength(hook, values, kind, packet.length), packet);
}

/**
 * A context that is given to BPF_PROG_TEST_RUN without a wire_len gets the packet's length there, as the program sees it;
 * without a context it stays 0 (net/bpf/test_run.c: convert___skb_to_skb).
 */
function withWireLength(
  { context: { struct } }: Hook,
  values: ContextValues | undefined,
  kind: number,
  length: number,
): ContextValues | undefined {
  if (struct !== "__sk_buff" || values === undefined || Number(values["wire_len"] ?? 0) !== 0) return values;
  return { ...values, wire_len: kind === KIND_SKB_NETWORK ? Math.max(0, length - ETHERNET_HEADER) : length };
}

const ETHERTYPES = { ip: 0x0800, ip6: 0x86dd } as const;
const AF_INET = 2;
const AF_INET6 = 10;

/**
 * Of control groups' programs, whose contexts show the packet's socket: its ends are the packet's addresses, as in
 * BPF_PROG_TEST_RUN, unless the caller says otherwise. It has no ports.
 */
function withEnds(
  { type }: Hook,
  values: ContextValues | undefined,
  packet: Uint8Array,
): ContextValues | undefined {
  if (type !== "cgroup_skb" || packet.length < ETHERNET_HEADER) return values;
  const view = new DataView(packet.buffer, packet.byteOffset, packet.length);
  const words = (offset: number, count: number): number[] =>
    Array.from({ length: count }, (_, index) => view.getUint32(ETHERNET_HEADER + offset + 4 * index, true));
  const room = packet.length - ETHERNET_HEADER;
  switch (view.getUint16(ETHERNET_HEADER - 2)) {
    case ETHERTYPES.ip: {
      if (room < 20) return { family: AF_INET, ...values };
      const [local = 0, remote = 0] = words(12, 2);
      return { family: AF_INET, local_ip4: local, remote_ip4: remote, ...values };
    }
    case ETHERTYPES.ip6:
      if (room < 40) return { family: AF_INET6, ...values };
      return { family: AF_INET6, local_ip6: words(8, 4), remote_ip6: words(24, 4), ...values };
    default:
      return values;
  }
}
