/** What the language means beyond libpcap's answers: trees, errors with places, warnings, our better readings. */
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { checkCbpf, runCbpf } from "../../src/cbpf/index.ts";
import { BpfError } from "../../src/errors.ts";
import {
  type FilterOptions,
  caretExcerpt,
  compileFilter,
  explainFilter,
  parseFilter,
  parseHosts,
  whyFilter,
} from "../../src/filter/index.ts";

/** An Ethernet frame with an IPv4 packet. */
function ip4(protocol: number, payload: readonly number[], source = [10, 0, 0, 1]): Uint8Array {
  const header = [0x45, 0, 0, 20 + payload.length, 0, 0, 0, 0, 64, protocol, 0, 0, ...source, 10, 0, 0, 2];
  return Uint8Array.from([2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 8, 0, ...header, ...payload]);
}
const tcp = (flags: number, port = 80): number[] => [
  0,
  9,
  port >> 8,
  port & 255,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0,
  0x50,
  flags,
  0,
  0,
  0,
  0,
  0,
  0,
];
const tag = (id: number, frame: Uint8Array): Uint8Array =>
  Uint8Array.from([...frame.slice(0, 12), 0x81, 0, id >> 8, id & 255, ...frame.slice(12)]);

const matches = (expression: string, packet: Uint8Array, options: FilterOptions = {}): boolean => {
  const verdicts = [true, false].map(
    (optimize) => compileFilter(expression, { ...options, optimize }).matches(packet) !== 0,
  );
  expect(verdicts[0]).toBe(verdicts[1]);
  return verdicts[0] as boolean;
};

describe("syntax trees", () => {
  const cases: readonly (readonly [string, unknown])[] = [
    [
      "tcp port 80",
      { kind: "match", qualifiers: { protocol: "tcp", type: "port" }, id: { kind: "number", value: 80 } },
    ],
    ["src or dst host a", { kind: "match", qualifiers: { direction: "src or dst", type: "host" } }],
    ["ether[0] & 1 != 0", { kind: "relation", op: "!=", left: { kind: "binary", op: "&" } }],
    // `%` has no rank: it takes all that follows.
    ["len % 4 + 1 = 2", { left: { kind: "binary", op: "%", right: { kind: "binary", op: "+" } } }],
    ["1 + 2 * 3 = 7", { left: { op: "+", right: { op: "*" } } }],
    [
      "host a and not (b or c)",
      { kind: "chain", rest: [{ op: "and", term: { kind: "not", operand: { kind: "chain" } } }] },
    ],
    ["vlan 10-20", { kind: "encapsulation", protocol: "vlan", id: 10, last: 20 }],
    ["not tcp and udp", { kind: "chain", first: { kind: "not" }, rest: [{ op: "and" }] }],
    ["", { kind: "everything" }],
  ];
  it.each(cases)("%s", (expression, expected) => {
    expect(parseFilter(expression)).toMatchObject(expected as object);
  });

  it("has the place of every part", () => {
    const tree = parseFilter("ip and tcp port 80");
    expect(tree).toMatchObject({
      span: { start: 0, end: 18 },
      rest: [{ term: { span: { start: 7, end: 18 } } }],
    });
  });
});

describe("errors", () => {
  const cases: readonly (readonly [expression: string, column: number, message: RegExp])[] = [
    ["host", 5, /expected a name, number or address, the expression ends here/],
    ["tcp port", 9, /the expression ends here/],
    ["tcp and", 8, /expected a primitive/],
    ["(tcp", 5, /expected '\)'/],
    ["tcp)", 4, /expected 'and', 'or' or the end/],
    ["ip.addr == 10.0.0.1", 1, /did you mean `host 10\.0\.0\.1`\?/],
    ["tcp.port == 80 and tcp", 1, /did you mean `tcp port 80`\?/],
    ["ip host nowhere", 9, /unknown host 'nowhere'; names come only from the given hosts file/],
    ["port 65536", 1, /illegal port number 65536/],
    ["net 10.0.0.1/8", 5, /non-network bits set/],
    ["vlan 4096", 1, /VLAN tag 4096 greater than maximum 4095/],
    ["tcp[0:3] = 1", 1, /data size must be 1, 2, or 4/],
    ["1 / 0 = 1", 5, /division by zero/],
    ["0x100000000 = 1", 1, /overflows 32 bits/],
    ["host a\u0000b", 7, /unexpected character '\\u\{0\}'/],
    ["ether host 1:2:3:", 12, /bogus ethernet address/],
    ["80", 3, /expected a comparison, the expression ends here/],
    ["tcp host 10.0.0.1", 1, /'tcp' modifier applied to host; write `tcp and host ADDRESS`/],
  ];
  it.each(cases)("%s", (expression, column, message) => {
    try {
      compileFilter(expression);
      expect.unreachable();
    } catch (error) {
      expect(error).toBeInstanceOf(BpfError);
      expect((error as BpfError).code).toBe("filter");
      expect((error as BpfError).message).toMatch(message);
      expect((error as BpfError).where.column).toBe(column);
    }
  });

  it("shows the place", () => {
    expect(caretExcerpt("host foo", { start: 5, end: 8 })).toBe("host foo\n     ^^^");
    const long = `${"tcp or ".repeat(100)}host foo`;
    expect(caretExcerpt(long, { start: 705, end: 708 }).split("\n")[1]?.trim()).toBe("^^^");
  });

  it("refuses options that it doesn't have", () => {
    const wrong = { linkType: 1 } as unknown as FilterOptions;
    expect(() => compileFilter("ip", wrong)).toThrow(/no option 'linkType'/);
    expect(() => compileFilter("ip", { linktype: "NOSUCH" })).toThrow(/link type NOSUCH/);
    expect(() => compileFilter("ip", { snaplen: -1 })).toThrow(/snaplen/);
  });
});

describe("hostile input ends in one error with a place", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["10,000 parentheses", `${"(".repeat(10_000)}tcp${")".repeat(10_000)}`],
    ["10,000 nots", `${"not ".repeat(10_000)}tcp`],
    ["10,000 brackets", "tcp[".repeat(10_000)],
    ["10,000 minus signs", `${"-".repeat(10_000)}1 = 2`],
    [
      "100,000 different terms",
      Array.from({ length: 100_000 }, (_, i) => `ip[${i % 60}] = ${i % 251}`).join(" or "),
    ],
  ];
  it.each(cases)(
    "%s",
    (_, expression) => {
      expect(() => compileFilter(expression)).toThrow(BpfError);
    },
    30_000,
  );

  it("takes any characters", () => {
    const words = [
      "tcp",
      "(",
      ")",
      "not",
      "and",
      "or",
      "port",
      "80",
      "host",
      "10.0.0.1",
      "[",
      "]",
      ":",
      "=",
      "/",
      "vlan",
      "$ff",
      "::1",
      "\\",
      "é",
      "0x",
      "len",
      "&",
    ];
    const text = fc.array(fc.constantFrom(...words), { maxLength: 12 }).map((parts) => parts.join(" "));
    fc.assert(
      fc.property(fc.oneof(text, fc.string({ maxLength: 40 })), (expression) => {
        try {
          const { cbpf } = compileFilter(expression);
          runCbpf(cbpf, new Uint8Array(64));
        } catch (error) {
          expect(error).toBeInstanceOf(BpfError);
        }
      }),
      { seed: 5, numRuns: 1500 },
    );
  });
});

describe("better than libpcap, unless told otherwise", () => {
  const frame = ip4(6, tcp(2));
  it("vlan moves headers only for what is joined by and", () => {
    expect(matches("vlan 5 or tcp", frame)).toBe(true);
    expect(matches("vlan 5 or tcp", frame, { compat: "libpcap" })).toBe(false);
    expect(matches("vlan 5 and tcp", tag(5, frame))).toBe(true);
    expect(matches("(vlan 5 or vlan 6) and tcp", tag(6, frame))).toBe(true);
    expect(matches("vlan 5 or vlan 6", tag(6, frame))).toBe(true);
    expect(matches("not vlan 5 and tcp", frame)).toBe(true);
    expect(compileFilter("vlan 5 or tcp").warnings).toMatchObject([{ code: "compat", span: { start: 10 } }]);
    expect(compileFilter("vlan 5 and tcp").warnings).toEqual([]);
  });
  it("guards every operand", () => {
    const udp = ip4(17, tcp(2));
    expect(matches("tcp-syn & tcp[tcpflags] != 0", udp)).toBe(false);
    expect(matches("tcp-syn & tcp[tcpflags] != 0", udp, { compat: "libpcap" })).toBe(true);
    expect(matches("tcp-syn & tcp[tcpflags] != 0", frame)).toBe(true);
    expect(compileFilter("tcp-syn & icmp[0] != 0").warnings).toMatchObject([{ code: "compat" }]);
  });
  it("reads transport headers in IPv6, behind extension headers", () => {
    const frame6 = (next: number, payload: readonly number[]): Uint8Array =>
      Uint8Array.from([
        ...frame.slice(0, 12),
        0x86,
        0xdd,
        0x60,
        0,
        0,
        0,
        0,
        payload.length,
        next,
        64,
        ...Array.from({ length: 32 }, () => 1),
        ...payload,
      ]);
    const syn = "tcp[tcpflags] & tcp-syn != 0";
    const options = (next: number): number[] => [next, 0, 1, 4, 0, 0, 0, 0];
    const fragment = (next: number, offset: number): number[] => [
      next,
      0,
      offset >> 5,
      (offset << 3) & 255,
      0,
      0,
      0,
      1,
    ];
    const authentication = (next: number): number[] => [next, 1, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    const cases: readonly (readonly [Uint8Array, boolean])[] = [
      [frame6(6, tcp(2)), true],
      [frame6(6, tcp(16)), false],
      [frame6(17, tcp(2)), false],
      [frame6(0, [...options(6), ...tcp(2)]), true],
      [frame6(0, [...options(43), ...options(6), ...tcp(2)]), true],
      [frame6(44, [...fragment(6, 0), ...tcp(2)]), true],
      [frame6(44, [...fragment(6, 7), ...tcp(2)]), false],
      [frame6(51, [...authentication(6), ...tcp(2)]), true],
      [frame6(0, [...options(17), ...tcp(2)]), false],
    ];
    for (const [packet, expected] of cases) {
      expect(matches(syn, packet)).toBe(expected);
      expect(matches(syn, packet, { compat: "libpcap" })).toBe(false);
    }
    expect(matches(syn, frame)).toBe(true);
    expect(compileFilter(`host 10.0.0.1 and ${syn}`).cbpf.length).toBeLessThan(22);
    expect(compileFilter(syn).warnings).toMatchObject([{ code: "compat" }]);
    checkCbpf(compileFilter(syn).cbpf);
  });
  it("byte N & V reads the byte", () => {
    expect(matches("byte 12 & 8", frame)).toBe(true);
    expect(matches("byte 12 & 8", frame, { compat: "libpcap" })).toBe(false);
  });
  it("ranges of VLANs", () => {
    const verdicts = [9, 10, 15, 20, 21].map((id) => matches("vlan 10-20 and tcp", tag(id, frame)));
    expect(verdicts).toEqual([false, true, true, true, false]);
  });
});

describe("big disjunctions", () => {
  const list = (of: (i: number) => string, n = 1000): string =>
    Array.from({ length: n }, (_, i) => of(i)).join(" or ");
  const scattered = (i: number): number[] => [10, (i * 37) & 255, (i * 101) & 255, (i * 53 + 7) & 255];

  it("a thousand hosts fit into what Linux takes", () => {
    const { cbpf } = compileFilter(list((i) => `host ${scattered(i).join(".")}`));
    expect(cbpf.length).toBeLessThan(4096);
    checkCbpf(cbpf);
    for (let i = 0; i < 1000; i += 37) {
      expect(runCbpf(cbpf, ip4(6, tcp(0), scattered(i)))).toBeGreaterThan(0);
      const [a = 0, b = 0, c = 0, d = 0] = scattered(i);
      expect(runCbpf(cbpf, ip4(6, tcp(0), [a + 1, b, c, d]))).toBe(0);
    }
  });
  it("neighbours join", () => {
    expect(compileFilter(list((i) => `host 10.0.${i >> 8}.${i & 255}`)).cbpf.length).toBeLessThan(40);
    expect(compileFilter(list((i) => `port ${i + 100}`)).cbpf.length).toBeLessThan(50);
    expect(
      compileFilter(list((i) => `not port ${i + 100}`).replaceAll(" or ", " and ")).cbpf.length,
    ).toBeLessThan(50);
  });
  it("hosts and ports mixed equal the plain program", () => {
    const expression = list((i) => (i % 2 === 0 ? `host ${scattered(i).join(".")}` : `port ${i * 7}`), 40);
    const fast = compileFilter(expression).cbpf;
    const plain = compileFilter(
      list((i) => (i % 2 === 0 ? `(host ${scattered(i).join(".")})` : `(port ${i * 7})`), 40),
      { optimize: false },
    ).cbpf;
    for (let i = 0; i < 300; i++) {
      const whole = ip4(i % 3 === 0 ? 17 : 6, tcp(0, i), scattered(i % 60));
      const packet = whole.slice(0, i % 4 === 0 ? i % whole.length : whole.length);
      expect(runCbpf(fast, packet) !== 0).toBe(runCbpf(plain, packet) !== 0);
    }
  });
});

describe("the compiled filter", () => {
  it("tells never and always from invalid", () => {
    expect(compileFilter("ip and ip6").warnings).toMatchObject([{ code: "never" }]);
    expect(compileFilter("len >= 0").warnings).toMatchObject([{ code: "always" }]);
    expect(compileFilter("").warnings).toEqual([]);
  });
  it("tells what Linux would refuse", () => {
    expect(compileFilter("ip6 protochain 6").warnings).toMatchObject([{ code: "linux" }]);
    expect(compileFilter("ip6 protochain 6").warnings[0]?.message).toMatch(/loops are not allowed/);
  });
  it("has the program in extended BPF", () => {
    expect(compileFilter("tcp port 80").ebpf.length).toBeGreaterThan(10);
  });
  it("resolves names by the caller's files alone", () => {
    const resolver = parseHosts({
      hosts: "10.0.0.1 a\n10.0.0.9 b # c\n",
      ethers: "2:2:2:2:2:2 e\n",
      networks: "n 10\n",
    });
    const packet = ip4(6, tcp(0));
    expect(matches("host a", packet, { resolver })).toBe(true);
    expect(matches("host b", packet, { resolver })).toBe(false);
    expect(matches("ether host e", packet, { resolver })).toBe(true);
    expect(() => parseHosts({ hosts: "10.0.0 a" })).toThrow(/hosts file: '10\.0\.0 a' is no entry/);
  });
  it("explains itself", () => {
    const { summary, decisions } = explainFilter(compileFilter("ip and tcp port 80"));
    expect(summary).toBe("packets of protocol ip and with tcp source or destination port 80");
    expect(decisions[0]).toEqual({ id: 0, question: "bytes 12 to 13 = 0x800", yes: 1, no: "reject" });
  });
  it("says why", () => {
    const filter = compileFilter("tcp port 80");
    expect(whyFilter(filter, ip4(6, tcp(0))).matched).toBe(true);
    expect(whyFilter(filter, ip4(17, [])).because).toBe("byte 23 = 0x6 is false: found 0x11");
    expect(whyFilter(filter, new Uint8Array(13)).because).toBe(
      "bytes 12 to 13 can't be read: the packet has 13 bytes",
    );
  });
  it("why agrees with the program", () => {
    for (const expression of [
      "host 10.0.0.1 or port 53 or port 54",
      "vlan 3 and tcp[13] & 2 != 0",
      "ip6 or len > 40",
      "ip protochain 6",
    ]) {
      const filter = compileFilter(expression);
      for (let cut = 0; cut < 60; cut++) {
        for (const frame of [ip4(6, tcp(2)), tag(3, ip4(6, tcp(2)))]) {
          const packet = frame.slice(0, cut);
          expect(whyFilter(filter, packet).matched).toBe(filter.matches(packet) !== 0);
        }
      }
    }
  });
});

it.each([
  ["host 192.0.2.1 and host 192.0.2.2", {}, 20],
  ["(host 192.0.2.1 and host 192.0.2.2) or (host 192.0.2.3 and host 192.0.2.4)", {}, 34],
  ["not port 22 and not port 53", {}, 27],
  // libpcap forgets radiotap's padding, too.
  ["pppoes", { linktype: "IEEE802_11_RADIO", compat: "libpcap" }, 28],
  ["geneve", { linktype: "IEEE802_11_RADIO", compat: "libpcap" }, 58],
] as const)("asks about what is loaded first: %s", (expression, options, length) => {
  expect(compileFilter(expression, options).cbpf.length).toBeLessThanOrEqual(length);
});
