/**
 * Text to tokens. The language's words overlap (`80`, `80:00:…`, `80.1.2.3`, `80a` are four kinds of token), so as in
 * every scanner of this language the longest match wins, and among equally long ones the kind that comes first in
 * {@link wordAt}.
 */
import { PROTOCOLS, type Span } from "./syntax.ts";
import { NUMBER_NAMES } from "./words.ts";
import { filterError } from "./problem.ts";

/** `id` a name, `ip4 address` a dotted number, `arcnet` `$xx`; keywords and operators are their own kind. */
export interface Token {
  readonly kind: string;
  readonly text: string;
  /** Of numbers and of the names that stand for one (`tcp-syn`). */
  readonly value: number;
  readonly span: Span;
}

/** Longest expression: a megabyte takes well over 50,000 terms. */
export const MAX_EXPRESSION = 4 << 20;

const ALIASES: Readonly<Record<string, string>> = {
  ether: "link",
  ppp: "link",
  slip: "link",
  fddi: "link",
  tr: "link",
  wlan: "link",
  "es-is": "esis",
  "is-is": "isis",
  direction: "dir",
  address1: "addr1",
  address2: "addr2",
  address3: "addr3",
  address4: "addr4",
  not: "!",
  length: "len",
  on: "ifname",
  ruleset: "rset",
  rulenum: "rnr",
  subrulenum: "srnr",
  lsu: "lssu",
};

const KEYWORDS: ReadonlySet<string> = new Set([
  ...PROTOCOLS,
  ..."dst src host net mask port portrange proto protochain gateway type subtype dir".split(" "),
  ..."addr1 addr2 addr3 addr4 ra ta less greater byte broadcast multicast and or len".split(" "),
  ..."inbound outbound ifindex vlan mpls pppoed pppoes geneve lane llc metac bcc oam oamf4".split(" "),
  ..."oamf4ec oamf4sc sc ilmic vpi vci connectmsg metaconnect ifname rset rnr srnr reason".split(" "),
  ..."action fisu lssu msu hfisu hlssu hmsu sio opc dpc sls hsio hopc hdpc hsls".split(" "),
]);

const OPERATORS: readonly (readonly [text: string, kind: string])[] = [
  [">=", ">="],
  ["<=", "<="],
  ["!=", "!="],
  ["==", "="],
  ["<<", "<<"],
  [">>", ">>"],
  ["&&", "and"],
  ["||", "or"],
  ...Array.from("+-*/%:[]!<>()&|^=", (char) => [char, char] as const),
];

const ID = /[A-Za-z0-9](?:[-_.A-Za-z0-9]*[.A-Za-z0-9])?/y;
const NUMBER = /0[xX][0-9A-Fa-f]+|[0-9]+/y;
const DOTTED = /(?:0[xX][0-9A-Fa-f]+|[0-9]+)(?:\.(?:0[xX][0-9A-Fa-f]+|[0-9]+)){1,3}/y;
const MACS = [
  /[0-9A-Fa-f]{1,2}(?::[0-9A-Fa-f]{1,2}){5}/y,
  /[0-9A-Fa-f]{1,2}(?:-[0-9A-Fa-f]{1,2}){5}/y,
  /[0-9A-Fa-f]{1,2}(?:\.[0-9A-Fa-f]{1,2}){5}/y,
  /[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}\.[0-9A-Fa-f]{4}/y,
  /[0-9A-Fa-f]{12}/y,
] as const;
const BOGUS_MAC = /[0-9A-Fa-f]{1,2}:+(?:[0-9A-Fa-f]{1,2}:+)+/y;
const ESCAPED = /\\[^ !()\n\t]+/y;
const ARCNET = /\$[0-9A-Fa-f]{1,2}/y;
const V6_RUN = /[0-9A-Fa-f:]+(?:\.[0-9]+){0,3}/y;

function matchAt(pattern: RegExp, text: string, at: number): string {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? "";
}

/** Whether a text has the shape of an IPv6 address; the values of a dotted tail are not looked at. */
function looksLikeV6(text: string): boolean {
  const halves = text.split("::");
  if (halves.length > 2) return false;
  let groups = 0;
  for (const [index, half] of halves.entries()) {
    if (half === "") {
      if (halves.length === 1) return false;
      continue;
    }
    const parts = half.split(":");
    for (const [place, part] of parts.entries()) {
      if (part.includes(".")) {
        if (index !== halves.length - 1 || place !== parts.length - 1) return false;
        if (!/^[0-9]+(?:\.[0-9]+){3}$/.test(part)) return false;
        groups += 2;
      } else {
        if (!/^[0-9A-Fa-f]{1,4}$/.test(part)) return false;
        groups++;
      }
    }
  }
  return halves.length === 2 ? groups <= 7 : groups === 8;
}

function v6At(text: string, at: number): string {
  const run = matchAt(V6_RUN, text, at).slice(0, 60);
  if (!run.includes(":")) return "";
  for (let length = run.length; length >= 2; length--) {
    const candidate = run.slice(0, length);
    if (looksLikeV6(candidate)) return candidate;
  }
  return "";
}

const WORD_KINDS = ["mac", "num", "ip4 address", "ip6 address", "bogus"] as const;

/** The token that begins with a letter, digit or colon, or undefined if none does. */
function wordAt(text: string, at: number): { kind: string; length: number } | undefined {
  const id = matchAt(ID, text, at);
  const digitFirst = /[0-9A-Fa-f:]/.test(text[at] ?? "");
  const lengths = digitFirst
    ? [
        Math.max(...MACS.map((pattern) => matchAt(pattern, text, at).length)),
        matchAt(NUMBER, text, at).length,
        matchAt(DOTTED, text, at).length,
        v6At(text, at).length,
        matchAt(BOGUS_MAC, text, at).length,
      ]
    : [];
  const longest = Math.max(id.length, ...lengths);
  if (longest === 0) return undefined;
  if (id.length === longest) {
    const keyword = ALIASES[id] ?? id;
    if (KEYWORDS.has(keyword) || keyword === "!") return { kind: keyword, length: longest };
  }
  const kind = WORD_KINDS.find((_, index) => lengths[index] === longest);
  if (kind !== undefined) return { kind, length: longest };
  return { kind: NUMBER_NAMES.has(id) ? "num" : "id", length: longest };
}

function numberOf(text: string, span: Span): number {
  const named = NUMBER_NAMES.get(text);
  if (named !== undefined) return named;
  const hex = /^0[xX]/.test(text);
  const octal = !hex && text.length > 1 && text.startsWith("0");
  if (octal && /[89]/.test(text)) {
    throw filterError(span, `number ${text} contains a digit that is not octal`, "a leading 0 means octal");
  }
  const value = hex ? Number(text) : Number.parseInt(text, octal ? 8 : 10);
  if (value > 0xffffffff) throw filterError(span, `number ${text} overflows 32 bits`);
  return value;
}

/** All tokens, the last of kind `end`. */
export function tokenize(text: string): readonly Token[] {
  if (text.length > MAX_EXPRESSION) {
    throw filterError(
      { start: 0, end: 0 },
      `it is ${text.length} characters long, more than the ${MAX_EXPRESSION} that are taken`,
    );
  }
  const tokens: Token[] = [];
  let at = 0;
  const push = (kind: string, length: number, shown?: string): void => {
    const span = { start: at, end: at + length };
    const word = shown ?? text.slice(at, at + length);
    tokens.push({ kind, text: word, value: kind === "num" ? numberOf(word, span) : 0, span });
    at += length;
  };
  while (at < text.length) {
    const char = text[at] as string;
    if (/[ \r\n\t]/.test(char)) {
      at++;
      continue;
    }
    const word = /[A-Za-z0-9:]/.test(char) ? wordAt(text, at) : undefined;
    if (word !== undefined) {
      if (word.kind === "bogus") {
        const shown = text.slice(at, at + word.length);
        throw filterError({ start: at, end: at + word.length }, `bogus ethernet address ${shown}`);
      }
      push(word.kind, word.length);
      continue;
    }
    const escaped = char === "\\" ? matchAt(ESCAPED, text, at) : "";
    if (escaped !== "") {
      push("id", escaped.length, escaped.slice(1));
      continue;
    }
    const arcnet = char === "$" ? matchAt(ARCNET, text, at) : "";
    if (arcnet !== "") {
      push("arcnet", arcnet.length);
      continue;
    }
    const operator = OPERATORS.find(([spelling]) => text.startsWith(spelling, at));
    if (operator === undefined) {
      const shown = char < " " || char > "~" ? `\\u{${(text.codePointAt(at) ?? 0).toString(16)}}` : char;
      throw filterError({ start: at, end: at + 1 }, `syntax error: unexpected character '${shown}'`);
    }
    push(operator[1], operator[0].length);
  }
  tokens.push({ kind: "end", text: "", value: 0, span: { start: text.length, end: text.length } });
  return tokens;
}
