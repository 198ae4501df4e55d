/** Sequences of packet helpers for test/fixtures/packet-ops.bpf.c, seeded: edges first, then numbers around them. */
import type { BpfMap } from "../../src/machine/index.ts";

export const OPERATIONS = 6;

export interface Operation {
  readonly kind: number;
  readonly a: number;
  readonly b: number;
  readonly c: number;
  readonly d: bigint;
  readonly e: bigint;
}

const NOTHING: Operation = { kind: 99, a: 0, b: 0, c: 0, d: 0n, e: 0n };

/** Mulberry32. */
export function random(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let value = Math.imul(state ^ (state >>> 15), state | 1);
    value ^= value + Math.imul(value ^ (value >>> 7), value | 61);
    return ((value ^ (value >>> 14)) >>> 0) / 2 ** 32;
  };
}

const IPV4_PACKET = [
  "020000000001020000000002080045000034abcd40004006b1e6ac100a63ac100a0c",
  "d43101bb11223344556677888010020012340000aabbccddeeff00112233445566778899",
].join("");
const IPV6_PACKET = [
  "02000000000102000000000286dd60312345001c1140fd000000000000000000000000000001",
  "fd000000000000000000000000000002303900350018abcd000102030405060708090a0b0c0d0e0f",
].join("");
const VLAN_PACKET = `${"ffffffffffff0200000000028100200588a8300a0800"}${IPV4_PACKET.slice(28)}`;
const ARP_PACKET = `ffffffffffff02000000000208060001080006040001${"0200000000020a0000010000000000000a000002"}`;
const LENGTH_PACKET = `0180c20000000200000000020026424203000000${"00".repeat(40)}`;
const SHORT_PACKET = "0200000000010200000000020800".replace("0800", "1234");
const LONG_PACKET = `${IPV4_PACKET}${"5a".repeat(1400)}`;

export const PACKETS: readonly Uint8Array[] = [
  IPV4_PACKET,
  IPV6_PACKET,
  VLAN_PACKET,
  ARP_PACKET,
  LENGTH_PACKET,
  SHORT_PACKET,
  LONG_PACKET,
  `${VLAN_PACKET.slice(0, 24)}8100${VLAN_PACKET.slice(28, 36)}ffff${"00".repeat(20)}`,
].map((hex) => Uint8Array.from(Buffer.from(hex, "hex")));

const LENGTHS = [0, 1, 2, 3, 4, 8, 13, 14, 15, 18, 20, 24, 28, 34, 40, 50, 54, 58, 60, 64, 70, 78];
const EDGES = [
  100, 127, 255, 256, 1000, 1500, 4095, 4096, 8000, 15_900, 16_000, 16_063, 16_064, 16_065, 65_535, 65_536,
  0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffec, 0xfffffff2, 0xfffffffc, 0xffffffff,
];

export class OperationSource {
  readonly #next: () => number;

  constructor(seed: number) {
    this.#next = random(seed);
  }

  #below(bound: number): number {
    return Math.floor(this.#next() * bound);
  }

  #pick<T>(values: readonly T[]): T {
    return values[this.#below(values.length)] as T;
  }

  #size(): number {
    return this.#next() < 0.75 ? this.#pick(LENGTHS) : this.#pick(EDGES);
  }

  #distance(): number {
    const size = this.#size();
    return this.#next() < 0.4 ? -size >>> 0 : size;
  }

  #word(): bigint {
    return (BigInt(this.#below(2 ** 32)) << 32n) | BigInt(this.#below(2 ** 32));
  }

  #flags(likely: readonly bigint[]): bigint {
    const roll = this.#next();
    if (roll < 0.6) return this.#pick(likely);
    if (roll < 0.9) return this.#pick(likely) | this.#pick(likely);
    return this.#word() >> BigInt(this.#below(64));
  }

  skb(): Operation {
    const kind = this.#below(28);
    const base = { ...NOTHING, kind, a: this.#size(), b: this.#below(64) };
    switch (kind) {
      case 1:
        return { ...base, c: this.#pick([0, 0, 1, 1, 2, 0xffffffff]) };
      case 2:
        return { ...base, d: this.#word(), e: this.#flags([0n, 1n, 2n]) };
      case 4:
        return { ...base, a: this.#pick([0, 1, 2, 3, 4, 7, 0x10001, 0xffffffff]) };
      // Linux 6.18 does not survive 2^31 bytes in front of a packet that is to be segmented.
      case 5:
        return { ...base, a: base.a > 16_065 ? 9000 : base.a, d: this.#flags([0n, 0n, 0n, 1n]) };
      case 6:
        return { ...base, d: this.#flags([0n, 0n, 0n, 1n]) };
      case 7:
        return {
          ...base,
          a: this.#pick([8, 0xdd86, 0xdd86, 8, 0x0608, 0x10008, 0]),
          d: this.#flags([0n, 0n, 0n, 1n]),
        };
      case 8:
        return {
          ...base,
          a: this.#distance(),
          b: this.#pick([0, 0, 1, 1, 2]),
          d:
            this.#flags([0n, 0n, 1n, 2n, 4n, 6n, 8n, 16n, 32n, 64n, 128n, 256n, 384n]) |
            (this.#next() < 0.1 ? BigInt(this.#below(64)) << 56n : 0n),
        };
      case 9:
        return { ...base, a: this.#pick([0x0081, 0xa888, 0x0800, 0x10081]), b: this.#below(0x20000) };
      case 11:
        return { ...base, a: this.#pick([0, 1, 0xffffffff, 12345]) };
      // A hash of the kernel's is keyed by a random number.
      case 12:
        return base;
      case 13:
        return {
          ...base,
          b: this.#pick([0, 2, 2, 4, 4, 1, 3, 8, 16]),
          d: this.#next() < 0.4 ? 0n : this.#word() >> BigInt(this.#pick([0, 32, 48])),
          e: this.#word() >> BigInt(this.#pick([0, 32, 48])),
        };
      case 14:
        return {
          ...base,
          b: this.#pick([0, 2, 4, 3, 8]) | this.#pick([0, 16, 32, 48, 64, 96, 128, 256, 0x1000]),
          d: this.#next() < 0.4 ? 0n : this.#word() >> BigInt(this.#pick([0, 32, 48])),
          e: this.#word() >> BigInt(this.#pick([0, 32, 48])),
        };
      case 16:
        return { ...base, d: this.#pick([0n, 1n, 1n, 1n, 1n, 2n, 3n, 4n, 1n << 32n]) };
      case 17:
      case 20:
        return { ...base, d: this.#pick([0n, 0n, 1n, 2n]) };
      case 18:
        return { ...base, b: 0, e: this.#pick([0n, 0n, 1n]) };
      case 21:
        return {
          ...base,
          a: this.#pick([0, 1, 0x7ffffff]),
          b: this.#pick([0, 0, 1000, 65_536, 65_537, 0x7fffffff]),
          c: this.#distance(),
          d: this.#pick([0n, 0n, 1n, 2n]),
        };
      case 24:
      case 25:
        return {
          ...base,
          b: this.#pick([43, 43, 43, 27, 23, 21, 7, 10]),
          d: this.#pick([0n, 0n, 1n, 2n, 4n, 8n, 16n, 17n, 32n]),
        };
      default:
        return base;
    }
  }

  xdp(): Operation {
    const kind = this.#below(8);
    const base = { ...NOTHING, kind, a: this.#size(), b: this.#below(64) };
    if (kind === 1) return { ...base, d: this.#word() };
    if (kind >= 3 && kind <= 5) return { ...base, a: this.#distance() };
    if (kind === 6) return { ...base, d: this.#pick([0n, 0n, 1n]) };
    if (kind === 7) {
      return {
        ...base,
        a: this.#pick([0, 1, 0x7ffffff]),
        b: this.#pick([0, 0, 1000, 65_536, 65_537]),
        c: this.#distance(),
        d: this.#pick([0n, 0n, 1n]),
      };
    }
    return base;
  }

  sequence(type: "skb" | "xdp"): Operation[] {
    return Array.from({ length: OPERATIONS }, () => (this.#next() < 0.1 ? NOTHING : this[type]()));
  }

  packet(): Uint8Array {
    return this.#pick(PACKETS);
  }
}

export function encodeOperation({ kind, a, b, c, d, e }: Operation): Uint8Array {
  const bytes = new Uint8Array(32);
  const view = new DataView(bytes.buffer);
  [kind, a, b, c].forEach((value, index) => view.setUint32(4 * index, value, true));
  view.setBigUint64(16, d, true);
  view.setBigUint64(24, e, true);
  return bytes;
}

const key = (index: number): Uint8Array => Uint8Array.of(index, 0, 0, 0);
const OUTCOME_SIZE = 112;

/** What both a machine's maps and the kernel's have. */
type Store = Pick<BpfMap, "update" | "lookup">;

/** Fills the tables; the scratch bytes of outcomes are 0 before each run. */
export function prepare(maps: Readonly<Record<string, Store>>, operations: readonly Operation[]): void {
  operations.forEach((operation, index) => {
    maps["operations"]?.update(key(index), encodeOperation(operation));
    maps["outcomes"]?.update(key(index), new Uint8Array(OUTCOME_SIZE));
  });
}

const FIELDS = [
  "len",
  "data_len",
  "protocol",
  "pkt_type",
  "vlan",
  "tci",
  "vlan_proto",
  "gso_size",
  "gso_segs",
  "hash",
];

/** Each outcome as text, so that a difference is readable. */
export function outcomes(maps: Readonly<Record<string, Store>>): string[] {
  return Array.from({ length: OPERATIONS }, (_, index) => {
    const bytes = maps["outcomes"]?.lookup(key(index)) as Uint8Array;
    const view = new DataView(bytes.buffer, bytes.byteOffset);
    const fields = FIELDS.map((name, at) => `${name}=${view.getUint32(72 + 4 * at, true)}`);
    return `${view.getBigInt64(0, true)} ${Buffer.from(bytes.subarray(8, 72)).toString("hex")} ${fields.join(" ")}`;
  });
}
