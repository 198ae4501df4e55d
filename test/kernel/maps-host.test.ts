/**
 * Random commands of bpf(2) on maps of values, against the kernel: elements, batches, freezing, and the flags that bind the host.
 * `SKEP_MAP_OPERATIONS` and `SKEP_SEED` make it longer and other (10000 a row by hand).
 */
import { afterAll, describe, expect, it } from "vitest";
import { Kernel, type MapDefinition, MAP_FLAGS, possibleCpus } from "../../src/kernel/index.ts";
import { Machine, type MapDefinition as OwnDefinition } from "../../src/machine/index.ts";
import { type OpsOptions, randomHostOps } from "./host-ops.ts";
import { mapTypes } from "./map-types.ts";
import { differences, kernelHost, machineHost } from "./host-sides.ts";
import { expectNothingLeft, noKernel, ownName, withKernel } from "./setup.ts";

type Row = readonly [
  type: MapDefinition["type"],
  keySize: number,
  valueSize: number,
  maxEntries: number,
  flags?: readonly (keyof typeof MAP_FLAGS)[],
  options?: Partial<OpsOptions> & { readonly lock?: boolean },
];

const ROWS: readonly Row[] = [
  ["array", 4, 5, 7],
  ["array", 4, 8, 7, ["rdonly"]],
  ["array", 4, 8, 7, ["wronly"]],
  ["array", 4, 8, 7, ["rdonly_prog"]],
  ["array", 4, 8, 7, ["wronly_prog", "numa_node"]],
  ["array", 4, 8, 7, ["mmapable"]],
  ["array", 4, 8, 7, ["inner_map", "rdonly", "wronly_prog"]],
  ["percpu_array", 4, 12, 5],
  ["percpu_array", 4, 8, 5, ["rdonly"]],
  ["hash", 3, 8, 10],
  ["hash", 4, 3, 1, ["zero_seed"]],
  ["hash", 8, 16, 30, ["rdonly_prog"]],
  ["hash", 16, 1, 20, ["no_prealloc", "numa_node"]],
  ["hash", 16, 8, 20, ["wronly"]],
  ["hash", 16, 8, 20, ["rdonly"]],
  ["percpu_hash", 8, 9, 6, ["zero_seed"]],
  ["percpu_hash", 5, 8, 6, ["no_prealloc", "wronly_prog"]],
  ["lru_hash", 4, 4, 64],
  ["lru_hash", 4, 4, 64, ["no_common_lru", "wronly"]],
  ["lru_percpu_hash", 4, 4, 64],
  ["lru_percpu_hash", 4, 8, 64, ["no_common_lru"]],
  ["lpm_trie", 8, 4, 16, ["no_prealloc"]],
  ["lpm_trie", 20, 9, 12, ["no_prealloc", "rdonly_prog"]],
  ["lpm_trie", 8, 4, 16, ["no_prealloc", "wronly"]],
  ["array", 4, 16, 5, [], { lock: true }],
  ["hash", 4, 16, 9, [], { lock: true }],
  ["hash", 4, 12, 9, ["no_prealloc"], { lock: true }],
  ["queue", 0, 7, 9],
  ["queue", 0, 8, 3, ["rdonly"]],
  ["stack", 0, 8, 5],
  ["stack", 0, 8, 5, ["wronly"]],
  ["devmap", 4, 4, 5, [], { value: interfaces(4) }],
  ["devmap", 4, 8, 5, [], { value: interfaces(8) }],
  ["devmap", 4, 4, 5, ["rdonly"], { value: interfaces(4) }],
  ["devmap_hash", 4, 4, 5, [], { value: interfaces(4) }],
  ["devmap_hash", 4, 8, 5, ["wronly"], { value: interfaces(8) }],
  ["cpumap", 4, 4, 4, [], { value: queues(4) }],
  ["cpumap", 4, 8, 4, [], { value: queues(8) }],
  ["xskmap", 4, 4, 4, [], { without: ["update"] }],
  ["stack_trace", 4, 64, 5],
  ["ringbuf", 0, 0, 4096],
  ["user_ringbuf", 0, 0, 4096],
  ["arena", 0, 0, 4, ["mmapable"]],
  ["cgroup_storage", 16, 8, 0],
  ["percpu_cgroup_storage", 8, 8, 0],
];

/** Interfaces: the loopback, or none; behind it the descriptor of a program that isn't one, 0 or below for none. */
function interfaces(size: number): NonNullable<OpsOptions["value"]> {
  return (random) => {
    const value = new Uint8Array(size);
    const view = new DataView(value.buffer);
    view.setUint32(0, random.pick([0, 1, 1, 1]), true);
    if (size === 8) view.setInt32(4, random.pick([0, 0, 0, -1]), true);
    return value;
  };
}

/** Queue sizes of CPUs. */
function queues(size: number): NonNullable<OpsOptions["value"]> {
  return (random) => {
    const value = new Uint8Array(size);
    new DataView(value.buffer).setUint32(0, random.pick([0, 1, 192, 16384, 16385, 0xffffffff]), true);
    return value;
  };
}

const rowName = ([type, key, value, entries, flags = []]: Row): string =>
  `${type}, key ${key}, value ${value}, ${entries} entries, ${flags.join(" ")}`;

const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 600);
const SEED = Number(process.env["SKEP_SEED"] ?? 11);

describe.skipIf(noKernel !== undefined)(withKernel("random commands on maps"), () => {
  afterAll(expectNothingLeft);

  it.each(ROWS.map((row) => [rowName(row), row] as const))("%s", { timeout: 300_000 }, async (_, row) => {
    const [type, keySize, valueSize, maxEntries, names = [], options = {}] = row;
    const flags = names.reduce((bits, name) => bits | MAP_FLAGS[name], 0);
    using kernel = await Kernel.open();
    const definition: MapDefinition = {
      type,
      keySize,
      valueSize,
      maxEntries,
      flags,
      name: ownName("host"),
      ...(options.lock === true ? mapTypes(kernel, valueSize, { lock: true }) : {}),
    };
    const machine = await Machine.create({ cpus: possibleCpus() });
    const fields = options.lock === true ? [{ kind: "spin_lock", offset: 0, size: 4 }] : [];
    const own: OwnDefinition = { name: "map", type, keySize, valueSize, maxEntries, flags, fields };
    const theirs = kernelHost(kernel, definition, undefined, false);
    const ours = machineHost(() => machine.createMap(own), undefined, false);
    const ops = randomHostOps(definition, { seed: SEED, count: COUNT, ...options });
    expect(differences(ops, ours, theirs)).toEqual([]);
    expect(ours.contents()).toEqual(theirs.contents());
    theirs.close();
  });
});
