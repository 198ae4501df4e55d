/**
 * Scalars are sound: what an operation or a comparison makes of abstract values holds every concrete result. Exhaustive over
 * all pairs of tracked numbers of three bits at four places, over all tracked numbers and all ranges of eight bits, each with
 * every value of some others, and random over 64 bits. SKEP_SCALAR_PARTNERS=50 gives the eight bits more partners.
 */
import { beforeEach, describe, expect, test } from "vitest";
import {
  UNKNOWN,
  addDelta,
  alu,
  branchTaken,
  byteSwap,
  constant,
  constant64,
  move32,
  partsOf,
  refine,
  refinedOther,
  resetScalars,
  signExtend,
  signExtendTo32,
  truncate,
  within,
} from "../../src/verifier/scalar/index.ts";

const u64 = (value: bigint): bigint => BigInt.asUintN(64, value);
const s64 = (value: bigint): bigint => BigInt.asIntN(64, value);
const u32 = (value: bigint): bigint => BigInt.asUintN(32, value);
const s32 = (value: bigint): bigint => BigInt.asIntN(32, value);

/** Whether a number lies in an abstract value: in its known bits and in all four ranges. */
function holds(id: number, value: bigint): boolean {
  const p = partsOf(id);
  return (
    (value & ~p.mask) === p.value &&
    p.umin <= value &&
    value <= p.umax &&
    p.smin <= s64(value) &&
    s64(value) <= p.smax &&
    BigInt(p.u32min) <= u32(value) &&
    u32(value) <= BigInt(p.u32max) &&
    BigInt(p.s32min) <= s32(value) &&
    s32(value) <= BigInt(p.s32max)
  );
}

type Binary = (a: bigint, b: bigint) => bigint;

const OPERATIONS: readonly { name: string; op: number; compute: Binary; shift?: true }[] = [
  { name: "add", op: 0x00, compute: (a, b) => a + b },
  { name: "sub", op: 0x10, compute: (a, b) => a - b },
  { name: "mul", op: 0x20, compute: (a, b) => a * b },
  { name: "or", op: 0x40, compute: (a, b) => a | b },
  { name: "and", op: 0x50, compute: (a, b) => a & b },
  { name: "xor", op: 0xa0, compute: (a, b) => a ^ b },
  { name: "lsh", op: 0x60, compute: (a, b) => a << b, shift: true },
  { name: "rsh", op: 0x70, compute: (a, b) => a >> b, shift: true },
  { name: "neg", op: 0x80, compute: (_, b) => -b },
];

const JUMPS: readonly { name: string; op: number; unsigned?: Compare; signed?: Compare }[] = [
  { name: "==", op: 0x10, unsigned: (a, b) => a === b },
  { name: "!=", op: 0x50, unsigned: (a, b) => a !== b },
  { name: ">", op: 0x20, unsigned: (a, b) => a > b },
  { name: ">=", op: 0x30, unsigned: (a, b) => a >= b },
  { name: "<", op: 0xa0, unsigned: (a, b) => a < b },
  { name: "<=", op: 0xb0, unsigned: (a, b) => a <= b },
  { name: "&", op: 0x40, unsigned: (a, b) => (a & b) !== 0n },
  { name: "s>", op: 0x60, signed: (a, b) => a > b },
  { name: "s>=", op: 0x70, signed: (a, b) => a >= b },
  { name: "s<", op: 0xc0, signed: (a, b) => a < b },
  { name: "s<=", op: 0xd0, signed: (a, b) => a <= b },
];
type Compare = (a: bigint, b: bigint) => boolean;

function evaluate(op: (typeof OPERATIONS)[number], is64: boolean, a: bigint, b: bigint): bigint {
  return is64 ? u64(op.compute(a, b)) : u32(op.compute(u32(a), u32(b)));
}

function arithmeticShift(is64: boolean, a: bigint, by: bigint): bigint {
  return is64 ? u64(s64(a) >> by) : u32(s32(a) >> by);
}

function condition(jump: (typeof JUMPS)[number], is32: boolean, a: bigint, b: bigint): boolean {
  if (jump.unsigned !== undefined) return jump.unsigned(is32 ? u32(a) : a, is32 ? u32(b) : b);
  return jump.signed?.(is32 ? s32(a) : s64(a), is32 ? s32(b) : s64(b)) ?? false;
}

/** Abstract values of all tracked numbers of three bits at a place, with their members. */
function smallValues(shift: bigint, high: bigint): { id: number; members: bigint[] }[] {
  const values: { id: number; members: bigint[] }[] = [];
  for (let mask = 0n; mask < 8n; mask++) {
    for (let value = 0n; value < 8n; value++) {
      if ((value & mask) !== 0n) continue;
      const members: bigint[] = [];
      for (let bits = 0n; bits < 8n; bits++) {
        if ((bits & ~mask) === 0n) members.push(u64(((value | bits) << shift) | high));
      }
      const unknown = alu(0x50, true, UNKNOWN, constant64(mask << shift));
      const id = alu(0x40, true, unknown, constant64((value << shift) | high));
      values.push({ id, members });
    }
  }
  return values;
}

let seed = 1;
function random(): number {
  seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0;
  return Math.imul(seed ^ (seed >>> 15), 0x85ebca6b) >>> 0;
}

function random64(): bigint {
  const edges = [
    0n,
    1n,
    0x7fffffffn,
    0x80000000n,
    0xffffffffn,
    1n << 63n,
    (1n << 64n) - 1n,
    (1n << 63n) - 1n,
  ];
  if (random() % 3 === 0) return u64((edges[random() % edges.length] as bigint) + BigInt((random() % 5) - 2));
  const value = (BigInt(random()) << 32n) | BigInt(random());
  return value >> BigInt(random() % 64);
}

beforeEach(() => {
  resetScalars();
  seed = 1;
});

/** Where three bits lie: at the bottom, across the sign of the lower half, at the top. */
const PLACES: readonly [shift: bigint, high: bigint][] = [
  [0n, 0n],
  [30n, 0n],
  [61n, 0n],
  [0n, 0xffffffff00000000n],
];

describe("all tracked numbers of three bits", () => {
  test.each(OPERATIONS.filter(({ shift }) => shift === undefined))("$name", (operation) => {
    for (const [shift, high] of PLACES) {
      const values = smallValues(shift, high);
      for (const a of values) {
        for (const b of values) {
          for (const is64 of [true, false]) {
            const id = alu(operation.op, is64, a.id, b.id);
            const sound = a.members.every((x) =>
              b.members.every((y) => holds(id, evaluate(operation, is64, x, y))),
            );
            expect(sound, `${operation.name} of ${a.members} and ${b.members}`).toBe(true);
          }
        }
      }
    }
  });

  test.each(JUMPS)("if a $name b", (jump) => {
    for (const [shift, high] of PLACES) {
      const values = smallValues(shift, high);
      for (const a of values) {
        for (const b of values) {
          for (const is32 of [false, true]) {
            const taken = branchTaken(jump.op, is32, a.id, b.id);
            const after = [true, false].map((negate) => {
              const first = refine(jump.op, is32, negate, a.id, b.id);
              return [first, refinedOther()] as const;
            });
            for (const x of a.members) {
              for (const y of b.members) {
                const outcome = condition(jump, is32, x, y);
                const [first, second] = after[outcome ? 1 : 0] as readonly [number, number];
                const sound = holds(first, x) && holds(second, y) && (taken < 0 || (taken === 1) === outcome);
                if (!sound) expect.fail(`${x} ${jump.name} ${y} (32 bits: ${is32})`);
              }
            }
          }
        }
      }
    }
  });
});

interface Small {
  readonly id: number;
  readonly members: readonly number[];
}

const BYTES: readonly number[] = Array.from({ length: 256 }, (_, value) => value);

/** All numbers of eight bits of which some bits are known, and all their ranges. */
function eightBits(): { tracked: Small[]; ranges: Small[] } {
  const byte = alu(0x50, true, UNKNOWN, constant(255));
  const tracked: Small[] = [];
  const ranges: Small[] = [];
  for (const mask of BYTES) {
    const unknown = alu(0x50, true, byte, constant(mask));
    for (const value of BYTES) {
      if ((value & mask) !== 0) continue;
      const members = BYTES.filter((each) => (each & ~mask) === value);
      tracked.push({ id: alu(0x40, true, unknown, constant(value)), members });
    }
  }
  for (const low of BYTES) {
    const above = refine(0x30, false, false, byte, constant(low));
    for (const high of BYTES.slice(low)) {
      const id = refine(0xb0, false, false, above, constant(high));
      ranges.push({ id, members: BYTES.slice(low, high + 1) });
    }
  }
  return { tracked, ranges };
}

const PARTNERS = Number(process.env["SKEP_SCALAR_PARTNERS"] ?? 1);

/** Every tracked number and every range with some partners of both kinds; in a short run of few members. */
function* pairs(): Generator<readonly [Small, Small]> {
  const { tracked, ranges } = eightBits();
  const all = [...tracked, ...ranges.filter((_, index) => index % 40 === 0 || PARTNERS > 1)];
  for (const a of all) {
    for (let count = 0; count < PARTNERS; ) {
      const pool = random() % 2 === 0 ? tracked : ranges;
      const b = pool[random() % pool.length] as Small;
      if (a.members.length * b.members.length > (PARTNERS > 1 ? 4096 : 512)) continue;
      count++;
      yield random() % 2 === 0 ? [a, b] : [b, a];
    }
  }
}

describe("all tracked numbers and ranges of eight bits", () => {
  test.each(OPERATIONS)("$name", (operation) => {
    for (const [a, b] of pairs()) {
      for (const is64 of [true, false]) {
        // The verifier knows shifts by a constant alone.
        const by = (b.members[0] as number) % (is64 ? 64 : 32);
        const second = operation.shift === true ? { id: constant(by), members: [by] } : b;
        const id = alu(operation.op, is64, a.id, second.id);
        const results = new Set<bigint>();
        for (const x of a.members)
          for (const y of second.members) results.add(evaluate(operation, is64, BigInt(x), BigInt(y)));
        for (const result of results)
          if (!holds(id, result)) expect.fail(`${a.members} ${operation.name} ${second.members}: ${result}`);
      }
    }
  });

  test.each(JUMPS)("if a $name b", (jump) => {
    for (const [a, b] of pairs()) {
      for (const is32 of [false, true]) {
        const taken = branchTaken(jump.op, is32, a.id, b.id);
        for (const outcome of [false, true]) {
          const first = refine(jump.op, is32, !outcome, a.id, b.id);
          const second = refinedOther();
          const kept = [new Set<number>(), new Set<number>()] as const;
          for (const x of a.members) {
            for (const y of b.members) {
              if (condition(jump, is32, BigInt(x), BigInt(y)) !== outcome) continue;
              kept[0].add(x);
              kept[1].add(y);
            }
          }
          const possible = kept[0].size === 0 || taken < 0 || (taken === 1) === outcome;
          const sound = [...kept[0]].every((x) => holds(first, BigInt(x)));
          const other = [...kept[1]].every((y) => holds(second, BigInt(y)));
          if (!possible || !sound || !other) expect.fail(`${a.members} ${jump.name} ${b.members}`);
        }
      }
    }
  });
});

test("random chains of operations, comparisons and casts hold the value that they compute", () => {
  for (let round = 0; round < 4000; round++) {
    const values: { id: number; value: bigint }[] = [];
    for (let index = 0; index < 3; index++) {
      const value = random64();
      values.push(random() % 3 === 0 ? { id: UNKNOWN, value } : { id: constant64(value), value });
    }
    for (let step = 0; step < 14; step++) {
      const a = values[random() % 3] as { id: number; value: bigint };
      const b = values[random() % 3] as { id: number; value: bigint };
      const wide = random() % 2 === 0;
      const kind = random() % 9;
      if (kind < 4) {
        const operation = OPERATIONS[random() % OPERATIONS.length] as (typeof OPERATIONS)[number];
        if (operation.shift === true) {
          const by = random() % (wide ? 64 : 32);
          a.id = alu(operation.op, wide, a.id, constant(by));
          a.value = evaluate(operation, wide, a.value, BigInt(by));
        } else {
          a.id = alu(operation.op, wide, a.id, b.id);
          a.value = evaluate(operation, wide, a.value, b.value);
        }
      } else if (kind === 4) {
        const by = random() % (wide ? 64 : 32);
        a.id = alu(0xc0, wide, a.id, constant(by));
        a.value = arithmeticShift(wide, a.value, BigInt(by));
      } else if (kind < 7) {
        if (a === b) continue;
        const jump = JUMPS[random() % JUMPS.length] as (typeof JUMPS)[number];
        const outcome = condition(jump, wide, a.value, b.value);
        const taken = branchTaken(jump.op, wide, a.id, b.id);
        expect(taken < 0 || (taken === 1) === outcome).toBe(true);
        if (taken >= 0) continue;
        const first = refine(jump.op, wide, !outcome, a.id, b.id);
        b.id = refinedOther();
        a.id = first;
      } else {
        const size = [1, 2, 4][random() % 3] as number;
        const bits = size * 8;
        switch (random() % 5) {
          case 0:
            a.id = truncate(a.id, size);
            a.value = BigInt.asUintN(bits, a.value);
            break;
          case 1:
            a.id = signExtend(a.id, size);
            a.value = u64(BigInt.asIntN(bits, a.value));
            break;
          case 2:
            if (size === 4) {
              a.id = move32(a.id);
              a.value = u32(a.value);
            } else {
              a.id = signExtendTo32(a.id, size);
              a.value = u32(BigInt.asIntN(bits, a.value));
            }
            break;
          case 3: {
            const delta = (random() % 2001) - 1000;
            a.id = addDelta(a.id, delta, false);
            a.value = u64(a.value + BigInt(delta));
            break;
          }
          default: {
            const bytes = [2, 4, 8][random() % 3] as number;
            a.id = byteSwap(a.id, bytes, true);
            const hex = BigInt.asUintN(bytes * 8, a.value)
              .toString(16)
              .padStart(bytes * 2, "0");
            a.value = BigInt(`0x${(hex.match(/../g) ?? []).reverse().join("")}`);
          }
        }
      }
      if (!holds(a.id, a.value) || !holds(b.id, b.value)) {
        expect.fail(`round ${round}, step ${step}: ${a.value} or ${b.value} was lost`);
      }
    }
  }
});

test("equal values have one name, and a range holds its parts", () => {
  const wide = alu(0x50, true, UNKNOWN, constant(255));
  const narrow = alu(0x50, true, UNKNOWN, constant(15));
  expect(alu(0x50, true, wide, constant(255))).toBe(wide);
  expect(within(wide, narrow)).toBe(true);
  expect(within(narrow, wide)).toBe(false);
});
