import { decodeValue, sizeOf } from "../btf/index.ts";
import { BpfError } from "../errors.ts";
import {
  type BpfMap,
  type HelperCall,
  type HelperMock,
  type Loaded,
  type LoadOptions,
  Machine,
  type MachineOptions,
  VirtualClock,
} from "../machine/index.ts";
import { type ObjectSpec, parseObject } from "../object/index.ts";
import { diffSnapshots, type MapChange, type MapsSnapshot, snapshotMaps } from "./snapshot.ts";

/** How an object is loaded for a test. */
export interface TestOptions extends Omit<MachineOptions, "clock" | "onTrace">, LoadOptions {
  /** Initial values of global variables, by name. */
  readonly variables?: Readonly<Record<string, unknown>>;
  /** What answers helpers in their place, by name: `Machine.mockHelper` before the object is loaded. */
  readonly helpers?: Readonly<Record<string, HelperMock>>;
  /** What answers kernel functions (kfuncs), by name: `Machine.registerKfunc` before the object is loaded. */
  readonly kfuncs?: Readonly<Record<string, (call: HelperCall) => number | bigint | void>>;
}

/** An object in a machine of its own, with what a test wants at hand. */
export interface TestObject extends Loaded {
  readonly spec: ObjectSpec;
  readonly machine: Machine;
  /** Stands still until a test moves it: `clock.advance(1_000_000_000n)`. */
  readonly clock: VirtualClock;
  /** Lines that bpf_trace_printk has printed so far. */
  readonly trace: string[];
  /** What has changed in the maps since loading, or since the last call. */
  changes(): readonly MapChange[];
  /**
   * Takes out the events that programs have sent through a ring buffer or a perf event array, as values of a structure of the object;
   * without its name as bytes. clang describes only structures that something refers to: a pointer that nobody uses,
   * `struct event *unused_event __attribute__((unused));`, is enough.
   */
  events(map: string, struct?: string): readonly unknown[];
}

const MACHINE_OPTIONS = ["cpus", "engine", "seed", "fuel", "optimize", "world"] as const;

/**
 * Loads an object for a test: in a machine of its own, with a clock that stands still and random numbers that are the same in every
 * run.
 *
 * @throws BpfError as parseObject and Machine.load do.
 * @example
 * const { programs, maps } = await testObject(readFileSync("firewall.bpf.o"), { variables: { sampling: 1 } });
 * assertReturn(programs.firewall.run({ packet: eth().ipv4().tcp().bytes() }), "XDP_PASS");
 */
export async function testObject(
  object: Uint8Array | ObjectSpec,
  options: TestOptions = {},
): Promise<TestObject> {
  const spec = object instanceof Uint8Array ? parseObject(object) : object;
  const { variables = {}, helpers = {}, kfuncs = {}, ...rest } = options;
  const clock = new VirtualClock();
  const trace: string[] = [];
  const forMachine = Object.fromEntries(
    MACHINE_OPTIONS.flatMap((name) => (rest[name] === undefined ? [] : [[name, rest[name]]])),
  );
  const machine = await Machine.create({ ...forMachine, clock, onTrace: (line) => trace.push(line) });
  for (const [name, mock] of Object.entries(helpers)) machine.mockHelper(name, mock);
  for (const [name, answer] of Object.entries(kfuncs)) machine.registerKfunc(name, answer);
  const loaded = await withVariables(spec, variables, () => machine.load(spec, rest));
  const maps = loaded.maps as Record<string, BpfMap>;
  // A perf event array without buffers loses what is sent.
  for (const map of Object.values(maps)) if (map.type === "perf_event_array") map.open();
  let last: MapsSnapshot = snapshotMaps(maps);
  return {
    ...loaded,
    spec,
    machine,
    clock,
    trace,
    changes() {
      const now = snapshotMaps(maps);
      const changed = diffSnapshots(last, now);
      last = now;
      return changed;
    },
    events(name, struct) {
      const map = maps[name];
      if (map === undefined) {
        throw new BpfError("usage", `${spec.name}: no map '${name}'; it has ${Object.keys(maps).join(", ")}`);
      }
      const records = map.type === "perf_event_array" ? samplesOf(map) : [...map.records()];
      return struct === undefined ? records : records.map((bytes) => decodeEvent(spec, struct, bytes));
    },
  };
}

function samplesOf(map: BpfMap): Uint8Array[] {
  return [...map.perfEvents()].flatMap(({ data }) => (data === undefined ? [] : [data]));
}

function decodeEvent({ name, btf }: ObjectSpec, struct: string, bytes: Uint8Array): unknown {
  const type = btf?.find(struct, "struct")[0];
  if (btf === undefined || type === undefined) {
    throw new BpfError("btf", `${name}: struct ${struct} is not in its types; does anything refer to it?`);
  }
  const size = sizeOf(btf, type.id);
  if (bytes.length < size) {
    throw new BpfError(
      "btf",
      `struct ${struct}: an event of ${bytes.length} bytes, the structure has ${size}`,
    );
  }
  return decodeValue(btf, type.id, bytes.subarray(0, size));
}

/** Values count for one loading only: the spec may be shared by tests. */
async function withVariables<T>(
  spec: ObjectSpec,
  values: Readonly<Record<string, unknown>>,
  load: () => Promise<T>,
): Promise<T> {
  const before = new Map<string, Uint8Array>();
  try {
    for (const [name, value] of Object.entries(values)) {
      const variable = spec.variables[name];
      if (variable === undefined) {
        const known = Object.keys(spec.variables).join(", ") || "none";
        throw new BpfError("usage", `${spec.name}: no variable '${name}'; it has ${known}`);
      }
      before.set(name, variable.bytes());
      variable.set(value as Parameters<typeof variable.set>[0]);
    }
    return await load();
  } finally {
    for (const [name, bytes] of before) spec.variables[name]?.set(bytes);
  }
}
