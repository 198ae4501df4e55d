/** Ends of connections as text, "10.0.0.1:80" and "[fd00::1]:80", and as the kernel's contexts hold them. */
import { BpfError } from "../../errors.ts";
import { parseIp } from "../world/address.ts";

// linux/socket.h.
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;

export interface Endpoint {
  /** 4 or 16 bytes, in network order. */
  readonly ip: Uint8Array;
  readonly port: number;
}

const fail = (what: string, text: string, cause?: unknown): BpfError =>
  new BpfError("context", `${what}: '${text}' is no address such as 10.0.0.1:80 or [fd00::1]:80`, { cause });

export function parseEndpoint(text: string, what: string): Endpoint {
  const [, six, four, port = "0"] = /^(?:\[([^\]]*)\]|([\d.]+))(?::(\d+))?$/.exec(text) ?? [];
  if (Number(port) > 65535) throw fail(what, text);
  try {
    return { ip: parseIp(six ?? four ?? text), port: Number(port) };
  } catch (cause) {
    throw fail(what, text, cause);
  }
}

export const familyOf = ({ ip }: Endpoint): number => (ip.length === 4 ? AF_INET : AF_INET6);

/** The words of an address as a little-endian program reads them. */
export function ipWords(ip: Uint8Array): number[] {
  const view = new DataView(ip.buffer, ip.byteOffset, ip.byteLength);
  return Array.from({ length: ip.length / 4 }, (_, index) => view.getUint32(index * 4, true));
}

/** A port of 16 bits in network order, as a little-endian program reads it. */
export const networkPort = (port: number): number => ((port & 255) << 8) | (port >> 8);

/** "10.0.0.1:80", from words and a port in network order. */
export function formatEndpoint(words: readonly number[], port: number): string {
  const ip = formatIp(words);
  return `${words.length === 4 ? `[${ip}]` : ip}:${networkPort(port & 0xffff)}`;
}

export function formatIp(words: readonly number[]): string {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  words.forEach((word, index) => view.setUint32(index * 4, word, true));
  if (words.length === 1) return bytes.join(".");
  const groups = Array.from({ length: 8 }, (_, index) => view.getUint16(index * 2).toString(16));
  // RFC 5952: the longest run of zeros, of two at least, the first of equals.
  let [best, length] = [-1, 1];
  for (let start = 0; start < 8; start++) {
    let end = start;
    while (groups[end] === "0") end++;
    if (end - start > length) [best, length] = [start, end - start];
  }
  if (best < 0) return groups.join(":");
  return `${groups.slice(0, best).join(":")}::${groups.slice(best + length).join(":")}`;
}

/** Of in.h, and types of sockets (linux/net.h). */
const PROTOCOLS: Readonly<Record<string, number>> = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58, sctp: 132 };
const SOCKET_TYPES: Readonly<Record<string, number>> = { stream: 1, dgram: 2, raw: 3, seqpacket: 5 };
const FAMILIES: Readonly<Record<string, number>> = {
  unix: AF_UNIX,
  inet: AF_INET,
  inet6: AF_INET6,
  netlink: 16,
  packet: 17,
  vsock: 40,
};

function numberOf(known: Readonly<Record<string, number>>, value: string | number, what: string): number {
  if (typeof value === "number") return value;
  const number = Object.hasOwn(known, value.toLowerCase()) ? known[value.toLowerCase()] : undefined;
  if (number !== undefined) return number;
  throw new BpfError(
    "context",
    `${what}: no '${value}'; there are ${Object.keys(known).join(", ")}, or a number`,
  );
}

export const protocolNumber = (value: string | number, what: string): number =>
  numberOf(PROTOCOLS, value, what);
export const socketType = (value: string | number, what: string): number =>
  numberOf(SOCKET_TYPES, value, what);
export const familyNumber = (value: string | number, what: string): number => numberOf(FAMILIES, value, what);
