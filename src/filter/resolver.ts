/** Names of hosts, Ethernet stations and networks: only those that the caller gives, never the network's. */
import { parseIpv4, parseIpv6, parseMac } from "../addresses.ts";
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

const wordsOf = (bytes: Uint8Array): readonly number[] => {
  const view = new DataView(bytes.buffer);
  return Array.from({ length: bytes.length >> 2 }, (_, index) => view.getUint32(4 * index));
};

/** The 32-bit word of dotted decimal, or undefined. */
export function parseIp4(text: string): number | undefined {
  const bytes = parseIpv4(text);
  return bytes && wordsOf(bytes)[0];
}

/** Four 32-bit words of an IPv6 address, or undefined. */
export function parseIp6(text: string): readonly number[] | undefined {
  const bytes = parseIpv6(text);
  return bytes && wordsOf(bytes);
}

/** Six bytes of `02:00:00:00:00:01` and its relatives, or undefined. */
export function parseStation(text: string): readonly number[] | undefined {
  const digits = text.replace(/[.]/g, "");
  const bytes = parseMac(
    /^[0-9A-Fa-f]{12}$/.test(digits) ? digits.replace(/..(?!$)/g, "$&:") : text.replaceAll(".", ":"),
  );
  return bytes && [...bytes];
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
      if (parseStation(address) === undefined) throw wrong("hosts", words);
      for (const name of names) ethers.set(name, parseStation(address) as readonly number[]);
      continue;
    }
    for (const name of names) {
      const known = hosts.get(name.toLowerCase()) ?? [];
      hosts.set(name.toLowerCase(), [...known, address]);
    }
  }
  for (const words of entries(files.ethers ?? "")) {
    const mac = parseStation(words[0] ?? "");
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
