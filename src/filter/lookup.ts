/** Names of ports, protocols and networks to numbers, with the complaints about those that don't fit. */
import type { Context } from "./context.ts";
import { ETHER_PROTOCOLS, PROTOCOL_NUMBERS, SERVICE_PORTS } from "./service-names.ts";
import type { Protocol, Span } from "./syntax.ts";

const NLPIDS: Readonly<Record<string, number>> = { clnp: 0x81, esis: 0x82, isis: 0x83 };
const TCP = 6;
const UDP = 17;

export interface FoundPorts {
  readonly low: number;
  readonly high: number;
  /** The transport protocol that the name implies, undefined if it is all. */
  readonly transport: number | undefined;
}

/** A port by service name or by number as a name; SCTP's own names are not looked at, as getaddrinfo(3) is asked. */
function findPort(name: string): { port: number; transport: number | undefined } | undefined {
  const service = SERVICE_PORTS.get(name);
  if (service === undefined) {
    return /^\d{1,5}$/.test(name) ? { port: Number(name), transport: undefined } : undefined;
  }
  const { tcp, udp } = service;
  if (tcp !== undefined) return { port: tcp, transport: tcp === udp ? undefined : TCP };
  return udp === undefined ? undefined : { port: udp, transport: UDP };
}

function agree(
  context: Context,
  what: string,
  name: string,
  wanted: number | undefined,
  found: number | undefined,
  span: Span,
): number | undefined {
  if (wanted === undefined) return found;
  if (found !== undefined && found !== wanted) {
    return context.fail(span, `${what} '${name}' is ${found === TCP ? "tcp" : "udp"}`);
  }
  return wanted;
}

function checkPort(context: Context, port: number, span: Span): number {
  return port > 65535 ? context.fail(span, `illegal port number ${port} > 65535`) : port;
}

export function portByName(
  context: Context,
  name: string,
  _protocol: Protocol | undefined,
  wanted: number | undefined,
  span: Span,
): FoundPorts {
  const found = findPort(name);
  if (found === undefined) return context.fail(span, `unknown port '${name}'`);
  const port = checkPort(context, found.port, span);
  const transport = agree(context, "port", name, wanted, found.transport, span);
  return { low: port, high: port, transport };
}

export function portRangeByName(
  context: Context,
  name: string,
  _protocol: Protocol | undefined,
  wanted: number | undefined,
  span: Span,
): FoundPorts {
  const numbers = /^(\d+)-(\d+)/.exec(name);
  if (numbers !== null) {
    const [low, high] = [Number(numbers[1]), Number(numbers[2])];
    return {
      low: checkPort(context, low, span),
      high: checkPort(context, high, span),
      transport: wanted,
    };
  }
  const dash = name.indexOf("-");
  const low = dash < 0 ? undefined : findPort(name.slice(0, dash));
  const high = dash < 0 ? undefined : findPort(name.slice(dash + 1));
  if (low === undefined || high === undefined) return context.fail(span, `unknown port in range '${name}'`);
  const both = low.transport === high.transport ? low.transport : undefined;
  return {
    low: checkPort(context, low.port, span),
    high: checkPort(context, high.port, span),
    transport: agree(context, "port in range", name, wanted, both, span),
  };
}

export function protocolByName(
  context: Context,
  name: string,
  protocol: Protocol | undefined,
  span: Span,
): number {
  switch (protocol) {
    case undefined:
    case "ip":
    case "ip6": {
      const number = PROTOCOL_NUMBERS.get(name);
      return number ?? context.fail(span, `unknown ip proto '${name}'`);
    }
    case "link":
      return Object.hasOwn(ETHER_PROTOCOLS, name)
        ? (ETHER_PROTOCOLS[name] as number)
        : context.fail(span, `unknown ether proto '${name}'`);
    case "iso":
      return Object.hasOwn(NLPIDS, name)
        ? (NLPIDS[name] as number)
        : context.fail(span, `unknown osi proto '${name}'`);
    default:
      return context.fail(span, `unknown protocol: ${name}`);
  }
}

export function networkByName(context: Context, name: string, span: Span): { address: number; mask: number } {
  const number = context.options.resolver.network(name);
  if (number === undefined || number === 0) {
    return context.fail(span, `unknown network '${name}'`, "names come only from the given networks file");
  }
  let address = number;
  let mask = 0xffffffff;
  while ((address & 0xff000000) === 0) {
    address = (address << 8) >>> 0;
    mask = (mask << 8) >>> 0;
  }
  return { address, mask };
}
