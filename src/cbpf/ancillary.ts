/**
 * What a classic program can read beside the packet's bytes: an absolute load from an offset of SKF_AD_OFF and up
 * reads a property of the packet, and from SKF_NET_OFF and SKF_LL_OFF up it counts from the network or link header
 * (uapi linux/filter.h).
 */

/** Base of the ancillary offsets (-4096). */
export const SKF_AD_OFF = 0xfffff000;
/** Base of offsets that count from the network header (-0x100000). */
export const SKF_NET_OFF = 0xfff00000;
/** Base of offsets that count from the link header (-0x200000). */
export const SKF_LL_OFF = 0xffe00000;

/** The ancillary loads, by their names in bpf_asm without the `#`; `offset` counts from SKF_AD_OFF. */
export const CBPF_ANCILLARY = [
  { name: "proto", offset: 0, constant: "SKF_AD_PROTOCOL", text: "the EtherType, in host byte order" },
  {
    name: "type",
    offset: 4,
    constant: "SKF_AD_PKTTYPE",
    text: "the packet's class: to us 0, broadcast 1, ...",
  },
  { name: "ifidx", offset: 8, constant: "SKF_AD_IFINDEX", text: "index of the interface" },
  {
    name: "nla",
    offset: 12,
    constant: "SKF_AD_NLATTR",
    text: "offset of the netlink attribute X, searched from A",
  },
  { name: "nlan", offset: 16, constant: "SKF_AD_NLATTR_NEST", text: "the same inside the attribute at A" },
  { name: "mark", offset: 20, constant: "SKF_AD_MARK", text: "the packet's mark" },
  { name: "queue", offset: 24, constant: "SKF_AD_QUEUE", text: "the queue it came by" },
  { name: "hatype", offset: 28, constant: "SKF_AD_HATYPE", text: "the interface's ARPHRD_ type" },
  { name: "rxhash", offset: 32, constant: "SKF_AD_RXHASH", text: "the flow hash" },
  { name: "cpu", offset: 36, constant: "SKF_AD_CPU", text: "the CPU that the program runs on" },
  { name: "xor_x", offset: 40, constant: "SKF_AD_ALU_XOR_X", text: "A ^ X, for programs from before `xor`" },
  { name: "vlan_tci", offset: 44, constant: "SKF_AD_VLAN_TAG", text: "the VLAN tag that the card took off" },
  { name: "vlan_avail", offset: 48, constant: "SKF_AD_VLAN_TAG_PRESENT", text: "1 if there is such a tag" },
  { name: "poff", offset: 52, constant: "SKF_AD_PAY_OFFSET", text: "offset of the transport payload" },
  { name: "rand", offset: 56, constant: "SKF_AD_RANDOM", text: "a random number" },
  { name: "vlan_tpid", offset: 60, constant: "SKF_AD_VLAN_TPID", text: "EtherType of that tag" },
] as const;

export type AncillaryName = (typeof CBPF_ANCILLARY)[number]["name"];

/** Values of ancillary loads; what is absent is 0, and `rand` comes from a generator. */
export type Ancillary = Readonly<Partial<Record<AncillaryName, number>>>;

/** The row that an absolute load's operand selects, or undefined if it reads packet bytes. */
export function ancillaryAt(k: number): (typeof CBPF_ANCILLARY)[number] | undefined {
  const offset = k - SKF_AD_OFF;
  return offset >= 0 && offset % 4 === 0 ? CBPF_ANCILLARY[offset / 4] : undefined;
}
