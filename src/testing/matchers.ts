/** Matchers for vitest and jest: `expect.extend(matchers)`. `skep/testing/vitest` does that and adds the types. */
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

interface MatcherResult {
  readonly pass: boolean;
  readonly message: () => string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** With `.not` the message of a check that holds is shown: it says what is so. */
function result({ message, ...rest }: Check): MatcherResult {
  return { ...rest, message: () => message };
}

/**
 * @example
 * expect.extend(matchers);
 * expect(programs.firewall.run({ packet })).toReturnValue("XDP_PASS");
 * expect(run.packet).toEqualPacket(eth().ipv4({ ttl: 63 }).udp());
 * expect(maps.verdicts).toHaveEntry(0, { packets: 1 });
 */
export const matchers = {
  toReturnValue: (run: Returned, expected: string | number | bigint): MatcherResult =>
    result(checkReturn(run, expected)),
  toEqualPacket: (
    actual: Uint8Array,
    expected: Uint8Array | PacketBuilder,
    options?: PacketOptions,
  ): MatcherResult => result(checkPacket(actual, expected, options)),
  toHaveEntry: (map: BpfMap, key: unknown, expected: unknown): MatcherResult =>
    result(checkEntry(map, key, expected)),
  toHaveEntries: (map: BpfMap, expected: readonly (readonly [unknown, unknown])[]): MatcherResult =>
    result(checkEntries(map, expected)),
} as const;
