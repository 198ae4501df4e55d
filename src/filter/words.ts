/** Words that stand for numbers: pcap-filter(7)'s named offsets and flags, and the types of 802.11, LLC and pf. */

const range = (names: string, values: readonly number[]): [string, number][] =>
  names.split(" ").map((name, index) => [name, values[index] as number]);

/** Usable wherever a number is. */
export const NUMBER_NAMES: ReadonlyMap<string, number> = new Map([
  ["icmptype", 0],
  ["icmpcode", 1],
  ["icmp6type", 0],
  ["icmp6code", 1],
  ["tcpflags", 13],
  ...range(
    "icmp-echoreply icmp-unreach icmp-sourcequench icmp-redirect icmp-echo icmp-routeradvert icmp-routersolicit",
    [0, 3, 4, 5, 8, 9, 10],
  ),
  ...range(
    "icmp-timxceed icmp-paramprob icmp-tstamp icmp-tstampreply icmp-ireq icmp-ireqreply icmp-maskreq icmp-maskreply",
    [11, 12, 13, 14, 15, 16, 17, 18],
  ),
  ...range(
    "icmp6-destinationunreach icmp6-packettoobig icmp6-timeexceeded icmp6-parameterproblem icmp6-echo",
    [1, 2, 3, 4, 128],
  ),
  ...range(
    "icmp6-echoreply icmp6-multicastlistenerquery icmp6-multicastlistenerreportv1 icmp6-multicastlistenerdone",
    [129, 130, 131, 132],
  ),
  ...range(
    "icmp6-routersolicit icmp6-routeradvert icmp6-neighborsolicit icmp6-neighboradvert icmp6-redirect",
    [133, 134, 135, 136, 137],
  ),
  ...range(
    "icmp6-routerrenum icmp6-nodeinformationquery icmp6-nodeinformationresponse icmp6-ineighbordiscoverysolicit",
    [138, 139, 140, 141],
  ),
  ...range(
    "icmp6-ineighbordiscoveryadvert icmp6-multicastlistenerreportv2 icmp6-homeagentdiscoveryrequest",
    [142, 143, 144],
  ),
  ...range(
    "icmp6-homeagentdiscoveryreply icmp6-mobileprefixsolicit icmp6-mobileprefixadvert icmp6-certpathsolicit",
    [145, 146, 147, 148],
  ),
  ...range(
    "icmp6-certpathadvert icmp6-multicastrouteradvert icmp6-multicastroutersolicit icmp6-multicastrouterterm",
    [149, 151, 152, 153],
  ),
  ...range(
    "tcp-fin tcp-syn tcp-rst tcp-push tcp-ack tcp-urg tcp-ece tcp-cwr",
    [0x01, 0x02, 0x04, 0x08, 0x10, 0x20, 0x40, 0x80],
  ),
]);

type Names = Readonly<Record<string, number>>;

/** IEEE 802.11-2020, 9.2.4.1.3: bits 2 and 3 of the frame control field. */
export const WLAN_TYPES: Names = { data: 0x08, mgt: 0x00, management: 0x00, ctl: 0x04, control: 0x04 };
export const WLAN_TYPE_MASK = 0x0c;
export const WLAN_SUBTYPE_MASK = 0xf0;

/** The same standard's table 9-1: bits 4 to 7. */
export const WLAN_SUBTYPES: readonly { readonly type: number; readonly names: Names }[] = [
  {
    type: 0x00,
    names: {
      assocreq: 0x00,
      "assoc-req": 0x00,
      assocresp: 0x10,
      "assoc-resp": 0x10,
      reassocreq: 0x20,
      "reassoc-req": 0x20,
      reassocresp: 0x30,
      "reassoc-resp": 0x30,
      probereq: 0x40,
      "probe-req": 0x40,
      proberesp: 0x50,
      "probe-resp": 0x50,
      beacon: 0x80,
      atim: 0x90,
      disassoc: 0xa0,
      disassociation: 0xa0,
      auth: 0xb0,
      authentication: 0xb0,
      deauth: 0xc0,
      deauthentication: 0xc0,
    },
  },
  {
    type: 0x04,
    names: { "ps-poll": 0xa0, rts: 0xb0, cts: 0xc0, ack: 0xd0, "cf-end": 0xe0, "cf-end-ack": 0xf0 },
  },
  {
    type: 0x08,
    names: {
      data: 0x00,
      "data-cf-ack": 0x10,
      "data-cf-poll": 0x20,
      "data-cf-ack-poll": 0x30,
      null: 0x40,
      "cf-ack": 0x50,
      "cf-poll": 0x60,
      "cf-ack-poll": 0x70,
      "qos-data": 0x80,
      "qos-data-cf-ack": 0x90,
      "qos-data-cf-poll": 0xa0,
      "qos-data-cf-ack-poll": 0xb0,
      qos: 0xc0,
      "qos-cf-poll": 0xe0,
      "qos-cf-ack-poll": 0xf0,
    },
  },
];

export const WLAN_DIRECTIONS: Names = { nods: 0, tods: 1, fromds: 2, dstods: 3 };

/** IEEE 802.2 control fields of supervisory and unnumbered frames. */
export const LLC_SUPERVISORY: Names = { rr: 0x01, rnr: 0x05, rej: 0x09 };
export const LLC_UNNUMBERED: Names = {
  ui: 0x03,
  ua: 0x63,
  disc: 0x43,
  dm: 0x0f,
  sabme: 0x6f,
  test: 0xe3,
  xid: 0xaf,
  frmr: 0x87,
};

/** pf(4)'s reasons and actions that all BSDs share. */
export const PF_REASONS: Names = {
  match: 0,
  "bad-offset": 1,
  fragment: 2,
  short: 3,
  normalize: 4,
  memory: 5,
  "bad-timestamp": 6,
  congestion: 7,
  "ip-option": 8,
  "proto-cksum": 9,
  "state-mismatch": 10,
  "state-insert": 11,
  "state-limit": 12,
  "src-limit": 13,
  synproxy: 14,
};
export const PF_ACTIONS: Names = {
  pass: 0,
  accept: 0,
  drop: 1,
  block: 1,
  scrub: 2,
  noscrub: 3,
  nat: 4,
  nonat: 5,
  binat: 6,
  nobinat: 7,
  rdr: 8,
  nordr: 9,
  "synproxy-drop": 10,
};

/** Looks a word up without regard to case, as all of these tables are read. */
export function nameIn(names: Names, word: string): number | undefined {
  const key = word.toLowerCase();
  return Object.hasOwn(names, key) ? names[key] : undefined;
}
