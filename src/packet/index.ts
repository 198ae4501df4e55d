/** Packets: built of headers, taken apart, compared. */
export { eth, ipv4, ipv6, type PacketBuilder, startWith } from "./build.ts";
export {
  describePacket,
  dissect,
  type DissectedField,
  type DissectedLayer,
} from "./dissect.ts";
export { diffPackets, type PacketDifference } from "./diff.ts";
export { HEADERS, type HeaderFields, type HeaderName, type HeaderRow } from "./headers.ts";
export { internetChecksum } from "./checksum.ts";
