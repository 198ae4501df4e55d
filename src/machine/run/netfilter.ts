/**
 * Netfilter's context: two structures of the kernel, the hook's state and the packet. Helpers and kernel functions that take the packet want what
 * they find before a `struct __sk_buff`, so that there is one of these too, which programs do not see.
 */
import {
  CTX_END,
  CTX_HEAD,
  CTX_HEADER,
  CTX_KIND,
  CTX_MAC,
  CTX_NET,
  CTX_SIZE,
  KIND_SKB_NETWORK,
  SKB_DATA,
  SKB_DATA_END,
  SKB_DATA_META,
  SKB_IFINDEX,
  SKB_LEN,
  SKB_PAD,
  SKB_PROTOCOL,
  SKB_SIZE,
} from "../../core/layout.ts";
import type { Btf } from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";
import { type KernelObject, type ObjectValue, allocateObject } from "../objects/index.ts";
import { bytesOf, setPointer } from "./sockets.ts";
import type { Arrangement, Arranger, Subject } from "./types.ts";

/** enum nf_inet_hooks. */
const HOOKS = ["PRE_ROUTING", "LOCAL_IN", "FORWARD", "LOCAL_OUT", "POST_ROUTING"] as const;
/** Those at which a packet comes from a device, and those at which it goes to one (linux/netfilter.h). */
const COMES: readonly number[] = [0, 1, 2];
const GOES: readonly number[] = [2, 3, 4];
const LOCAL_OUT = 3;
const NFPROTO_IPV4 = 2;
const NFPROTO_IPV6 = 10;
const ETH_P_IP = 0x0008;
const ETH_P_IPV6 = 0xdd86;
const ETHERNET_HEADER = 14;
/** linux/skbuff.h: a header whose place is not known. */
const UNSET = 0xffff;
/** Room behind a packet, as struct skb_shared_info takes it. */
const TAIL = 320;

type Members = Readonly<Record<string, ObjectValue>>;

function hookNumber(program: string, hook: string | number): number {
  const number =
    typeof hook === "number" ? hook : HOOKS.findIndex((name) => name === hook.replace(/^NF_INET_/, ""));
  if (number >= 0) return number;
  throw new BpfError("context", `program '${program}': no hook '${hook}'; there are ${HOOKS.join(", ")}`);
}

/** The loopback device, if the machine knows what a device is. */
function device({ scratch, types }: Subject): KernelObject | null {
  if (!types.some((btf: Btf) => btf.find("net_device", "struct").length > 0)) return null;
  const made = allocateObject(scratch.memory, types, "net_device", {});
  if (made.has("ifindex")) made.set({ ifindex: 1 });
  if (made.has("name")) made.set({ name: "lo" });
  scratch.adopt(made);
  return made;
}

/** A structure with the members that its type has. */
function structure(subject: Subject, type: string, members: Members, given: Members = {}): KernelObject {
  const { scratch, types } = subject;
  const made = allocateObject(scratch.memory, types, type, {});
  scratch.adopt(made);
  made.set(Object.fromEntries(Object.entries(members).filter(([name]) => made.has(name))));
  return made.set(given);
}

export const NETFILTER: Arranger = {
  takes: ["hook", "data", "args"],
  arrange(subject, { hook = "LOCAL_IN", data, args = {} }): Arrangement {
    const number = hookNumber(subject.name, hook);
    const { scratch } = subject;
    const packet = bytesOf(data);
    const out = number === LOCAL_OUT;
    const headroom = SKB_PAD + (out ? 0 : ETHERNET_HEADER);
    const head = scratch.room(headroom + packet.length + TAIL);
    const start = head + headroom;
    scratch.memory.write(start, packet);
    const six = (packet[0] ?? 0x40) >> 4 === 6;
    const protocol = six ? ETH_P_IPV6 : ETH_P_IP;
    const given = Array.isArray(args) ? {} : (args as Readonly<Record<string, Members>>);
    const dev = device(subject);
    const skb = structure(
      subject,
      "sk_buff",
      {
        len: packet.length,
        head,
        data: start,
        tail: headroom + packet.length,
        end: headroom + packet.length,
        mac_header: out ? UNSET : SKB_PAD,
        network_header: headroom,
        transport_header: headroom + (six ? 40 : ((packet[0] ?? 0x45) & 15) * 4),
        protocol,
        dev: out ? null : dev,
      },
      given["skb"],
    );
    const state = structure(
      subject,
      "nf_hook_state",
      {
        hook: number,
        pf: six ? NFPROTO_IPV6 : NFPROTO_IPV4,
        in: COMES.includes(number) ? dev : null,
        out: GOES.includes(number) ? dev : null,
      },
      given["state"],
    );
    subject.state.packet = { skb: skb.address, context: shadow(subject, start, packet.length, protocol) };
    const context = new Uint8Array(16);
    setPointer(context, 0, state.address);
    setPointer(context, 8, skb.address);
    return { context };
  },
};

/** The packet as helpers know packets; its address. */
function shadow({ scratch }: Subject, data: number, length: number, protocol: number): number {
  const { memory } = scratch;
  const context = scratch.room(CTX_HEADER + SKB_SIZE) + CTX_HEADER;
  const set = (field: number, value: number): void => memory.setU32(context + field, value);
  set(CTX_KIND, KIND_SKB_NETWORK);
  set(CTX_SIZE, SKB_SIZE);
  set(CTX_HEAD, data);
  set(CTX_END, data + length);
  set(CTX_MAC, data);
  set(CTX_NET, data);
  set(SKB_LEN, length);
  set(SKB_PROTOCOL, protocol);
  set(SKB_IFINDEX, 1);
  set(SKB_DATA, data);
  set(SKB_DATA_END, data + length);
  set(SKB_DATA_META, data);
  return context;
}
