/** Hosts, networks, Ethernet stations. */
import type { Context } from "./context.ts";
import { ETHERTYPE, linkProtocol, outerCheck } from "./generate-link.ts";
import { type Predicate, and, equals, masked, not, or } from "./predicate.ts";
import type { AddressType, Direction, Protocol, Span } from "./syntax.ts";
import { EMPTY, type Ranges, isSubset, rangeOf, unionAll } from "./ranges.ts";
import type { Slot, Value } from "./value.ts";
import { type WordRanges, inWordSets } from "./word-sets.ts";

/** `src or dst` and the like, from the tests of the two ends. */
export function byDirection(
  direction: Direction | undefined,
  source: () => Predicate,
  destination: () => Predicate,
  refuse: (direction: Direction) => never,
  either: () => Predicate = () => or(source(), destination()),
): Predicate {
  switch (direction) {
    case "src":
      return source();
    case "dst":
      return destination();
    case "src and dst":
      return and(source(), destination());
    case undefined:
    case "src or dst":
      return either();
    default:
      return refuse(direction);
  }
}

/**
 * Either end lies in one of several sets, as `host a or host b or …` asks.
 *
 * Term by term, the destination is read unless the source is that of the first term: from then on both ends are known
 * to be there and the order no longer matters. So the first set is tested against the source, both ends are put into
 * slots, and the rest is a search in them, which all protocols share that read their ends from other places.
 */
export function eitherEnd(
  slots: EndSlots,
  sets: readonly Ranges[],
  source: Value,
  destination: Value,
): Predicate {
  const [first = EMPTY, ...others] = sets;
  const rest = others.filter((set) => !isSubset(set, first));
  const inFirst: Predicate = { kind: "in", value: source, ranges: first };
  if (rest.length === 0) return or(inFirst, { kind: "in", value: destination, ranges: first });
  return or(
    inFirst,
    and(
      { kind: "set", slot: slots.source, value: source },
      { kind: "set", slot: slots.destination, value: destination },
      or(
        { kind: "in", value: slots.destinationValue, ranges: unionAll(sets) },
        { kind: "in", value: slots.sourceValue, ranges: unionAll(rest) },
      ),
    ),
  );
}

/** Where {@link eitherEnd} keeps the two ends. */
export interface EndSlots {
  readonly source: Slot;
  readonly destination: Slot;
  readonly sourceValue: Value;
  readonly destinationValue: Value;
}

export function endSlots(context: Context, max: number): EndSlots {
  const source = context.values.newSlot("source", max);
  const destination = context.values.newSlot("destination", max);
  return {
    source,
    destination,
    sourceValue: context.values.slot(source),
    destinationValue: context.values.slot(destination),
  };
}

/** Says why `addr1` and its kin can't stand here. */
export const onlyWlan =
  (context: Context, span: Span, what: string) =>
  (direction: Direction): never =>
    context.fail(span, `'${direction}' is only for 802.11 addresses, not for ${what}`);

const NOT_FOR_HOSTS: ReadonlySet<Protocol> = new Set([
  "atalk",
  "aarp",
  "lat",
  "sca",
  "moprc",
  "mopdl",
  "iso",
  "ipx",
]);

/** The addresses of an IPv4 network as a range, or undefined for a mask with holes. */
export function networkRange(address: number, mask: number): Ranges | undefined {
  const free = ~mask >>> 0;
  return (free & (free + 1)) === 0 ? rangeOf(address, address + free) : undefined;
}

/** An IPv4 address or network, in IP, ARP and RARP unless a protocol is named. */
export function hostIp4(
  context: Context,
  address: number,
  mask: number,
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  type: AddressType | undefined,
  span: Span,
): Predicate {
  if (protocol === "decnet") return hostDecnet(context, address, direction, span);
  const end = (word: Value): Predicate => masked(context.values, word, address, mask);
  const refuse = onlyWlan(context, span, "IP addresses");
  return inIp4Protocols(context, protocol, type, span, (source, destination) =>
    byDirection(
      direction,
      () => end(source()),
      () => end(destination()),
      refuse,
    ),
  );
}

/** Any of several networks, all prefixes; the direction can't be `src and dst`. */
export function hostsIp4(
  context: Context,
  sets: readonly Ranges[],
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  span: Span,
): Predicate {
  const slots = endSlots(context, 0xffffffff);
  const ranges = unionAll(sets);
  return inIp4Protocols(context, protocol, "host", span, (source, destination) =>
    byDirection(
      direction,
      () => ({ kind: "in", value: source(), ranges }),
      () => ({ kind: "in", value: destination(), ranges }),
      onlyWlan(context, span, "IP addresses"),
      () => eitherEnd(slots, sets, source(), destination()),
    ),
  );
}

function inIp4Protocols(
  context: Context,
  protocol: Protocol | undefined,
  type: AddressType | undefined,
  span: Span,
  test: (source: () => Value, destination: () => Value) => Predicate,
): Predicate {
  const kind = type === "net" ? "net" : "host";
  const inside = (ethertype: number, source: number, destination: number): Predicate =>
    and(
      linkProtocol(context, ethertype, span),
      test(
        () => context.network(source, 4),
        () => context.network(destination, 4),
      ),
    );
  switch (protocol) {
    case undefined: {
      const ip = inside(ETHERTYPE.ip, 12, 16);
      if (context.state.labels > 0) return ip;
      return or(ip, inside(ETHERTYPE.arp, 14, 24), inside(ETHERTYPE.rarp, 14, 24));
    }
    case "ip":
      return inside(ETHERTYPE.ip, 12, 16);
    case "arp":
      return inside(ETHERTYPE.arp, 14, 24);
    case "rarp":
      return inside(ETHERTYPE.rarp, 14, 24);
    case "link":
      return context.fail(span, `link-layer modifier applied to ${kind}`);
    case "ip6":
      return context.fail(span, "'ip6' modifier applied to ip host");
    default:
      return context.fail(
        span,
        NOT_FOR_HOSTS.has(protocol)
          ? `${protocol} ${kind} filtering not implemented`
          : `'${protocol}' modifier applied to ${kind}`,
        `write \`${protocol} and ${kind} ADDRESS\``,
      );
  }
}

/** An IPv6 address or network: four words and their masks; the first differing word is the likeliest. */
export function hostIp6(
  context: Context,
  address: readonly number[],
  prefix: number,
  protocol: Protocol | undefined,
  direction: Direction | undefined,
  type: AddressType | undefined,
  span: Span,
): Predicate {
  if (protocol !== undefined && protocol !== "ip6") {
    const kind = type === "net" ? "net" : "host";
    const shown = protocol === "link" ? "link-layer" : `'${protocol}'`;
    return context.fail(span, `${shown} modifier applied to ip6 ${kind}`);
  }
  const end = (offset: number) => (): Predicate => {
    const words = address.map((word, index): Predicate => {
      const ones = Math.max(0, Math.min(32, prefix - 32 * index));
      const mask = ones === 0 ? 0 : (0xffffffff << (32 - ones)) >>> 0;
      return masked(context.values, context.network(offset + 4 * index, 4), word, mask);
    });
    return and(linkProtocol(context, ETHERTYPE.ip6, span), ...words);
  };
  return byDirection(direction, end(8), end(24), onlyWlan(context, span, "IPv6 addresses"));
}

const IP6_WORDS = [0, 1, 2, 3] as const;

/** An IPv6 address or network as ranges of its words. */
export const ip6Ranges = (address: readonly number[], prefix: number): WordRanges =>
  address.map((word, index) => {
    const ones = Math.max(0, Math.min(32, prefix - 32 * index));
    return [word, word + (2 ** (32 - ones) - 1)] as const;
  });

/** From so many addresses on the exact order of their tests is given up for a search; see {@link hostsIp6}. */
const MANY = 24;

/**
 * Any of several IPv6 addresses or networks, or undefined if they should be tested one after the other.
 *
 * For one end the search reads what the single tests would read. For both it does so as long as the addresses differ in
 * their last word only. Other lists are searched if they are long: then a packet that ends inside of its destination
 * address can be rejected although its source is in the list.
 */
export function hostsIp6(
  context: Context,
  sets: readonly WordRanges[],
  direction: Direction | undefined,
  span: Span,
): Predicate | undefined {
  const isIp6 = linkProtocol(context, ETHERTYPE.ip6, span);
  const words = (offset: number): Value[] => IP6_WORDS.map((index) => context.network(offset + 4 * index, 4));
  const [first, ...rest] = sets as readonly [WordRanges, ...WordRanges[]];
  const [source, destination] = [words(8), words(24)];
  if (direction === "src" || direction === "dst") {
    return and(isIp6, inWordSets(direction === "src" ? source : destination, sets));
  }
  const sameStart = rest.every((set) =>
    [0, 1, 2].every(
      (index) => set[index]?.[0] === first[index]?.[0] && set[index]?.[1] === first[index]?.[1],
    ),
  );
  if (!sameStart && sets.length <= MANY) return undefined;
  return or(
    and(isIp6, inWordSets(source, [first])),
    and(isIp6, or(inWordSets(destination, sets), inWordSets(source, rest))),
  );
}

/** DECnet phase IV: long and short headers, each with or without a pad byte; addresses are little-endian. */
function hostDecnet(
  context: Context,
  address: number,
  direction: Direction | undefined,
  span: Span,
): Predicate {
  const swapped = ((address & 0xff) << 8) | ((address >> 8) & 0xff);
  const end = (short: number, long: number) => (): Predicate => {
    const at = (offset: number): Predicate => equals(context.network(offset, 2), swapped);
    const { values } = context;
    return and(
      linkProtocol(context, ETHERTYPE.decnet, span),
      or(
        and(masked(values, context.network(2, 1), 0x02, 0x07), at(2 + short)),
        and(masked(values, context.network(2, 2), 0x8102, 0xff07), at(3 + short)),
        and(masked(values, context.network(2, 1), 0x06, 0x07), at(2 + long)),
        and(masked(values, context.network(2, 2), 0x8106, 0xff07), at(3 + long)),
      ),
    );
  };
  return byDirection(direction, end(3, 15), end(1, 7), onlyWlan(context, span, "DECnet addresses"));
}

/** Offsets of source and destination station, by family and DLT. */
function stationOffsets(context: Context): { source: number; destination: number } | undefined {
  const { family, dlt } = context.state;
  if (family === "ethernet") return { source: 6, destination: 0 };
  if (family !== "llc") return undefined;
  if (dlt === 10) return { source: 7, destination: 1 };
  if (dlt === 6) return { source: 8, destination: 2 };
  if (dlt === 122) return { source: 10, destination: 2 };
  return undefined;
}

export const hasStations = (context: Context): boolean =>
  context.state.family === "wlan" || stationOffsets(context) !== undefined;

/** A station's address, six bytes; undefined if the link type has none. */
export function hostStation(
  context: Context,
  address: readonly number[],
  direction: Direction | undefined,
  span: Span,
): Predicate | undefined {
  if (context.state.family === "wlan") return hostWlan(context, address, direction);
  const offsets = stationOffsets(context);
  if (offsets === undefined) return undefined;
  const end = (offset: number) => (): Predicate => context.bytesAt(context.state.header, offset, address);
  const test = byDirection(
    direction,
    end(offsets.source),
    end(offsets.destination),
    onlyWlan(context, span, "other link types"),
  );
  const outer = context.state.family === "ethernet" ? outerCheck(context) : undefined;
  return outer === undefined ? test : and(outer, test);
}

/**
 * Any of several stations, or undefined where stations aren't at fixed places. The source comes behind the destination, so
 * once its last word has been read there is nothing more that could be missing, and the order of tests is free.
 */
export function hostsStation(
  context: Context,
  addresses: readonly (readonly number[])[],
  direction: Direction | undefined,
  span: Span,
): Predicate | undefined {
  const offsets = stationOffsets(context);
  if (offsets === undefined) return undefined;
  const sets = addresses.map((bytes): WordRanges => {
    const [high, low] = [bytes.slice(0, 2), bytes.slice(2)].map((part) =>
      part.reduce((word, byte) => word * 256 + byte, 0),
    ) as [number, number];
    return [
      [low, low],
      [high, high],
    ];
  });
  // Stations of few makers differ in their last words: then there are few first halves to tell apart.
  const halves = new Set(sets.map((set) => set[1]?.[0])).size;
  const byMaker = halves * 4 <= sets.length;
  const end = (offset: number) => (): Predicate => {
    const [low, high] = [context.header(offset + 2, 4), context.header(offset, 2)];
    if (!byMaker) return inWordSets([low, high], sets);
    const turned = sets.map((set) => [...set].reverse());
    return and({ kind: "touch", value: low }, inWordSets([high, low], turned));
  };
  const test = byDirection(
    direction,
    end(offsets.source),
    end(offsets.destination),
    onlyWlan(context, span, "other link types"),
  );
  const outer = context.state.family === "ethernet" ? outerCheck(context) : undefined;
  return outer === undefined ? test : and(outer, test);
}

/** ARCnet's one-byte addresses. */
export function hostArcnet(
  context: Context,
  address: number,
  direction: Direction | undefined,
  span: Span,
): Predicate {
  return byDirection(
    direction,
    () => equals(context.header(0, 1), address),
    () => equals(context.header(1, 1), address),
    onlyWlan(context, span, "ARCnet"),
  );
}

/**
 * 802.11 has up to four addresses, whose meaning depends on the type of the frame and on its to-DS and from-DS bits
 * (IEEE 802.11-2020, table 9-30).
 */
function hostWlan(context: Context, address: readonly number[], direction: Direction | undefined): Predicate {
  const at = (offset: number): Predicate => context.bytesAt(context.state.header, offset, address);
  const control = context.header(0, 1);
  const flags = context.header(1, 1);
  const data = (): Predicate => context.bits(control, 0x08);
  const management = (): Predicate => context.noBits(control, 0x08);
  const noControl = (): Predicate => context.noBits(control, 0x04);
  const has = (mask: number): Predicate => context.bits(flags, mask);
  const hasNot = (mask: number): Predicate => context.noBits(flags, mask);
  const isType = (value: Value, k: number, mask: number): Predicate => masked(context.values, value, k, mask);
  // Acknowledgement and clear-to-send frames have no second address.
  const hasSecond = (): Predicate =>
    or(
      not(isType(control, 0x04, 0x0c)),
      and(not(isType(control, 0xc0, 0xf0)), not(isType(control, 0xd0, 0xf0))),
    );
  switch (direction) {
    case "src":
      return and(
        noControl(),
        or(
          and(management(), at(10)),
          and(
            data(),
            or(
              and(hasNot(0x02), at(10)),
              and(has(0x02), or(and(hasNot(0x01), at(16)), and(has(0x01), at(24)))),
            ),
          ),
        ),
      );
    case "dst":
      return and(
        noControl(),
        or(and(management(), at(4)), and(data(), or(and(hasNot(0x01), at(4)), and(has(0x01), at(16))))),
      );
    case "src and dst":
      return and(hostWlan(context, address, "src"), hostWlan(context, address, "dst"));
    case undefined:
    case "src or dst":
      return or(hostWlan(context, address, "src"), hostWlan(context, address, "dst"));
    case "addr1":
      return at(4);
    case "addr2":
      return and(hasSecond(), at(10));
    case "addr3":
      return and(not(isType(control, 0x04, 0x0c)), at(16));
    case "addr4":
      return and(isType(flags, 0x03, 0x03), at(24));
    case "ra":
      return and(data(), at(4));
    case "ta":
      return and(data(), hasSecond(), at(10));
  }
}
