/**
 * Where a transport header begins, in IPv4 and in IPv6 alike.
 *
 * In IPv6 extension headers can stand before it (RFC 8200, section 4). A program without loops can step over a few only,
 * and each step costs 23 instructions; more than two such headers are hardly ever seen in one packet.
 */
import type { Context, LinkState } from "./context.ts";
import { firstFragment, isIp, isIp6 } from "./generate-port.ts";
import { NEVER, type Predicate, and, equals, or } from "./predicate.ts";
import type { Span } from "./syntax.ts";
import type { Slot, Value, Values } from "./value.ts";

/** How many extension headers are stepped over. */
export const MAX_EXTENSIONS = 2;

/** IANA numbers: hop-by-hop, routing and destination options have one layout. */
const OPTIONS = [0, 43, 60];
const FRAGMENT = 44;
const AUTHENTICATION = 51;

export interface Transport {
  /** Holds if there is such a header; computes where. */
  readonly guard: Predicate;
  /** Base for loads at `state.payload.at + state.network`. */
  readonly base: Value;
}

/** Cells of the walk: of each kind only the last is read, so all steps share them, and all walks. */
interface WalkCells {
  readonly next: Slot;
  /** For even and odd steps, as a step reads by the place before while it writes the next. */
  readonly at: readonly [Slot, Slot];
  readonly length: Slot;
}

const known = new WeakMap<LinkState, Map<number, Transport>>();
const cellsOf = new WeakMap<Values, WalkCells>();

/** The header of a transport protocol; the same for every field that is read of it in one state. */
export function transport(context: Context, protocol: number, span: Span): Transport {
  let byProtocol = known.get(context.state);
  if (byProtocol === undefined) {
    byProtocol = new Map();
    known.set(context.state, byProtocol);
  }
  let found = byProtocol.get(protocol);
  if (found === undefined) {
    found = makeTransport(context, protocol, span);
    byProtocol.set(protocol, found);
  }
  return found;
}

function makeTransport(context: Context, protocol: number, span: Span): Transport {
  const { values } = context;
  const slot = values.newSlot("offset of the transport header", 0xffffffff);
  const ip4 = isIp(context, span);
  const ip6 = isIp6(context, span);
  const in4 = and(ip4, equals(context.network(9, 1), protocol), firstFragment(context), {
    kind: "set",
    slot,
    value: context.transportBase4(),
  });
  if (ip6 === NEVER) return { guard: { kind: "once", slot, body: in4 }, base: values.slot(slot) };
  const first = values.constant(40);
  const { base } = context.state.payload;
  const from = base === undefined ? first : values.alu("add", base, first);
  const walk = level(context, protocol, context.network(6, 1), from, MAX_EXTENSIONS, (at) => ({
    kind: "set",
    slot,
    value: at,
  }));
  return { guard: { kind: "once", slot, body: or(in4, and(ip6, walk)) }, base: values.slot(slot) };
}

function walkCells(values: Values): WalkCells {
  let cells = cellsOf.get(values);
  if (cells === undefined) {
    cells = {
      next: values.newSlot("next header", 255),
      at: [
        values.newSlot("offset of the next header", 0xffffffff),
        values.newSlot("offset of the next header", 0xffffffff),
      ],
      length: values.newSlot("length of the extension header", 2064),
    };
    cellsOf.set(values, cells);
  }
  return cells;
}

/** `next` is the number of the header at `at`, which counts as the bases of loads do. */
function level(
  context: Context,
  protocol: number,
  next: Value,
  at: Value,
  left: number,
  found: (at: Value) => Predicate,
): Predicate {
  const here = and(equals(next, protocol), found(at));
  if (left === 0) return here;
  const { values, state } = context;
  const cells = walkCells(values);
  const slot = (like: Slot): Slot => values.newSlot(like.name, like.max, like);
  const [nextSlot, atSlot, lengthSlot] = [
    slot(cells.next),
    slot(cells.at[(left & 1) as 0 | 1]),
    slot(cells.length),
  ];
  const field = (offset: number, size: 1 | 2): Value =>
    values.load(size, at, (state.payload.at + state.network + offset) >>> 0);
  const length = (value: Value): Predicate => ({ kind: "set", slot: lengthSlot, value });
  const units = (more: number, shift: number): Value =>
    values.alu("lsh", values.alu("add", field(1, 1), values.constant(more)), values.constant(shift));
  const isExtension = or(
    and(or(...OPTIONS.map((number) => equals(next, number))), length(units(1, 3))),
    and(equals(next, AUTHENTICATION), length(units(2, 2))),
    // Only the first fragment has what comes behind.
    and(equals(next, FRAGMENT), context.noBits(field(2, 2), 0xfff8), length(values.constant(8))),
  );
  const stepped = and(
    isExtension,
    { kind: "set", slot: atSlot, value: values.alu("add", values.slot(lengthSlot), at) },
    { kind: "set", slot: nextSlot, value: field(0, 1) },
  );
  return or(
    here,
    and(stepped, level(context, protocol, values.slot(nextSlot), values.slot(atSlot), left - 1, found)),
  );
}
