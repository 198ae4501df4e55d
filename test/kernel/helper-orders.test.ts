/**
 * Helpers with random arguments, in both engines, against the kernel's test runs: results, errors and what they write; offsets at and
 * past the end, lengths of zero and below, flags that must be zero. `SKEP_HELPER_CALLS` and `SKEP_SEED` make it longer and other.
 */
import { afterAll, describe, expect, it } from "vitest";
import { ENGINES } from "../../src/machine/index.ts";
import { Random } from "../random/prng.ts";
import { noCalls } from "./libc.ts";
import { type Order, firstDifferences, kernelOrders, machineOrders } from "./order-sides.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

const OBJECT = "helper-orders.bpf.o";
/** The packet of a run has 64 bytes. */
const OFFSETS = [
  0, 1, 2, 3, 4, 8, 12, 13, 14, 15, 16, 20, 24, 30, 31, 32, 50, 60, 61, 62, 63, 64, 65, 68, 100, 255, 256,
  4096,
];
const FAR = [
  0x7fff, 0x8000, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffff0, 0xfffffff2, 0xfffffffc, 0xfffffffe,
  0xffffffff,
];
const FLAGS = [
  0,
  0,
  0,
  0,
  1,
  2,
  3,
  4,
  5,
  6,
  8,
  10,
  16,
  0x13,
  0x20,
  0x40,
  0x7f,
  0x100,
  1n << 32n,
  0xffffffffffffffffn,
];

const offset = (random: Random): number => (random.chance(0.8) ? random.pick(OFFSETS) : random.pick(FAR));

const TEXTS = [
  "42",
  "-42",
  " 7",
  "+7",
  "0x1f",
  "0X1F",
  "017",
  "1e3",
  "18446744073709551615",
  "18446744073709551616",
  "9223372036854775808",
  "-9223372036854775808",
  "-9223372036854775809",
  "",
  "-",
  "0x",
  "zz",
  "7f",
  "skep houses BPF",
  "skep houses",
  "skep housez BPF",
];

function textOf(random: Random): Uint8Array {
  const bytes = random.chance(0.3) ? random.bytes(64) : new Uint8Array(64);
  bytes.set(new TextEncoder().encode(random.pick(TEXTS)));
  return bytes;
}

/** Numbers as formats like them: small, negative, wide; every eight bytes. */
function numbersOf(random: Random): Uint8Array {
  const bytes = new Uint8Array(64);
  const view = new DataView(bytes.buffer);
  for (let at = 0; at < 64; at += 8)
    view.setBigUint64(
      at,
      random.pick([0n, 1n, 65n, 0xffffffffn, 0x80000000n, 1n << 63n, (1n << 64n) - 1n, random.u64()]),
      true,
    );
  return bytes;
}

interface Row {
  readonly program: string;
  readonly ops: number;
  readonly order?: (random: Random, op: number) => Partial<Order>;
}

const ROWS: readonly Row[] = [
  {
    program: "texts",
    ops: 7,
    order: (random, op) => ({
      flags: random.pick([0, 0, 8, 10, 16, 7, 2, 36, 1n << 32n, 1n << 63n]),
      // Of an address that is cut off the kernel's bstr_printf loses count: the length that it then gives is no interface.
      index: random.chance(0.5) && op < 5 ? random.below(70) : 63,
      value: op < 3 ? textOf(random) : numbersOf(random),
    }),
  },
  { program: "dynptrs", ops: 3 },
  {
    program: "numbers",
    ops: 5,
    order: (random) => ({
      index: random.pick([
        0,
        1,
        2,
        3,
        4,
        5,
        7,
        8,
        12,
        16,
        20,
        24,
        28,
        31,
        32,
        33,
        60,
        63,
        64,
        200,
        1 << 23,
        (1 << 23) + 1,
        0xffffffff,
      ]),
      other: random.below(40),
    }),
  },
  { program: "packet", ops: 11 },
  { program: "frame", ops: 8 },
  // How deep the stack is, and what stands on it, is the host's: only what is wrong with the call is compared.
  {
    program: "task",
    ops: 6,
    order: (random) => ({ flags: random.pick([0, 1 << 12, 1n << 32n, 1n << 63n]) }),
  },
];

const COUNT = Number(process.env["SKEP_HELPER_CALLS"] ?? 400);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const missing = noKernel ?? noCalls;

describe.skipIf(missing !== undefined)(withKernel("random calls of helpers"), () => {
  afterAll(expectNothingLeft);

  it.each(ROWS.map((row) => [row.program, row] as const))(
    "%s",
    { timeout: 300_000 },
    async (program, { ops, order }) => {
      const theirs = await kernelOrders({ object: OBJECT, program });
      try {
        const ours = await Promise.all(
          ENGINES.map((engine) => machineOrders({ object: OBJECT, program }, { engine })),
        );
        const random = new Random(SEED);
        const orders = Array.from({ length: COUNT }, () => {
          const op = random.below(ops);
          const usual = {
            op,
            flags: random.pick(FLAGS),
            index: random.chance(0.8) ? random.below(70) : random.u32(),
            other: offset(random),
            key: random.bytes(32),
            value: random.bytes(64),
          };
          return { order: { ...usual, ...order?.(random, op) } };
        });
        expect(firstDifferences(orders, theirs, ours)).toEqual([]);
      } finally {
        theirs.close();
      }
    },
  );
});
