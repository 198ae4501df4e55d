/** `import "skep/testing/vitest"` adds the matchers to vitest's `expect`, with their types. */
import { expect } from "vitest";
import type { PacketBuilder } from "../packet/index.ts";
import type { PacketOptions } from "./check.ts";
import { matchers } from "./matchers.ts";

expect.extend(matchers);

declare module "vitest" {
  interface Matchers<T> {
    /** A run returned this, by name ("XDP_DROP") or by number. */
    toReturnValue(expected: string | number | bigint): T;
    /** A packet is this one; the message names the header fields that differ. */
    toEqualPacket(expected: Uint8Array | PacketBuilder, options?: PacketOptions): T;
    /** A map holds this value at this key; of structures only the members that are given count. */
    toHaveEntry(key: unknown, expected: unknown): T;
    /** A map holds these elements and no others, in any order; of arrays those that are not zero. */
    toHaveEntries(expected: readonly (readonly [key: unknown, value: unknown])[]): T;
  }
}
