/** Packets: tshark is the judge of what is built, captures of what is taken apart. */
import { spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { PcapWriter, readPacketsSync } from "../../src/capture/index.ts";
import {
  describePacket,
  diffPackets,
  dissect,
  eth,
  HEADERS,
  type HeaderName,
  internetChecksum,
  ipv4,
  ipv6,
  type PacketBuilder,
  startWith,
} from "../../src/packet/index.ts";
import { CORPUS, hasCorpus, hasTool, needs } from "../helpers.ts";

const INNER = ipv4({ src: "192.0.2.1", dst: "192.0.2.2" }).udp({ dport: 7 }).payload("inner");

/** What is built, and what tshark calls it: frame.protocols without its prefix. */
const PACKETS: readonly (readonly [title: string, packet: PacketBuilder, protocols: string])[] = [
  [
    "tcp",
    eth()
      .ipv4()
      .tcp({ flags: "syn", options: Uint8Array.of(2, 4, 5, 0xb4) }),
    "ip:tcp",
  ],
  [
    "tcp with payload",
    eth().ipv4().tcp({ sport: 1024, dport: 9, flags: "psh ack" }).payload(37),
    "ip:tcp:data",
  ],
  [
    "odd udp",
    eth()
      .ipv4({ options: Uint8Array.of(7, 3, 4) })
      .udp({ dport: 9 })
      .payload("odd"),
    "ip:udp:data",
  ],
  ["icmp echo", eth().ipv4().icmp({ id: 7, seq: 3 }).payload("ping"), "ip:icmp:data"],
  ["udp over IPv6", eth().ipv6().udp({ dport: 9 }).payload("x"), "ipv6:udp:data"],
  ["icmpv6 echo", eth().ipv6().icmpv6().payload("ping"), "ipv6:icmpv6:data"],
  [
    "extension headers",
    eth()
      .ipv6()
      .hopopts()
      .dstopts({ options: Uint8Array.of(1, 8, 0, 0, 0, 0, 0, 0, 0, 0) })
      .tcp({ dport: 9 }),
    "ipv6:ipv6.hopopts:ipv6.dstopts:tcp",
  ],
  [
    "fragment",
    eth().ipv6().fragment({ id: 5, more: 1 }).udp({ dport: 9 }).payload(16),
    "ipv6:ipv6.fraghdr:data",
  ],
  [
    "vlan",
    eth().qinq({ vid: 5 }).vlan({ vid: 6, pcp: 3 }).ipv4().udp({ dport: 9 }),
    "ieee8021ad:ethertype:vlan:ethertype:ip:udp",
  ],
  ["mpls", eth().mpls({ label: 1000 }).mpls({ label: 1001 }).ipv4().udp({ dport: 9 }), "mpls:ip:udp"],
  ["arp", eth().arp({ tpa: "10.0.0.7" }), "arp"],
  ["ipip", eth().ipv4().ipv4({ src: "192.0.2.1" }).udp({ dport: 9 }), "ip:ip:udp"],
  ["sit", eth().ipv4().ipv6().tcp({ dport: 9 }), "ip:ipv6:tcp"],
  ["gre", eth().ipv4().gre().ipv4().udp({ dport: 9 }), "ip:gre:ip:udp"],
  ["gre with key", eth().ipv4().gre({ key: 42, seq: 1 }).ipv6().tcp({ dport: 9 }), "ip:gre:ipv6:tcp"],
  [
    "vxlan",
    eth().ipv4().udp().vxlan({ vni: 77 }).eth().ipv4().udp({ dport: 9 }),
    "ip:udp:vxlan:eth:ethertype:ip:udp",
  ],
  [
    "geneve",
    eth().ipv6().udp().geneve({ vni: 5 }).eth().ipv4().tcp({ dport: 9 }),
    "ipv6:udp:geneve:eth:ethertype:ip:tcp",
  ],
  // tshark 4.0 knows no GUE.
  ["gue", eth().ipv4().udp().gue().ipv4().udp({ dport: 9 }), "ip:udp:data"],
  [
    "sctp",
    eth()
      .ipv4()
      .sctp({ tag: 7 })
      .payload(Uint8Array.of(3, 0, 0, 16, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 0)),
    "ip:sctp",
  ],
];

const ready = hasTool("tshark", "--version");

describe.skipIf(!ready)(needs("as tshark reads them", ready, "tshark"), () => {
  const folder = mkdtempSync(join(tmpdir(), "skep-packet-"));
  const file = join(folder, "all.pcap");
  const writer = new PcapWriter();
  for (const [, packet] of PACKETS)
    writer.packet({ data: packet.bytes(), timestampNs: 1_700_000_000_000_000_000n });
  writeFileSync(file, writer.take());
  const columns = [
    "frame.protocols",
    "ip.checksum.status",
    "tcp.checksum.status",
    "udp.checksum.status",
    "icmp.checksum.status",
    "icmpv6.checksum.status",
    "sctp.checksum.status",
    "_ws.expert.message",
  ];
  const checks = ["ip.check_checksum", "tcp.check_checksum", "udp.check_checksum"].flatMap((name) => [
    "-o",
    `${name}:TRUE`,
  ]);
  const { stdout } = spawnSync(
    "tshark",
    [
      "-r",
      file,
      ...checks,
      "-o",
      "sctp.checksum:CRC 32c",
      "-T",
      "fields",
      ...columns.flatMap((name) => ["-e", name]),
    ],
    { encoding: "utf8" },
  );
  rmSync(folder, { recursive: true });
  const rows = stdout.split("\n");

  it.each(PACKETS.map(([title, , protocols], index) => ({ title, protocols, index })))(
    "$title",
    ({ protocols, index }) => {
      const [found = "", ...states] = (rows[index] ?? "").split("\t");
      const statuses = states.slice(0, 6).flatMap((cell) => (cell === "" ? [] : cell.split(",")));
      const messages = states[6] ?? "";
      expect(found.replace(/^eth:(ethertype:)?/, "")).toBe(protocols);
      // 1: good. What is inside a fragment is not checked by anybody.
      expect(statuses.filter((status) => status !== "1" && status !== "Good")).toEqual([]);
      expect(messages).not.toMatch(/[Mm]alformed|[Bb]ad|incorrect|exceeds/);
    },
  );
});

describe("building", () => {
  it("fills in lengths, numbers and checksums", () => {
    const packet = eth().ipv4({ id: 1 }).udp({ dport: 9 }).payload("abc").bytes();
    expect(packet.length).toBe(14 + 20 + 8 + 3);
    const view = new DataView(packet.buffer);
    expect([view.getUint16(12), view.getUint16(16), packet[23], view.getUint16(38)]).toEqual([
      0x800, 31, 17, 11,
    ]);
    expect(internetChecksum(packet.subarray(14, 34))).toBe(0);
  });

  it("takes what is given as it is", () => {
    const packet = ipv4({ length: 9, checksum: 0x1234, protocol: 99 }).tcp({ checksum: 0, doff: 15 }).bytes();
    const view = new DataView(packet.buffer);
    expect([view.getUint16(2), view.getUint16(10), packet[9], packet[32], view.getUint16(36)]).toEqual([
      9, 0x1234, 99, 0xf0, 0,
    ]);
  });

  it("never changes a packet under construction", () => {
    const base = ipv6().udp();
    const first = base.payload("a").bytes();
    base.payload("bbbb").bytes();
    expect(base.payload("a").bytes()).toEqual(first);
    first[0] = 0;
    expect(base.payload("a").bytes()[0]).toBe(0x60);
  });

  it("sends a UDP checksum of zero as all ones", () => {
    // Chosen so that the sum is 0xffff.
    const zero = ipv4().udp({ checksum: 0 }).payload(Uint8Array.of(0, 0)).bytes();
    const sum = new DataView(ipv4().udp().payload(Uint8Array.of(0, 0)).bytes().buffer).getUint16(26);
    const filled = ipv4()
      .udp()
      .payload(Uint8Array.of(sum >> 8, sum & 255))
      .bytes();
    expect(new DataView(filled.buffer).getUint16(26)).toBe(0xffff);
    expect(zero.subarray(26, 28)).toEqual(Uint8Array.of(0, 0));
  });

  it.each([
    [
      "an unknown field",
      () => eth({ colour: 1 } as never),
      /^packet: eth has no field 'colour'; it has dst, src, type$/,
    ],
    ["a number too large", () => ipv4({ ttl: 256 }).bytes(), /^packet: ipv4\.ttl: 256 does not fit 8 bits$/],
    [
      "no address",
      () => ipv4({ dst: "10.0.0" }).bytes(),
      /^packet: ipv4\.dst: "10\.0\.0" is no address such as 10\.0\.0\.1$/,
    ],
    [
      "no flag",
      () => ipv4().tcp({ flags: "syn fun" }).bytes(),
      /^packet: tcp\.flags: no flag 'fun'; there are fin, syn,/,
    ],
    ["no header", () => startWith("ipx" as never), /^packet: no header 'ipx'; there are eth, vlan,/],
    ["a payload without measure", () => ipv4().payload(-1), /^packet: a payload of -1 bytes/],
  ])("%s is an error", (_, make, message) => {
    expect(make).toThrow(message);
  });

  it("fields of every header fill whole bytes", () => {
    for (const { name, fields } of HEADERS) {
      const bits = fields.reduce((sum, field) => sum + field.bits, 0);
      expect(bits % 8, name).toBe(0);
    }
  });
});

describe("taking apart", () => {
  it.each(PACKETS.map(([title, packet]) => ({ title, bytes: packet.bytes() })))(
    "$title and back",
    ({ bytes }) => {
      expect(rebuild(bytes)).toEqual(bytes);
    },
  );

  it("names, values, payload", () => {
    const packet = eth().ipv4({ ttl: 9 }).tcp({ flags: "syn ack" }).payload("hi").bytes();
    expect(dissect(packet).map(({ name, offset, length }) => [name, offset, length])).toEqual([
      ["eth", 0, 14],
      ["ipv4", 14, 20],
      ["tcp", 34, 20],
      ["payload", 54, 2],
    ]);
    expect(describePacket(packet)).toMatch(
      /^Ethernet: dst=02:00:00:00:00:02 src=.* type=0x0800\nIPv4: .* ttl=9 /,
    );
    expect(describePacket(packet)).toMatch(/flags=syn ack .*\npayload: 2 bytes 6869$/);
  });

  it("a later fragment has no header of the next protocol", () => {
    const packet = ipv4({ offset: 10, protocol: 6 }).payload(64).bytes();
    expect(dissect(packet, "ipv4").map(({ name }) => name)).toEqual(["ipv4", "payload"]);
  });

  it("what is cut off is payload", () => {
    const packet = eth().ipv4().tcp().bytes();
    for (let length = 0; length <= packet.length; length++) {
      const layers = dissect(packet.subarray(0, length));
      expect(layers.reduce((sum, layer) => sum + layer.length, 0)).toBe(length);
    }
  });

  it("any bytes: every byte belongs to one layer, and building the layers again gives the bytes", () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ maxLength: 200 }),
        fc.constantFrom(...HEADERS.map(({ name }) => name)),
        (bytes, first) => {
          const layers = dissect(bytes, first);
          let end = 0;
          for (const { offset, length } of layers) {
            expect(offset).toBe(end);
            end += length;
          }
          expect(end).toBe(bytes.length);
          expect(rebuild(bytes, first)).toEqual(bytes);
        },
      ),
      { seed: 7, numRuns: 2000 },
    );
  });

  it.skipIf(!hasCorpus)(needs("captures", hasCorpus, "corpus"), () => {
    let packets = 0;
    for (const name of readdirSync(join(CORPUS, "captures"))
      .filter((file) => file.endsWith(".pcap"))
      .slice(0, 120)) {
      for (const { data, linktype } of readPacketsSync(readFileSync(join(CORPUS, "captures", name)))) {
        if (linktype !== 1 || packets > 4000) continue;
        packets++;
        expect(rebuild(data), name).toEqual(data);
      }
    }
    expect(packets).toBeGreaterThan(500);
  });
});

/** The packet made anew from all the fields that were read. */
function rebuild(bytes: Uint8Array, first: HeaderName = "eth"): Uint8Array {
  let packet: PacketBuilder | undefined;
  for (const { name, fields, offset, length } of dissect(bytes, first)) {
    if (name === "payload") {
      const content = bytes.subarray(offset, offset + length);
      if (packet === undefined) return content.slice();
      packet = packet.payload(content);
      continue;
    }
    const values = Object.fromEntries(
      fields.map(({ name: own, value }) => [
        own,
        own === "options" ? Buffer.from(String(value), "hex") : value,
      ]),
    );
    packet = packet === undefined ? startWith(name, values as never) : packet[name](values as never);
  }
  return packet?.bytes() ?? new Uint8Array(0);
}

describe("differences", () => {
  const base = eth().ipv4({ ttl: 64 }).udp({ dport: 9 });
  it.each([
    ["the same", base, base, []],
    [
      "a field",
      base,
      eth().ipv4({ ttl: 63 }).udp({ dport: 9 }),
      [
        ["ipv4.ttl", "64", "63"],
        ["ipv4.checksum", "0x66cf", "0x67cf"],
      ],
    ],
    [
      "payload",
      base.payload("abc"),
      base.payload("abd"),
      [
        ["udp.checksum", "0x8b29", "0x8a29"],
        ["payload[2]", "63", "64"],
      ],
    ],
    [
      "another header",
      base,
      eth().ipv4({ ttl: 64 }).tcp({ dport: 9 }),
      [
        ["length", "42", "54"],
        ["layers", "eth ipv4 udp", "eth ipv4 tcp"],
      ],
    ],
  ] as const)("%s", (_, expected, actual, rows) => {
    const found = diffPackets(expected.bytes(), actual.bytes()).map((row) => [
      row.where,
      row.expected,
      row.actual,
    ]);
    expect(found.slice(0, rows.length)).toEqual(rows);
    if (rows.length === 0) expect(found).toEqual([]);
  });

  it("names the second header of a kind", () => {
    const tunnel = (ttl: number) => eth().ipv4().ipv4({ ttl }).udp().bytes();
    expect(diffPackets(tunnel(9), tunnel(8))[0]?.where).toBe("ipv4#2.ttl");
    expect(INNER.bytes().length).toBe(33);
  });
});
