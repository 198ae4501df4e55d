/**
 * Random expressions of the whole language. Most of them mean something on the link type that they are made for; some
 * are damaged afterwards by a lost, doubled or foreign word, since what is refused must be the same, too.
 */

type Next = () => number;
type Make = (g: Generator) => string;

const HOSTS = "192.0.2.1 10.0.0.1 10.0.0.2 127.0.0.1 224.0.0.1 255.255.255.255 0.0.0.0 10.1 10 192.0.2".split(
  " ",
);
const HOSTS6 = "2001:db8::1 2001:db8::2 ::1 :: fe80::1 ff02::1 ::ffff:192.0.2.1 1:2:3:4:5:6:7:8".split(" ");
const NAMES = "v4only.test v6only.test dual.test multi.test localhost nosuch.test".split(" ");
const MACS =
  "02:00:00:00:00:01 ff:ff:ff:ff:ff:ff 0200.0000.0001 2-0-0-0-0-1 020000000001 01:80:c2:00:00:00 2.0.0.0.0.2".split(
    " ",
  );
const NETS4 =
  "10/8 172.16/12 192.168/16 198.51.100.0/24 10.0.0.0/31 10.1 0.0.0.0/0 1.2.3.4/32 10.128/9 224/4".split(" ");
const NETS6 =
  "2001:db8::/32 fe80::/10 2001:db8:1::/49 ::/0 ff00::/8 2001:db8::1/128 2001:db8:0:8000::/65".split(" ");
const PORTS = "80 443 53 0 65535 http https domain 1024 0x50 0120 ssh ftp-data nosuch 65536 ntp".split(" ");
const IP_PROTOS =
  "6 17 1 58 47 50 51 89 0 43 44 60 59 132 255 256 \\tcp \\udp \\icmp \\sctp ospf gre \\esp \\ah".split(" ");
const ETHER_PROTOS =
  "0x800 0x86dd 0x806 0x8035 0x8100 0x88cc 0x8863 0x600 0x5dc 0x42 0xe0 0xf0 0xfe 0xaa 0x06 0x809b 0x80f3 0x8137 0x6003 0 1 0xffff 0x10000 \\ip \\ip6 \\arp \\rarp \\atalk \\aarp \\decnet \\iso \\stp \\ipx \\netbeui \\lat \\moprc \\mopdl \\sca foo".split(
    " ",
  );
const WORDS =
  "ip ip6 arp rarp tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp ah esp atalk aarp decnet lat sca mopdl moprc iso esis isis clnp l1 l2 iih lsp snp csnp psnp stp ipx netbeui llc pppoed".split(
    " ",
  );
const LOADS =
  "ip ip6 tcp udp sctp icmp icmp6 igmp igrp pim vrrp carp arp rarp ether link wlan radio atalk decnet sca lat mopdl moprc ppp fddi tr slip".split(
    " ",
  );
const CONSTANTS =
  "0 1 2 3 4 5 6 8 0xf 0x10 0x1f 0x40 0x45 0x60 0x80 0xf0 0xff 0x100 0x800 0x1fff 0xffff 0x10000 0x20010db8 0x80000000 0xfffffffe 0xffffffff 20 58 80 tcp-syn tcp-ack tcp-fin icmp-echo icmp6-echo icmp-unreach".split(
    " ",
  );
const OFFSETS =
  "0 1 2 4 6 8 9 10 12 13 14 16 20 24 40 60 tcpflags icmptype icmpcode icmp6type 100 1500 0xfffffff0".split(
    " ",
  );
const DIRECTIONS = ["", "", "", "src ", "dst ", "src or dst ", "src and dst ", "dst or src ", "dst and src "];
const WLAN_DIRECTIONS = ["addr1 ", "addr2 ", "addr3 ", "addr4 ", "ra ", "ta ", "address1 "];
const SUBTYPES =
  "assoc-req assoc-resp reassoc-req probe-req probe-resp beacon atim disassoc auth deauth ps-poll rts cts ack cf-end cf-end-ack data data-cf-ack null cf-ack qos-data qos-data-cf-poll qos qos-cf-poll".split(
    " ",
  );
const LLC_TYPES = "i s u rr rnr rej ui ua disc dm sabme test xid frmr".split(" ");
const REASONS =
  "match bad-offset fragment short normalize memory congestion ip-option proto-cksum state-limit 3".split(
    " ",
  );
const ACTIONS = "pass block nat nonat rdr scrub accept drop synproxy-drop".split(" ");
const ATM = "lane metac bcc oamf4ec oamf4sc sc ilmic oam oamf4 connectmsg metaconnect".split(" ");
const MTP2 = "fisu lssu msu hfisu hlssu hmsu lsu".split(" ");
const RELATIONS = ["=", "!=", ">", ">=", "<", "<=", "=="];
const OPERATORS = ["+", "-", "*", "/", "%", "&", "|", "^", "<<", ">>"];
const JUNK =
  "and or not ( ) [ ] : tcp port host 80 = & ! 10.0.0.1 ip net / - vlan src dst proto mask len 0x 1:2 ::1 foo \\ip > <<".split(
    " ",
  );

/** How often an expression is damaged. */
const DAMAGED = 0.08;

class Generator {
  readonly #next: Next;
  readonly family: string;
  constructor(next: Next, family: string) {
    this.#next = next;
    this.family = family;
  }
  chance(p: number): boolean {
    return this.#next() < p;
  }
  below(n: number): number {
    return Math.floor(this.#next() * n);
  }
  pick<T>(items: readonly T[]): T {
    return items[this.below(items.length)] as T;
  }
}

const port: Make = (g) => {
  const transport = g.pick(["", "", "tcp ", "udp ", "sctp ", "tcp ", g.chance(0.1) ? "ip " : ""]);
  const direction = g.pick(DIRECTIONS);
  if (g.chance(0.25)) {
    const [a, b] = [g.below(65536), g.below(65536)];
    return `${transport}${direction}portrange ${g.pick([`${a}-${b}`, "80-90", "1024-65535", "0-1023", "http-https", "5-5"])}`;
  }
  const list = g.chance(0.15) ? ` or ${g.pick(PORTS)}` : "";
  return `${transport}${direction}port ${g.chance(0.7) ? g.below(20) * 37 : g.pick(PORTS)}${list}`;
};

const host: Make = (g) => {
  const direction = g.pick(DIRECTIONS);
  const six = g.chance(0.3);
  const protocol = g.chance(0.7) ? "" : six ? "ip6 " : g.pick(["ip ", "arp ", "rarp "]);
  const who = g.chance(0.08) ? g.pick(NAMES) : g.pick(six ? HOSTS6 : HOSTS);
  const word = direction + protocol === "" || g.chance(0.7) ? "host " : "";
  return `${protocol}${direction}${word}${who}`;
};

const net: Make = (g) => {
  const direction = g.pick(DIRECTIONS);
  const six = g.chance(0.35);
  const protocol = g.chance(0.75) ? "" : six ? "ip6 " : g.pick(["ip ", "arp ", "rarp "]);
  const what = six
    ? g.pick(NETS6)
    : g.chance(0.15)
      ? g.pick([
          "10.0.0.0 mask 255.0.0.0",
          "10.0.0.1 mask 255.0.0.255",
          "10 mask 255",
          "lab24.test",
          "lab8.test",
        ])
      : g.pick(NETS4);
  return `${protocol}${direction}net ${what}`;
};

const proto: Make = (g) => {
  switch (g.below(7)) {
    case 0:
      return `ether proto ${g.pick(ETHER_PROTOS)}`;
    case 1:
      return `ip proto ${g.pick(IP_PROTOS)}`;
    case 2:
      return `ip6 proto ${g.pick(IP_PROTOS)}`;
    case 3:
      return `proto ${g.pick(IP_PROTOS)}`;
    case 4:
      return g.pick([
        "iso proto \\clnp",
        "iso proto \\esis",
        "iso proto 0x83",
        "isis proto 1",
        "isis proto 20",
        "l1",
      ]);
    case 5:
      return `${g.pick(["", "ip ", "ip6 "])}protochain ${g.pick(IP_PROTOS)}`;
    default:
      return `link proto ${g.pick(["0xc021", "0x21", "0x57", "0x42", "0x8100", ...ETHER_PROTOS])}`;
  }
};

function number(g: Generator): string {
  return g.chance(0.85) ? g.pick(CONSTANTS) : String(Math.floor(2 ** (32 * g.below(100) * 0.01)));
}

function arithmetic(g: Generator, depth: number): string {
  if (depth <= 0 || g.chance(0.25)) {
    if (g.chance(0.3)) return number(g);
    if (g.chance(0.12)) return "len";
    const wlan = g.family === "wlan" && g.chance(0.3);
    const protocol = g.chance(0.6)
      ? g.pick(["ip", "tcp", "ether", "udp", "ip6"])
      : wlan
        ? "wlan"
        : g.pick(LOADS);
    const size = g.pick(["", "", ":1", ":2", ":4", ":2", g.chance(0.05) ? ":3" : ""]);
    const index = g.chance(0.12)
      ? arithmetic(g, depth - 1)
      : g.chance(0.8)
        ? g.pick(OFFSETS)
        : String(g.below(70));
    return `${protocol}[${index}${size}]`;
  }
  if (g.chance(0.05)) return `-${arithmetic(g, depth - 1)}`;
  const left = arithmetic(g, depth - 1);
  const op = g.pick(OPERATORS);
  const right = g.chance(0.7) ? number(g) : arithmetic(g, depth - 1);
  const inner = `${left} ${op} ${right}`;
  return g.chance(0.4) ? `(${inner})` : inner;
}

const relation: Make = (g) => {
  if (g.chance(0.3)) {
    return g.pick([
      "tcp[tcpflags] & (tcp-syn|tcp-fin) != 0",
      "tcp[tcpflags] & tcp-syn != 0",
      "tcp[tcpflags] = tcp-ack",
      "icmp[icmptype] = icmp-echo",
      "icmp[icmptype] != icmp-echoreply",
      "icmp6[icmp6type] = icmp6-neighborsolicit",
      "ip[6:2] & 0x1fff = 0",
      "ip[0] & 0xf != 5",
      "ether[0] & 1 = 0",
      "ip6[6] = 0",
      "tcp[((tcp[12] & 0xf0) >> 2):4] = 0x47455420",
      "udp[8:4] = 0xdeadbeef",
      "len > 100",
      "ip[2:2] - ((ip[0] & 0xf) << 2) > 20",
    ]);
  }
  const left = arithmetic(g, 1 + g.below(2));
  return `${left} ${g.pick(RELATIONS)} ${g.chance(0.75) ? number(g) : arithmetic(g, 1)}`;
};

const station: Make = (g) => {
  const direction = g.family === "wlan" && g.chance(0.4) ? g.pick(WLAN_DIRECTIONS) : g.pick(DIRECTIONS);
  const word = direction === "" || g.chance(0.3) ? "host " : "";
  return `${g.pick(["ether", "link", "wlan", "fddi", "tr"])} ${direction}${word}${g.chance(0.05) ? "macname.test" : g.pick(MACS)}`;
};

const casts: Make = (g) =>
  `${g.pick(["ether ", "ip ", "ip6 ", "", "link ", g.chance(0.1) ? "tcp " : ""])}${g.pick(["broadcast", "multicast", "multicast"])}`;

const encapsulations: Make = (g) => {
  const word = g.pick(["vlan", "vlan", "vlan", "mpls", "pppoes", "geneve"]);
  return g.chance(0.5)
    ? word
    : `${word} ${g.pick(["0", "1", "5", "100", "4095", "0x27", g.chance(0.1) ? "4096" : "16"])}`;
};

const lengths: Make = (g) =>
  g.pick([`less ${g.below(200)}`, `greater ${g.below(200)}`, `len ${g.pick(RELATIONS)} ${g.below(1600)}`]);

const oddities: Make = (g) =>
  g.pick([
    `byte ${g.below(40)} ${g.pick(["=", "<", ">", "&", "|"])} ${g.below(256)}`,
    "inbound",
    "outbound",
    `ifindex ${g.below(5)}`,
    `decnet ${g.pick(["", "src ", "dst ", "src and dst "])}host ${g.below(64)}.${g.below(1024)}`,
    `link ${g.pick(["", "src ", "dst "])}host $${g.below(256).toString(16)}`,
    `llc ${g.pick(LLC_TYPES)}`,
    "llc",
    "ether proto 0x8100",
    "gateway gw.test",
  ]);

const wlan: Make = (g) =>
  g.pick([
    `type ${g.pick(["mgt", "ctl", "data", "0", "4", "8", "16"])}`,
    `subtype ${g.pick(SUBTYPES)}`,
    `type ${g.pick(["mgt", "ctl", "data"])} subtype ${g.pick(SUBTYPES)}`,
    `wlan type ${g.pick(["mgt", "ctl", "data"])}`,
    `dir ${g.pick(["nods", "tods", "fromds", "dstods", "0", "3", "255"])}`,
    station(g),
  ]);

const pf: Make = (g) =>
  g.pick([
    `on ${g.pick(["em0", "lo0", "averyverylongname0"])}`,
    `rset ${g.pick(["ftp-proxy", "x"])}`,
    `rnr ${g.below(9)}`,
    `srnr ${g.below(9)}`,
    `reason ${g.pick(REASONS)}`,
    `action ${g.pick(ACTIONS)}`,
    "inbound",
    "outbound",
  ]);

const fieldList = (g: Generator, field: string, bound: number): string =>
  g.pick([
    `${field} ${g.below(bound)}`,
    `${field} ${g.pick(RELATIONS)} ${g.below(bound)}`,
    `${field} (${g.below(bound)} or ${g.below(bound)} or ${g.below(bound)})`,
  ]);

const atm: Make = (g) =>
  g.chance(0.5) ? g.pick(ATM) : g.chance(0.5) ? fieldList(g, "vpi", 300) : fieldList(g, "vci", 70);

const ss7: Make = (g) => {
  if (g.chance(0.3)) return g.pick(MTP2);
  const [field, bound] = g.pick([
    ["sio", 260],
    ["opc", 16390],
    ["dpc", 16384],
    ["sls", 17],
    ["hsio", 256],
    ["hopc", 16384],
    ["hdpc", 16384],
    ["hsls", 16],
  ] as const);
  return fieldList(g, field, bound);
};

/** Makers and how often each is asked. */
const COMMON: readonly (readonly [number, Make])[] = [
  [10, host],
  [10, port],
  [6, net],
  [10, relation],
  [8, (g) => g.pick(WORDS)],
  [5, (g) => g.pick(["ip", "tcp", "udp", "ip6", "icmp", "arp"])],
  [6, proto],
  [3, station],
  [2, casts],
  [6, encapsulations],
  [2, lengths],
  [3, oddities],
];

const OWN: Readonly<Record<string, Make>> = { wlan, pflog: pf, sunatm: atm, none: ss7 };

/** Whether stations have addresses of six bytes. */
const STATIONS = new Set(["ethernet", "wlan", "llc", "sunatm"]);

function primitive(g: Generator): string {
  for (;;) {
    const text = anyPrimitive(g);
    // What most link types refuse would make most long expressions refused.
    const refused =
      (!STATIONS.has(g.family) &&
        /^(?:ether|link|wlan|fddi|tr) (?:src|dst|host|addr|ra|ta|broad|multi)/.test(text)) ||
      (g.family !== "ethernet" &&
        /^(?:vlan|geneve|llc|stp|ifindex)|netbeui|in.?bound|outbound|protochain/.test(text)) ||
      (g.family !== "arcnet" && text.includes("$")) ||
      /gateway|^ip broadcast|nosuch|65536|0x10000 |foo|4096|radio|bogus|atalk.0|:3]/.test(text);
    if (!refused || g.chance(0.06)) return text;
  }
}

function anyPrimitive(g: Generator): string {
  const own = OWN[g.family];
  if (own !== undefined && g.chance(0.4)) return own(g);
  if (own === undefined && g.chance(0.02)) return g.pick(Object.values(OWN))(g);
  let at = g.below(COMMON.reduce((sum, [weight]) => sum + weight, 0));
  for (const [weight, make] of COMMON) {
    at -= weight;
    if (at < 0) return make(g);
  }
  return "ip";
}

const AND = ["and", "and", "and", "&&"];
const OR = ["or", "or", "||"];

/** A list of like terms, as people write them: addresses or ports joined by `or`, or denied and joined by `and`. */
function list(g: Generator): string {
  const count = 2 + g.below(g.chance(0.2) ? 14 : 5);
  const make = g.pick<Make>([
    (h) => `host 10.0.${h.below(3)}.${h.below(6)}`,
    (h) => `port ${h.below(12)}`,
    (h) => `net 10.${h.below(4)}.0.0/16`,
    (h) => `${h.pick(["src ", "dst ", ""])}host 10.0.0.${h.below(6)}`,
    (h) => `tcp port ${h.below(500)}`,
    (h) => `host 2001:db8::${h.below(5)}`,
    (h) => `${h.pick(["src ", "dst ", ""])}host 2001:db8:${h.below(2)}::${h.below(2)}:${h.below(5)}`,
    (h) => `${h.pick(["src ", "dst ", ""])}net 2001:db8:${h.below(5)}::/${h.pick([47, 48, 64])}`,
    (h) => `${h.pick(["net 2001:db8::/32", "host 2001:db8::1", "net 2001:db8:0:0:8000::/65", "port 80"])}`,
    (h) => `${h.pick(["ether src", "ether dst", "ether host"])} 02:00:00:0${h.below(3)}:00:0${h.below(4)}`,
    (h) => `ether host 02:00:00:00:00:0${h.below(8)}`,
    (h) => `udp portrange ${h.below(9)}-${9 + h.below(9)}`,
    (h) => `vlan ${h.below(9)}`,
    (h) => `ip proto ${h.below(20)}`,
    (h) => h.pick(["host 10.0.0.1", "port 80", "net 10/8", "tcp port 443", "host 10.0.0.2", "port 53"]),
    (h) => `ip[${h.below(3)}] = ${h.below(9)}`,
  ]);
  const denied = g.chance(0.25);
  const terms = Array.from({ length: count }, () => `${denied ? "not " : ""}${make(g)}`);
  return terms.join(denied ? " and " : " or ");
}

function expression(g: Generator, depth: number): string {
  if (depth <= 0 || g.chance(0.2)) {
    if (g.chance(0.1)) return list(g);
    return `${g.chance(0.12) ? g.pick(["not ", "! "]) : ""}${primitive(g)}`;
  }
  const count = 2 + g.below(3);
  let text = "";
  for (let i = 0; i < count; i++) {
    if (i > 0) text += ` ${g.pick(g.chance(0.6) ? AND : OR)} `;
    const inner = expression(g, depth - 1);
    text += g.chance(0.35) ? `${g.chance(0.2) ? "not " : ""}(${inner})` : inner;
  }
  return text;
}

/** Loses, doubles or changes a word. */
function damage(g: Generator, text: string): string {
  const words = text.split(/(?<=\S)(?=\s)|\b(?=[[\]():])/);
  const at = g.below(words.length);
  if (g.chance(0.4)) words.splice(at, 1);
  else if (g.chance(0.5)) words.splice(at, 1, ` ${g.pick(JUNK)}`);
  else words.splice(at, 0, ` ${g.pick(JUNK)}`);
  return words.join("").trim();
}

/** One expression for a link type of a family. */
export function randomExpression(next: Next, family: string): string {
  const g = new Generator(next, family);
  const text = expression(g, g.below(4));
  return g.chance(DAMAGED) ? damage(g, text) : text;
}
