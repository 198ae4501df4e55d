/** Names of hosts, Ethernet stations and networks: only those that the caller gives, never the network's. */
import { BpfError } from "../errors.ts";

/** What names in a filter stand for; each function answers undefined (or nothing) for names that it doesn't know. */
export interface FilterResolver {
  /** IPv4 and IPv6 addresses as text, in the order in which they shall be tested. */
  host(name: string): readonly string[];
  /** Six bytes. */
  ether(name: string): readonly number[] | undefined;
  /** The number of a network as getnetbyname(3) gives it: 0x0a000000 for `10` and for `10.0.0.0`. */
  network(name: string): number | undefined;
}

/** Texts of files like /etc/hosts, /etc/ethers and /etc/networks. */
export interface HostFiles {
  readonly hosts?: string | undefined;
  readonly ethers?: string | undefined;
  readonly networks?: string | undefined;
}

/** Four bytes of dotted decimal, or undefined. */
export function parseIp4(text: string): number | undefined {
  const parts = /^(\d{1,3})\.(\d{1,3})\.(\d{1,3})\.(\d{1,3})$/.exec(text);
  if (parts === null) return undefined;
  let address = 0;
  for (const part of parts.slice(1)) {
    if (Number(part) > 255) return undefined;
    address = address * 256 + Number(part);
  }
  return address;
}

/** Four 32-bit words of an IPv6 address, or undefined. */
export function parseIp6(text: string): readonly number[] | undefined {
  const tail = /^(.*:)(\d{1,3}(?:\.\d{1,3}){3})$/.exec(text);
  let plain = text;
  if (tail !== null) {
    const v4 = parseIp4(tail[2] as string);
    if (v4 === undefined) return undefined;
    plain = `${tail[1]}${(v4 >>> 16).toString(16)}:${(v4 & 0xffff).toString(16)}`;
  }
  const halves = plain.split("::");
  if (halves.length > 2) return undefined;
  const groups = halves.map((half) => (half === "" ? [] : half.split(":")));
  const given = groups.flat();
  if (given.some((group) => !/^[0-9A-Fa-f]{1,4}$/.test(group))) return undefined;
  const missing = 8 - given.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...(groups[0] ?? []), ...Array.from({ length: missing }, () => "0"), ...(groups[1] ?? [])];
  const numbers = all.map((group) => Number.parseInt(group, 16));
  return [0, 2, 4, 6].map((at) => (numbers[at] as number) * 65536 + (numbers[at + 1] as number));
}

/** Six bytes of `02:00:00:00:00:01` and its relatives, or undefined. */
export function parseMac(text: string): readonly number[] | undefined {
  const separated = text.split(/[:.-]/);
  if (separated.length === 6 && separated.every((part) => /^[0-9A-Fa-f]{1,2}$/.test(part))) {
    return separated.map((part) => Number.parseInt(part, 16));
  }
  const digits = text.replace(/[.]/g, "");
  if (!/^[0-9A-Fa-f]{12}$/.test(digits)) return undefined;
  return Array.from({ length: 6 }, (_, index) => Number.parseInt(digits.slice(2 * index, 2 * index + 2), 16));
}

function* entries(text: string): Generator<readonly string[]> {
  for (const line of text.split(/\r?\n/)) {
    const words = (line.split("#")[0] as string).trim().split(/\s+/);
    if (words.length >= 2) yield words;
  }
}

/** The C library fills up missing bytes with zeros, so that `net NAME` compares whole addresses. */
function networkNumber(text: string): number | undefined {
  const bytes = text.split(".").map(Number);
  if (bytes.length > 4 || bytes.some((byte) => !Number.isInteger(byte) || byte < 0 || byte > 255))
    return undefined;
  return [0, 1, 2, 3].reduce((sum, place) => sum * 256 + (bytes[place] ?? 0), 0);
}

/**
 * Makes a resolver of files' texts. Lines that make no sense are an error, for a filter with a name that silently
 * stands for nothing would be worse.
 *
 * @throws BpfError code "filter" with `where.line` and `where.file`, one of "hosts", "ethers", "networks"
 * @example
 * const resolver = parseHosts({ hosts: "192.0.2.1 gate\n" });
 * resolver.host("gate"); // ["192.0.2.1"]
 */
export function parseHosts(files: HostFiles): FilterResolver {
  const hosts = new Map<string, string[]>();
  const ethers = new Map<string, readonly number[]>();
  const networks = new Map<string, number>();
  const wrong = (file: string, words: readonly string[]): BpfError =>
    new BpfError("filter", `${file} file: '${words.join(" ")}' is no entry`, { where: { file } });
  for (const words of entries(files.hosts ?? "")) {
    const [address = "", ...names] = words;
    if (parseIp4(address) === undefined && parseIp6(address) === undefined) {
      // A hosts file may name Ethernet stations, too.
      if (parseMac(address) === undefined) throw wrong("hosts", words);
      for (const name of names) ethers.set(name, parseMac(address) as readonly number[]);
      continue;
    }
    for (const name of names) {
      const known = hosts.get(name.toLowerCase()) ?? [];
      hosts.set(name.toLowerCase(), [...known, address]);
    }
  }
  for (const words of entries(files.ethers ?? "")) {
    const mac = parseMac(words[0] ?? "");
    if (mac === undefined) throw wrong("ethers", words);
    ethers.set(words[1] as string, mac);
  }
  for (const words of entries(files.networks ?? "")) {
    const number = networkNumber(words[1] as string);
    if (number === undefined) throw wrong("networks", words);
    for (const name of [words[0] as string, ...words.slice(2)]) networks.set(name, number);
  }
  return {
    host: (name) => hosts.get(name.toLowerCase()) ?? [],
    ether: (name) => ethers.get(name),
    network: (name) => networks.get(name),
  };
}

/** Knows no name. */
export const NO_NAMES: FilterResolver = parseHosts({});
