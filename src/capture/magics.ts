/** What a file's first bytes say: which captures we read, and what else people pass by mistake. */

import { BpfError } from "../errors.ts";

/**
 * The pcap magics, as the 32-bit number that the writing machine stored in its own byte order; read with the wrong
 * order they come out reversed, which is how the order is found (draft-ietf-opsawg-pcap, section 4).
 */
export const PCAP_MAGICS = [
  { magic: 0xa1b2c3d4, resolution: "us", modified: false, about: "pcap" },
  { magic: 0xa1b23c4d, resolution: "ns", modified: false, about: "pcap with nanoseconds" },
  { magic: 0xa1b2cd34, resolution: "us", modified: true, about: "pcap as modified by Alexey Kuznetzov" },
] as const;

/** One of the {@link PCAP_MAGICS}. */
export type PcapMagic = (typeof PCAP_MAGICS)[number];

/** Block type of the Section Header Block, with which a pcapng file begins; a palindrome, so it has no byte order. */
export const SHB_TYPE = 0x0a0d0d0a;

/** The number after it, from which a section's byte order is read. */
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

/** Other files, by their first bytes in hex. Longer prefixes stand before their own beginnings. */
const FOREIGN = [
  { hex: "1f8b", about: "gzip data; readCapture decompresses it, the synchronous readers cannot" },
  { hex: "7f454c46", about: "an ELF object" },
  { hex: "0061736d", about: "a WebAssembly module" },
  { hex: "28b52ffd", about: "zstd data; decompress it first" },
  { hex: "04224d18", about: "LZ4 data; decompress it first" },
  { hex: "fd377a585a00", about: "xz data; decompress it first" },
  { hex: "425a68", about: "bzip2 data; decompress it first" },
  { hex: "504b0304", about: "a ZIP archive" },
  { hex: "736e6f6f70000000", about: "a snoop capture" },
  { hex: "6274736e6f6f7000", about: "a Bluetooth btsnoop capture" },
  { hex: "474d4255", about: "a Microsoft Network Monitor capture" },
  { hex: "52545353", about: "a Microsoft Network Monitor 1 capture" },
  { hex: "58435000", about: "a Network Associates Sniffer capture" },
  { hex: "5452534e494646", about: "a Network General Sniffer capture" },
  { hex: "1c0001ab", about: "an Ixia lcap capture" },
  { hex: "1c0001ac", about: "an Ixia lcap capture" },
  { hex: "ab01001c", about: "an Ixia lcap capture" },
  { hex: "ac01001c", about: "an Ixia lcap capture" },
  { hex: "a1b234cd", about: "a pcap variant that nobody documented, reserved for F. Mesquita" },
  { hex: "cd34b2a1", about: "a pcap variant that nobody documented, reserved for F. Mesquita" },
  { hex: "a12b3c4d", about: "Navtel's variant of pcap" },
  { hex: "4d3c2ba1", about: "Navtel's variant of pcap" },
  { hex: "a1b2c3cb", about: "a cbpf-savefile, which holds a filter and no packets" },
  { hex: "cbc3b2a1", about: "a cbpf-savefile, which holds a filter and no packets" },
  { hex: "89504e47", about: "a PNG picture" },
  { hex: "25504446", about: "a PDF document" },
] as const;

/**
 * Which pcap file this is and in which byte order, or undefined.
 *
 * @param magic the first four bytes, read as a little-endian number
 */
export function findPcapMagic(
  magic: number,
): { readonly row: PcapMagic; readonly littleEndian: boolean } | undefined {
  const reversed =
    ((magic << 24) | ((magic & 0xff00) << 8) | ((magic >>> 8) & 0xff00) | (magic >>> 24)) >>> 0;
  for (const row of PCAP_MAGICS) {
    if (row.magic === magic) return { row, littleEndian: true };
    if (row.magic === reversed) return { row, littleEndian: false };
  }
  return undefined;
}

/** The error for a file that is no capture; `start` is what it begins with. */
export function foreignFile(start: Uint8Array): BpfError {
  const where = { offset: 0 };
  if (start.length === 0) return new BpfError("capture", "not a pcap or pcapng file: it is empty", { where });
  const hex = Array.from(start.subarray(0, 16), (byte) => byte.toString(16).padStart(2, "0")).join("");
  const known = FOREIGN.find((row) => hex.startsWith(row.hex))?.about;
  const text =
    start.length >= 4 && start.every((byte) => (byte >= 32 && byte < 127) || (byte >= 9 && byte <= 13));
  const guess =
    known ?? (text ? `text: ${JSON.stringify(String.fromCharCode(...start.subarray(0, 16)))}` : undefined);
  const shown = hex.slice(0, Math.max(8, FOREIGN.find((row) => hex.startsWith(row.hex))?.hex.length ?? 0));
  const short =
    start.length < 4 ? `, and is only ${start.length} byte${start.length === 1 ? "" : "s"} long` : "";
  const because = guess === undefined ? short : ` (${guess})`;
  return new BpfError("capture", `not a pcap or pcapng file: it starts with ${shown}${because}`, { where });
}
