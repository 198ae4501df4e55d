/** Numbers at which arithmetic goes wrong: powers of two, their neighbours, and their negatives. */
import type { Random } from "./prng.ts";

const EDGES_32: readonly number[] = [
  ...new Set(
    [
      0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 33, 63, 64, 127, 128, 255, 256, 0x7fff, 0x8000, 0xffff, 0x10000,
    ].flatMap((value) => [value, 0 - value]),
  ),
  0x7ffffffe,
  0x7fffffff,
  -0x7fffffff,
  -0x80000000,
  0x55555555,
  -0x55555556,
  0x01020304,
];

/** A signed 32-bit constant. */
export function randomImm(random: Random): number {
  return random.chance(0.6) ? random.pick(EDGES_32) : random.u32() | 0;
}

const EDGES_64: readonly bigint[] = [7n, 8n, 15n, 16n, 31n, 32n, 33n, 47n, 62n, 63n].flatMap((bits) => [
  1n << bits,
  (1n << bits) - 1n,
  -(1n << bits),
  -(1n << bits) - 1n,
]);

/** A 64-bit constant, as two's complement. */
export function randomWide(random: Random): bigint {
  const value = random.chance(0.5)
    ? random.pick(EDGES_64)
    : random.chance(0.3)
      ? BigInt(randomImm(random))
      : random.u64();
  return BigInt.asUintN(64, value);
}

/** Ethernet types with the least length that the kernel takes for a test run of them: their network header in full. */
const PROTOCOLS = [
  { ethertype: 0x0800, least: 34 },
  { ethertype: 0x86dd, least: 54 },
  { ethertype: 0x8100, least: 15 },
  { ethertype: 0x0806, least: 15 },
  { ethertype: 0x88cc, least: 15 },
] as const;

/** A packet: Ethernet with some protocol, so that the program type's own parsing has something to see. */
export function randomPacket(random: Random): Uint8Array {
  const { ethertype, least } = random.pick(PROTOCOLS);
  const packet = random.bytes(random.chance(0.2) ? random.between(least, 60) : random.between(60, 300));
  packet[12] = ethertype >> 8;
  packet[13] = ethertype & 255;
  if (ethertype === 0x0800) {
    packet[14] = 0x45;
    packet[23] = random.pick([1, 6, 17]);
  } else if (ethertype === 0x86dd) {
    packet[14] = 0x60;
    packet[20] = random.pick([6, 17, 58]);
  }
  return packet;
}
