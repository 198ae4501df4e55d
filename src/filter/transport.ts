/**
 * Where a transport header begins, in IPv4 and in IPv6 alike.
 *
 * In IPv6 extension headers can stand before it (RFC 8200, section 4). A program without loops can step over a few only;
 * the standard's own recommended order has five, of which more than three are hardly ever seen together.
 */
import type { Context, LinkState } from "./context.ts";
import { firstFragment, isIp, isIp6 } from "./generate-port.ts";
import { NEVER, type Predicate, and, equals, or } from "./predicate.ts";
import type { Span } from "./syntax.ts";
import type { Value } from "./value.ts";

/** How many extension headers are stepped over. */
export const MAX_EXTENSIONS = 4;

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

const known = new WeakMap<LinkState, Map<number, Transport>>();

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
  if (ip6 === NEVER) return { guard: in4, base: values.slot(slot) };
  const first = values.constant(40);
  const { base } = context.state.payload;
  const from = base === undefined ? first : values.alu("add", base, first);
  const walk = level(context, protocol, context.network(6, 1), from, MAX_EXTENSIONS, (at) => ({
    kind: "set",
    slot,
    value: at,
  }));
  return { guard: or(in4, and(ip6, walk)), base: values.slot(slot) };
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
  const field = (offset: number, size: 1 | 2): Value =>
    values.load(size, at, (state.payload.at + state.network + offset) >>> 0);
  const nextSlot = values.newSlot("next header", 255);
  const atSlot = values.newSlot("offset of the next header", 0xffffffff);
  const after = (length: Value): Predicate =>
    and(
      { kind: "set", slot: nextSlot, value: field(0, 1) },
      { kind: "set", slot: atSlot, value: values.alu("add", length, at) },
    );
  const units = (more: number, shift: number): Value =>
    values.alu("lsh", values.alu("add", field(1, 1), values.constant(more)), values.constant(shift));
  const stepped = or(
    and(or(...OPTIONS.map((number) => equals(next, number))), after(units(1, 3))),
    and(equals(next, AUTHENTICATION), after(units(2, 2))),
    // Only the first fragment has what comes behind.
    and(equals(next, FRAGMENT), context.noBits(field(2, 2), 0xfff8), after(values.constant(8))),
  );
  return or(
    here,
    and(stepped, level(context, protocol, values.slot(nextSlot), values.slot(atSlot), left - 1, found)),
  );
}
