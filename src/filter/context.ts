/** What a code generator knows while it walks the tree: where headers begin at this point of the expression. */
import type { LinkFamily, LinkRow } from "./linktypes.ts";
import { type Predicate, and, equals, masked, not } from "./predicate.ts";
import { filterError, type FilterWarning } from "./problem.ts";
import type { FilterResolver } from "./resolver.ts";
import type { Span } from "./syntax.ts";
import type { LoadSize, Slot, Value, Values } from "./value.ts";

/** A place in the packet: a constant, or a computed base and a constant. */
export interface Place {
  readonly base: Value | undefined;
  readonly at: number;
}

/**
 * Where headers are believed to begin. Words such as `vlan` move them for what comes after; so a state is a value, and
 * a generator replaces its state instead of changing it.
 */
export interface LinkState {
  readonly family: LinkFamily;
  /** DLT number of the innermost link layer. */
  readonly dlt: number;
  readonly description: string;
  readonly header: Place;
  readonly previousHeader: Place;
  readonly type: Place;
  readonly payload: Place;
  readonly network: number;
  readonly networkNoSnap: number;
  readonly labels: number;
  readonly vlans: number;
  /** Inside of Geneve, or of ATM LAN emulation. */
  readonly inside: "geneve" | "lane" | undefined;
}

/** Whose reading of the language's dark corners. */
export type FilterCompat = "libpcap" | undefined;

export interface GeneratorOptions {
  readonly netmask: number | undefined;
  readonly resolver: FilterResolver;
  readonly compat: FilterCompat;
  /** The program will run on a live Linux socket, so facts beside the packet can be asked. */
  readonly live: boolean;
  /** The packets come from a file, which tells nothing beside them. */
  readonly savefile: boolean;
  /** Make one search of lists of addresses and ports; short lists can be shorter one by one. */
  readonly search: boolean;
}

const sum = (a: number, b: number): number => (a + b) >>> 0;

export class Context {
  readonly values: Values;
  readonly row: LinkRow;
  readonly options: GeneratorOptions;
  readonly warnings: FilterWarning[] = [];
  /** Slots of the outermost headers of variable length; whether they are needed shows in the end. */
  readonly headerSlot: Slot | undefined;
  readonly payloadSlot: Slot | undefined;
  headerUsed = false;
  payloadUsed = false;
  /**
   * libpcap forgets where the 802.11 header begins once a PPPoE or Geneve header was asked for: it takes the packet's start.
   * Nor does it look at radiotap's padding then.
   */
  headerLost = false;
  /** Slots that begin as 0: those that a term of libpcap's reading may leave unwritten. */
  readonly zeroed: Slot[] = [];
  state: LinkState;

  constructor(values: Values, row: LinkRow, options: GeneratorOptions) {
    this.values = values;
    this.row = row;
    this.options = options;
    const variable = row.prefix !== undefined;
    this.headerSlot = variable ? values.newSlot(`length of the ${row.prefix} header`, 0xffffffff) : undefined;
    this.payloadSlot =
      row.family === "wlan" || row.family === "pflog"
        ? values.newSlot("offset of what follows the link header", 0xffffffff)
        : undefined;
    const header = { base: this.headerSlot && values.slot(this.headerSlot), at: row.header };
    this.state = {
      family: row.family,
      dlt: row.dlt,
      description: row.description,
      header,
      previousHeader: header,
      type: { base: undefined, at: row.type },
      payload: { base: this.payloadSlot && values.slot(this.payloadSlot), at: row.payload },
      network: row.network,
      networkNoSnap: row.networkNoSnap,
      labels: 0,
      vlans: 0,
      inside: undefined,
    };
  }

  warn(code: FilterWarning["code"], message: string, span: Span): void {
    if (this.warnings.length < 100) this.warnings.push({ code, message, span });
  }

  /** Notes that a place is used, for the two whose base the program must compute first. */
  #use(base: Value | undefined): Value | undefined {
    if (base?.kind === "slot") {
      if (base.slot === this.headerSlot) this.headerUsed = true;
      if (base.slot === this.payloadSlot) this.payloadUsed = true;
    }
    return base;
  }

  at(place: Place, offset: number, size: LoadSize): Value {
    return this.values.load(size, this.#use(place.base), sum(place.at, offset));
  }

  /** From the packet's first byte. */
  packet(offset: number, size: LoadSize): Value {
    return this.values.load(size, undefined, offset);
  }

  header(offset: number, size: LoadSize): Value {
    return this.at(this.state.header, offset, size);
  }

  linkType(offset: number, size: LoadSize): Value {
    return this.at(this.state.type, offset, size);
  }

  /** From the link layer's payload, where an LLC header is if there is one. */
  payload(offset: number, size: LoadSize): Value {
    return this.at(this.state.payload, offset, size);
  }

  network(offset: number, size: LoadSize): Value {
    return this.payload(sum(this.state.network, offset), size);
  }

  networkNoSnap(offset: number, size: LoadSize): Value {
    return this.payload(sum(this.state.networkNoSnap, offset), size);
  }

  /** Length of the IPv4 header, with the payload's base if that is variable: the base of {@link transport4}. */
  transportBase4(): Value {
    const { values, state } = this;
    const at = sum(state.payload.at, state.network);
    if (state.payload.base === undefined) return values.headerLength(at);
    const nibble = values.alu("and", this.network(0, 1), values.constant(0xf));
    const length = values.alu("lsh", nibble, values.constant(2));
    return values.alu("add", length, state.payload.base);
  }

  /** From the transport header in IPv4. */
  transport4(offset: number, size: LoadSize): Value {
    const { state } = this;
    return this.values.load(size, this.transportBase4(), sum(sum(state.payload.at, state.network), offset));
  }

  /** From the transport header in IPv6 without extension headers. */
  transport6(offset: number, size: LoadSize): Value {
    return this.network(sum(40, offset), size);
  }

  /** Base and constant for an index that is computed. */
  indexed(place: Place, extra: number, index: Value, size: LoadSize): Value {
    const base = this.#use(place.base);
    const from = base === undefined ? index : this.values.alu("add", index, base);
    return this.values.load(size, from, sum(place.at, extra));
  }

  /** `bytes` at an offset of the header, the last word first as it is the one that tells most. */
  bytesAt(place: Place, offset: number, bytes: readonly number[]): Predicate {
    const tests: Predicate[] = [];
    let left = bytes.length;
    for (const size of [4, 2, 1] as const) {
      while (left >= size) {
        left -= size;
        const value = bytes.slice(left, left + size).reduce((word, byte) => word * 256 + byte, 0);
        tests.push(equals(this.at(place, sum(offset, left), size), value));
      }
    }
    return and(...tests);
  }

  /** `value & mask = k`. */
  masked(value: Value, k: number, mask: number): Predicate {
    return masked(this.values, value, k, mask);
  }

  bits(value: Value, mask: number): Predicate {
    return { kind: "bits", value, mask };
  }

  noBits(value: Value, mask: number): Predicate {
    return not(this.bits(value, mask));
  }

  /** For the words with which libpcap loses the 802.11 header. */
  loseHeader(span: Span): void {
    if (this.headerSlot !== undefined && !this.headerLost) {
      this.headerLost = this.options.compat === "libpcap";
      this.warn("compat", "libpcap mistakes where the 802.11 header begins in this expression", span);
    }
  }

  push(family: LinkFamily, dlt: number, description: string, header: Place): void {
    this.state = { ...this.state, family, dlt, description, header, previousHeader: this.state.header };
  }

  fail(span: Span, problem: string, hint?: string): never {
    throw filterError(span, problem, hint);
  }
}

/** Whether two states put every header at the same place. */
export function sameState(a: LinkState, b: LinkState): boolean {
  const same = (x: Place, y: Place): boolean => x.base === y.base && x.at === y.at;
  return (
    a.family === b.family &&
    same(a.header, b.header) &&
    same(a.type, b.type) &&
    same(a.payload, b.payload) &&
    a.network === b.network &&
    a.networkNoSnap === b.networkNoSnap &&
    a.labels === b.labels &&
    a.vlans === b.vlans &&
    a.inside === b.inside
  );
}
