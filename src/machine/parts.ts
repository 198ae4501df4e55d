/** The parts of a machine, and how they reach each other: helpers need the memory, whose allocator is in the core, which calls helpers. */
import { type Btf, sizeOf } from "../btf/index.ts";
import { type CoreExports, createMemory, instantiateCore } from "../core/index.ts";
import { EXEC_PROG } from "../core/layout.ts";
import { PACKET_HOOKS } from "../hooks/index.ts";
import { type Clock, RealClock, VirtualClock } from "./clock.ts";
import { CodeSpace } from "./code.ts";
import { Execution } from "./execution.ts";
import { Handles } from "./handles.ts";
import { Heap } from "./heap.ts";
import { HelperSet } from "./helpers/registry.ts";
import { Files } from "./helpers/system.ts";
import { Timers } from "./helpers/timers.ts";
import type { HelperWorld } from "./helpers/types.ts";
import type { BpfMap } from "./map.ts";
import type { MapDefinition } from "./maps/definition.ts";
import { Waiters } from "./maps/wait.ts";
import { LinearMemory } from "./memory.ts";
import { cgroupObject } from "./objects/cgroup.ts";
import { UserMemory, allocateObject } from "./objects/index.ts";
import { taskObject } from "./objects/task.ts";
import { DEFAULT_FUEL, type MachineOptions, NO_LIMIT } from "./options.ts";
import type { Program, ProgramHost } from "./program.ts";
import { Regions } from "./regions.ts";
import { EventRunner } from "./run/runner.ts";
import { Runner, type RunnerWorld } from "./runner.ts";
import type { SharedMachine } from "./share.ts";
import { World } from "./world/world.ts";

/** What a machine keeps, as its parts see it: maps, programs and their types by the addresses of their descriptors. */
export interface Kept {
  readonly maps: ReadonlyMap<number, BpfMap>;
  readonly programs: ReadonlyMap<number, Program>;
  /** Types of programs. */
  readonly btfs: ReadonlyMap<number, Btf>;
  /** Where names of types are looked up. */
  readonly types: ReadonlySet<Btf>;
  createMap(definition: MapDefinition): BpfMap;
}

export interface Parts {
  readonly memory: LinearMemory;
  readonly core: CoreExports;
  readonly regions: Regions;
  readonly clock: Clock;
  readonly world: World;
  readonly user: UserMemory;
  readonly helpers: HelperSet;
  readonly means: HelperWorld;
  readonly timers: Timers;
  readonly heap: Heap;
  readonly waiters: Waiters;
  readonly code: CodeSpace;
  readonly execution: Execution;
  readonly host: ProgramHost;
  readonly fuel: bigint;
}

/** Makes the parts of a new machine, or of one in the memory of another thread's. */
export function connect(
  options: MachineOptions,
  joined: { readonly shared: SharedMachine; readonly cpu: number } | undefined,
  { maps, programs, btfs, types, createMap }: Kept,
): Parts {
  const { cpus = 1, engine = "jit", fuel: rounds = DEFAULT_FUEL, optimize = true, onTrace } = options;
  const fuel = rounds === Infinity ? NO_LIMIT : BigInt(rounds);
  const clock = clockOf(options.clock);
  const world = new World(options.world);
  const table = new WebAssembly.Table({ element: "anyfunc", initial: 16 });
  const shared = joined?.shared.memory ?? createMemory({ shared: options.shared ?? false });
  const core = instantiateCore({
    memory: shared,
    table,
    host: {
      call_helper: (id, exec) => helpers.call(id, exec),
      call_kfunc: (id, exec) => helpers.callKfunc(id, exec),
      compile_program: (descriptor) => {
        programs.get(descriptor >>> 0)?.compile();
      },
    },
  });
  const memory = new LinearMemory(shared, core);
  const mapAt = (address: number): BpfMap | undefined => maps.get(address);
  const timers = new Timers(() => memory);
  const heap = new Heap(memory, core, cpus);
  const handles = new Handles(memory, core, heap);
  const waiters = new Waiters(memory);
  const user = new UserMemory(memory, (type, value) =>
    allocateObject(memory, [...types], type, value, type, "user"),
  );
  if (joined === undefined) core.init(cpus, options.seed ?? 1);
  else core.join(joined.cpu);
  const regions = new Regions(memory, core, {
    map: (address) => mapAt(address)?.name,
    type: (number) => heap.nameOf(number),
  });
  memory.lending = regions;
  const events = new EventRunner(memory, regions);
  const means: HelperWorld = {
    memory,
    core,
    world,
    cpus,
    heap,
    handles,
    timers,
    types,
    regions,
    files: new Files(),
    now: () => clock.now(),
    trace: (line) => onTrace?.(line),
    mapAt,
    btfOf: (program, type) => holds(btfs.get(program), type),
    isSandboxed: (exec) => programs.get(memory.u32(exec + EXEC_PROG))?.safety === "sandbox",
    // A process that a test has given no structure gets one if the machine knows the type, and so does its parent.
    taskObject: (task) => taskObject({ memory, types, byPid: (pid) => world.tasks.byPid(pid) }, task),
    cgroupObject: (cgroup) => cgroupObject({ memory, types }, cgroup),
    alloc: (type, value) => {
      const known = [...types].some((btf) => btf.find(type, "struct").length > 0);
      return known ? allocateObject(memory, [...types], `struct ${type}`, value) : undefined;
    },
    mapOf: (id) => [...maps.values()][id - 1],
    createMap,
    get run() {
      return events.means.state;
    },
    programAt: (descriptor) => {
      const { type, image } = programs.get(descriptor) ?? {};
      return {
        type,
        attachType: image?.attachType,
        attachTo: image?.attachTo,
        types: image?.types ?? [],
      };
    },
    callBack: (func, ...args) => execution.callBack(func, args),
  };
  const helpers = new HelperSet(means, () => ({
    core,
    handles,
    programName: (descriptor) => programs.get(descriptor)?.name ?? "",
    recompile: (id) => code.recompile(id),
  }));
  const code = new CodeSpace({ memory, core, table, helpers, fuel: rounds !== Infinity, optimize, mapAt });
  const execution = new Execution({
    memory,
    core,
    clock,
    timers,
    handles,
    waiters,
    regions,
    engine,
    fuel,
    programAt: (descriptor) => programs.get(descriptor),
    slotAt: (descriptor, address) => code.slotAt(descriptor, address),
    exceptionCallback: (descriptor) => code.exceptionCallback(descriptor),
  });
  const contextSize = Math.max(...PACKET_HOOKS.map(({ context }) => context.size));
  const runnerWorld: RunnerWorld<Program> = {
    memory,
    regions,
    mapAt,
    runBatch: (cpu, run) => execution.running(cpu, (exec) => core.run_batch(exec, run)),
    batchBegin: (cpu, run) => execution.running(cpu, (exec) => core.batch_begin(exec, run)),
    batchEnd: (cpu, run) => execution.running(cpu, (exec) => core.batch_end(exec, run)),
    execOf: (cpu) => core.exec_of(cpu) >>> 0,
    endedBy: (error, cpu, used) => execution.endedBy(error, cpu, used),
    faultOf: (program, cpu, cause) => execution.faultOf(program, cpu, cause),
  };
  const host: ProgramHost = {
    runner: new Runner(runnerWorld, contextSize),
    createRunner: () => new Runner(runnerWorld, contextSize, 1),
    events,
    cpus,
    cpu: joined?.cpu ?? 0,
    engine,
    fuel,
    readMemory: (address, length) => memory.read(address, length),
    socketAt: (address) => world.sockets.at(address),
    compile: (program) => code.compile(program.descriptor),
    call: (program, used, cpu, r1, r2) => execution.call(program, used, cpu, r1, r2),
    prepare: (program, used, cpu) => execution.prepare(program, used, cpu),
    debug: (cpu) => execution.debug(cpu),
  };
  return {
    memory,
    core,
    regions,
    clock,
    world,
    user,
    helpers,
    means,
    timers,
    heap,
    waiters,
    code,
    execution,
    host,
    fuel,
  };
}

function clockOf(clock: MachineOptions["clock"] = "real"): Clock {
  if (clock === "real") return new RealClock();
  return clock === "virtual" ? new VirtualClock() : clock;
}

/** The types, if one of that number is of a size that is known. */
function holds(btf: Btf | undefined, type: number): Btf | undefined {
  if (btf === undefined) return undefined;
  try {
    return sizeOf(btf, type) > 0 ? btf : undefined;
  } catch {
    return undefined;
  }
}
