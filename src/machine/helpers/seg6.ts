/** Segment routing headers (RFC 8754, 2; net/ipv6/seg6.c) and where they lie in a packet. */
import type { LinearMemory } from "../memory.ts";

export const IPV6_HEADER = 40;
export const ROUTING = 43;
const FRAGMENT = 44;
const AUTHENTICATION = 51;
const NO_NEXT = 59;
/** Hop-by-hop options, routing, fragment, authentication, none, destination options (net/ipv6: ipv6_ext_hdr). */
const EXTENSIONS: readonly number[] = [0, ROUTING, FRAGMENT, AUTHENTICATION, NO_NEXT, 60];

const TYPE = 4;
const FIXED = 8;
const SEGMENT = 16;
// Offsets in the header.
export const SRH = { next: 0, length: 1, type: 2, left: 3, first: 4, flags: 5, segments: FIXED } as const;

/** Where a header begins, in bytes from the IPv6 header at `start`; undefined if the packet has none (ipv6_find_hdr). */
export function findHeader(
  memory: LinearMemory,
  start: number,
  end: number,
  wanted: number,
): number | undefined {
  if (start + IPV6_HEADER > end) return undefined;
  const { u8 } = memory;
  let next = u8[start + 6] as number;
  let at = IPV6_HEADER;
  while (next !== wanted) {
    if (!EXTENSIONS.includes(next) || next === NO_NEXT || start + at + 2 > end) return undefined;
    const length = u8[start + at + 1] as number;
    // A fragment that is not the first has no further headers.
    if (next === FRAGMENT && memory.view.getUint16(start + at + 2) >>> 3 !== 0) return undefined;
    const kind = next;
    next = u8[start + at] as number;
    at += kind === FRAGMENT ? 8 : kind === AUTHENTICATION ? (length + 2) * 4 : (length + 1) * 8;
    if (start + at > end) return undefined;
  }
  return start + at + 2 <= end || wanted !== ROUTING ? at : undefined;
}

/** Whether it is a whole header of segment routing whose options end where it ends; a reduced one may leave its last segment out. */
export function isSegmentRouting(header: Uint8Array, reduced: boolean): boolean {
  const [, length = 0, type = 0, left = 0, first = 0] = header;
  if (header.length < FIXED || type !== TYPE || (length + 1) * 8 !== header.length) return false;
  if ((!reduced && left > first) || left > first + 1 || first > Math.floor(length / 2) - 1) return false;
  let at = FIXED + (first + 1) * SEGMENT;
  while (at < header.length) {
    // Padding of one byte has no length in RFC 8754; the kernel reads one all the same.
    if (at + 2 > header.length) return false;
    at += 2 + (header[at + 1] as number);
  }
  return at === header.length;
}
