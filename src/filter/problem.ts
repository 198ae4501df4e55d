/** How the filter compiler complains: with a place in the expression, and where it can, with a way out. */
import { BpfError } from "../errors.ts";
import type { Span } from "./syntax.ts";

/** Something worth saying about an expression that compiles all the same. */
export interface FilterWarning {
  /**
   * `compat`: libpcap reads this otherwise, see `compat: "libpcap"`; `never`: no packet can match; `always`: every
   * packet matches; `linux`: the kernel would refuse the program.
   */
  readonly code: "compat" | "never" | "always" | "linux";
  readonly message: string;
  readonly span: Span;
}

/** A failure at a place in the expression; columns count from 1. */
export function filterError(span: Span, problem: string, hint?: string): BpfError {
  const advice = hint === undefined ? "" : `; ${hint}`;
  return new BpfError("filter", `filter expression, column ${span.start + 1}: ${problem}${advice}`, {
    where: { column: span.start + 1 },
  });
}

/**
 * The expression with a caret under the place of an error or warning, cut to a window for a terminal.
 *
 * @example
 * caretExcerpt("host foo", { start: 5, end: 8 }); // "host foo\n     ^^^"
 */
export function caretExcerpt(expression: string, span: Span, width = 76): string {
  const flat = expression.replace(/\s/g, " ");
  const from = Math.max(0, Math.min(span.start - (width >> 1), flat.length - width));
  const shown = flat.slice(from, from + width);
  const left = span.start - from;
  const carets = Math.max(1, Math.min(span.end - span.start, shown.length - left));
  return `${shown}\n${" ".repeat(left)}${"^".repeat(carets)}`;
}

const DISPLAY_FIELDS: readonly (readonly [RegExp, (value: string) => string])[] = [
  [/\bip(?:v6)?\.addr\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `host ${value}`],
  [/\bip(?:v6)?\.src\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `src host ${value}`],
  [/\bip(?:v6)?\.dst\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `dst host ${value}`],
  [/\beth\.addr\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `ether host ${value}`],
  [/\beth\.src\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `ether src ${value}`],
  [/\beth\.dst\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `ether dst ${value}`],
  [/\beth\.type\s*(?:==|eq)\s*([^\s)&|]+)/, (value) => `ether proto ${value}`],
  [/\btcp\.port\s*(?:==|eq)\s*(\d+)/, (value) => `tcp port ${value}`],
  [/\budp\.port\s*(?:==|eq)\s*(\d+)/, (value) => `udp port ${value}`],
  [/\btcp\.srcport\s*(?:==|eq)\s*(\d+)/, (value) => `tcp src port ${value}`],
  [/\btcp\.dstport\s*(?:==|eq)\s*(\d+)/, (value) => `tcp dst port ${value}`],
  [/\budp\.srcport\s*(?:==|eq)\s*(\d+)/, (value) => `udp src port ${value}`],
  [/\budp\.dstport\s*(?:==|eq)\s*(\d+)/, (value) => `udp dst port ${value}`],
  [/\bvlan\.id\s*(?:==|eq)\s*(\d+)/, (value) => `vlan ${value}`],
  [/\bip\.proto\s*(?:==|eq)\s*(\d+)/, (value) => `ip proto ${value}`],
  [/\bframe\.len\s*(?:>=|ge)\s*(\d+)/, (value) => `greater ${value}`],
  [/\bframe\.len\s*(?:<=|le)\s*(\d+)/, (value) => `less ${value}`],
  [/\btcp\.flags\.syn\b/, () => "tcp[tcpflags] & tcp-syn != 0"],
  [/\btcp\.flags\.ack\b/, () => "tcp[tcpflags] & tcp-ack != 0"],
  [/\btcp\.flags\.fin\b/, () => "tcp[tcpflags] & tcp-fin != 0"],
  [/\btcp\.flags\.reset\b/, () => "tcp[tcpflags] & tcp-rst != 0"],
  [/\bdns\b/, () => "port 53"],
  [/\bhttp\b/, () => "tcp port 80"],
  [/\b(?:tls|ssl)\b/, () => "tcp port 443"],
  [/\bipv6\b/, () => "ip6"],
  [/\bicmpv6\b/, () => "icmp6"],
  [/\bipv4\b/, () => "ip"],
  [/\beth\b/, () => "ether"],
];

/** A way out of a syntax error, if the expression looks like Wireshark's display filter syntax. */
export function displayFilterHint(expression: string): string | undefined {
  // Patterns with nested repetition don't occur, yet an expression of megabytes needs no hint.
  const sample = expression.slice(0, 4096);
  for (const [pattern, replacement] of DISPLAY_FIELDS) {
    const match = pattern.exec(sample);
    if (match !== null) return `did you mean \`${replacement(match[1] ?? "")}\`?`;
  }
  return undefined;
}
