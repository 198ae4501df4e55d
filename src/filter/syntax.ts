/** The syntax tree of a filter expression: what was written, with the place of each part, before any meaning. */

/** A part of the expression, as offsets of its first character and of the one after its last. */
export interface Span {
  readonly start: number;
  readonly end: number;
}

/** Protocol words (the first qualifier), one name for each meaning: `ether`, `fddi`, `wlan`, … are all `link`. */
export const PROTOCOLS = [
  "link",
  "ip",
  "arp",
  "rarp",
  "sctp",
  "tcp",
  "udp",
  "icmp",
  "igmp",
  "igrp",
  "pim",
  "vrrp",
  "carp",
  "atalk",
  "aarp",
  "decnet",
  "lat",
  "sca",
  "mopdl",
  "moprc",
  "ip6",
  "icmp6",
  "ah",
  "esp",
  "iso",
  "esis",
  "isis",
  "l1",
  "l2",
  "iih",
  "lsp",
  "snp",
  "psnp",
  "csnp",
  "clnp",
  "stp",
  "ipx",
  "netbeui",
  "radio",
] as const;
export type Protocol = (typeof PROTOCOLS)[number];

export type Direction =
  | "src"
  | "dst"
  | "src or dst"
  | "src and dst"
  | "addr1"
  | "addr2"
  | "addr3"
  | "addr4"
  | "ra"
  | "ta";

export type AddressType = "host" | "net" | "port" | "portrange" | "gateway" | "proto" | "protochain";

/** What stands before an identifier; absent ones take their defaults. */
export interface Qualifiers {
  readonly protocol?: Protocol;
  readonly direction?: Direction;
  readonly type?: AddressType;
}

export type Identifier =
  | { readonly kind: "name"; readonly text: string; readonly span: Span }
  | { readonly kind: "number"; readonly value: number; readonly span: Span }
  | {
      readonly kind: "ip4";
      readonly text: string;
      readonly prefix?: number;
      readonly mask?: string;
      readonly span: Span;
    }
  | { readonly kind: "ip6"; readonly text: string; readonly prefix?: number; readonly span: Span }
  | { readonly kind: "mac"; readonly text: string; readonly span: Span }
  | { readonly kind: "arcnet"; readonly text: string; readonly span: Span };

export type ArithmeticOp = "+" | "-" | "*" | "/" | "%" | "&" | "|" | "^" | "<<" | ">>";
export type RelationOp = "=" | "!=" | ">" | ">=" | "<" | "<=";

/** An arithmetic expression; all values are unsigned 32-bit numbers. */
export type Arithmetic =
  | { readonly kind: "number"; readonly value: number; readonly span: Span }
  | { readonly kind: "length"; readonly span: Span }
  | {
      readonly kind: "load";
      readonly protocol: Protocol;
      readonly index: Arithmetic;
      readonly size: number;
      readonly span: Span;
    }
  | {
      readonly kind: "binary";
      readonly op: ArithmeticOp;
      readonly left: Arithmetic;
      readonly right: Arithmetic;
      readonly span: Span;
    }
  | { readonly kind: "negate"; readonly operand: Arithmetic; readonly span: Span };

/** A comparison of a field of an ATM or SS7 header. */
export interface FieldValue {
  readonly op: RelationOp;
  readonly value: number;
}

export type AtmType =
  | "lane"
  | "metac"
  | "bcc"
  | "oamf4ec"
  | "oamf4sc"
  | "sc"
  | "ilmic"
  | "oam"
  | "oamf4"
  | "connectmsg"
  | "metaconnect";
export type Mtp2Type = "fisu" | "lssu" | "msu" | "hfisu" | "hlssu" | "hmsu";
export type AtmField = "vpi" | "vci";
export type Mtp3Field = "sio" | "opc" | "dpc" | "sls" | "hsio" | "hopc" | "hdpc" | "hsls";
export type PfField = "ifname" | "rset" | "rnr" | "srnr" | "reason" | "action";
export type Encapsulation = "vlan" | "mpls" | "pppoes" | "geneve" | "vxlan" | "gre" | "ipip";

/** One test of the language. */
export type Primitive =
  /** `tcp dst port 80`, `net 10/8`, `ether proto 0x800`: qualifiers and an identifier. */
  | { readonly kind: "match"; readonly qualifiers: Qualifiers; readonly id: Identifier; readonly span: Span }
  /** `tcp` alone. */
  | { readonly kind: "protocol"; readonly protocol: Protocol; readonly span: Span }
  | {
      readonly kind: "relation";
      readonly op: RelationOp;
      readonly left: Arithmetic;
      readonly right: Arithmetic;
      readonly span: Span;
    }
  | {
      readonly kind: "broadcast" | "multicast";
      readonly protocol: Protocol | undefined;
      readonly span: Span;
    }
  | { readonly kind: "less" | "greater" | "ifindex"; readonly value: number; readonly span: Span }
  | {
      readonly kind: "byte";
      readonly offset: number;
      readonly op: "&" | "|" | "<" | ">" | "=";
      readonly value: number;
      readonly span: Span;
    }
  | { readonly kind: "inbound" | "outbound" | "pppoed"; readonly span: Span }
  | {
      readonly kind: "encapsulation";
      readonly protocol: Encapsulation;
      readonly id: number | undefined;
      /** The last of a range: `vlan 10-20`, which libpcap has not. */
      readonly last: number | undefined;
      /** Another UDP port than the usual one, of `geneve` and `vxlan`: libpcap has not that either. */
      readonly port: number | undefined;
      readonly span: Span;
    }
  | { readonly kind: "pf"; readonly field: PfField; readonly value: string | number; readonly span: Span }
  /** `type mgt subtype beacon` and its shorter forms, as a value and a mask of the first byte. */
  | { readonly kind: "wlan-type"; readonly value: number; readonly mask: number; readonly span: Span }
  | { readonly kind: "wlan-direction"; readonly value: number; readonly span: Span }
  | { readonly kind: "llc"; readonly type: string | undefined; readonly span: Span }
  | { readonly kind: "atm"; readonly type: AtmType; readonly span: Span }
  | { readonly kind: "mtp2"; readonly type: Mtp2Type; readonly span: Span }
  | {
      readonly kind: "field";
      readonly field: AtmField | Mtp3Field;
      /** Any of them. */
      readonly values: readonly FieldValue[];
      readonly span: Span;
    };

/**
 * A whole expression. `and` and `or` have the same rank and group to the left, so a run of them is one `chain`:
 * `a and b or c` is `(a and b) or c`.
 */
export type FilterTree =
  | Primitive
  | { readonly kind: "everything"; readonly span: Span }
  | { readonly kind: "not"; readonly operand: FilterTree; readonly span: Span }
  | {
      readonly kind: "chain";
      readonly first: FilterTree;
      readonly rest: readonly { readonly op: "and" | "or"; readonly term: FilterTree }[];
      readonly span: Span;
    };
