/**
 * Random operations of programs on maps, in both engines, against the kernel's test runs: of per-CPU and LRU maps, maps of maps,
 * maps of devices, CPUs, programs, control groups and sockets, local storage, rings, stacks and samples. Between them the host
 * changes the map. `SKEP_MAP_OPERATIONS` and `SKEP_SEED` make it longer and other (10000 a row by hand).
 */
import { afterAll, describe, expect, it } from "vitest";
import { createMap, possibleCpus } from "../../src/kernel/index.ts";
import { ENGINES, type WorldOptions } from "../../src/machine/index.ts";
import { Random } from "../random/prng.ts";
import { Own, noCalls, systemCall } from "./libc.ts";
import {
  type HostAct,
  type Order,
  type OrderObjects,
  firstDifferences,
  kernelOrders,
  machineOrders,
} from "./order-sides.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

interface Row {
  readonly program: string;
  readonly order: (random: Random) => Order;
  readonly act?: (random: Random) => HostAct;
  readonly objects?: OrderObjects;
  /** Programs that must be there as well. */
  readonly with?: readonly string[];
  readonly world?: WorldOptions;
  /** What of a result is the interface: of a new number only that it is one. */
  readonly result?: (result: bigint) => bigint;
  /** Before the first order, on the kernel's side. */
  readonly prepare?: () => void;
}

const word = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const slot = (random: Random, entries: number): number =>
  random.chance(0.85) ? random.below(entries) : random.pick([entries, entries + 1, 0xffffffff]);
const FLAGS = [0, 0, 0, 0, 1, 1, 2, 2, 3, 4, 8, 1n << 32n, 1n << 63n];

/** Elements: an array's index, or one of some keys. */
function elements(
  map: string,
  keySize: number,
  { index = 0, keys = 14 }: { index?: number; keys?: number } = {},
): Row {
  return {
    program: `elements_${map}`,
    order: (random) => {
      const key = new Uint8Array(keySize);
      if (index > 0) key.set(word(slot(random, index)));
      else key[0] = random.below(keys);
      return {
        op: random.below(6),
        flags: random.pick(FLAGS),
        index: random.below(possibleCpus() + 2),
        // Only arrays are walked in an order that is known, so only there it matters when the walk ends.
        other: index > 0 ? random.pick([0, 0, 100]) : 0,
        key,
        value: random.bytes(64),
      };
    },
  };
}

/** Maps whose slots the host fills and programs use by index. */
function slots(
  program: string,
  entries: number,
  ops: number,
  more: Omit<Row, "program" | "order"> & Partial<Pick<Row, "order">>,
  flags: readonly (number | bigint)[] = [0],
): Row {
  return {
    program,
    order: (random) => ({ op: random.below(ops), flags: random.pick(flags), index: slot(random, entries) }),
    ...more,
  };
}

const REDIRECT_FLAGS = [0, 1, 2, 3, 4, 5, 8, 16, 24, 64, 1n << 32n];
const device =
  () =>
  (random: Random): HostAct => {
    const key = word(random.below(5));
    return random.chance(0.4) ? { act: "delete", key } : { act: "put", key, value: word(1) };
  };
const objectAt =
  (entries: number, count: number) =>
  (random: Random): HostAct => {
    const key = word(random.below(entries));
    return random.chance(0.3) ? { act: "delete", key } : { act: "put", key, value: random.below(count) };
  };

const INNER_SHAPE = { type: "hash", keySize: 4, valueSize: 8, maxEntries: 4 } as const;
const INNER: OrderObjects = {
  fds: ({ kernel }) => [0, 1, 2].map(() => createMap(kernel, INNER_SHAPE).fd),
  ours: (machine) => [0, 1, 2].map((n) => machine.createMap({ ...INNER_SHAPE, name: `inner${n}`, flags: 0 })),
};
const nested = (outer: string): Row => ({
  program: `nested_${outer}`,
  order: (random) => ({
    op: random.below(3),
    flags: random.pick(FLAGS),
    index: slot(random, 3),
    key: word(random.below(6)),
    value: random.bytes(8),
  }),
  act: objectAt(3, 3),
  objects: INNER,
});

/** Sockets of the whole test: UDP, bound to the loopback. */
const sockets = noCalls === undefined ? new Own() : undefined;
const ports = [0, 1].map(() => {
  if (sockets === undefined) return 0;
  const fd = sockets.socket({ protocol: "udp", state: "close" });
  const name = new Uint8Array(new ArrayBuffer(16));
  const size = new Uint8Array(new ArrayBuffer(4));
  size[0] = 16;
  systemCall("getsockname", fd, name, size);
  // As it stands in the address: in network order, read as a little-endian number.
  return new DataView(name.buffer).getUint16(2, true);
});
const swapped = (port: number): number => ((port & 0xff) << 8) | (port >> 8);
const SOCKETS: WorldOptions = {
  sockets: ports.map((port) => ({ protocol: "udp", local: `127.0.0.1:${swapped(port)}` })),
};
const NO_PORT = 0x0100;
const STORE_FLAGS = [0, 1, 1, 1, 2, 1n << 32n];

const stored = (map: string, others: readonly number[], more: Partial<Row> = {}): Row => ({
  program: `stored_${map}`,
  order: (random) => ({
    op: random.below(4),
    flags: random.pick(STORE_FLAGS),
    other: random.pick(others),
    value: random.bytes(8),
  }),
  ...more,
});

const inSockets = (map: string): Row => ({
  program: `sockets_${map}`,
  world: SOCKETS,
  order: (random) => ({
    op: random.below(3),
    flags: random.pick(FLAGS),
    other: random.pick([...ports, ...ports, NO_PORT]),
    key: word(slot(random, 4)),
  }),
  act: (random) => ({ act: "delete", key: word(random.below(4)) }),
});

const ROWS: readonly Row[] = [
  elements("array", 4, { index: 5 }),
  elements("percpu_array", 4, { index: 5 }),
  elements("percpu_hash", 8),
  elements("percpu_lazy", 5),
  elements("hash", 16, { keys: 30 }),
  elements("hash_odd", 7, { keys: 30 }),
  elements("lru_hash", 4),
  elements("lru_percpu", 4),
  elements("lru_own", 6),
  slots("redirects_devmap", 5, 2, { act: device() }, REDIRECT_FLAGS),
  slots("redirects_devmap_long", 5, 2, { act: device() }, REDIRECT_FLAGS),
  slots("redirects_devmap_hash", 5, 2, { act: device() }, REDIRECT_FLAGS),
  slots(
    "redirects_cpumap",
    4,
    1,
    {
      act: (random) => ({ act: random.pick(["put", "delete"]), key: word(random.below(4)), value: word(64) }),
    },
    REDIRECT_FLAGS,
  ),
  slots(
    "redirects_xskmap",
    4,
    2,
    {
      act: objectAt(4, 1),
      objects: {
        fds: (_, own) => [own.xdpSocket()],
        ours: (machine) => [{ address: machine.memory.alloc(64, "a socket of AF_XDP") }],
      },
    },
    REDIRECT_FLAGS,
  ),
  nested("outer_array"),
  nested("outer_hash"),
  slots("tails_programs", 4, 1, {
    with: ["target0", "target1"],
    act: objectAt(4, 2),
    objects: {
      fds: (_, __, { programs }) => ["target0", "target1"].map((name) => programs[name]!.raw.fd),
      ours: (_, { programs }) => [programs["target0"], programs["target1"]],
    },
  }),
  slots("groups_cgroups", 3, 2, {
    // A packet of a test run has a socket of its own in the kernel; here it has none until it is given one.
    order: (random) => ({ op: 1, index: slot(random, 3) }),
    act: objectAt(3, 1),
    objects: {
      fds: (_, own) => [own.cgroup()],
      ours: (machine) => [machine.world.cgroups.add({ path: "/" })],
    },
  }),
  stored("sk_storage", [...ports, NO_PORT], { world: SOCKETS }),
  stored("task_storage", [0]),
  stored("cgrp_storage", [1, 1, 1, 987_654]),
  inSockets("sockmap"),
  inSockets("sockhash"),
  {
    program: "rings_ring",
    order: (random) => ({
      op: random.below(7),
      flags: random.pick([0, 0, 1, 2, 3, 4, 1n << 32n]),
      index: random.pick([0, 1, 8, 16, 40, 63, 500, 4000, 4088, 4089, 0xffffffff]),
      other: random.pick([0, 8, 24, 1000]),
      value: random.bytes(64),
    }),
    act: () => ({ act: "consume" }),
  },
  {
    program: "drains_user_ring",
    order: (random) => ({ op: 0, flags: random.pick([0, 0, 0, 1, 2, 3, 4, 1n << 40n]) }),
    act: (random) => {
      const size = random.pick([0, 1, 8, 17, 64]);
      const whole = Math.ceil((size + 8) / 8) * 8;
      const mark = random.chance(0.85) ? 0 : random.pick([0x80000000, 0x40000000]);
      const [said, step] = random.chance(0.95)
        ? [size, whole]
        : random.pick([
            [5000, 5008],
            [size, 8],
            [4000, whole],
          ] as const);
      return { act: "produce", word: (said | mark) >>> 0, step, value: random.bytes(size) };
    },
  },
  {
    program: "traces_stacks",
    order: (random) => ({ op: 0, flags: random.pick([0, 255, 256, 512, 1024, 768, 2048, 1n << 32n]) }),
    // Which number a stack gets, and whether that is taken (EEXIST), hangs on addresses of the kernel.
    result: (result) => (result >= 0n || result === -17n ? 0n : result),
  },
];

const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 300);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const missing = noKernel ?? noCalls;

describe.skipIf(missing !== undefined)(withKernel("random orders to programs"), () => {
  afterAll(async () => {
    sockets?.[Symbol.dispose]();
    await expectNothingLeft();
  });

  it.each(ROWS.map((row) => [row.program, row] as const))(
    "%s",
    { timeout: 300_000 },
    async (program, row) => {
      const map = program.slice(program.indexOf("_") + 1);
      const { objects, world, act } = row;
      const what = { object: "map-operations.bpf.o", program, map, programs: row.with ?? [] };
      const theirs = await kernelOrders(what, objects);
      try {
        const ours = await Promise.all(
          ENGINES.map((engine) =>
            machineOrders(what, { engine, objects, ...(world === undefined ? {} : { world }) }),
          ),
        );
        const random = new Random(SEED);
        const steps = Array.from({ length: COUNT }, () => ({
          act: act !== undefined && random.chance(0.3) ? act(random) : undefined,
          order: row.order(random),
        }));
        expect(firstDifferences(steps, theirs, ours, row.result)).toEqual([]);
      } finally {
        theirs.close();
      }
    },
  );
});
