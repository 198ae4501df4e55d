/**
 * Kernel functions, timers, counters and routes with random arguments, in both engines, against the kernel's test runs.
 * `SKEP_HELPER_CALLS` and `SKEP_SEED` make it longer and other.
 */
import { afterAll, describe, expect, it } from "vitest";
import { ENGINES } from "../../src/machine/index.ts";
import { Random } from "../random/prng.ts";
import { noCalls } from "./libc.ts";
import { type Order, firstDifferences, kernelOrders, machineOrders } from "./order-sides.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

const OBJECT = "kfunc-orders.bpf.o";
const COUNT = Number(process.env["SKEP_HELPER_CALLS"] ?? 300);
const SEED = Number(process.env["SKEP_SEED"] ?? 23);
const missing = noKernel ?? noCalls;

type Change = (random: Random, op: number) => Partial<Order>;

interface Row {
  readonly program: string;
  readonly ops: number;
  readonly order: Change;
  /** How much of the count, of what takes long. */
  readonly part?: number;
}

/** Letters that strings are made of: capitals of Latin-1 and what lies beside them too. */
const LETTERS = [0x61, 0x61, 0x62, 0x41, 0x5a, 0x5b, 0x40, 0xc0, 0xe0, 0xd7, 0xf7, 0xdf, 0xff, 0xde, 0x80];
const COUNTS = [0, 1, 2, 3, 7, 31, 32, 33, 64, 65_535, 65_536, 65_537, 1n << 32n, (1n << 64n) - 1n];

function letters(random: Random, length: number, end = 0.1): Uint8Array {
  const few = Array.from({ length: random.between(1, 4) }, () => random.pick(LETTERS));
  return Uint8Array.from({ length }, () => (random.chance(end) ? 0 : random.pick(few)));
}

const words = (...values: readonly (number | bigint)[]): Uint8Array =>
  new Uint8Array(BigUint64Array.from(values, BigInt).buffer);

/** Where nothing is: NULL, the first page, user space, between the halves, the kernel's with nothing there. */
const NOWHERE = [
  0n,
  8n,
  4095n,
  0x80000000n,
  0xfffffffffffn,
  0x7fffffffffffn,
  0x800000000000n,
  0xdead000000000000n,
  0xffff7fffffffffffn,
  0xffff800000001000n,
  0xffffffffffffffffn,
  0xfffffffffffffff8n,
];

const strings: Change = (random) => ({
  flags: random.pick(COUNTS),
  index: random.chance(0.7) ? random.below(8) : random.below(64),
  other: random.chance(0.7) ? random.below(8) : random.below(32),
  key: Uint8Array.of(...letters(random, 31, 0.2), random.chance(0.2) ? 0 : random.pick(LETTERS)),
  value: letters(random, 64),
});

const addresses: Change = (random) => ({
  flags: random.pick(COUNTS),
  key: Uint8Array.of(...letters(random, 31, 0.2), random.chance(0.2) ? 0 : 0x61),
  value: Uint8Array.of(
    ...words(random.chance(0.3) ? 1n : random.pick(NOWHERE), random.chance(0.4) ? 1n : random.pick(NOWHERE)),
    ...letters(random, 48),
  ),
});

/** Around XATTR_SIZE_MAX. */
const ENDS = [0, 1, 255, 256, 65_534, 65_535, 65_536, 65_537, 65_599, 70_000];
const limits: Change = (random) => ({
  flags: random.pick(COUNTS),
  index: random.pick(ENDS),
  other: random.chance(0.5) ? random.pick([0, 1, 3]) : random.pick(ENDS),
  key: Uint8Array.of(...new Uint8Array(31), random.pick([0x61, 0x62, 0])),
  value: Uint8Array.of(random.pick([0, 0, 0x62, 0x41]), random.pick([0, 0, 0x62])),
});

function mask(random: Random): Uint8Array {
  const kind = random.below(4);
  if (kind === 0) return new Uint8Array(16).fill(random.pick([0, 255]));
  if (kind === 1) return random.bytes(16);
  return words(random.pick([0n, 1n, 2n, 3n, 4n, 5n, (1n << 64n) - 1n]), random.u64());
}

const masks: Change = (random) => ({
  index: random.chance(0.8) ? random.below(8) : random.pick([63, 64, 127, 1024, 0xffffffff]),
  value: Uint8Array.of(...mask(random), ...mask(random), ...random.bytes(32)),
});

/** struct bpf_ct_opts: mostly right. */
const connections: Change = (random) => {
  const opts = new DataView(new ArrayBuffer(32));
  opts.setInt32(0, random.pick([-1, -1, -1, 0, 1, -2, -5, 0x7fffffff]), true);
  opts.setUint8(8, random.pick([6, 6, 17, 17, 0, 1, 58]));
  opts.setUint16(10, random.pick([0, 0, 0, 1, 0xffff]), true);
  opts.setUint8(12, random.pick([0, 0, 0, 1, 2, 3, 255]));
  if (random.chance(0.1)) opts.setUint8(13 + random.below(3), 1);
  return { key: new Uint8Array(opts.buffer), value: random.bytes(64) };
};

const views: Change = (random) => {
  const value = random.bytes(64);
  const view = new DataView(value.buffer);
  const size = (): number => random.pick([0, 1, 8, 15, 16, 17, 32, 33, 48, 49, 63, 64, 65, 127]);
  view.setUint32(0, random.chance(0.5) ? 0 : size(), true);
  view.setUint32(4, random.chance(0.5) ? 64 : size(), true);
  view.setUint32(8, size(), true);
  const far = (): number =>
    random.chance(0.9)
      ? size()
      : random.pick([0xffff, 0xffffff, 0x1000000, 0x7fffffff, 0xffffffff, 0xfffffff0]);
  return {
    flags: random.pick([0, 0, 0, 1, 2, 3, 4, 0xff, 0x1ff, 1n << 32n]),
    index: random.chance(0.4) ? random.below(4) : far(),
    other: random.chance(0.4) ? random.below(4) : far(),
    value,
  };
};

const timers: Change = (random) => ({
  flags: random.pick([0, 0, 0, 1, 1, 2, 3, 4, 7, 8, 11, 15, 16, 0x101, 1n << 32n, 1n << 63n]),
  index: random.below(4),
});

const readings: Change = (random) => ({
  flags: random.pick([
    0,
    1,
    3,
    4,
    5,
    0xfffffffe,
    0xffffffff,
    1n << 32n,
    0x100000000fn,
    1n << 52n,
    (1n << 64n) - 1n,
  ]),
});

/** Families and interfaces that are not there, flags, and questions that end before the tables are asked. */
const routes: Change = (random) => {
  const value = random.bytes(64);
  const view = new DataView(value.buffer);
  view.setUint8(0, random.pick([2, 2, 10, 10, 0, 1, 255]));
  view.setUint32(8, random.pick([0, 9999, 0x7fffffff, 0xffffffff]), true);
  return { value, other: random.pick([0, 0, 1, 2, 3, 4, 8, 16, 32, 63, 64, 128, 0x80000000, 0xffffffff]) };
};

const ROWS: readonly Row[] = [
  { program: "strings", ops: 12, order: strings, part: 2 },
  { program: "addresses", ops: 12, order: addresses },
  { program: "limits", ops: 12, order: limits, part: 0.3 },
  { program: "masks", ops: 23, order: masks },
  { program: "connections", ops: 5, order: connections },
  { program: "connections_xdp", ops: 5, order: connections },
  { program: "views", ops: 14, order: views, part: 2 },
  { program: "timers", ops: 4, order: timers },
  { program: "exchanges", ops: 3, order: (random) => ({ index: random.below(2), other: random.u32() }) },
  { program: "readings", ops: 4, order: readings },
  { program: "routes", ops: 2, order: routes },
  { program: "routes_xdp", ops: 1, order: routes },
];

describe.skipIf(missing !== undefined)(withKernel("random calls of kernel functions"), () => {
  afterAll(expectNothingLeft);

  it.each(ROWS.map((row) => [row.program, row] as const))(
    "%s",
    { timeout: 300_000 },
    async (program, { ops, order, part = 1 }) => {
      const theirs = await kernelOrders({ object: OBJECT, program });
      try {
        const ours = await Promise.all(
          ENGINES.map((engine) => machineOrders({ object: OBJECT, program }, { engine })),
        );
        const random = new Random(SEED);
        const orders = Array.from({ length: Math.ceil(COUNT * part) }, () => {
          const op = random.below(ops);
          return { order: { op, ...order(random, op) } };
        });
        expect(firstDifferences(orders, theirs, ours)).toEqual([]);
      } finally {
        theirs.close();
      }
    },
  );
});
