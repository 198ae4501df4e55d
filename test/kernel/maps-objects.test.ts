/**
 * Random commands of bpf(2) on maps that hold objects, and on local storage, whose keys are objects: against the kernel, which gets
 * real ones (sockets, a control group, a process, maps, programs). `SKEP_MAP_OPERATIONS` and `SKEP_SEED` make it longer and other
 * (10000 a row by hand).
 *
 * An operation names an object by its number; what comes back (an id, a cookie) is turned into the number again.
 */
import { afterAll, describe, expect, it } from "vitest";
import { MAP_ID } from "../../src/core/layout.ts";
import { Kernel, type MapDefinition, MAP_FLAGS, createMap, loadProgram } from "../../src/kernel/index.ts";
import {
  type BpfMap,
  Machine,
  type MapDefinition as OwnDefinition,
  type MapObject,
  type Program,
} from "../../src/machine/index.ts";
import { Own, noCalls } from "./libc.ts";
import { mapTypes } from "./map-types.ts";
import { type OpsOptions, randomHostOps } from "./host-ops.ts";
import {
  type KernelObjects,
  type MachineObjects,
  differences,
  kernelHost,
  machineHost,
} from "./host-sides.ts";
import { expectNothingLeft, noKernel, ownName, returning, withKernel } from "./setup.ts";

const u32 = (value: number): Uint8Array => new Uint8Array(Uint32Array.of(value).buffer);
const number = (bytes: Uint8Array): number => new DataView(bytes.buffer, bytes.byteOffset).getUint32(0, true);

/** Sockets in the states that maps tell apart. */
const SOCKETS = [
  { protocol: "tcp", state: "listen", reuse: true },
  { protocol: "tcp", state: "established", reuse: false },
  { protocol: "tcp", state: "new", reuse: false },
  { protocol: "udp", state: "close", reuse: true },
  { protocol: "udp", state: "close", reuse: false },
  { protocol: "udp", state: "established", reuse: false },
] as const;
const REUSEPORT = "SOL_SOCKET.SO_REUSEPORT";

interface Pools {
  readonly kernel: KernelObjects;
  readonly machine: MachineObjects;
  readonly count: number;
}

interface Places {
  readonly own: Own;
  readonly kernel: Kernel;
  readonly machine: Machine;
}

const ofObjects = (objects: readonly MapObject[]): MachineObjects => ({
  put: (map, key, object, flags) => map.setObject(key, objects[object], flags),
  at(map, key) {
    const found = map.objectAt(key);
    const index = found === undefined ? -1 : objects.indexOf(found);
    return index < 0 ? undefined : index;
  },
  keyOf: () => new Uint8Array(4),
});

function sockets({ own, machine }: Places): Pools {
  const fds = SOCKETS.map((socket) => own.socket(socket));
  const cookies = fds.map((fd) => own.cookie(fd));
  const ours = SOCKETS.map(({ protocol, state, reuse }, index) =>
    machine.world.sockets.add({
      protocol,
      local: `127.0.0.1:${4000 + index}`,
      ...(state === "established" ? { remote: `127.0.0.1:${5000 + index}` } : {}),
      state: state === "new" ? "close" : state,
      options: { [REUSEPORT]: reuse ? 1 : 0 },
    }),
  );
  return {
    kernel: {
      fds,
      numberOf: (shown) =>
        cookies.indexOf(new DataView(shown.buffer, shown.byteOffset).getBigUint64(0, true)),
    },
    machine: ofObjects(ours),
    count: fds.length,
  };
}

/** Maps that fit and others; an outer map takes the first as its template. */
const INNER = [
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 4 },
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 4 },
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 5 },
  { type: "array", keySize: 4, valueSize: 16, maxEntries: 4 },
  { type: "hash", keySize: 4, valueSize: 8, maxEntries: 4 },
  { type: "array", keySize: 4, valueSize: 8, maxEntries: 4, flags: MAP_FLAGS.rdonly_prog },
] as const;

function maps({ kernel, machine }: Places): Pools {
  const theirs = INNER.map((definition) => createMap(kernel, { ...definition, name: ownName("in") }));
  const ids = theirs.map((map) => map.info().id);
  const ours = INNER.map((definition, index) =>
    machine.createMap({ flags: 0, ...definition, name: `in${index}` }),
  );
  return {
    kernel: { fds: theirs.map(({ fd }) => fd), numberOf: (shown) => ids.indexOf(number(shown)) },
    machine: {
      put: (map, key, object, flags) => map.setMap(key, ours[object], flags),
      at(map, key) {
        const found = map.mapAt(key);
        return found === undefined ? undefined : ours.indexOf(found);
      },
      keyOf: () => new Uint8Array(4),
      numberOf: (shown) =>
        ours.findIndex(({ address }) => machine.memory.u32(address + MAP_ID) === number(shown)),
    },
    count: INNER.length,
  };
}

const PROGRAMS = ["xdp", "xdp", "sched_cls", "socket_filter"] as const;

function programs({ kernel, machine }: Places): Pools {
  const theirs = PROGRAMS.map((type) => loadProgram(kernel, { type, instructions: returning(1) }));
  const ids = theirs.map((program) => program.info().id);
  const ours: Program[] = PROGRAMS.map((type) => machine.loadInstructions(returning(1), { type }));
  return {
    kernel: { fds: theirs.map(({ fd }) => fd), numberOf: (shown) => ids.indexOf(number(shown)) },
    machine: {
      put: (map, key, object, flags) => map.setProgram(number(key), ours[object], flags),
      at(map, key) {
        const index = ours.findIndex((program) => program === map.programAt(number(key)));
        return index < 0 ? undefined : index;
      },
      keyOf: () => new Uint8Array(4),
    },
    count: PROGRAMS.length,
  };
}

function cgroups({ own, machine }: Places): Pools {
  return {
    kernel: { fds: [own.cgroup()], numberOf: () => 0 },
    machine: ofObjects([machine.world.cgroups.add({ path: "/" })]),
    count: 1,
  };
}

/** Owners of local storage: here an object by its address. */
const owners =
  (fdsOf: (own: Own) => number[]) =>
  ({ own, machine }: Places): Pools => {
    const fds = fdsOf(own);
    const addresses = fds.map(() => machine.memory.alloc(64, "an owner"));
    return {
      kernel: { fds, numberOf: () => 0 },
      machine: {
        put: () => undefined,
        at: () => undefined,
        keyOf: (object) => u32(addresses[object] ?? 0),
      },
      count: fds.length,
    };
  };

type Row = readonly [
  type: MapDefinition["type"],
  keySize: number,
  valueSize: number,
  maxEntries: number,
  flags: readonly (keyof typeof MAP_FLAGS)[],
  pools: (places: Places) => Pools,
  options?: Partial<OpsOptions>,
];

/** A socket can be in one such array only, and here nobody takes the old ones away. */
const LASTING = { without: ["renew", "freeze"] } as const;
const STORAGE = { keyed: true, without: ["size", "nextKey"] } as const;

const ROWS: readonly Row[] = [
  ["sockmap", 4, 4, 5, [], sockets],
  ["sockmap", 4, 8, 5, [], sockets],
  ["sockmap", 4, 8, 5, ["rdonly"], sockets],
  ["sockhash", 4, 8, 4, [], sockets],
  ["sockhash", 7, 4, 4, [], sockets],
  ["reuseport_sockarray", 4, 4, 4, [], sockets, LASTING],
  ["reuseport_sockarray", 4, 8, 4, [], sockets, LASTING],
  ["reuseport_sockarray", 4, 8, 4, ["wronly", "rdonly_prog"], sockets, LASTING],
  ["array_of_maps", 4, 4, 5, [], maps],
  ["array_of_maps", 4, 4, 5, ["wronly"], maps],
  ["hash_of_maps", 4, 4, 4, [], maps],
  ["hash_of_maps", 6, 4, 4, ["no_prealloc"], maps],
  ["prog_array", 4, 4, 4, [], programs],
  ["prog_array", 4, 4, 4, ["rdonly"], programs],
  ["cgroup_array", 4, 4, 3, [], cgroups],
  [
    "sk_storage",
    4,
    8,
    0,
    ["no_prealloc"],
    owners((own) => SOCKETS.map((socket) => own.socket(socket))),
    STORAGE,
  ],
  ["task_storage", 4, 12, 0, ["no_prealloc"], owners((own) => [own.process()]), STORAGE],
  ["cgrp_storage", 4, 8, 0, ["no_prealloc"], owners((own) => [own.cgroup()]), STORAGE],
  ["inode_storage", 4, 5, 0, ["no_prealloc"], owners((own) => [own.file("/"), own.file("/proc")]), STORAGE],
];

const rowName = ([type, key, value, entries, flags = []]: Row): string =>
  `${type}, key ${key}, value ${value}, ${entries} entries, ${flags.join(" ")}`;

const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 600);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const missing = noKernel ?? noCalls;

describe.skipIf(missing !== undefined)(withKernel("random commands on maps of objects"), () => {
  afterAll(expectNothingLeft);

  it.each(ROWS.map((row) => [rowName(row), row] as const))("%s", { timeout: 300_000 }, async (_, row) => {
    const [type, keySize, valueSize, maxEntries, names, poolsOf, options = {}] = row;
    const flags = names.reduce((bits, name) => bits | MAP_FLAGS[name], 0);
    using kernel = await Kernel.open();
    using own = new Own();
    const machine = await Machine.create();
    const pools = poolsOf({ own, kernel, machine });
    const holdsMaps = type.endsWith("_of_maps");
    const definition: MapDefinition = {
      type,
      keySize,
      valueSize,
      maxEntries,
      flags,
      name: ownName("objects"),
      ...(type.endsWith("_storage") ? mapTypes(kernel, valueSize) : {}),
    };
    const inner = { ...INNER[0], name: ownName("like") };
    const keyed = options.keyed ?? false;
    const theirs = kernelHost(
      kernel,
      holdsMaps ? { ...definition, inner: createMap(kernel, inner) } : definition,
      pools.kernel,
      keyed,
    );
    const like = holdsMaps ? { inner: machine.createMap({ ...inner, flags: 0 }) } : {};
    const shape: OwnDefinition = { name: "map", type, keySize, valueSize, maxEntries, flags, ...like };
    const ours = machineHost((): BpfMap => machine.createMap(shape), pools.machine, keyed);
    const ops = randomHostOps(definition, { seed: SEED, count: COUNT, objects: pools.count, ...options });
    expect(differences(ops, ours, theirs)).toEqual([]);
    expect(ours.contents()).toEqual(theirs.contents());
    theirs.close();
  });
});
