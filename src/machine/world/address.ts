/** Addresses of the world: as text, as bytes in network order, as prefixes. */
import * as addresses from "../../addresses.ts";
import { BpfError } from "../../errors.ts";

const bad = (what: string, text: string, shape: string): BpfError =>
  new BpfError("usage", `world: '${text}' is no ${what} (${shape})`);

/** "10.0.0.1" or "fd00::1" to 4 or 16 bytes. */
export function parseIp(text: string): Uint8Array {
  const bytes = text.includes(":") ? addresses.parseIpv6(text) : addresses.parseIpv4(text);
  if (bytes === undefined) throw bad("address", text, "such as 10.0.0.1 or fd00::1");
  return bytes;
}

export interface Prefix {
  readonly bytes: Uint8Array;
  /** Significant bits. */
  readonly length: number;
}

/** "10.0.0.0/8"; without a slash all bits count. "default" and "default6" are 0.0.0.0/0 and ::/0. */
export function parsePrefix(text: string): Prefix {
  if (text === "default") return { bytes: new Uint8Array(4), length: 0 };
  if (text === "default6") return { bytes: new Uint8Array(16), length: 0 };
  const [address = "", bits] = text.split("/");
  const bytes = parseIp(address);
  const length = bits === undefined ? bytes.length * 8 : Number(bits);
  if (!Number.isInteger(length) || length < 0 || length > bytes.length * 8 || bits === "") {
    throw bad("prefix", text, "such as 10.0.0.0/8");
  }
  return { bytes, length };
}

/** Whether an address of the same family lies in a prefix. */
export function inPrefix(address: Uint8Array, { bytes, length }: Prefix): boolean {
  if (address.length !== bytes.length) return false;
  for (let bit = 0; bit < length; bit += 8) {
    const mask = length - bit >= 8 ? 0xff : (0xff << (8 - (length - bit))) & 0xff;
    if ((((address[bit / 8] as number) ^ (bytes[bit / 8] as number)) & mask) !== 0) return false;
  }
  return true;
}

/** "02:00:00:00:00:01" to 6 bytes. */
export function parseMac(text: string): Uint8Array {
  const bytes = addresses.parseMac(text);
  if (bytes === undefined) throw bad("MAC address", text, "such as 02:00:00:00:00:01");
  return bytes;
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, index) => byte === b[index]);
}
