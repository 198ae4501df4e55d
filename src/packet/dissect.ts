/** Bytes to headers: what a packet is made of, for messages and comparisons. */
import { type Field, fromBits } from "./fields.ts";
import { type HeaderName, type HeaderRow, headerByNumber, headerRow } from "./headers.ts";

/** A header that was found. */
export interface DissectedLayer {
  /** A header's name; "payload" for what is no header. */
  readonly name: HeaderName | "payload";
  readonly title: string;
  /** Bytes from the packet's start, and how many. */
  readonly offset: number;
  readonly length: number;
  readonly fields: readonly DissectedField[];
}

export interface DissectedField {
  readonly name: string;
  readonly value: number | bigint | string;
  readonly field: Field;
}

/**
 * The headers of a packet in order, as far as they are known and complete; what is left is the last layer, "payload".
 *
 * @param first the header that the packet begins with, "eth" if not given.
 * @example
 * dissect(frame).map(({ name }) => name); // ["eth", "ipv4", "tcp", "payload"]
 */
export function dissect(packet: Uint8Array, first: HeaderName = "eth"): readonly DissectedLayer[] {
  const layers: DissectedLayer[] = [];
  let offset = 0;
  let name: HeaderName | undefined = first;
  while (name !== undefined) {
    const row = headerRow(name) as HeaderRow;
    const layer = readLayer(row, packet.subarray(offset), offset);
    if (layer === undefined) break;
    layers.push(layer);
    offset += layer.length;
    name = nextOf(row, layer, packet, offset);
  }
  const length = packet.length - offset;
  if (length > 0) layers.push({ name: "payload", title: "payload", offset, length, fields: [] });
  return layers;
}

function readLayer(row: HeaderRow, bytes: Uint8Array, offset: number): DissectedLayer | undefined {
  const fields: DissectedField[] = [];
  let bit = 0;
  for (const field of row.fields) {
    if (field.optional === true && !greHas(field.name, fields)) continue;
    if (bit + field.bits > bytes.length * 8) return undefined;
    fields.push({ name: field.name, value: fromBits(field, readBits(bytes, bit, field.bits)), field });
    bit += field.bits;
  }
  let length = bit / 8;
  if (row.options !== undefined) {
    const { counter, unit, fixed } = row.options;
    const count = Number(fields.find(({ name }) => name === counter)?.value ?? 0);
    const optionBytes = count * unit - fixed;
    if (optionBytes < 0 || length + optionBytes > bytes.length) return undefined;
    if (optionBytes > 0) {
      const field: Field = { name: row.options.name, bits: optionBytes * 8 };
      fields.push({ name: field.name, value: hex(bytes.subarray(length, length + optionBytes)), field });
    }
    length += optionBytes;
  }
  return { name: row.name as HeaderName, title: row.title, offset, length, fields };
}

/** RFC 2890: which of the optional words are there. */
function greHas(name: string, fields: readonly DissectedField[]): boolean {
  const flags = Number(fields.find((row) => row.name === "flags")?.value ?? 0);
  return (flags & (name === "checksum" ? 0x1000 : name === "key" ? 0x400 : 0x200)) !== 0;
}

function readBits(bytes: Uint8Array, bit: number, bits: number): bigint {
  let value = 0n;
  const end = Math.ceil((bit + bits) / 8);
  for (let byte = bit >> 3; byte < end; byte++) value = (value << 8n) | BigInt(bytes[byte] as number);
  return (value >> BigInt(end * 8 - bit - bits)) & ((1n << BigInt(bits)) - 1n);
}

export function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function nextOf(
  row: HeaderRow,
  { fields }: DissectedLayer,
  packet: Uint8Array,
  offset: number,
): HeaderName | undefined {
  const value = (name: string): number => Number(fields.find((field) => field.name === name)?.value ?? 0);
  if (row.always !== undefined) return row.always as HeaderName;
  if (row.name === "mpls") {
    if (value("bottom") === 0) return "mpls";
    // What is labelled is not said; the first half byte of IP tells.
    const version = (packet[offset] ?? 0) >> 4;
    return version === 4 ? "ipv4" : version === 6 ? "ipv6" : undefined;
  }
  // Only the first fragment begins with the next header.
  if ((row.name === "ipv4" || row.name === "fragment") && value("offset") !== 0) return undefined;
  return row.next === undefined ? undefined : headerByNumber(row.next.registry, value(row.next.field));
}

/** A field of a layer as text; "absent" if the layer has none of that name. */
export function describeField({ fields }: DissectedLayer, name: string): string {
  const found = fields.find((row) => row.name === name);
  if (found === undefined) return "absent";
  const { value, field } = found;
  if (typeof value === "string") return value === "" ? "none" : value;
  return field.form === "hex"
    ? `0x${value.toString(16).padStart(Math.ceil(field.bits / 4), "0")}`
    : String(value);
}

const SHOWN = 32;

/** A packet as text, one line a header. */
export function describePacket(packet: Uint8Array, first: HeaderName = "eth"): string {
  return dissect(packet, first)
    .map((layer) => {
      const { name, title, length, fields, offset } = layer;
      if (name === "payload") {
        const bytes = hex(packet.subarray(offset, offset + SHOWN));
        return `payload: ${length} bytes ${bytes}${length > SHOWN ? "..." : ""}`;
      }
      return `${title}: ${fields.map((row) => `${row.name}=${describeField(layer, row.name)}`).join(" ")}`;
    })
    .join("\n");
}
