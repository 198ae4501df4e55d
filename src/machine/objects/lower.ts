/** Values of kernel structures as people write them, with objects and texts in place of pointers, made plain for BTF. */
import { type Btf, type BtfValue, encodeValue, findMember, resolve, sizeOf } from "../../btf/index.ts";
import type { LinearMemory } from "../memory.ts";
import { writeRecord } from "./writes.ts";

/** A structure that lies in the machine's memory already. */
export interface PlacedObject {
  readonly address: number;
  readonly size: number;
  bytes(): Uint8Array;
}

export function isPlaced(value: unknown): value is PlacedObject {
  return (
    typeof value === "object" &&
    value !== null &&
    "address" in value &&
    typeof value.address === "number" &&
    "bytes" in value &&
    typeof value.bytes === "function"
  );
}

/**
 * What a member or an argument may be given as: what `encodeValue` takes, and for pointers an object, null, a text (laid out
 * with a zero byte behind it), bytes, an object of members (a structure of the pointer's type is laid out) or an array of such.
 */
export type ObjectValue =
  | BtfValue
  | PlacedObject
  | null
  | readonly ObjectValue[]
  | { readonly [member: string]: ObjectValue };

/** How deep values may nest: deeper than any structure of a kernel. */
const MAX_NESTING = 64;

/**
 * The same value with addresses for pointers. What must be laid out for it goes to the memory; the addresses are added to
 * `parts`.
 */
export function lowerValue(
  memory: LinearMemory,
  btf: Btf,
  id: number,
  value: ObjectValue,
  parts: number[],
  depth = 0,
): BtfValue {
  if (depth > MAX_NESTING) return 0;
  const type = resolve(btf, id);
  const deeper = (inner: number, given: ObjectValue): BtfValue =>
    lowerValue(memory, btf, inner, given, parts, depth + 1);
  switch (type.kind) {
    case "ptr":
      return pointerTo(memory, btf, type.type, value, parts, depth);
    case "struct":
    case "union": {
      if (isPlaced(value)) return value.bytes();
      if (!isRecord(value)) return value as BtfValue;
      return Object.fromEntries(
        Object.entries(value)
          .filter(([, inner]) => inner !== undefined)
          .map(([name, inner]) => {
            const member = findMember(btf, id, name);
            // What is no member is named by encodeValue.
            return [name, member === undefined ? (inner as BtfValue) : deeper(member.type, inner)];
          }),
      );
    }
    case "array": {
      if (!Array.isArray(value)) return value as BtfValue;
      const elements = (value as readonly ObjectValue[]).map((inner) => deeper(type.type, inner));
      // Elements that are left out are zero.
      const zero = new Uint8Array(sizeOf(btf, type.type));
      while (elements.length < type.length) elements.push(zero);
      return elements;
    }
    default:
      return value as BtfValue;
  }
}

/** An address as a number; anything that is no pointer comes back as it is, for encodeValue to name. */
function pointerTo(
  memory: LinearMemory,
  btf: Btf,
  target: number,
  value: ObjectValue,
  parts: number[],
  depth: number,
): BtfValue {
  if (value === null) return 0;
  if (isPlaced(value)) return value.address;
  const place = (bytes: Uint8Array, what: string, kind: "object" | "memory" = "memory"): number => {
    const address = memory.lend(Math.max(1, bytes.length), what, kind);
    memory.write(address, bytes);
    parts.push(address);
    return address;
  };
  if (typeof value === "string") return place(new TextEncoder().encode(`${value}\0`), "text");
  if (value instanceof Uint8Array) {
    const { kind } = resolve(btf, target);
    return place(value, "bytes", kind === "struct" || kind === "fwd" ? "object" : "memory");
  }
  if (Array.isArray(value)) {
    const size = sizeOf(btf, target);
    const bytes = new Uint8Array(size * value.length);
    (value as readonly ObjectValue[]).forEach((inner, index) => {
      bytes.set(
        encodeValue(btf, target, lowerValue(memory, btf, target, inner, parts, depth + 1)),
        index * size,
      );
    });
    return place(bytes, "array");
  }
  if (!isRecord(value)) return value as BtfValue;
  const { kind, name } = resolve(btf, target);
  if (kind !== "struct" && kind !== "union") return value as BtfValue;
  const bytes = encodeValue(btf, target, lowerValue(memory, btf, target, value, parts, depth + 1));
  const address = place(bytes, `${kind} ${name}`, "object");
  memory.lending?.allowWrites(address, writeRecord(memory, btf, resolve(btf, target).id));
  return address;
}

function isRecord(value: ObjectValue): value is { readonly [member: string]: ObjectValue } {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !ArrayBuffer.isView(value);
}
