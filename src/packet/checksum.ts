/** Checksums of packets. */

/** The ones' complement sum of 16-bit words (RFC 1071), not complemented; an odd last byte counts as a high one. */
export function internetSum(bytes: Uint8Array, start = 0): number {
  let sum = start;
  for (let index = 0; index + 1 < bytes.length; index += 2)
    sum += ((bytes[index] as number) << 8) | (bytes[index + 1] as number);
  if (bytes.length % 2 === 1) sum += (bytes[bytes.length - 1] as number) << 8;
  while (sum > 0xffff) sum = (sum & 0xffff) + Math.floor(sum / 0x10000);
  return sum;
}

/** The checksum field of IPv4, TCP, UDP and ICMP over bytes whose own field is zero. */
export function internetChecksum(bytes: Uint8Array, start = 0): number {
  return ~internetSum(bytes, start) & 0xffff;
}

// Castagnoli's polynomial, bits reversed (RFC 9260, appendix A).
const CRC32C = 0x82f63b78;

let table: Uint32Array | undefined;

/** CRC32c of SCTP, as the number that stands in the header when it is read in network order. */
export function crc32c(bytes: Uint8Array): number {
  table ??= Uint32Array.from({ length: 256 }, (_, byte) => {
    let value = byte;
    for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ CRC32C : value >>> 1;
    return value >>> 0;
  });
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (crc >>> 8) ^ (table[(crc ^ byte) & 255] as number);
  crc = ~crc >>> 0;
  // It is sent lowest byte first.
  return (((crc & 0xff) << 24) | ((crc & 0xff00) << 8) | ((crc >>> 8) & 0xff00) | (crc >>> 24)) >>> 0;
}
