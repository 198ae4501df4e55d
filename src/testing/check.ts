/**
 * What tests ask, as plain functions: each compares and says what it found. `assert.ts` throws with that, `matchers.ts` hands it to
 * vitest or jest, so the sentences stand here once.
 */
import type { BpfMap } from "../machine/index.ts";
import { diffPackets, type HeaderName, type PacketBuilder } from "../packet/index.ts";
import { includesValue, sameValue, showValue } from "./values.ts";

/** The answer to a question of a test. */
export interface Check {
  readonly pass: boolean;
  /** One sentence, and lines of detail below it; what is wrong, or (of a check that holds) what is so. */
  readonly message: string;
  readonly expected: unknown;
  readonly actual: unknown;
}

/** What a run says about its result: all results of {@link Program.run} have it. */
export interface Returned {
  readonly returnValue: number | bigint;
  readonly returnName?: string;
}

/**
 * Did the program return this? By name ("XDP_DROP") or by number.
 */
export function checkReturn(run: Returned, expected: string | number | bigint): Check {
  const { returnValue, returnName } = run;
  const pass =
    typeof expected === "string" ? expected === returnName : BigInt(expected) === BigInt(returnValue);
  const named = returnName === undefined || returnName === String(returnValue) ? "" : `${returnName} `;
  return {
    pass,
    message: `the program returned ${named}(${returnValue})${pass ? "" : `, expected ${String(expected)}`}`,
    expected,
    actual: typeof expected === "string" ? (returnName ?? returnValue) : returnValue,
  };
}

/** How packets are compared. */
export interface PacketOptions {
  /** Fields that may differ: "ipv4.id", "udp.checksum". */
  readonly ignore?: readonly string[];
  /** The header that the packets begin with; default "eth". */
  readonly first?: HeaderName;
}

/**
 * Are these the same packets? The message names the fields in which they differ.
 */
export function checkPacket(
  actual: Uint8Array,
  expected: Uint8Array | PacketBuilder,
  { ignore = [], first = "eth" }: PacketOptions = {},
): Check {
  const wanted = expected instanceof Uint8Array ? expected : expected.bytes();
  const differences = diffPackets(wanted, actual, first).filter(({ where }) => !ignore.includes(where));
  const width = Math.max(0, ...differences.map(({ where }) => where.length));
  const lines = differences.map(
    (row) => `  ${row.where.padEnd(width)}  expected ${row.expected}, is ${row.actual}`,
  );
  const pass = differences.length === 0;
  return {
    pass,
    message: pass ? "the packets are the same" : `the packets differ:\n${lines.join("\n")}`,
    expected: wanted,
    actual,
  };
}

/**
 * Does the map hold this value at this key? Of a structure only the members that are given count.
 */
export function checkEntry(map: BpfMap, key: unknown, expected: unknown): Check {
  const actual = map.get(key);
  const pass = actual !== undefined && includesValue(actual, expected);
  const found = actual === undefined ? "nothing" : showValue(actual);
  return {
    pass,
    message: `map '${map.name}' holds ${found} at ${showValue(key)}${pass ? "" : `, expected ${showValue(expected)}`}`,
    expected,
    actual,
  };
}

/**
 * Are these all the elements of the map, in any order? Of arrays those count that are not all zero.
 */
export function checkEntries(
  map: BpfMap,
  expected: readonly (readonly [key: unknown, value: unknown])[],
): Check {
  const actual = [...map.keys()]
    .filter((key) => !isArray(map) || !isZero(map, key))
    .map((key) => [map.keyType?.decode(key) ?? key, map.get(key)] as const);
  const left = [...actual];
  const missing: string[] = [];
  for (const [key, value] of expected) {
    const at = left.findIndex(([own, held]) => sameValue(own, key) && sameValue(held, value));
    if (at < 0) missing.push(`  missing     ${showValue(key)} = ${showValue(value)}`);
    else left.splice(at, 1);
  }
  const more = left.map(([key, value]) => `  unexpected  ${showValue(key)} = ${showValue(value)}`);
  const pass = missing.length === 0 && more.length === 0;
  return {
    pass,
    message: pass
      ? `map '${map.name}' holds just these ${expected.length} elements`
      : `map '${map.name}' holds other elements:\n${[...missing, ...more].join("\n")}`,
    expected,
    actual,
  };
}

function isArray({ type }: BpfMap): boolean {
  return type === "array" || type === "percpu_array";
}

/** By its bytes: a decoded enum of value 0 is a name. */
function isZero(map: BpfMap, key: Uint8Array): boolean {
  const values = map.perCpu ? map.lookupPerCpu(key) : [map.lookup(key)];
  return values?.every((bytes) => bytes?.every((byte) => byte === 0)) ?? true;
}
