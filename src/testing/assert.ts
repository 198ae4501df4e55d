/** Assertions for node:test and every other runner: they throw. */
import type { BpfMap } from "../machine/index.ts";
import type { PacketBuilder } from "../packet/index.ts";
import {
  type Check,
  checkEntries,
  checkEntry,
  checkPacket,
  checkReturn,
  type PacketOptions,
  type Returned,
} from "./check.ts";

/** Thrown by assertions; runners show `expected` and `actual`. */
export class CheckFailure extends Error {
  readonly expected: unknown;
  readonly actual: unknown;

  constructor({ message, expected, actual }: Check) {
    super(message);
    this.name = "CheckFailure";
    this.expected = expected;
    this.actual = actual;
  }
}

function demand(check: Check): void {
  if (!check.pass) throw new CheckFailure(check);
}

/**
 * The program returned this, by name or by number.
 *
 * @throws CheckFailure
 * @example
 * assertReturn(programs.firewall.run({ packet }), "XDP_DROP");
 */
export function assertReturn(run: Returned, expected: string | number | bigint): void {
  demand(checkReturn(run, expected));
}

/**
 * The packet is this one; the message names the header fields that differ.
 *
 * @throws CheckFailure
 * @example
 * assertPacket(run.packet, eth().ipv4({ ttl: 63 }).udp(), { ignore: ["ipv4.checksum"] });
 */
export function assertPacket(
  actual: Uint8Array,
  expected: Uint8Array | PacketBuilder,
  options?: PacketOptions,
): void {
  demand(checkPacket(actual, expected, options));
}

/**
 * The map holds this value at this key; of structures only the members that are given count.
 *
 * @throws CheckFailure
 * @example
 * assertEntry(maps.verdicts, 0, { packets: 1 });
 */
export function assertEntry(map: BpfMap, key: unknown, expected: unknown): void {
  demand(checkEntry(map, key, expected));
}

/**
 * The map holds these elements and no others, in any order; of arrays those that are not zero.
 *
 * @throws CheckFailure
 */
export function assertEntries(
  map: BpfMap,
  expected: readonly (readonly [key: unknown, value: unknown])[],
): void {
  demand(checkEntries(map, expected));
}
