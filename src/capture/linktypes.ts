/**
 * The link types that capture files name: one row each, from the registry at
 * https://www.tcpdump.org/linktypes.html. The number is the LINKTYPE_ value that stands in a file; `dlt` is what
 * libpcap calls the same thing on Linux (pcap/dlt.h), given only where it differs, and `dltName` likewise. Names stand
 * without their LINKTYPE_ or DLT_ prefix.
 *
 * `maxPacket` is the longest packet that libpcap believes for that type; 262,144 bytes where none is given.
 */

/** What a row of {@link LINKTYPES} can say. */
export interface Linktype {
  /** The LINKTYPE_ value in the file. */
  readonly linktype: number;
  /** The LINKTYPE_ name without its prefix. */
  readonly name: string;
  /** The DLT_ name without its prefix, where it is another one. */
  readonly dltName?: string;
  /** DLT_ names for it that other releases of libpcap use. */
  readonly dltAliases?: readonly string[];
  /** The DLT_ value on Linux, where it is another one. */
  readonly dlt?: number;
  /** The longest packet that is believed, in bytes, where it is not {@link MAX_PACKET}. */
  readonly maxPacket?: number;
  readonly about: string;
}

/** The longest packet that is believed for most link types: libpcap's MAXIMUM_SNAPLEN. */
export const MAX_PACKET = 262_144;

/** Every link type that the registry assigns; 208 was never assigned. */
// biome-ignore format: a table, one row a line
export const LINKTYPES = [
  { linktype: 0, name: "NULL", about: "BSD loopback: the address family as a 32-bit number in the byte order of the capturing machine" },
  { linktype: 1, name: "ETHERNET", dltName: "EN10MB", about: "Ethernet, any speed" },
  { linktype: 2, name: "EXP_ETHERNET", dltName: "EN3MB", about: "experimental 3 Mb/s Ethernet" },
  { linktype: 3, name: "AX25", about: "AX.25 layer 2" },
  { linktype: 4, name: "PRONET", about: "Proteon ProNET token ring" },
  { linktype: 5, name: "CHAOS", about: "MIT Chaosnet" },
  { linktype: 6, name: "IEEE802_5", dltName: "IEEE802", about: "IEEE 802.5 token ring" },
  { linktype: 7, name: "ARCNET_BSD", dltName: "ARCNET", about: "ARCNET with a BSD header" },
  { linktype: 8, name: "SLIP", about: "SLIP with a header that gives the direction" },
  { linktype: 9, name: "PPP", about: "PPP" },
  { linktype: 10, name: "FDDI", about: "FDDI" },
  { linktype: 50, name: "PPP_HDLC", dltName: "PPP_SERIAL", about: "PPP in HDLC-like framing" },
  { linktype: 51, name: "PPP_ETHER", about: "PPPoE session packets" },
  { linktype: 99, name: "SYMANTEC_FIREWALL", about: "Symantec Enterprise Firewall" },
  { linktype: 100, name: "ATM_RFC1483", dlt: 11, about: "ATM with LLC/SNAP encapsulation (RFC 1483)" },
  { linktype: 101, name: "RAW", dlt: 12, about: "bare IPv4 or IPv6, told apart by the version nibble" },
  { linktype: 102, name: "SLIP_BSDOS", dlt: 15, about: "BSD/OS SLIP" },
  { linktype: 103, name: "PPP_BSDOS", dlt: 16, about: "BSD/OS PPP" },
  { linktype: 104, name: "C_HDLC", dltAliases: ["CHDLC"], about: "Cisco HDLC" },
  { linktype: 105, name: "IEEE802_11", about: "IEEE 802.11" },
  { linktype: 106, name: "ATM_CLIP", dlt: 19, about: "Linux Classical IP over ATM" },
  { linktype: 107, name: "FRELAY", about: "Frame Relay LAPF" },
  { linktype: 108, name: "LOOP", about: "OpenBSD loopback: the address family as a 32-bit big-endian number" },
  { linktype: 109, name: "ENC", about: "OpenBSD IPsec encapsulation" },
  { linktype: 110, name: "LANE8023", about: "ATM LAN emulation with 802.3" },
  { linktype: 111, name: "HIPPI", about: "NetBSD HIPPI" },
  { linktype: 112, name: "NETBSD_HDLC", dltName: "HDLC", about: "NetBSD's Cisco HDLC" },
  { linktype: 113, name: "LINUX_SLL", about: 'Linux "cooked" capture, version 1' },
  { linktype: 114, name: "LTALK", about: "Apple LocalTalk" },
  { linktype: 115, name: "ECONET", about: "Acorn Econet" },
  { linktype: 116, name: "IPFILTER", about: "OpenBSD ipfilter log" },
  { linktype: 117, name: "PFLOG", about: "OpenBSD packet filter log" },
  { linktype: 118, name: "CISCO_IOS", about: "Cisco internal use" },
  { linktype: 119, name: "IEEE802_11_PRISM", dltName: "PRISM_HEADER", about: "IEEE 802.11 after a Prism monitor header" },
  { linktype: 120, name: "IEEE802_11_AIRONET", dltName: "AIRONET_HEADER", about: "IEEE 802.11 after an Aironet header" },
  { linktype: 121, name: "HHDLC", about: "Siemens HiPath HDLC" },
  { linktype: 122, name: "IP_OVER_FC", about: "IP over Fibre Channel (RFC 2625)" },
  { linktype: 123, name: "SUNATM", about: "ATM from a SunATM device" },
  { linktype: 124, name: "RIO", about: "RapidIO" },
  { linktype: 125, name: "PCI_EXP", about: "PCI Express" },
  { linktype: 126, name: "AURORA", about: "Xilinx Aurora" },
  { linktype: 127, name: "IEEE802_11_RADIOTAP", dltName: "IEEE802_11_RADIO", about: "IEEE 802.11 after a radiotap header" },
  { linktype: 128, name: "TZSP", about: "Tazmen Sniffer Protocol" },
  { linktype: 129, name: "ARCNET_LINUX", about: "ARCNET with a Linux header" },
  { linktype: 130, name: "JUNIPER_MLPPP", about: "Juniper, multilink PPP" },
  { linktype: 131, name: "JUNIPER_MLFR", about: "Juniper, multilink Frame Relay" },
  { linktype: 132, name: "JUNIPER_ES", about: "Juniper, encryption services" },
  { linktype: 133, name: "JUNIPER_GGSN", about: "Juniper, GGSN" },
  { linktype: 134, name: "JUNIPER_MFR", about: "Juniper, multilink Frame Relay FRF.16" },
  { linktype: 135, name: "JUNIPER_ATM2", about: "Juniper, ATM2" },
  { linktype: 136, name: "JUNIPER_SERVICES", about: "Juniper, services" },
  { linktype: 137, name: "JUNIPER_ATM1", about: "Juniper, ATM1" },
  { linktype: 138, name: "APPLE_IP_OVER_IEEE1394", about: "Apple IP over IEEE 1394" },
  { linktype: 139, name: "MTP2_WITH_PHDR", about: "SS7 MTP2 after a pseudo-header" },
  { linktype: 140, name: "MTP2", about: "SS7 MTP2" },
  { linktype: 141, name: "MTP3", about: "SS7 MTP3" },
  { linktype: 142, name: "SCCP", about: "SS7 SCCP" },
  { linktype: 143, name: "DOCSIS", about: "DOCSIS MAC frames" },
  { linktype: 144, name: "LINUX_IRDA", about: "Linux IrDA" },
  { linktype: 145, name: "IBM_SP", about: "IBM SP switch" },
  { linktype: 146, name: "IBM_SN", about: "IBM Next Federation switch" },
  { linktype: 147, name: "USER0", about: "reserved for private use" },
  { linktype: 148, name: "USER1", about: "reserved for private use" },
  { linktype: 149, name: "USER2", about: "reserved for private use" },
  { linktype: 150, name: "USER3", about: "reserved for private use" },
  { linktype: 151, name: "USER4", about: "reserved for private use" },
  { linktype: 152, name: "USER5", about: "reserved for private use" },
  { linktype: 153, name: "USER6", about: "reserved for private use" },
  { linktype: 154, name: "USER7", about: "reserved for private use" },
  { linktype: 155, name: "USER8", about: "reserved for private use" },
  { linktype: 156, name: "USER9", about: "reserved for private use" },
  { linktype: 157, name: "USER10", about: "reserved for private use" },
  { linktype: 158, name: "USER11", about: "reserved for private use" },
  { linktype: 159, name: "USER12", about: "reserved for private use" },
  { linktype: 160, name: "USER13", about: "reserved for private use" },
  { linktype: 161, name: "USER14", about: "reserved for private use" },
  { linktype: 162, name: "USER15", about: "reserved for private use" },
  { linktype: 163, name: "IEEE802_11_AVS", dltName: "IEEE802_11_RADIO_AVS", about: "IEEE 802.11 after an AVS header" },
  { linktype: 164, name: "JUNIPER_MONITOR", about: "Juniper, monitoring" },
  { linktype: 165, name: "BACNET_MS_TP", about: "BACnet MS/TP" },
  { linktype: 166, name: "PPP_PPPD", dltAliases: ["PPP_WITH_DIRECTION", "LINUX_PPP_WITHDIRECTION"], about: "PPP as pppd logs it: a direction byte, then an HDLC-like control field" },
  { linktype: 167, name: "JUNIPER_PPPOE", about: "Juniper, PPPoE" },
  { linktype: 168, name: "JUNIPER_PPPOE_ATM", about: "Juniper, PPPoE over ATM" },
  { linktype: 169, name: "GPRS_LLC", about: "GPRS logical link control" },
  { linktype: 170, name: "GPF_T", about: "GFP, transparent-mapped (ITU-T G.7041)" },
  { linktype: 171, name: "GPF_F", about: "GFP, frame-mapped (ITU-T G.7041)" },
  { linktype: 172, name: "GCOM_T1E1", about: "Gcom T1/E1 monitor" },
  { linktype: 173, name: "GCOM_SERIAL", about: "Gcom serial monitor" },
  { linktype: 174, name: "JUNIPER_PIC_PEER", about: "Juniper, internal link to a PIC" },
  { linktype: 175, name: "ERF_ETH", about: "Endace ERF records of Ethernet" },
  { linktype: 176, name: "ERF_POS", about: "Endace ERF records of packet over SONET" },
  { linktype: 177, name: "LINUX_LAPD", about: "Linux vISDN LAPD" },
  { linktype: 178, name: "JUNIPER_ETHER", about: "Juniper, Ethernet after meta-information" },
  { linktype: 179, name: "JUNIPER_PPP", about: "Juniper, PPP after meta-information" },
  { linktype: 180, name: "JUNIPER_FRELAY", about: "Juniper, Frame Relay after meta-information" },
  { linktype: 181, name: "JUNIPER_CHDLC", about: "Juniper, Cisco HDLC after meta-information" },
  { linktype: 182, name: "MFR", about: "multilink Frame Relay FRF.16.1" },
  { linktype: 183, name: "JUNIPER_VP", about: "Juniper, voice PIC" },
  { linktype: 184, name: "A429", about: "ARINC 429 words" },
  { linktype: 185, name: "A653_ICM", about: "ARINC 653 messages between partitions" },
  { linktype: 186, name: "USB_FREEBSD", dltAliases: ["USB"], about: "USB after a FreeBSD header" },
  { linktype: 187, name: "BLUETOOTH_HCI_H4", about: "Bluetooth HCI UART transport" },
  { linktype: 188, name: "IEEE802_16_MAC_CPS", about: "IEEE 802.16 MAC common part sublayer" },
  { linktype: 189, name: "USB_LINUX", about: "USB after a Linux header of 48 bytes" },
  { linktype: 190, name: "CAN20B", about: "CAN 2.0B" },
  { linktype: 191, name: "IEEE802_15_4_LINUX", about: "IEEE 802.15.4 with address fields padded as Linux drivers do" },
  { linktype: 192, name: "PPI", about: "any link type after a Per-Packet Information header" },
  { linktype: 193, name: "IEEE802_16_MAC_CPS_RADIO", about: "IEEE 802.16 MAC common part sublayer after a radiotap header" },
  { linktype: 194, name: "JUNIPER_ISM", about: "Juniper, integrated services module" },
  { linktype: 195, name: "IEEE802_15_4_WITHFCS", dltAliases: ["IEEE802_15_4"], about: "IEEE 802.15.4 with its checksum" },
  { linktype: 196, name: "SITA", about: "SITA WAN protocols after a pseudo-header" },
  { linktype: 197, name: "ERF", about: "Endace ERF records" },
  { linktype: 198, name: "RAIF1", about: "Ethernet after the header of a u10 Networks board" },
  { linktype: 199, name: "IPMB_KONTRON", about: "IPMB as Kontron devices capture it" },
  { linktype: 200, name: "JUNIPER_ST", about: "Juniper, secure tunnel" },
  { linktype: 201, name: "BLUETOOTH_HCI_H4_WITH_PHDR", about: "Bluetooth HCI UART transport after a direction word" },
  { linktype: 202, name: "AX25_KISS", about: "AX.25 in KISS frames" },
  { linktype: 203, name: "LAPD", about: "ISDN LAPD (Q.921)" },
  { linktype: 204, name: "PPP_WITH_DIR", about: "PPP after a direction byte" },
  { linktype: 205, name: "C_HDLC_WITH_DIR", about: "Cisco HDLC after a direction byte" },
  { linktype: 206, name: "FRELAY_WITH_DIR", about: "Frame Relay after a direction byte" },
  { linktype: 207, name: "LAPB_WITH_DIR", about: "X.25 LAPB after a direction byte" },
  { linktype: 209, name: "I2C_LINUX", dltAliases: ["IPMB_LINUX"], about: "Linux I2C" },
  { linktype: 210, name: "FLEXRAY", about: "FlexRay after a pseudo-header" },
  { linktype: 211, name: "MOST", about: "MOST multimedia bus" },
  { linktype: 212, name: "LIN", about: "LIN bus after a pseudo-header" },
  { linktype: 213, name: "X2E_SERIAL", about: "X2E serial line" },
  { linktype: 214, name: "X2E_XORAYA", about: "X2E Xoraya data logger" },
  { linktype: 215, name: "IEEE802_15_4_NONASK_PHY", about: "IEEE 802.15.4 with its PHY header (not ASK)" },
  { linktype: 216, name: "LINUX_EVDEV", about: "Linux input events" },
  { linktype: 217, name: "GSMTAP_UM", about: "GSM Um after a GSMTAP header" },
  { linktype: 218, name: "GSMTAP_ABIS", about: "GSM Abis after a GSMTAP header" },
  { linktype: 219, name: "MPLS", about: "MPLS, beginning with a label" },
  { linktype: 220, name: "USB_LINUX_MMAPPED", about: "USB after a Linux header of 64 bytes" },
  { linktype: 221, name: "DECT", about: "DECT after a pseudo-header" },
  { linktype: 222, name: "AOS", about: "AOS space data link" },
  { linktype: 223, name: "WIHART", about: "WirelessHART" },
  { linktype: 224, name: "FC_2", about: "Fibre Channel FC-2" },
  { linktype: 225, name: "FC_2_WITH_FRAME_DELIMS", about: "Fibre Channel FC-2 with its frame delimiters" },
  { linktype: 226, name: "IPNET", about: "Solaris ipnet" },
  { linktype: 227, name: "CAN_SOCKETCAN", about: "CAN with a SocketCAN header" },
  { linktype: 228, name: "IPV4", about: "bare IPv4" },
  { linktype: 229, name: "IPV6", about: "bare IPv6" },
  { linktype: 230, name: "IEEE802_15_4_NOFCS", about: "IEEE 802.15.4 without its checksum" },
  { linktype: 231, name: "DBUS", maxPacket: 0x800_0000, about: "D-Bus messages" },
  { linktype: 232, name: "JUNIPER_VS", about: "Juniper, virtual server" },
  { linktype: 233, name: "JUNIPER_SRX_E2E", about: "Juniper, SRX end-to-end debugging" },
  { linktype: 234, name: "JUNIPER_FIBRECHANNEL", about: "Juniper, Fibre Channel" },
  { linktype: 235, name: "DVB_CI", about: "DVB common interface" },
  { linktype: 236, name: "MUX27010", about: "a variant of the 3GPP 27.010 multiplexer" },
  { linktype: 237, name: "STANAG_5066_D_PDU", about: "STANAG 5066 D_PDUs" },
  { linktype: 238, name: "JUNIPER_ATM_CEMIC", about: "Juniper, ATM CE MIC" },
  { linktype: 239, name: "NFLOG", about: "Linux NFLOG messages" },
  { linktype: 240, name: "NETANALYZER", about: "Ethernet after a netANALYZER header" },
  { linktype: 241, name: "NETANALYZER_TRANSPARENT", about: "Ethernet after a netANALYZER header, preamble and delimiter" },
  { linktype: 242, name: "IPOIB", about: "IP over InfiniBand" },
  { linktype: 243, name: "MPEG_2_TS", about: "MPEG-2 transport stream" },
  { linktype: 244, name: "NG40", about: "ng40 protocol tester" },
  { linktype: 245, name: "NFC_LLCP", about: "NFC logical link control after a pseudo-header" },
  { linktype: 246, name: "PFSYNC", about: "packet filter state synchronisation" },
  { linktype: 247, name: "INFINIBAND", about: "InfiniBand" },
  { linktype: 248, name: "SCTP", about: "bare SCTP" },
  { linktype: 249, name: "USBPCAP", maxPacket: 0x10_0000, about: "USB after a USBPcap header" },
  { linktype: 250, name: "RTAC_SERIAL", about: "serial line from an SEL RTAC" },
  { linktype: 251, name: "BLUETOOTH_LE_LL", about: "Bluetooth Low Energy link layer" },
  { linktype: 252, name: "WIRESHARK_UPPER_PDU", about: "upper-layer PDUs exported by Wireshark" },
  { linktype: 253, name: "NETLINK", about: "Linux netlink" },
  { linktype: 254, name: "BLUETOOTH_LINUX_MONITOR", about: "Bluetooth Linux monitor" },
  { linktype: 255, name: "BLUETOOTH_BREDR_BB", about: "Bluetooth BR/EDR baseband" },
  { linktype: 256, name: "BLUETOOTH_LE_LL_WITH_PHDR", about: "Bluetooth Low Energy link layer after a pseudo-header" },
  { linktype: 257, name: "PROFIBUS_DL", about: "PROFIBUS data link" },
  { linktype: 258, name: "PKTAP", about: "Apple PKTAP" },
  { linktype: 259, name: "EPON", about: "Ethernet over a passive optical network, with preamble" },
  { linktype: 260, name: "IPMI_HPM_2", about: "IPMI HPM.2 trace" },
  { linktype: 261, name: "ZWAVE_R1_R2", about: "Z-Wave, RF profiles R1 and R2" },
  { linktype: 262, name: "ZWAVE_R3", about: "Z-Wave, RF profile R3" },
  { linktype: 263, name: "WATTSTOPPER_DLM", about: "WattStopper lighting management" },
  { linktype: 264, name: "ISO_14443", about: "ISO 14443 contactless smartcards" },
  { linktype: 265, name: "RDS", about: "radio data system groups" },
  { linktype: 266, name: "USB_DARWIN", about: "USB after a Darwin header" },
  { linktype: 267, name: "OPENFLOW", about: "OpenFlow after a 12-byte header" },
  { linktype: 268, name: "SDLC", about: "SNA SDLC" },
  { linktype: 269, name: "TI_LLN_SNIFFER", about: "TI LLN sniffer" },
  { linktype: 270, name: "LORATAP", about: "LoRaWAN after a LoRaTap header" },
  { linktype: 271, name: "VSOCK", about: "Linux vsock monitor" },
  { linktype: 272, name: "NORDIC_BLE", about: "Nordic Bluetooth Low Energy sniffer" },
  { linktype: 273, name: "DOCSIS31_XRA31", about: "DOCSIS 3.1 after an Excentis XRA-31 header" },
  { linktype: 274, name: "ETHERNET_MPACKET", about: "IEEE 802.3 mPackets" },
  { linktype: 275, name: "DISPLAYPORT_AUX", about: "DisplayPort AUX channel" },
  { linktype: 276, name: "LINUX_SLL2", about: 'Linux "cooked" capture, version 2' },
  { linktype: 277, name: "SERCOS_MONITOR", about: "Sercos monitor" },
  { linktype: 278, name: "OPENVIZSLA", about: "OpenVizsla USB sniffer" },
  { linktype: 279, name: "EBHSCR", maxPacket: 0x80_0000, about: "Elektrobit high-speed capture and replay" },
  { linktype: 280, name: "VPP_DISPATCH", about: "VPP graph dispatch trace" },
  { linktype: 281, name: "DSA_TAG_BRCM", about: "Ethernet with a Broadcom switch tag inside" },
  { linktype: 282, name: "DSA_TAG_BRCM_PREPEND", about: "Ethernet after a Broadcom switch tag" },
  { linktype: 283, name: "IEEE802_15_4_TAP", about: "IEEE 802.15.4 after a TAP header" },
  { linktype: 284, name: "DSA_TAG_DSA", about: "Ethernet with a Marvell DSA tag inside" },
  { linktype: 285, name: "DSA_TAG_EDSA", about: "Ethernet with a Marvell EDSA tag inside" },
  { linktype: 286, name: "ELEE", about: "ELEE lawful interception" },
  { linktype: 287, name: "Z_WAVE_SERIAL", about: "Z-Wave serial line between host and chip" },
  { linktype: 288, name: "USB_2_0", about: "USB 2.0, 1.1 or 1.0" },
  { linktype: 289, name: "ATSC_ALP", about: "ATSC link-layer protocol" },
  { linktype: 290, name: "ETW", about: "Event Tracing for Windows" },
  { linktype: 291, name: "NETANALYZER_NG", about: "Hilscher netANALYZER NG" },
  { linktype: 292, name: "ZBOSS_NCP", about: "ZBOSS NCP serial protocol after a pseudo-header" },
  { linktype: 293, name: "USB_2_0_LOW_SPEED", about: "USB, low speed" },
  { linktype: 294, name: "USB_2_0_FULL_SPEED", about: "USB, full speed" },
  { linktype: 295, name: "USB_2_0_HIGH_SPEED", about: "USB 2.0, high speed" },
  { linktype: 296, name: "AUERSWALD_LOG", about: "Auerswald logger" },
  { linktype: 297, name: "ZWAVE_TAP", about: "Z-Wave after a metadata header" },
  { linktype: 298, name: "SILABS_DEBUG_CHANNEL", about: "Silicon Labs debug channel" },
  { linktype: 299, name: "FIRA_UCI", about: "FiRa ultra-wideband controller interface" },
  { linktype: 300, name: "MDB", about: "Multi-Drop Bus (vending machines) after a pseudo-header" },
  { linktype: 301, name: "DECT_NR", about: "DECT-2020 New Radio MAC" },
  { linktype: 302, name: "EDK2_MM", about: "EDK2 management-mode requests" },
  { linktype: 303, name: "DEBUG_ONLY", about: "unstructured data, for debugging only" },
  { linktype: 304, name: "DECT_NR_TAP", about: "DECT-2020 New Radio MAC after a metadata header" },
] as const;

/** The names of {@link LINKTYPES}. */
export type LinktypeName = (typeof LINKTYPES)[number]["name"];

const BY_NUMBER: ReadonlyMap<number, Linktype> = new Map(
  (LINKTYPES as readonly Linktype[]).map((row) => [row.linktype, row]),
);

const BY_NAME: ReadonlyMap<string, Linktype> = new Map(
  (LINKTYPES as readonly Linktype[]).flatMap((row) =>
    [row.name, row.dltName ?? row.name, ...(row.dltAliases ?? [])].map((name): [string, Linktype] => [
      name,
      row,
    ]),
  ),
);

/**
 * The row of a LINKTYPE_ value, or undefined when the registry does not know it.
 *
 * @example
 * findLinktype(1)?.name; // "ETHERNET"
 */
export function findLinktype(linktype: number): Linktype | undefined {
  return BY_NUMBER.get(linktype);
}

/**
 * The row of a name, in either vocabulary and with or without its prefix, in any case: "EN10MB", "DLT_EN10MB",
 * "ETHERNET" and "linktype_ethernet" are one row.
 *
 * @example
 * findLinktypeByName("DLT_RAW")?.linktype; // 101
 */
export function findLinktypeByName(name: string): Linktype | undefined {
  return BY_NAME.get(name.toUpperCase().replace(/^(?:LINKTYPE|DLT)_/, ""));
}

/**
 * How a link type is called in messages: its LINKTYPE_ name, or the number when it has none.
 *
 * @example
 * linktypeName(113); // "LINUX_SLL"
 * linktypeName(5000); // "5000"
 */
export function linktypeName(linktype: number): string {
  return BY_NUMBER.get(linktype)?.name ?? String(linktype);
}

/**
 * The DLT_ value that libpcap on Linux gives for a LINKTYPE_ value; a number without a row stays as it is, as in libpcap.
 *
 * @example
 * dltOf(101); // 12, DLT_RAW
 */
export function dltOf(linktype: number): number {
  return BY_NUMBER.get(linktype)?.dlt ?? linktype;
}

/**
 * The LINKTYPE_ value that a file gets for a DLT_ value of libpcap on Linux.
 *
 * @example
 * linktypeOf(12); // 101, LINKTYPE_RAW
 */
export function linktypeOf(dlt: number): number {
  for (const row of LINKTYPES as readonly Linktype[]) if (row.dlt === dlt) return row.linktype;
  return dlt;
}

/** The longest packet that is believed for a link type. */
export function maxPacketOf(linktype: number): number {
  return BY_NUMBER.get(linktype)?.maxPacket ?? MAX_PACKET;
}
