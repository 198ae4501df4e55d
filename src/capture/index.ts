/**
 * Capture files, pcap and pcapng: read, write, stream.
 *
 * @example
 * for await (const packet of readPackets(createReadStream("web.pcap"))) console.log(packet.data.length);
 */

export { BATCH_CAPACITY, createBatch, decodePacketOptions, packetAt } from "./batch.ts";
export {
  type Capture,
  type ReadOptions,
  type SyncCapture,
  readCapture,
  readCaptureSync,
  readPackets,
  readPacketsSync,
} from "./capture.ts";
export {
  LINKTYPES,
  type Linktype,
  type LinktypeName,
  MAX_PACKET,
  dltOf,
  findLinktype,
  findLinktypeByName,
  linktypeName,
  linktypeOf,
  maxPacketOf,
} from "./linktypes.ts";
export { PCAP_MAGICS, type PcapMagic } from "./magics.ts";
export {
  type CaptureOption,
  type CaptureOptionInput,
  INTERFACE_OPTIONS,
  type OptionOwner,
  type OptionRow,
  type OptionType,
  PACKET_OPTIONS,
  SECTION_OPTIONS,
  decodeOptions,
  encodeOptions,
} from "./options.ts";
export type { OutputOptions } from "./output.ts";
export { PcapBuffer } from "./pcap-buffer.ts";
export { PcapWriter, type PcapWriterOptions, type WritablePacket } from "./pcap-writer.ts";
export {
  type InterfaceInput,
  PcapngWriter,
  type PcapngWriterOptions,
  type WritableNgPacket,
} from "./pcapng-writer.ts";
export { CaptureReader } from "./reader.ts";
export type { CaptureSource, SyncCaptureSource } from "./source.ts";
export type {
  CaptureDamage,
  CaptureFormat,
  CaptureInterface,
  CapturedPacket,
  CaptureSection,
  PacketBatch,
  PcapHeader,
} from "./types.ts";
