/**
 * Memory of a modelled run: every object lies in a region of its own, far from all others, so that an access which is not inside of one is
 * always noticed, and one to what has been given back as well.
 */

/** What a run did that the verifier's proof rules out. */
export class Unsound extends Error {}

export type RegionKind =
  | "stack"
  | "context"
  | "packet"
  | "map_value"
  | "map_key"
  | "record"
  | "object"
  | "kernel"
  | "number";

export interface Region {
  readonly kind: RegionKind;
  readonly label: string;
  readonly base: bigint;
  readonly bytes: Uint8Array;
  readonly writable: boolean;
  alive: boolean;
  /** References that the program holds and must give back: of objects, structures of the kernel, records. */
  held: number;
  /** Of an object in a list or tree: the region of the root, whose lock lies beside it. */
  root?: Region | undefined;
  /** Of an object that a map's value holds. */
  stored?: boolean;
}

/** A region has this many bits of addresses, and lies in their middle: pointers may go before it and return. All stay below 2^32, as fields of contexts hold them. */
const SPACING = 20n;
const MIDDLE = 1n << (SPACING - 1n);

export class Memory {
  readonly #regions: Region[] = [];

  add(kind: RegionKind, label: string, bytes: Uint8Array, writable = true): Region {
    const base = (BigInt(this.#regions.length + 1) << SPACING) + MIDDLE;
    const region = { kind, label, base, bytes, writable, alive: true, held: 0 };
    this.#regions.push(region);
    return region;
  }

  get regions(): readonly Region[] {
    return this.#regions;
  }

  /** The region that an address belongs to, alive or not; it may lie before or behind the region. */
  find(address: bigint): Region | undefined {
    const index = address >> SPACING;
    return index < 1n || index > BigInt(this.#regions.length) ? undefined : this.#regions[Number(index) - 1];
  }

  /** Where `size` bytes lie; undefined if that is not inside of one region. */
  locate(address: bigint, size: number): { readonly region: Region; readonly offset: number } | undefined {
    const region = this.find(address);
    if (region === undefined) return undefined;
    const offset = Number(address - region.base);
    return offset < 0 || offset + size > region.bytes.length ? undefined : { region, offset };
  }

  /** As {@link locate}, of what must be there. */
  at(address: bigint, size: number, what: string): { readonly region: Region; readonly offset: number } {
    const found = this.locate(address, size);
    if (found !== undefined && found.region.alive) return found;
    const region = this.find(address);
    const where = region === undefined ? "nothing" : `${region.label} (${region.bytes.length} bytes)`;
    throw new Unsound(
      `${what}: ${size} bytes at 0x${address.toString(16)}: ${where}${region?.alive === false ? ", given back" : ""}`,
    );
  }
}

export function readBytes(bytes: Uint8Array, offset: number, size: number): bigint {
  let value = 0n;
  for (let at = size - 1; at >= 0; at--) value = (value << 8n) | BigInt(bytes[offset + at] as number);
  return value;
}

export function writeBytes(bytes: Uint8Array, offset: number, size: number, value: bigint): void {
  for (let at = 0; at < size; at++) bytes[offset + at] = Number((value >> BigInt(8 * at)) & 0xffn);
}
