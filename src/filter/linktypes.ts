/**
 * Where the headers begin, by link type: one row for each, from the formats' descriptions
 * (https://www.tcpdump.org/linktypes.html) and, for the offsets of formats that nobody describes, from programs that
 * libpcap compiles for them.
 */

/** An offset that the format hasn't; sums with it wrap around in 32 bits, and libpcap's programs show that they do. */
export const NONE = 0xffffffff;

/** Which rules decide what a frame carries. */
export type LinkFamily =
  | "ethernet"
  | "llc"
  | "wlan"
  | "sunatm"
  | "sll"
  | "ip-version"
  | "ip4"
  | "ip6"
  | "ppp"
  | "bsdos-ppp"
  | "hdlc"
  | "family"
  | "pflog"
  | "arcnet"
  | "localtalk"
  | "frame-relay"
  | "juniper"
  | "bacnet"
  | "ipnet"
  | "ethertype"
  | "none";

export interface LinkRow {
  readonly name: string;
  readonly dlt: number;
  readonly family: LinkFamily;
  /** Offset of the link header itself. */
  readonly header: number;
  /** Offset of the field that names the payload. */
  readonly type: number;
  /** Offset of the payload. */
  readonly payload: number;
  /** From the payload to the network header, with and without a SNAP header between. */
  readonly network: number;
  readonly networkNoSnap: number;
  /** As messages call it. */
  readonly description: string;
  /** Header of variable length in front of an 802.11 header. */
  readonly prefix?: "radiotap" | "prism" | "avs" | "ppi";
  /** SS7: offset of the length indicator. */
  readonly ss7?: number;
  /** What the format is in the message that its payload can't be told. */
  readonly refusal?: string;
}

const row = (
  name: string,
  dlt: number,
  family: LinkFamily,
  offsets: readonly [type: number, payload: number, network: number, networkNoSnap: number],
  description: string,
  more: Partial<Pick<LinkRow, "header" | "prefix" | "ss7" | "refusal">> = {},
): LinkRow => ({
  name,
  dlt,
  family,
  header: 0,
  type: offsets[0],
  payload: offsets[1],
  network: offsets[2],
  networkNoSnap: offsets[3],
  description,
  ...more,
});

const UNKNOWN = [NONE, NONE, NONE, NONE] as const;

export const LINK_TYPES: readonly LinkRow[] = [
  row("NULL", 0, "family", [0, 4, 0, 0], "BSD loopback"),
  row("EN10MB", 1, "ethernet", [12, 14, 0, 3], "Ethernet"),
  row("IEEE802", 6, "llc", [14, 14, 8, 3], "Token ring"),
  row("ARCNET", 7, "arcnet", [2, 6, 0, 0], "BSD ARCNET"),
  row("SLIP", 8, "ip-version", [NONE, 16, 0, 0], "SLIP"),
  row("PPP", 9, "ppp", [2, 4, 0, 0], "PPP"),
  row("FDDI", 10, "llc", [13, 13, 8, 3], "FDDI"),
  row("ATM_RFC1483", 11, "llc", [0, 0, 8, 3], "RFC 1483 LLC-encapsulated ATM"),
  row("RAW", 12, "ip-version", [NONE, 0, 0, 0], "Raw IP"),
  row("SLIP_BSDOS", 15, "ip-version", [NONE, 24, 0, 0], "BSD/OS SLIP"),
  row("PPP_BSDOS", 16, "bsdos-ppp", [5, 24, 0, 0], "BSD/OS PPP"),
  row("PFSYNC", 18, "none", [NONE, 4, 0, 0], "Packet filter state syncing", { refusal: "PFSYNC" }),
  row("ATM_CLIP", 19, "llc", [0, 0, 8, 3], "Linux Classical IP over ATM"),
  row("PPP_SERIAL", 50, "ppp", [2, 4, 0, 0], "PPP over serial"),
  row("PPP_ETHER", 51, "ppp", [6, 8, 0, 0], "PPPoE"),
  row("SYMANTEC_FIREWALL", 99, "ethertype", [6, 44, 0, 0], "Symantec Firewall"),
  row("C_HDLC", 104, "hdlc", [2, 4, 0, 0], "Cisco HDLC"),
  row("IEEE802_11", 105, "wlan", [24, 0, 8, 3], "802.11"),
  row("FRELAY", 107, "frame-relay", [NONE, 0, 0, 0], "Frame Relay"),
  row("LOOP", 108, "family", [0, 4, 0, 0], "OpenBSD loopback"),
  row("ENC", 109, "family", [0, 12, 0, 0], "OpenBSD encapsulated IP"),
  row("HDLC", 112, "hdlc", [2, 4, 0, 0], "Cisco HDLC"),
  row("LINUX_SLL", 113, "sll", [14, 16, 0, 0], "Linux cooked v1"),
  row("LTALK", 114, "localtalk", [NONE, 0, 0, 0], "Localtalk"),
  row("PFLOG", 117, "pflog", [0, 0, 0, 0], "OpenBSD pflog file"),
  row("PRISM_HEADER", 119, "wlan", [24, 0, 8, 3], "802.11 plus Prism header", { prefix: "prism" }),
  row("IP_OVER_FC", 122, "llc", [16, 16, 8, 3], "RFC 2625 IP-over-Fibre Channel"),
  row("SUNATM", 123, "sunatm", [4, 4, 8, 3], "Sun raw ATM"),
  row("IEEE802_11_RADIO", 127, "wlan", [24, 0, 8, 3], "802.11 plus radiotap header", { prefix: "radiotap" }),
  row("ARCNET_LINUX", 129, "arcnet", [4, 8, 0, 0], "Linux ARCNET"),
  row("JUNIPER_MLPPP", 130, "juniper", [4, 4, 0, NONE], "Juniper Multi-Link PPP"),
  row("JUNIPER_MLFR", 131, "juniper", [4, 4, 0, NONE], "Juniper Multi-Link Frame Relay"),
  row("JUNIPER_ES", 132, "juniper", [6, NONE, NONE, NONE], "Juniper Encryption Services PIC"),
  row("JUNIPER_GGSN", 133, "juniper", [6, 12, 0, NONE], "Juniper GGSN PIC"),
  row("JUNIPER_MFR", 134, "juniper", [4, 4, 0, NONE], "Juniper FRF.16 Frame Relay"),
  row("JUNIPER_ATM2", 135, "juniper", [8, 8, 0, 10], "Juniper ATM2 PIC"),
  row("JUNIPER_SERVICES", 136, "juniper", [12, NONE, NONE, NONE], "Juniper Advanced Services PIC"),
  row("JUNIPER_ATM1", 137, "juniper", [4, 4, 0, 10], "Juniper ATM1 PIC"),
  row("APPLE_IP_OVER_IEEE1394", 138, "ethertype", [16, 18, 0, 0], "Apple IP-over-IEEE 1394"),
  row("MTP2_WITH_PHDR", 139, "none", UNKNOWN, "SS7 MTP2 with Pseudo-header", { ss7: 6, refusal: "MTP2" }),
  row("MTP2", 140, "none", UNKNOWN, "SS7 MTP2", { ss7: 2, refusal: "MTP2" }),
  row("LINUX_IRDA", 144, "none", UNKNOWN, "Linux IrDA", { refusal: "IrDA" }),
  row("IEEE802_11_RADIO_AVS", 163, "wlan", [24, 0, 8, 3], "802.11 plus AVS radio information header", {
    prefix: "avs",
  }),
  row("JUNIPER_MONITOR", 164, "juniper", [12, 12, 0, NONE], "Juniper Passive Monitor PIC"),
  row("BACNET_MS_TP", 165, "bacnet", UNKNOWN, "BACnet MS/TP"),
  row("PPP_PPPD", 166, "ppp", [2, 4, 0, 0], "PPP for pppd, with direction flag"),
  row("JUNIPER_PPPOE", 167, "juniper", [16, 14, 18, 21], "Juniper PPPoE"),
  row("JUNIPER_PPPOE_ATM", 168, "juniper", [4, 6, 0, NONE], "Juniper PPPoE/ATM"),
  row("ERF_ETH", 175, "none", UNKNOWN, "Ethernet with Endace ERF header"),
  row("LINUX_LAPD", 177, "none", UNKNOWN, "Linux vISDN LAPD", { refusal: "LAPD" }),
  row("JUNIPER_ETHER", 178, "juniper", [16, 14, 18, 21], "Juniper Ethernet"),
  row("JUNIPER_PPP", 179, "juniper", [4, 4, 0, NONE], "Juniper PPP"),
  row("JUNIPER_FRELAY", 180, "juniper", [4, 4, 0, NONE], "Juniper Frame Relay"),
  row("JUNIPER_CHDLC", 181, "juniper", [4, 4, 0, NONE], "Juniper C-HDLC"),
  row("MFR", 182, "none", [NONE, 0, 4, 0], "FRF.16 Frame Relay", { refusal: "Multi-link Frame Relay" }),
  row("JUNIPER_VP", 183, "juniper", [18, NONE, NONE, NONE], "Juniper Voice PIC"),
  row("USB_FREEBSD", 186, "none", UNKNOWN, "USB with FreeBSD header", { refusal: "USB" }),
  row("BLUETOOTH_HCI_H4", 187, "none", UNKNOWN, "Bluetooth HCI UART transport layer", {
    refusal: "Bluetooth",
  }),
  row("USB_LINUX", 189, "none", UNKNOWN, "USB with Linux header", { refusal: "USB" }),
  row("CAN20B", 190, "none", UNKNOWN, "Controller Area Network (CAN) v. 2.0B", { refusal: "CAN" }),
  row("PPI", 192, "wlan", [24, 0, 8, 3], "Per-Packet Information", { prefix: "ppi" }),
  row("IEEE802_15_4", 195, "none", UNKNOWN, "IEEE 802.15.4 with FCS", { refusal: "IEEE 802.15.4" }),
  row("ERF", 197, "none", UNKNOWN, "Endace ERF header", { ss7: 22, refusal: "ERF" }),
  row("JUNIPER_ST", 200, "juniper", [18, NONE, NONE, NONE], "Juniper Secure Tunnel Information"),
  row("BLUETOOTH_HCI_H4_WITH_PHDR", 201, "none", UNKNOWN, "Bluetooth HCI UART with direction", {
    refusal: "Bluetooth",
  }),
  row("AX25_KISS", 202, "none", UNKNOWN, "AX.25 with KISS header", { refusal: "AX.25" }),
  row("IEEE802_15_4_NONASK_PHY", 215, "none", UNKNOWN, "IEEE 802.15.4 with PHY header", {
    refusal: "IEEE 802.15.4",
  }),
  row("USB_LINUX_MMAPPED", 220, "none", UNKNOWN, "USB with padded Linux header", { refusal: "USB" }),
  row("IPNET", 226, "ipnet", [1, 24, 0, NONE], "Solaris ipnet"),
  row("CAN_SOCKETCAN", 227, "none", UNKNOWN, "CAN-bus with SocketCAN headers", { refusal: "CAN" }),
  row("IPV4", 228, "ip4", [NONE, 0, 0, 0], "Raw IPv4"),
  row("IPV6", 229, "ip6", [NONE, 0, 0, 0], "Raw IPv6"),
  row("IEEE802_15_4_NOFCS", 230, "none", UNKNOWN, "IEEE 802.15.4 without FCS", { refusal: "IEEE 802.15.4" }),
  row("NFLOG", 239, "none", UNKNOWN, "Linux netfilter log messages", { refusal: "NFLOG" }),
  row("NETANALYZER", 240, "ethernet", [16, 18, 0, 3], "Ethernet with Hilscher netANALYZER pseudo-header", {
    header: 4,
  }),
  row(
    "NETANALYZER_TRANSPARENT",
    241,
    "ethernet",
    [24, 26, 0, 3],
    "Ethernet with netANALYZER transparent header",
    {
      header: 12,
    },
  ),
  row("IPOIB", 242, "none", UNKNOWN, "RFC 4391 IP-over-Infiniband"),
  row("USBPCAP", 249, "none", UNKNOWN, "USB with USBPcap header", { refusal: "USB" }),
  row("NETLINK", 253, "none", UNKNOWN, "Linux netlink"),
  row("PKTAP", 258, "none", UNKNOWN, "Apple DLT_PKTAP"),
  row("VSOCK", 271, "none", UNKNOWN, "Linux vsock"),
  row("LINUX_SLL2", 276, "ethertype", [0, 20, 0, 0], "Linux cooked v2"),
  row("DSA_TAG_BRCM", 281, "none", UNKNOWN, "Broadcom tag"),
  row("DSA_TAG_DSA", 284, "none", UNKNOWN, "Marvell DSA"),
];

const BY_NAME: ReadonlyMap<string, LinkRow> = new Map(LINK_TYPES.map((entry) => [entry.name, entry]));
const BY_NUMBER: ReadonlyMap<number, LinkRow> = new Map(LINK_TYPES.map((entry) => [entry.dlt, entry]));

/** Numbers by which capture files call types whose DLT differs (LINKTYPE_RAW, LINKTYPE_ATM_RFC1483, …). */
const FILE_NUMBERS: Readonly<Record<number, number>> = {
  14: 12,
  100: 11,
  101: 12,
  102: 15,
  103: 16,
  106: 19,
};

/**
 * The row of a link type, by its DLT or LINKTYPE number or its name (`EN10MB`, `DLT_EN10MB`); for numbers without a row
 * one that knows no headers, on which only `len`, `less` and `greater` can be asked.
 */
export function linkRow(link: number | string): LinkRow | undefined {
  if (typeof link === "string") return BY_NAME.get(link.toUpperCase().replace(/^(?:DLT|LINKTYPE)_/, ""));
  const known = BY_NUMBER.get(FILE_NUMBERS[link] ?? link);
  if (known !== undefined) return known;
  // 104 is the first and 301 the last of the numbers that files and libraries share.
  const shared = Number.isInteger(link) && link >= 104 && link <= 301;
  return shared ? row(`DLT ${link}`, link, "none", UNKNOWN, `DLT ${link}`) : undefined;
}
