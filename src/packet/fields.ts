/** Fields of headers: how they lie in bits, and what their values are to people. */
import { formatIpv4, formatIpv6, formatMac, parseIpv4, parseIpv6, parseMac } from "../addresses.ts";
import { BpfError } from "../errors.ts";

/** What a field holds: a number, a number that is shown in hex, flags by name, an address. */
export type FieldForm = "number" | "hex" | "flags" | "mac" | "ipv4" | "ipv6";

/** A field of a header. Fields follow each other without gaps, most significant bit first. */
export interface Field {
  readonly name: string;
  readonly bits: number;
  /** Default "number". */
  readonly form?: FieldForm;
  /** What it is when nothing is given, and nothing follows from the other headers. Default 0. */
  readonly value?: number | string;
  /** Names of single bits of "flags", from the lowest up. */
  readonly flags?: readonly string[];
  /** There only if it is given (the key of GRE). */
  readonly optional?: true;
}

/** Numbers (bigint above 53 bits), "syn ack" for flags, text for addresses; bytes are always possible for addresses. */
export type FieldValue = number | bigint | string | Uint8Array;

const ADDRESSES = {
  mac: { parse: parseMac, format: formatMac, example: "02:00:00:00:00:01" },
  ipv4: { parse: parseIpv4, format: formatIpv4, example: "10.0.0.1" },
  ipv6: { parse: parseIpv6, format: formatIpv6, example: "fd00::1" },
} as const;

const bad = (header: string, field: string, what: string): BpfError =>
  new BpfError("usage", `packet: ${header}.${field}: ${what}`);

/** A value as the field's bits. */
export function toBits(header: string, field: Field, value: FieldValue): bigint {
  const { name, bits, form = "number" } = field;
  if (form === "mac" || form === "ipv4" || form === "ipv6") {
    const { parse, example } = ADDRESSES[form];
    const bytes = typeof value === "string" ? parse(value) : value instanceof Uint8Array ? value : undefined;
    if (bytes === undefined || bytes.length * 8 !== bits)
      throw bad(header, name, `${JSON.stringify(String(value))} is no address such as ${example}`);
    return bytes.reduce((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
  }
  if (form === "flags" && typeof value === "string") return BigInt(flagBits(header, field, value));
  if (typeof value !== "bigint" && !(typeof value === "number" && Number.isInteger(value)))
    throw bad(header, name, `${JSON.stringify(String(value))} is no whole number`);
  const number = BigInt(value);
  if (number < 0n || number >= 1n << BigInt(bits))
    throw bad(header, name, `${number} does not fit ${bits} bits`);
  return number;
}

function flagBits(header: string, { name, flags = [] }: Field, text: string): number {
  let sum = 0;
  for (const word of text.split(/[\s|,+]+/).filter((part) => part !== "")) {
    const bit = flags.indexOf(word.toLowerCase());
    if (bit < 0) throw bad(header, name, `no flag '${word}'; there are ${flags.join(", ")}`);
    sum |= 2 ** bit;
  }
  return sum;
}

/** A field's bits as people write them. */
export function fromBits(
  { bits, form = "number", flags = [] }: Field,
  value: bigint,
): number | bigint | string {
  if (form === "mac" || form === "ipv4" || form === "ipv6") {
    const bytes = new Uint8Array(bits / 8);
    for (let index = 0; index < bytes.length; index++)
      bytes[bytes.length - 1 - index] = Number((value >> BigInt(8 * index)) & 255n);
    return ADDRESSES[form].format(bytes);
  }
  if (form === "flags") {
    const names = flags.filter((_, bit) => ((value >> BigInt(bit)) & 1n) === 1n);
    return names.join(" ");
  }
  return bits > 53 ? value : Number(value);
}
