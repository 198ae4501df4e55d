/**
 * Packets as a chain of headers: `eth().ipv4({ dst: "10.0.0.2" }).tcp({ dport: 80 }).payload("GET /").bytes()`.
 *
 * Bytes are made from the innermost header outwards, so that each header knows what follows it: lengths and next-header numbers
 * first, then checksums, which need both. Whatever is given is taken as it is, so wrong lengths and checksums can be made too.
 */
import { BpfError } from "../errors.ts";
import { crc32c, internetChecksum, internetSum } from "./checksum.ts";
import { type Field, type FieldValue, toBits } from "./fields.ts";
import { type HeaderFields, type HeaderName, type HeaderRow, HEADERS, headerRow } from "./headers.ts";

interface Layer {
  readonly row: HeaderRow;
  readonly given: Readonly<Record<string, FieldValue | undefined>>;
}

/** A packet under construction; it never changes, every call gives a new one. */
export type PacketBuilder = {
  readonly [Name in HeaderName]: (fields?: HeaderFields<Name>) => PacketBuilder;
} & {
  /** What follows the headers: bytes, text (UTF-8), or a number of bytes counting up from 0. */
  payload(content: Uint8Array | string | number): PacketBuilder;
  /** The finished packet, a new array each time. */
  bytes(): Uint8Array;
};

/** A header that begins a packet. */
type Start = { readonly [Name in HeaderName]: (fields?: HeaderFields<Name>) => PacketBuilder };

function builder(layers: readonly Layer[], content: Uint8Array): PacketBuilder {
  const adders = Object.fromEntries(
    HEADERS.map((row: HeaderRow) => [
      row.name,
      (fields: Layer["given"] = {}) => builder([...layers, checked(row, fields)], content),
    ]),
  );
  return {
    ...(adders as unknown as Start),
    payload: (next) => builder(layers, contentOf(next)),
    bytes: () => encode(layers, content),
  };
}

function contentOf(content: Uint8Array | string | number): Uint8Array {
  if (typeof content === "string") return new TextEncoder().encode(content);
  if (typeof content !== "number") return content;
  if (!Number.isInteger(content) || content < 0 || content > 0x10000)
    throw new BpfError("usage", `packet: a payload of ${content} bytes: it must be 0 to 65536`);
  return Uint8Array.from({ length: content }, (_, index) => index & 255);
}

function checked(row: HeaderRow, given: Layer["given"]): Layer {
  for (const name of Object.keys(given)) {
    const known = row.fields.map((field) => field.name);
    if (row.options !== undefined) known.push(row.options.name);
    if (!known.includes(name))
      throw new BpfError("usage", `packet: ${row.name} has no field '${name}'; it has ${known.join(", ")}`);
  }
  return { row, given };
}

function encode(layers: readonly Layer[], content: Uint8Array): Uint8Array {
  let rest = content;
  for (let index = layers.length - 1; index >= 0; index--) rest = encodeLayer(layers, index, rest);
  return rest === content ? content.slice() : rest;
}

function encodeLayer(layers: readonly Layer[], index: number, rest: Uint8Array): Uint8Array {
  const { row, given } = layers[index] as Layer;
  const options = optionsOf(row, given);
  const follows = followers(layers, index, options.length);
  const present = row.fields.filter(({ name, optional }) => optional !== true || given[name] !== undefined);
  const size = present.reduce((sum, { bits }) => sum + bits, 0) / 8 + options.length;
  if (row.length !== undefined) {
    const length = rest.length + options.length + (row.length.of === "all" ? size - options.length : 0);
    // A jumbogram or an oversized packet has no length that fits: 0 stands there (RFC 2675).
    follows.set(row.length.field, length > 0xffff ? 0 : length);
  }
  const bytes = new Uint8Array(size + rest.length);
  let at = 0n;
  let head = 0n;
  for (const field of present) {
    head = (head << BigInt(field.bits)) | valueOf(row, field, given, follows);
    at += BigInt(field.bits);
  }
  const fixed = Number(at) / 8;
  for (let byte = fixed - 1; byte >= 0; byte--, head >>= 8n) bytes[byte] = Number(head & 255n);
  bytes.set(options, fixed);
  bytes.set(rest, size);
  fillChecksum(layers, index, bytes, size);
  return bytes;
}

function optionsOf(row: HeaderRow, given: Layer["given"]): Uint8Array {
  const { options } = row;
  const bytes = options === undefined ? undefined : given[options.name];
  if (options === undefined) return new Uint8Array(0);
  const content = bytes instanceof Uint8Array ? bytes : new Uint8Array(0);
  // Extension headers begin with 2 bytes of fields, which count towards the first unit.
  const before = options.fixed < 0 ? 8 + options.fixed : 0;
  const length =
    Math.max(options.fixed < 0 ? 8 : 0, roundUp(before + content.length, options.align)) - before;
  const padded = new Uint8Array(length);
  padded.set(content);
  return padded;
}

function roundUp(value: number, unit: number): number {
  return Math.ceil(value / unit) * unit;
}

/** Values that follow from the other headers. */
function followers(layers: readonly Layer[], index: number, optionBytes: number): Map<string, FieldValue> {
  const { row, given } = layers[index] as Layer;
  const next = layers[index + 1]?.row;
  const values = new Map<string, FieldValue>();
  if (row.options !== undefined) {
    const { counter, unit, fixed } = row.options;
    values.set(counter, (optionBytes + fixed) / unit);
  }
  const number = row.next === undefined ? undefined : next?.numbers?.[row.next.registry];
  if (row.next !== undefined && number !== undefined) values.set(row.next.field, number);
  if (row.name === "mpls") values.set("bottom", next?.name === "mpls" ? 0 : 1);
  if (row.name === "gre") {
    // RFC 2890: the bits C, K and S, from the top of the first 16.
    const bit = (field: string, value: number): number => (given[field] === undefined ? 0 : value);
    values.set("flags", bit("checksum", 0x1000) | bit("key", 0x400) | bit("seq", 0x200));
  }
  return values;
}

function valueOf(
  row: HeaderRow,
  field: Field,
  given: Layer["given"],
  follows: ReadonlyMap<string, FieldValue>,
): bigint {
  return toBits(row.name, field, given[field.name] ?? follows.get(field.name) ?? field.value ?? 0);
}

/** Byte offset of a field that begins at a byte. */
function offsetOf(row: HeaderRow, name: string): number {
  let bits = 0;
  for (const field of row.fields) {
    if (field.name === name) break;
    bits += field.bits;
  }
  return bits / 8;
}

function fillChecksum(layers: readonly Layer[], index: number, bytes: Uint8Array, size: number): void {
  const { row, given } = layers[index] as Layer;
  const rule = row.checksum;
  if (rule === undefined || given[rule.field] !== undefined) return;
  const view = new DataView(bytes.buffer);
  const at = offsetOf(row, rule.field);
  if (rule.kind === "crc32c") {
    view.setUint32(at, crc32c(bytes));
    return;
  }
  const covered = rule.over === "header" ? bytes.subarray(0, size) : bytes;
  const start = rule.over === "pseudo" ? pseudoSum(layers, index, bytes.length) : 0;
  const sum = internetChecksum(covered, start);
  // RFC 768: a UDP checksum of zero is sent as all ones, for zero means none.
  view.setUint16(at, sum === 0 && row.name === "udp" ? 0xffff : sum);
}

/** The pseudo-header of the nearest IP header before (RFC 9293 3.1, RFC 8200 8.1); nothing without one. */
function pseudoSum(layers: readonly Layer[], index: number, length: number): number {
  const protocol = (layers[index] as Layer).row.numbers?.protocol ?? 0;
  for (let before = index - 1; before >= 0; before--) {
    const { row, given } = layers[before] as Layer;
    if (row.name !== "ipv4" && row.name !== "ipv6") continue;
    let sum = protocol + (length >>> 16) + (length & 0xffff);
    for (const field of row.fields) {
      if (field.name !== "src" && field.name !== "dst") continue;
      const value = valueOf(row, field, given, new Map());
      const bytes = new Uint8Array(field.bits / 8);
      for (let byte = bytes.length - 1, left = value; byte >= 0; byte--, left >>= 8n)
        bytes[byte] = Number(left & 255n);
      sum = internetSum(bytes, sum);
    }
    return sum;
  }
  return 0;
}

const EMPTY = builder([], new Uint8Array(0));

/**
 * Begins a packet with an Ethernet header.
 *
 * @example
 * eth({ dst: "02:00:00:00:00:09" }).ipv4({ dst: "192.0.2.1" }).udp({ dport: 53 }).payload("hello").bytes();
 */
export const eth: Start["eth"] = (fields) => EMPTY.eth(fields);

/** Begins a packet with an IPv4 header, as programs behind the link layer see it. */
export const ipv4: Start["ipv4"] = (fields) => EMPTY.ipv4(fields);

/** Begins a packet with an IPv6 header. */
export const ipv6: Start["ipv6"] = (fields) => EMPTY.ipv6(fields);

/** The row of a header, for those who build from tables: `startWith("tcp", { dport: 80 })`. */
export function startWith<Name extends HeaderName>(name: Name, fields?: HeaderFields<Name>): PacketBuilder {
  if (headerRow(name) === undefined)
    throw new BpfError(
      "usage",
      `packet: no header '${name}'; there are ${HEADERS.map((row) => row.name).join(", ")}`,
    );
  return (EMPTY as Start)[name](fields);
}
