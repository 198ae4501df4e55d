/** Tunnels: what is asked behind them is looked for in the inner packet. */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readCaptureSync } from "../../src/capture/index.ts";
import { BpfError } from "../../src/errors.ts";
import { type FilterOptions, compileFilter, parseHosts } from "../../src/filter/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";

const MACS = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2];
const ether = (type: number, payload: readonly number[]): number[] => [
  ...MACS,
  type >> 8,
  type & 255,
  ...payload,
];
const ip4 = (protocol: number, payload: readonly number[], last = 1, options = 0): number[] => {
  const length = 20 + 4 * options + payload.length;
  const head = [0x45 + options, 0, length >> 8, length & 255, 0, 0, 0, 0, 64, protocol, 0, 0];
  return [...head, 10, 0, 0, last, 10, 0, 0, 99, ...Array.from({ length: 4 * options }, () => 1), ...payload];
};
const ip6 = (next: number, payload: readonly number[]): number[] => {
  const address = (last: number): number[] => [
    0x20,
    1,
    0x0d,
    0xb8,
    ...Array.from({ length: 11 }, () => 0),
    last,
  ];
  return [0x60, 0, 0, 0, 0, payload.length, next, 64, ...address(1), ...address(2), ...payload];
};
const udp = (port: number, payload: readonly number[]): number[] => [
  0x30,
  0x39,
  port >> 8,
  port & 255,
  0,
  0,
  0,
  0,
  ...payload,
];
const tcp = udp(
  80,
  Array.from({ length: 12 }, () => 0),
);
const vxlan = (vni: number, frame: readonly number[]): number[] => [8, 0, 0, 0, 0, 0, vni, 0, ...frame];
const inner = ip4(6, tcp, 7);

const frames = {
  vxlan: ether(0x800, ip4(17, udp(4789, vxlan(5, ether(0x800, inner))))),
  "vxlan 6": ether(0x86dd, ip6(17, udp(8472, vxlan(6, ether(0x8100, [0, 9, 8, 0, ...inner]))))),
  gre: ether(0x800, ip4(47, [0, 0, 8, 0, ...inner], 1, 1)),
  "gre key": ether(
    0x800,
    ip4(47, [0xb0, 0, 0x65, 0x58, 1, 2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 3, ...ether(0x800, inner)]),
  ),
  "gre 1": ether(0x800, ip4(47, [0, 1, 8, 0, ...inner])),
  ipip: ether(0x800, ip4(4, inner)),
  "6in4": ether(0x800, ip4(41, ip6(6, tcp))),
  "4in6": ether(0x86dd, ip6(4, inner)),
  plain: ether(0x800, inner),
} as const;
type Frame = keyof typeof frames;

const found = (expression: string, options: FilterOptions = {}): string[] =>
  Object.entries(frames)
    .filter(([, frame]) => {
      const verdicts = [true, false].map((optimize) =>
        compileFilter(expression, { ...options, optimize }).matches(Uint8Array.from(frame)),
      );
      expect(verdicts[0]).toBe(verdicts[1]);
      return verdicts[0] !== 0;
    })
    .map(([name]) => name);

describe("tunnels", () => {
  const cases: readonly (readonly [string, readonly Frame[]])[] = [
    ["vxlan", ["vxlan"]],
    ["vxlan 5", ["vxlan"]],
    ["vxlan 6", []],
    ["vxlan port 8472", ["vxlan 6"]],
    ["vxlan 6 port 8472 and vlan 9 and tcp port 80", ["vxlan 6"]],
    ["vxlan and host 10.0.0.7 and tcp dst port 80", ["vxlan"]],
    ["vxlan and host 10.0.0.1", []],
    ["vxlan and ether src 2:0:0:0:0:2", ["vxlan"]],
    ["host 10.0.0.1 and vxlan and host 10.0.0.7", ["vxlan"]],
    ["gre", ["gre", "gre key"]],
    ["gre and tcp port 80 and host 10.0.0.7", ["gre", "gre key"]],
    ["gre and ether dst 2:0:0:0:0:1", ["gre key"]],
    ["gre 258 and ip[9] = 6", ["gre key"]],
    ["gre 259", []],
    ["ip proto gre", ["gre", "gre key", "gre 1"]],
    ["ip proto 4 or gre", ["gre", "gre key", "gre 1", "ipip"]],
    ["ipip", ["ipip", "6in4", "4in6"]],
    ["ipip and ip6", ["6in4"]],
    ["ipip and host 10.0.0.7", ["ipip", "4in6"]],
    ["ipip and tcp port 80", ["ipip", "6in4", "4in6"]],
    ["tcp", ["plain"]],
  ];
  it.each(cases)("%s", (expression, expected) => {
    expect(found(expression)).toEqual(expected);
  });

  it("are words of libpcap's language only where it has them", () => {
    const strict = { compat: "libpcap" } as const;
    for (const expression of ["vxlan", "gre", "ipip", "vlan 10-20", "geneve port 6082"]) {
      expect(() => compileFilter(expression, strict)).toThrow(BpfError);
    }
    expect(found("ip proto 4 or gre", strict)).toEqual(["gre", "gre key", "gre 1", "ipip"]);
    expect(() => compileFilter("vxlan 16777216")).toThrow(/greater than maximum 16777215/);
    expect(() => compileFilter("vxlan port 65536")).toThrow(/illegal port number/);
  });

  it("a gateway passes on what is not its own", () => {
    const resolver = parseHosts({ hosts: "10.0.0.1 gate\n", ethers: "2:0:0:0:0:2 gate\n" });
    const passed = found("gateway gate", { resolver });
    expect(passed).toEqual(["vxlan 6", "4in6", "plain"]);
  });
});

describe.skipIf(!hasCorpus)(needs("tunnels in captures", hasCorpus, "corpus"), () => {
  const cases: readonly (readonly [string, string, number])[] = [
    ["gso-ipv4-vxlan-ipv4.pcap", "vxlan and ip", 1],
    ["gso-ipv6-vxlan-ipv4.pcap", "vxlan and ip", 1],
    ["gso-ipv6-vxlan-ipv6.pcap", "vxlan and ip6", 1],
    ["gso-ipv4-geneve-ipv4.pcap", "geneve and ip", 1],
    ["erspan-type-ii-3.pcap", "gre", 108],
  ];
  it.each(cases)("%s: %s", (file, expression, expected) => {
    const capture = readCaptureSync(new Uint8Array(readFileSync(join(CORPUS, "captures", file))));
    const filter = compileFilter(expression);
    let count = 0;
    for (const packet of capture.packets()) count += filter.matches(packet.data) === 0 ? 0 : 1;
    expect(count).toBe(expected);
  });
});
