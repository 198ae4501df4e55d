import { type Btf, sizeOf } from "../btf/index.ts";
import { type CoreExports, createMemory, instantiateCore } from "../core/index.ts";
import {
  EXEC_BUSY,
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REGS,
  FAULT_FUEL,
  FAULT_MEMORY,
  FUNC_PROG,
  MAP_ID,
  STATUS_DONE,
  STATUS_PAUSED,
} from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import { PACKET_HOOKS, hookOf } from "../hooks/index.ts";
import type { Instruction } from "../isa/index.ts";
import {
  type MapInitializer,
  type MapSpec,
  type ObjectSpec,
  type Surroundings,
  linkProgram,
  relocate,
  resolveExterns,
  type LinkedProgram,
} from "../object/index.ts";
import { type AttachType, MAP_TYPES, type ProgramType, errnoName } from "../uapi/index.ts";
import { checkStructure } from "./check.ts";
import { type Clock, RealClock, VirtualClock } from "./clock.ts";
import { CodeSpace } from "./code.ts";
import { type Engine, ENGINES } from "./engine.ts";
import { describeFault } from "./faults.ts";
import type { HelperCall, HelperMock, HelperSpy } from "./helpers/mock.ts";
import { HelperSet } from "./helpers/registry.ts";
import { Timers } from "./helpers/timers.ts";
import { BpfMap, type MapDefinition, type MapHost } from "./map.ts";
import { checkFields, definitionOf, fillMap, noteFields } from "./maps/create.ts";
import { Waiters } from "./maps/wait.ts";
import {
  type ImageReference,
  type ProgramImage,
  bareImage,
  essentialName,
  linkedImage,
  sourceOf,
} from "./image.ts";
import { alwaysReached, explainPoison, poisonError, poisonedSlot } from "./poison.ts";
import { LinearMemory } from "./memory.ts";
import { type KernelObject, type ObjectValue, UserMemory, allocateObject } from "./objects/index.ts";
import type { DebugWorld } from "./debug.ts";
import { PreparedCall } from "./prepared.ts";
import { Program, type ProgramHost } from "./program.ts";
import { Regions, type Window } from "./regions.ts";
import { EventRunner, type RunState } from "./run/runner.ts";
import { Runner, type RunnerWorld } from "./runner.ts";
import { DEFAULT_UNVERIFIED, type Safety, type Unverified, safetyOf } from "./safety.ts";
import { type SharedMachine, definitionReader, describeMap } from "./share.ts";
import type { Task } from "./world/tasks.ts";
import { World } from "./world/world.ts";
import type { WorldOptions } from "./world/options.ts";

export interface MachineOptions {
  /** Other threads can join it ({@link Machine.share}): memory, locks and atomic operations are made for that. Default false. */
  readonly shared?: boolean;
  /** Number of CPUs: per-CPU maps have a value for each. 1 to 1024, default 1. */
  readonly cpus?: number;
  /** What bpf_ktime_get_ns reads. Default "real". */
  readonly clock?: "real" | "virtual" | Clock;
  /** What runs programs unless a call says otherwise. Default "jit". */
  readonly engine?: Engine;
  /** Of bpf_get_prandom_u32; the same seed gives the same numbers. Default 1. */
  readonly seed?: number;
  /**
   * How long one run may take: instructions in the interpreter, rounds of loops and calls in compiled code. What exceeds
   * it is stopped with a fault. Default 2 * 10^8, about a second. `Infinity`: nothing is counted, which compiled code is
   * faster for, and a program that does not end does not end.
   */
  readonly fuel?: number;
  /**
   * Whether compiled code is optimised. Default true; `false` translates instruction by instruction, which compiles no faster
   * and is there to compare with.
   */
  readonly optimize?: boolean;
  /** Whether objects are verified when they are loaded, unless a load says otherwise: {@link LoadOptions.verify}. */
  readonly verify?: boolean;
  /** What becomes of programs that no verifier has proved, unless a load says otherwise. Default "trusted". */
  readonly unverified?: Unverified;
  /**
   * The kernel's types, such as a parsed `/sys/kernel/btf/vmlinux`: programs are fitted to them, arguments of functions have
   * their names from them, and {@link Machine.alloc} makes structures of them. Default: what loaded objects bring.
   */
  readonly btf?: Btf;
  /** Told of each line that bpf_trace_printk prints. */
  readonly onTrace?: (line: string) => void;
  /** What helpers find outside: interfaces, routes, sockets, processes. */
  readonly world?: WorldOptions;
}

const OPTION_NAMES: readonly string[] = [
  "shared",
  "cpus",
  "clock",
  "engine",
  "seed",
  "fuel",
  "unverified",
  "verify",
  "optimize",
  "onTrace",
  "world",
  "btf",
];
const DEFAULT_FUEL = 2e8;
/** The most that the interpreter can count. */
const NO_LIMIT = 2n ** 63n - 1n;

/** How a thread joins a machine. */
export interface JoinOptions {
  /** The CPU that the thread is. */
  readonly cpu: number;
  readonly onTrace?: (line: string) => void;
  readonly clock?: MachineOptions["clock"];
}

export interface LoadOptions {
  /** Names of the programs to load; all if absent. Those that the program arrays they use begin with are loaded too. */
  readonly programs?: readonly string[];
  /** Live maps that stand in for those of the object, by name: to share state between programs and reloads. */
  readonly maps?: Readonly<Record<string, BpfMap>>;
  /**
   * The kernel's types that programs are fitted to (CO-RE), such as a parsed `/sys/kernel/btf/vmlinux`. Default: the
   * object's own, so that programs see the structures as their source declares them.
   */
  readonly btf?: Btf;
  /** The kernel configuration that programs see (`.kconfig`): its text, or values by name. */
  readonly kconfig?: Surroundings["kconfig"];
  /**
   * Whether programs are verified as Linux 6.18 does it. Those that are proved safe run as "verified"; one that Linux would refuse
   * makes the load fail with a VerifierError; what skep's verifier cannot judge yet is treated as `unverified` says, and
   * {@link Loaded.notes} says which. Default: as the machine has it; false if it says nothing.
   */
  readonly verify?: boolean;
  /**
   * What becomes of programs that no verifier has proved: "sandbox" checks every access while they run, "trusted" nothing.
   * Default: as the machine has it.
   */
  readonly unverified?: Unverified;
  /** Addresses of kernel symbols (`.ksyms`); weak ones that are missing are 0. */
  readonly ksyms?: Surroundings["ksyms"];
}

export interface LoadInstructionsOptions {
  /** Default "main". */
  readonly name?: string;
  readonly type?: ProgramType;
  /** Live maps, by the names that `references` use. */
  readonly maps?: Readonly<Record<string, BpfMap>>;
  /** As for {@link Machine.load}. */
  readonly unverified?: Unverified;
  /** By slot: which `lddw` takes the address of which map. */
  readonly references?: ReadonlyMap<number, ImageReference>;
  readonly attachType?: AttachType;
  /** The function, tracepoint or hook that the program is for. */
  readonly attachTo?: string;
}

/** What {@link Machine.load} returns, by name. */
export interface Loaded {
  readonly programs: Readonly<Record<string, Program>>;
  readonly maps: Readonly<Record<string, BpfMap>>;
  /** What could not be done as wished, in sentences: programs that the verifier cannot judge yet. */
  readonly notes: readonly string[];
}

/**
 * A live address space: one linear memory, the maps and programs in it, and the engines that run them.
 *
 * Nothing outside that memory can be touched by a program, whatever it does.
 *
 * @example
 * const machine = await Machine.create({ clock: "virtual" });
 * const { programs, maps } = await machine.load(parseObject(bytes));
 * const { returnName } = programs.firewall.run({ packet });
 */
export class Machine {
  readonly memory: LinearMemory;
  /** What sandboxed programs may touch. */
  readonly regions: Regions;
  readonly cpus: number;
  readonly clock: Clock;
  readonly engine: Engine;
  /** Interfaces, routes, sockets, processes: what helpers find outside of the machine. */
  readonly world: World;
  readonly #unverified: Unverified | undefined;
  readonly #verify: boolean;
  readonly #core: CoreExports;
  readonly #helpers: HelperSet;
  readonly #timers: Timers = new Timers(() => this.memory);
  /** Types of programs, by their descriptors. */
  readonly #btfs = new Map<number, Btf>();
  readonly #code: CodeSpace;
  readonly #host: ProgramHost;
  readonly #fuel: bigint;
  /** Memory of the process that programs watch. */
  readonly user: UserMemory;
  readonly #btf: Btf | undefined;
  /** Where names of types are looked up: the machine's own, then those of loaded objects. */
  readonly #types = new Set<Btf>();
  readonly #maps = new Map<number, BpfMap>();
  readonly #waiters: Waiters;
  readonly #joined: boolean;
  readonly #optimize: boolean;
  readonly #programs = new Map<number, Program>();

  private constructor(options: MachineOptions, joined?: { shared: SharedMachine; cpu: number }) {
    this.cpus = options.cpus ?? 1;
    this.engine = options.engine ?? "jit";
    const fuel = options.fuel ?? DEFAULT_FUEL;
    this.#btf = options.btf;
    if (options.btf !== undefined) this.#types.add(options.btf);
    this.#optimize = options.optimize ?? true;
    this.#fuel = fuel === Infinity ? NO_LIMIT : BigInt(fuel);
    this.#unverified = options.unverified;
    this.#verify = options.verify ?? false;
    const { clock = "real", onTrace } = options;
    this.clock = clock === "real" ? new RealClock() : clock === "virtual" ? new VirtualClock() : clock;
    const memory = joined?.shared.memory ?? createMemory({ shared: options.shared ?? false });
    this.#joined = joined !== undefined;
    const table = new WebAssembly.Table({ element: "anyfunc", initial: 16 });
    // Helpers reach the memory, whose allocator is in the core, which imports the helpers: `linear` closes the circle.
    let linear: LinearMemory | undefined;
    let events: EventRunner | undefined;
    this.world = new World(options.world);
    const helpers = new HelperSet(
      {
        get memory(): LinearMemory {
          return linear as LinearMemory;
        },
        world: this.world,
        cpus: this.cpus,
        now: () => this.clock.now(),
        trace: (line: string) => onTrace?.(line),
        mapAt: (address) => this.#maps.get(address),
        typeSize: (program, type) => this.#typeSize(program, type),
        putStack: (map, addresses, count, stackFlags) =>
          this.#core.stack_map_put(map, addresses, count, stackFlags),
        taskObject: (task) => this.#taskObject(task),
        timers: this.#timers,
        regions: { add: (region) => this.regions.add(region) },
        get run(): RunState {
          return events?.means.state ?? {};
        },
        programAt: (descriptor) => {
          const program = this.#programs.get(descriptor);
          const { type, image } = program ?? {};
          return { type, attachType: image?.attachType, attachTo: image?.attachTo };
        },
        callBack: (func, ...args) => this.#callBack(func, args),
      },
      () => ({
        core: this.#core,
        programName: (descriptor) => this.#programs.get(descriptor)?.name ?? "",
        recompile: (id) => this.#code.recompile(id),
      }),
    );
    this.#helpers = helpers;
    this.#core = instantiateCore({
      memory,
      table,
      host: {
        call_helper: (id, exec) => helpers.call(id, exec),
        call_kfunc: (id, exec) => helpers.callKfunc(id, exec),
        compile_program: (descriptor) => {
          this.#programs.get(descriptor >>> 0)?.compile();
        },
      },
    });
    linear = new LinearMemory(memory, this.#core);
    this.memory = linear;
    this.#waiters = new Waiters(linear);
    this.user = new UserMemory(linear);
    events = new EventRunner(linear);
    if (joined === undefined) this.#core.init(this.cpus, options.seed ?? 1);
    else this.#core.join(joined.cpu);
    this.regions = new Regions(linear, this.#core, (address) => this.#maps.get(address)?.name);
    this.#code = new CodeSpace({
      memory: linear,
      core: this.#core,
      table,
      helpers,
      fuel: fuel !== Infinity,
      optimize: this.#optimize,
      mapAt: (address) => this.#maps.get(address),
    });
    const contextSize = Math.max(...PACKET_HOOKS.map(({ context }) => context.size));
    const runnerWorld: RunnerWorld<Program> = {
      memory: linear,
      mapAt: (address) => this.#maps.get(address),
      runBatch: (cpu, run) => this.#running(cpu, (exec) => this.#core.run_batch(exec, run)),
      batchBegin: (cpu, run) => this.#running(cpu, (exec) => this.#core.batch_begin(exec, run)),
      batchEnd: (cpu, run) => this.#running(cpu, (exec) => this.#core.batch_end(exec, run)),
      regions: this.regions,
      faultOf: (program, cpu, cause) => this.#faultOf(program, cpu, cause),
    };
    this.#host = {
      runner: new Runner(runnerWorld, contextSize),
      createRunner: () => new Runner(runnerWorld, contextSize, 1),
      events,
      cpus: this.cpus,
      cpu: joined?.cpu ?? 0,
      engine: this.engine,
      fuel: this.#fuel,
      readMemory: (address, length) => this.memory.read(address, length),
      socketAt: (address) => this.world.sockets.at(address),
      compile: (program) => this.#code.compile(program.descriptor),
      call: (program, engine, cpu, r1, r2) => this.#call(program, engine, cpu, r1, r2),
      prepare: (program, engine, cpu) => this.#prepare(program, engine, cpu),
      debug: (cpu) => this.#debug(cpu),
    };
    if (joined !== undefined) this.#takeOver(joined.shared);
  }

  #takeOver({ maps, programs }: SharedMachine): void {
    const definitionOfShared = definitionReader();
    for (const map of maps) {
      const definition = definitionOfShared(map, (address) => this.#maps.get(address));
      this.#maps.set(map.address, new BpfMap(this.#mapHost(), definition, map.address, map.buffers));
    }
    for (const installed of programs) {
      const { image, descriptor, safety } = installed;
      this.#code.adopt(installed);
      const hook = image.type === undefined ? undefined : hookOf(image.type);
      this.#programs.set(descriptor, new Program(this.#host, image, hook, descriptor, safety));
    }
    // Tail calls go to any of them by an index of the table.
    for (const program of this.#programs.values()) program.compile();
  }

  /**
   * What another thread needs to run this machine's programs on its maps; it can be sent with `postMessage`. What is loaded
   * or created later is not in it: share again. Mocks and the world stay in their thread.
   *
   * @throws BpfError code "usage" if the machine was not created with `shared: true`.
   * @example
   * const machine = await Machine.create({ cpus: 4, shared: true });
   * const { maps } = await machine.load(spec);
   * worker.postMessage({ shared: machine.share(), cpu: 1 });
   */
  share(): SharedMachine {
    if (!this.memory.shared) {
      throw new BpfError(
        "usage",
        "machine: threads share it if it is created so: Machine.create({ shared: true })",
      );
    }
    for (const program of this.#programs.values()) program.compile();
    return {
      memory: this.memory.memory,
      cpus: this.cpus,
      engine: this.engine,
      fuel: this.#fuel === NO_LIMIT ? Infinity : Number(this.#fuel),
      optimize: this.#optimize,
      maps: [...this.#maps.values()].map(describeMap),
      programs: this.#code.installed,
    };
  }

  /**
   * Makes a machine of another thread's description, in this thread. Its programs run on one CPU, on which no other thread
   * runs any; maps and memory are the same.
   *
   * @throws BpfError code "usage" if there is no such CPU.
   * @example
   * // in a worker
   * const machine = await Machine.join(shared, { cpu: 1 });
   * machine.programs.count.run({ packet });
   */
  static async join(shared: SharedMachine, { cpu, onTrace, clock }: JoinOptions): Promise<Machine> {
    if (!Number.isInteger(cpu) || cpu < 0 || cpu >= shared.cpus) {
      throw new BpfError(
        "usage",
        `machine: cpu must be a whole number from 0 to ${shared.cpus - 1}, not ${cpu}`,
      );
    }
    const { cpus, engine, fuel, optimize } = shared;
    const options = {
      cpus,
      engine,
      fuel,
      optimize,
      ...(onTrace === undefined ? {} : { onTrace }),
      ...(clock === undefined ? {} : { clock }),
    };
    return new Machine(options, { shared, cpu });
  }

  /** All programs, by name; of several with one name the last that was loaded. */
  get programs(): Readonly<Record<string, Program>> {
    return Object.fromEntries([...this.#programs.values()].map((program) => [program.name, program]));
  }

  /** All maps, by name; of several with one name the last that was created. */
  get maps(): Readonly<Record<string, BpfMap>> {
    return Object.fromEntries([...this.#maps.values()].map((map) => [map.name, map]));
  }

  #mapHost(): MapHost {
    return {
      memory: this.memory,
      core: this.#core,
      cpus: this.cpus,
      programAt: (descriptor) => this.#programs.get(descriptor),
      mapAt: (descriptor) => this.#maps.get(descriptor),
      change: (word, seen) => this.#waiters.change(word, seen),
    };
  }

  /**
   * @throws BpfError code "usage" for options that do not exist or make no sense.
   */
  static async create(options: MachineOptions = {}): Promise<Machine> {
    for (const name of Object.keys(options)) {
      if (!OPTION_NAMES.includes(name)) {
        throw new BpfError("usage", `machine: no option '${name}'; there are ${OPTION_NAMES.join(", ")}`);
      }
    }
    const { cpus = 1, engine = "jit", seed = 1, fuel = DEFAULT_FUEL } = options;
    const whole = (name: string, value: number, min: number, max: number): void => {
      if (Number.isInteger(value) && value >= min && value <= max) return;
      throw new BpfError(
        "usage",
        `machine: ${name} must be a whole number from ${min} to ${max}, not ${value}`,
      );
    };
    safetyOf(false, options.unverified ?? DEFAULT_UNVERIFIED);
    whole("cpus", cpus, 1, 1024);
    whole("seed", seed, 0, 0xffffffff);
    if (fuel !== Infinity) whole("fuel", fuel, 1, Number.MAX_SAFE_INTEGER);
    if (!ENGINES.includes(engine)) {
      throw new BpfError("usage", `machine: engine must be ${ENGINES.join(" or ")}, not '${String(engine)}'`);
    }
    return new Machine(options);
  }

  /**
   * Creates the maps of an object, links its programs, checks their structure and makes them ready to run.
   *
   * @throws BpfError that names the program or map which cannot be loaded.
   */
  async load(object: ObjectSpec, options: LoadOptions = {}): Promise<Loaded> {
    const { kconfig, ksyms } = options;
    const verifies = options.verify ?? this.#verify;
    // Who asks for proofs does not get programs that run unproved and unchecked, unless that was said.
    const choice = options.unverified ?? this.#unverified ?? (verifies ? "sandbox" : DEFAULT_UNVERIFIED);
    const spec = resolveExterns(object, {
      ...(kconfig === undefined ? {} : { kconfig }),
      ...(ksyms === undefined ? {} : { ksyms }),
    });
    if (!spec.littleEndian) {
      throw new BpfError(
        "unsupported",
        `${spec.name}: a big-endian object cannot run here (it can be dumped): the machine is little-endian`,
        { where: { file: spec.name } },
      );
    }
    const known = Object.keys(spec.programs);
    const names = options.programs ?? known;
    for (const name of names) {
      if (known.includes(name)) continue;
      throw new BpfError(
        "usage",
        `${spec.name}: no program '${name}'; it has ${known.join(", ") || "none"}`,
        {
          where: { file: spec.name },
        },
      );
    }
    // All that can fail without a map fails before the first map takes memory.
    const target = options.btf ?? this.#btf ?? spec.btf;
    for (const btf of [target, spec.btf]) if (btf !== undefined) this.#types.add(btf);
    const images: ProgramImage[] = [];
    const safety = new Map<string, Safety>();
    const notes: string[] = [];
    const used = new Set<string>();
    const wanted = new Set(names);
    // The set grows while it is walked: by the programs that a program array of the object holds.
    for (const name of wanted) {
      const linked = linkProgram(spec, name, {
        provides: (extern) => extern.kind === "kfunc" && this.#helpers.hasKfunc(essentialName(extern.name)),
      });
      const fitted = target === undefined ? linked : relocate(linked, { target });
      const image = linkedImage(fitted, spec, target);
      this.#check(image);
      images.push(image);
      safety.set(
        name,
        verifies ? await this.#prove(fitted, choice, options.maps, notes) : safetyOf(false, choice),
      );
      for (const reference of image.references.values()) {
        if (reference.kind === "extern") continue;
        used.add(reference.map);
        for (const entry of programsOf(spec.maps[reference.map])) wanted.add(entry.name);
        for (const { kind, name } of spec.maps[reference.map]?.values ?? [])
          if (kind === "map") used.add(name);
      }
    }
    const maps: Record<string, BpfMap> = {};
    for (const map of Object.values(spec.maps)) {
      const given = options.maps?.[map.name];
      if (given !== undefined) maps[map.name] = given;
      // Of the programs that were asked for: an object may hold maps of types that only others need.
      else if (options.programs === undefined || used.has(map.name))
        maps[map.name] = this.#createMapOf(map, spec.btf);
    }
    const programs: Record<string, Program> = {};
    for (const image of images) {
      programs[image.name] = this.#install(image, maps, safety.get(image.name) ?? choice, spec.btf);
    }
    // As libbpf does it, a live array that stands in gets the programs too.
    for (const [name, map] of Object.entries(maps)) {
      for (const entry of programsOf(spec.maps[name])) map.setProgram(entry.index, programs[entry.name]);
      for (const { index, kind, name: inner } of spec.maps[name]?.values ?? []) {
        if (kind === "map") map.setMap(new Uint8Array(Uint32Array.of(index).buffer), maps[inner]);
      }
    }
    return { programs, maps, notes };
  }

  /** Asks the verifier, and decides how the program runs. What cannot be judged is noted. */
  async #prove(
    linked: LinkedProgram,
    choice: Unverified,
    given: LoadOptions["maps"],
    notes: string[],
  ): Promise<Safety> {
    const other = standIn(linked, given);
    if (other !== undefined) {
      notes.push(`program '${linked.name}': not verified: map '${other}' is not as the object declares it`);
      return safetyOf(false, choice);
    }
    // The verifier is a quarter of all modules: who does not ask it does not load it.
    const { rejectionOf, verifyLinked } = await import("../verifier/index.ts");
    const verdict = verifyLinked(linked, { cpus: this.cpus });
    if (verdict.verdict === "rejected") throw rejectionOf(verdict);
    if (verdict.verdict === "accepted") return safetyOf(true, choice);
    notes.push(`program '${linked.name}': not verified: ${verdict.reason}`);
    return safetyOf(false, choice);
  }

  /**
   * Loads bare instructions. Without a type the program is run by {@link Program.call}.
   *
   * @throws BpfError code "instruction" or "program" if the structure is wrong.
   * @example
   * machine.loadInstructions(assemble("r0 = 42\nexit").instructions).call(); // 42n
   */
  loadInstructions(
    instructions: readonly Instruction[],
    {
      name = "main",
      type,
      maps = {},
      unverified = this.#unverified ?? DEFAULT_UNVERIFIED,
      references = new Map(),
      attachType,
      attachTo,
    }: LoadInstructionsOptions = {},
  ): Program {
    const image = bareImage(name, type, instructions, references, {
      ...(attachType === undefined ? {} : { attachType }),
      ...(attachTo === undefined ? {} : { attachTo }),
      ...(this.#btf === undefined ? {} : { types: [this.#btf] }),
    });
    this.#check(image);
    return this.#install(image, maps, safetyOf(false, unverified));
  }

  /**
   * Lays out a structure of the kernel in the machine's memory. Members that are left out are zero; pointers take other
   * objects, texts, bytes, or the members of what they point to.
   *
   * @throws BpfError code "btf" if the machine knows no such type or the value does not fit it.
   * @example
   * const init = machine.alloc("task_struct", { pid: 1, comm: "init" });
   * const task = machine.alloc("task_struct", { pid: 42, comm: "sh", real_parent: init });
   */
  alloc(type: string, value: ObjectValue = {}): KernelObject {
    return allocateObject(this.memory, [...this.#types], type, value);
  }

  /** A process that a test has given no structure gets one when the machine was given the kernel's types. */
  #taskObject(task: Task): number | undefined {
    if (task.object !== undefined || this.#btf === undefined) return task.object;
    const { pid, tgid, comm } = task;
    const object = allocateObject(this.memory, [this.#btf], "task_struct", { pid, tgid, comm });
    task.object = object.address;
    this.regions.add({
      kind: "object",
      label: `struct task_struct of process ${pid}`,
      address: object.address,
      size: object.size,
      writable: false,
    });
    return task.object;
  }

  #install(image: ProgramImage, maps: Readonly<Record<string, BpfMap>>, safety: Safety, btf?: Btf): Program {
    if (this.#joined) {
      throw new BpfError(
        "usage",
        `program '${image.name}': a thread that has joined a machine runs what it was given; load where it was created, and share again`,
        { where: { program: image.name } },
      );
    }
    const hook = image.type === undefined ? undefined : hookOf(image.type);
    const descriptor = this.#code.install(image, maps, safety);
    if (btf !== undefined) this.#btfs.set(descriptor, btf);
    for (const reference of image.references.values()) {
      const map = reference.kind === "extern" ? undefined : maps[reference.map];
      if (map?.type !== "prog_array" || this.#core.prog_array_claim(map.address, descriptor) === 0) continue;
      throw new BpfError(
        "map",
        `program '${image.name}': it is of type ${image.type ?? "unknown"}, which the program array '${map.name}' is not for: EINVAL`,
        { where: { program: image.name, map: map.name }, errno: "EINVAL" },
      );
    }
    const program = new Program(this.#host, image, hook, descriptor, safety);
    this.#programs.set(descriptor, program);
    return program;
  }

  #createMapOf(spec: MapSpec, btf: Btf | undefined): BpfMap {
    const definition = definitionOf(spec, btf, this.cpus);
    const map = this.createMap(
      spec.innerMap === undefined
        ? definition
        : { ...definition, inner: this.#createMapOf(spec.innerMap, btf) },
    );
    fillMap(this.memory, map, spec);
    return map;
  }

  /**
   * Creates a map that belongs to no object.
   *
   * @throws BpfError code "map" with the kernel's errno for sizes and flags that the kernel refuses.
   */
  createMap(definition: MapDefinition): BpfMap {
    const { name, type, keySize, valueSize, maxEntries, flags, extra = 0, inner, fields = [] } = definition;
    checkFields(definition);
    const id = MAP_TYPES.find((row) => row.name === type)?.id ?? 0;
    const template = inner?.address ?? 0;
    const address = this.#core.map_create(id, keySize, valueSize, maxEntries, flags, extra, template);
    // An address may have its top bit set; errors are the last few numbers below zero.
    if (address < 0 && address > -4096) {
      const errno = errnoName(address);
      throw new BpfError(
        "map",
        `map '${name}': cannot be created: ${errno} (type ${type}, key_size ${keySize}, value_size ${valueSize}, ` +
          `max_entries ${maxEntries}, map_flags 0x${flags.toString(16)})`,
        { where: { map: name }, errno },
      );
    }
    noteFields(this.memory, address >>> 0, fields, `map '${name}'`);
    const map = new BpfMap(this.#mapHost(), definition, address >>> 0);
    this.#maps.set(map.address, map);
    this.memory.setU32(map.address + MAP_ID, this.#maps.size);
    return map;
  }

  /**
   * Answers a helper in its place, in both engines, also in programs that have been compiled. Of several mocks of one helper the
   * last one answers. A helper that is not implemented here can be answered too, if it is mocked before the program is loaded.
   *
   * @returns what was called, and the way back.
   * @throws BpfError code "usage" if Linux has no such helper.
   * @example
   * const spy = machine.mockHelper("fib_lookup", (call) => {
   *   call.bytes(2, call.u32(3)).set(nextHop.mac, 52);
   *   return 0;
   * });
   * program.run({ packet });
   * spy.calls[0]?.args;
   */
  mockHelper(name: string, mock: HelperMock): HelperSpy {
    return this.#helpers.mock(name, mock);
  }

  /**
   * Watches a helper, which answers as always.
   *
   * @throws BpfError code "usage" if Linux has no such helper, "helper" if it is not implemented here.
   */
  spyHelper(name: string): HelperSpy {
    return this.#helpers.mock(name, undefined);
  }

  /**
   * Moves a virtual clock forward, by nanoseconds. Timers that are due by then run, each at its time.
   *
   * @throws BpfError code "usage" if the machine's clock is not a virtual one.
   */
  advance(ns: bigint | number): void {
    if (!(this.clock instanceof VirtualClock)) {
      throw new BpfError(
        "usage",
        'machine: only a virtual clock can be moved: Machine.create({ clock: "virtual" })',
      );
    }
    const end = this.clock.now() + BigInt(ns);
    this.runTimers();
    for (let due = this.#timers.nextDue; due !== undefined && due <= end; due = this.#timers.nextDue) {
      if (due > this.clock.now()) this.clock.advance(due - this.clock.now());
      this.runTimers();
    }
    this.clock.advance(end - this.clock.now());
  }

  /**
   * Gives programs a function that they call as a kernel function (kfunc) of that name, also in place of one that is there.
   * Programs that call it are loaded afterwards.
   *
   * @returns what was called, and the way back.
   * @example
   * machine.registerKfunc("bpf_get_file_xattr", (call) => {
   *   call.bytes(3, 16);
   *   return -61;
   * });
   */
  registerKfunc(name: string, implementation: (call: HelperCall) => number | bigint | void): HelperSpy {
    return this.#helpers.register(name, implementation);
  }

  /** The kernel function that a number stands for: compiled programs import it as `kfunc_NUMBER`. */
  kfuncName(id: number): string | undefined {
    return this.#helpers.kfuncName(id);
  }

  #typeSize(program: number, type: number): number | undefined {
    const btf = this.#btfs.get(program);
    if (btf === undefined) return undefined;
    try {
      return sizeOf(btf, type);
    } catch {
      return undefined;
    }
  }

  /** Runs the callbacks of timers and work queues that are due; with a real clock nothing else does. */
  runTimers(): number {
    const now = this.clock.now();
    let count = 0;
    for (let due = this.#timers.takeDue(now); due !== undefined; due = this.#timers.takeDue(now)) {
      const exec = this.#core.exec_of(0) >>> 0;
      due.args.forEach((value, index) =>
        this.memory.setU64(exec + EXEC_REGS + 8 * (index + 1), BigInt(value)),
      );
      const program = this.#programs.get(this.memory.u32(due.callback + FUNC_PROG));
      const jit = this.engine === "jit" && program !== undefined ? 1 : 0;
      if (jit === 1) program?.compile();
      let cause: unknown;
      let done = false;
      try {
        const fuel = Math.min(Number(this.#fuel), 0xffffffff);
        done = this.#core.run_callback(exec, due.callback, jit, fuel) === STATUS_DONE;
      } catch (error) {
        cause = error;
      }
      if (!done && program !== undefined) throw this.#faultOf(program, 0, cause);
      count++;
    }
    return count;
  }

  #callBack(func: number, args: readonly (number | bigint)[]): bigint {
    const exec = this.#core.exec.value >>> 0;
    args.forEach((value, index) => {
      this.memory.setU64(exec + EXEC_REGS + 8 * (index + 1), BigInt.asUintN(64, BigInt(value)));
    });
    for (let register = args.length + 1; register <= 5; register++) {
      this.memory.setU64(exec + EXEC_REGS + 8 * register, 0n);
    }
    const status = this.#core.call_back(func, Math.min(Number(this.#fuel), 0xffffffff));
    if (status !== STATUS_DONE) throw new Error("stopped in a callback");
    return this.memory.u64(exec + EXEC_REGS);
  }

  #check(program: ProgramImage): void {
    checkStructure({
      name: program.name,
      instructions: program.instructions,
      functions: program.functions,
      sourceOf: (slot) => sourceOf(program, slot),
      hasHelper: (id) => this.#helpers.has(id) || program.poisoned.has(poisonedSlot(id) ?? -1),
      hasKfunc: (slot) => program.references.get(slot)?.kind === "extern",
    });
    const reached = alwaysReached(program.instructions, program.poisoned);
    if (reached !== undefined) throw poisonError("program", program, reached, sourceOf(program, reached));
  }

  /** A run on a CPU; afterwards readers that wait for events of programs look again. */
  #running<T>(cpu: number, run: (exec: number) => T): T {
    const exec = this.#core.exec_of(cpu);
    const busy = this.#claim(exec, cpu);
    try {
      return run(exec);
    } finally {
      if (busy !== undefined) Atomics.store(busy, 0, 0);
      this.#waiters.check();
    }
  }

  /** Of a shared memory: a CPU runs one program at a time, so only one thread may use it. */
  #claim(exec: number, cpu: number): Int32Array | undefined {
    if (!this.memory.shared) return undefined;
    const word = new Int32Array(this.memory.u8.buffer as ArrayBuffer, exec + EXEC_BUSY, 1);
    if (Atomics.compareExchange(word, 0, 0, 1) === 0) return word;
    throw new BpfError("usage", `machine: CPU ${cpu} is running a program in another thread`);
  }

  #debug(cpu: number): DebugWorld {
    const exec = this.#core.exec_of(cpu) >>> 0;
    return {
      exec,
      memory: this.memory,
      fuel: this.#fuel,
      begin: (descriptor, r1) => this.#core.begin(exec, descriptor, r1, 0),
      interpret: (count) => this.#running(cpu, () => this.#core.interpret(exec, BigInt(count))),
      programAt: (descriptor) => this.#programs.get(descriptor),
      slotAt: (descriptor, address) => this.#code.slotAt(descriptor, address),
      faultOf: (program, cause) => this.#faultOf(program, cpu, cause),
    };
  }

  #call(program: Program, engine: Engine, cpu: number, r1: number, r2: number): bigint {
    return this.#running(cpu, (exec) => this.#callOn(exec, program, engine, cpu, r1, r2));
  }

  #callOn(exec: number, program: Program, engine: Engine, cpu: number, r1: number, r2: number): bigint {
    let stopped = false;
    let cause: unknown;
    try {
      if (engine === "jit") {
        this.#core.fuel.value = this.#fuel;
        this.#core.run_jit(exec, program.descriptor, r1, r2);
      } else {
        this.#core.begin(exec, program.descriptor, r1, r2);
        const status = this.#core.interpret(exec, this.#fuel);
        // Here a budget that is used up is no pause but the end.
        if (status === STATUS_PAUSED) {
          this.memory.setU32(exec + EXEC_FAULT, FAULT_FUEL);
          this.memory.setU32(exec + EXEC_FAULT_ADDRESS, this.memory.u32(exec + EXEC_PC));
        }
        stopped = status !== STATUS_DONE;
      }
    } catch (error) {
      stopped = true;
      cause = error;
    }
    if (stopped) throw this.#faultOf(program, cpu, cause);
    return this.memory.u64(exec + EXEC_REGS);
  }

  #prepare(program: Program, engine: Engine, cpu: number): PreparedCall {
    const world = {
      memory: this.memory,
      exec: this.#core.exec_of(cpu) >>> 0,
      // As #running, but without a closure and another call of the core: 43 ns a call instead of 64.
      runCalls: (exec: number, run: number, r1: number, r2: number): number => {
        try {
          return this.#core.run_calls(exec, run, r1, r2);
        } finally {
          this.#waiters.check();
        }
      },
      faultOf: (cause: unknown) => this.#faultOf(program, cpu, cause),
    };
    return new PreparedCall(world, program.descriptor, engine, this.#fuel);
  }

  #faultOf(started: Program, cpu: number, thrown: unknown): BpfError {
    const exec = this.#core.exec_of(cpu) >>> 0;
    // Tail calls may have led elsewhere.
    const current =
      this.memory.u32(exec + EXEC_FAULT) === FAULT_MEMORY
        ? started
        : (this.#programs.get(this.memory.u32(exec + EXEC_PROG)) ?? started);
    const { name, image, descriptor } = current;
    const cause = explainPoison(image, thrown, (slot) => sourceOf(image, slot));
    const nearest = (frame: number, address: number, size: number): Window | undefined =>
      this.regions.nearest(exec, frame, address, size);
    return describeFault({ program: name, memory: this.memory, exec, cause, nearest }, (address) => {
      const slot = this.#code.slotAt(descriptor, address);
      if (slot === undefined) return undefined;
      const source = sourceOf(image, slot);
      return { slot, ...(source === undefined ? {} : { source }) };
    });
  }
}

/** The programs that a program array begins with. */
function programsOf(map: MapSpec | undefined): readonly MapInitializer[] {
  return map?.type === "prog_array" ? map.values.filter(({ kind }) => kind === "program") : [];
}

/** A live map that stands in for one of the object but differs from it, so that a proof would not hold; its name. */
function standIn({ references }: LinkedProgram, given: LoadOptions["maps"] = {}): string | undefined {
  for (const reference of references.values()) {
    if (reference.kind === "extern") continue;
    const { name, type, keySize, valueSize, maxEntries, frozen } = reference.map;
    const map = given[name];
    if (map === undefined) continue;
    const same = map.type === type && map.keySize === keySize && map.valueSize === valueSize;
    if (!same || map.maxEntries !== maxEntries || frozen) return name;
  }
  return undefined;
}
