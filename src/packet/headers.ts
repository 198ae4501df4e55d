/**
 * The headers that packets are built of, one row each: their fields in order, which field names what follows, and what is
 * filled in when nothing is said. Building, taking apart, comparing and the types of the builder all come from these rows.
 *
 * Sources: IEEE 802.3 and 802.1Q; RFC 826 (ARP), 791 (IPv4), 8200 (IPv6), 9293 (TCP), 768 (UDP), 792 (ICMP), 4443 (ICMPv6), 9260
 * (SCTP), 3032 (MPLS), 2784 and 2890 (GRE), 7348 (VXLAN), 8926 (Geneve), draft-ietf-intarea-gue (GUE).
 */
import type { Field } from "./fields.ts";

/** Numbers by which a header names the next one. */
export type Registry = "ethertype" | "protocol" | "port";

/** How a header that has a part of variable length says how long it is. */
export interface VariablePart {
  readonly name: "options";
  /** The field that counts. */
  readonly counter: string;
  /** Bytes that the counter counts by, and how many units the fixed part takes off. */
  readonly unit: number;
  readonly fixed: number;
  /** Options are padded with zeros to a multiple of this. */
  readonly align: number;
}

/** What a checksum covers besides header and payload. */
export interface ChecksumRule {
  readonly field: string;
  readonly kind: "internet" | "crc32c";
  /** The header alone, all that follows too, or that with the addresses of the IP header before it. */
  readonly over: "header" | "all" | "pseudo";
}

export interface HeaderRow {
  readonly name: string;
  readonly title: string;
  readonly fields: readonly Field[];
  /** The field that names the next header, and the registry of its numbers. */
  readonly next?: { readonly field: string; readonly registry: Registry };
  /** Its own number in registries: how headers before it name it. */
  readonly numbers?: Readonly<Partial<Record<Registry, number>>>;
  readonly options?: VariablePart;
  readonly checksum?: ChecksumRule;
  /** The field that holds a length in bytes, of what follows or of header and what follows. */
  readonly length?: { readonly field: string; readonly of: "rest" | "all" };
  /** Always followed by this header. */
  readonly always?: string;
}

const TCP_FLAGS = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"] as const;

const VLAN_FIELDS = [
  { name: "pcp", bits: 3 },
  { name: "dei", bits: 1 },
  { name: "vid", bits: 12 },
  { name: "type", bits: 16, form: "hex" },
] as const satisfies readonly Field[];

const echoFields = (type: number) =>
  [
    { name: "type", bits: 8, value: type },
    { name: "code", bits: 8 },
    { name: "checksum", bits: 16, form: "hex" },
    { name: "id", bits: 16 },
    // The low half of the second word: an echo's number; of "fragmentation needed" and "packet too big" the MTU.
    { name: "seq", bits: 16 },
  ] as const satisfies readonly Field[];

const EXTENSION_FIELDS = [
  { name: "next", bits: 8 },
  { name: "length", bits: 8 },
] as const satisfies readonly Field[];

/** Options of 8-byte units after the first, which holds 6 bytes of them. */
const EXTENSION_OPTIONS = { name: "options", counter: "length", unit: 8, fixed: -6, align: 8 } as const;

export const HEADERS = [
  {
    name: "eth",
    title: "Ethernet",
    fields: [
      { name: "dst", bits: 48, form: "mac", value: "02:00:00:00:00:02" },
      { name: "src", bits: 48, form: "mac", value: "02:00:00:00:00:01" },
      { name: "type", bits: 16, form: "hex" },
    ],
    next: { field: "type", registry: "ethertype" },
    numbers: { protocol: 143, ethertype: 0x6558 },
  },
  {
    name: "vlan",
    title: "802.1Q",
    fields: VLAN_FIELDS,
    next: { field: "type", registry: "ethertype" },
    numbers: { ethertype: 0x8100 },
  },
  {
    name: "qinq",
    title: "802.1ad",
    fields: VLAN_FIELDS,
    next: { field: "type", registry: "ethertype" },
    numbers: { ethertype: 0x88a8 },
  },
  {
    name: "mpls",
    title: "MPLS",
    fields: [
      { name: "label", bits: 20, value: 16 },
      { name: "tc", bits: 3 },
      { name: "bottom", bits: 1 },
      { name: "ttl", bits: 8, value: 64 },
    ],
    numbers: { ethertype: 0x8847, protocol: 137 },
  },
  {
    name: "arp",
    title: "ARP",
    fields: [
      { name: "htype", bits: 16, value: 1 },
      { name: "ptype", bits: 16, form: "hex", value: 0x0800 },
      { name: "hlen", bits: 8, value: 6 },
      { name: "plen", bits: 8, value: 4 },
      { name: "op", bits: 16, value: 1 },
      { name: "sha", bits: 48, form: "mac", value: "02:00:00:00:00:01" },
      { name: "spa", bits: 32, form: "ipv4", value: "10.0.0.1" },
      { name: "tha", bits: 48, form: "mac", value: "00:00:00:00:00:00" },
      { name: "tpa", bits: 32, form: "ipv4", value: "10.0.0.2" },
    ],
    numbers: { ethertype: 0x0806 },
  },
  {
    name: "ipv4",
    title: "IPv4",
    fields: [
      { name: "version", bits: 4, value: 4 },
      { name: "ihl", bits: 4 },
      { name: "dscp", bits: 6 },
      { name: "ecn", bits: 2 },
      { name: "length", bits: 16 },
      { name: "id", bits: 16 },
      { name: "flags", bits: 3, form: "flags", flags: ["mf", "df", "reserved"] },
      { name: "offset", bits: 13 },
      { name: "ttl", bits: 8, value: 64 },
      { name: "protocol", bits: 8 },
      { name: "checksum", bits: 16, form: "hex" },
      { name: "src", bits: 32, form: "ipv4", value: "10.0.0.1" },
      { name: "dst", bits: 32, form: "ipv4", value: "10.0.0.2" },
    ],
    next: { field: "protocol", registry: "protocol" },
    numbers: { ethertype: 0x0800, protocol: 4 },
    options: { name: "options", counter: "ihl", unit: 4, fixed: 20, align: 4 },
    checksum: { field: "checksum", kind: "internet", over: "header" },
    length: { field: "length", of: "all" },
  },
  {
    name: "ipv6",
    title: "IPv6",
    fields: [
      { name: "version", bits: 4, value: 6 },
      { name: "tclass", bits: 8 },
      { name: "flow", bits: 20, form: "hex" },
      { name: "length", bits: 16 },
      { name: "next", bits: 8, value: 59 },
      { name: "hops", bits: 8, value: 64 },
      { name: "src", bits: 128, form: "ipv6", value: "fd00::1" },
      { name: "dst", bits: 128, form: "ipv6", value: "fd00::2" },
    ],
    next: { field: "next", registry: "protocol" },
    numbers: { ethertype: 0x86dd, protocol: 41 },
    length: { field: "length", of: "rest" },
  },
  {
    name: "hopopts",
    title: "IPv6 hop-by-hop options",
    fields: EXTENSION_FIELDS,
    next: { field: "next", registry: "protocol" },
    numbers: { protocol: 0 },
    options: EXTENSION_OPTIONS,
  },
  {
    name: "dstopts",
    title: "IPv6 destination options",
    fields: EXTENSION_FIELDS,
    next: { field: "next", registry: "protocol" },
    numbers: { protocol: 60 },
    options: EXTENSION_OPTIONS,
  },
  {
    name: "routing",
    title: "IPv6 routing",
    fields: EXTENSION_FIELDS,
    next: { field: "next", registry: "protocol" },
    numbers: { protocol: 43 },
    options: EXTENSION_OPTIONS,
  },
  {
    name: "fragment",
    title: "IPv6 fragment",
    fields: [
      { name: "next", bits: 8 },
      { name: "reserved", bits: 8 },
      { name: "offset", bits: 13 },
      { name: "reserved2", bits: 2 },
      { name: "more", bits: 1 },
      { name: "id", bits: 32 },
    ],
    next: { field: "next", registry: "protocol" },
    numbers: { protocol: 44 },
  },
  {
    name: "tcp",
    title: "TCP",
    fields: [
      { name: "sport", bits: 16, value: 40000 },
      { name: "dport", bits: 16, value: 80 },
      { name: "seq", bits: 32 },
      { name: "ack", bits: 32 },
      { name: "doff", bits: 4 },
      { name: "reserved", bits: 4 },
      { name: "flags", bits: 8, form: "flags", flags: TCP_FLAGS, value: "ack" },
      { name: "window", bits: 16, value: 65535 },
      { name: "checksum", bits: 16, form: "hex" },
      { name: "urgent", bits: 16 },
    ],
    numbers: { protocol: 6 },
    options: { name: "options", counter: "doff", unit: 4, fixed: 20, align: 4 },
    checksum: { field: "checksum", kind: "internet", over: "pseudo" },
  },
  {
    name: "udp",
    title: "UDP",
    fields: [
      { name: "sport", bits: 16, value: 40000 },
      { name: "dport", bits: 16, value: 53 },
      { name: "length", bits: 16 },
      { name: "checksum", bits: 16, form: "hex" },
    ],
    next: { field: "dport", registry: "port" },
    numbers: { protocol: 17 },
    checksum: { field: "checksum", kind: "internet", over: "pseudo" },
    length: { field: "length", of: "all" },
  },
  {
    name: "icmp",
    title: "ICMP",
    fields: echoFields(8),
    numbers: { protocol: 1 },
    checksum: { field: "checksum", kind: "internet", over: "all" },
  },
  {
    name: "icmpv6",
    title: "ICMPv6",
    fields: echoFields(128),
    numbers: { protocol: 58 },
    checksum: { field: "checksum", kind: "internet", over: "pseudo" },
  },
  {
    name: "sctp",
    title: "SCTP",
    fields: [
      { name: "sport", bits: 16, value: 40000 },
      { name: "dport", bits: 16, value: 80 },
      { name: "tag", bits: 32, form: "hex" },
      { name: "checksum", bits: 32, form: "hex" },
    ],
    numbers: { protocol: 132 },
    checksum: { field: "checksum", kind: "crc32c", over: "all" },
  },
  {
    name: "gre",
    title: "GRE",
    fields: [
      { name: "flags", bits: 13, form: "hex" },
      { name: "version", bits: 3 },
      { name: "protocol", bits: 16, form: "hex" },
      { name: "checksum", bits: 32, form: "hex", optional: true },
      { name: "key", bits: 32, optional: true },
      { name: "seq", bits: 32, optional: true },
    ],
    next: { field: "protocol", registry: "ethertype" },
    numbers: { protocol: 47 },
  },
  {
    name: "gue",
    title: "GUE",
    fields: [
      { name: "version", bits: 2 },
      { name: "control", bits: 1 },
      { name: "hlen", bits: 5 },
      { name: "protocol", bits: 8 },
      { name: "flags", bits: 16, form: "hex" },
    ],
    next: { field: "protocol", registry: "protocol" },
    numbers: { port: 6080 },
  },
  {
    name: "vxlan",
    title: "VXLAN",
    fields: [
      { name: "flags", bits: 8, form: "hex", value: 0x08 },
      { name: "reserved", bits: 24 },
      { name: "vni", bits: 24, value: 1 },
      { name: "reserved2", bits: 8 },
    ],
    numbers: { port: 4789 },
    always: "eth",
  },
  {
    name: "geneve",
    title: "Geneve",
    fields: [
      { name: "version", bits: 2 },
      { name: "optlen", bits: 6 },
      { name: "control", bits: 1 },
      { name: "critical", bits: 1 },
      { name: "reserved", bits: 6 },
      { name: "protocol", bits: 16, form: "hex" },
      { name: "vni", bits: 24, value: 1 },
      { name: "reserved2", bits: 8 },
    ],
    next: { field: "protocol", registry: "ethertype" },
    numbers: { port: 6081 },
    options: { name: "options", counter: "optlen", unit: 4, fixed: 0, align: 4 },
  },
] as const satisfies readonly HeaderRow[];

/** "eth", "ipv4", ... */
export type HeaderName = (typeof HEADERS)[number]["name"];

type RowOf<Name extends HeaderName> = Extract<(typeof HEADERS)[number], { readonly name: Name }>;

/** Values of a header's fields; what is left out follows from the other headers or is the usual. */
export type HeaderFields<Name extends HeaderName> = {
  readonly [F in RowOf<Name>["fields"][number] as F["name"]]?: F extends {
    readonly form: "mac" | "ipv4" | "ipv6";
  }
    ? string | Uint8Array
    : F extends { readonly form: "flags" }
      ? string | number
      : number;
} & (RowOf<Name> extends { readonly options: unknown } ? { readonly options?: Uint8Array } : unknown);

const BY_NAME: ReadonlyMap<string, HeaderRow> = new Map(HEADERS.map((row) => [row.name, row]));

export function headerRow(name: string): HeaderRow | undefined {
  return BY_NAME.get(name);
}

/** Numbers that are read as a header besides the row's own. */
const ALSO: readonly (readonly [Registry, number, HeaderName])[] = [["ethertype", 0x8848, "mpls"]];

const BY_NUMBER: ReadonlyMap<string, HeaderName> = new Map([
  ...HEADERS.flatMap(({ name, numbers }) =>
    Object.entries(numbers).map(([registry, number]) => [`${registry} ${number}`, name] as const),
  ),
  ...ALSO.map(([registry, number, name]) => [`${registry} ${number}`, name] as const),
]);

/** The header that a number stands for. */
export function headerByNumber(registry: Registry, number: number): HeaderName | undefined {
  return BY_NUMBER.get(`${registry} ${number}`);
}
