import { type Btf } from "../btf/index.ts";
import { loadSharedCore } from "../core/index.ts";
import { MAP_ID, PROG_ID } from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import { hookOf } from "../hooks/index.ts";
import type { Instruction } from "../isa/index.ts";
import type { MapSpec, ObjectSpec } from "../object/index.ts";
import { MAP_TYPES, errnoName } from "../uapi/index.ts";
import { checkStructure } from "./check.ts";
import { type Clock, VirtualClock } from "./clock.ts";
import type { Engine } from "./engine.ts";
import type { HelperCall, HelperMock, HelperSpy } from "./helpers/mock.ts";
import { placeSocket } from "./helpers/sockets.ts";
import { convertContextAccesses } from "./convert.ts";
import { type ProgramImage, bareImage, sourceOf } from "./image.ts";
import { BpfMap } from "./map.ts";
import { CLAIMED_BY_USERS, type MapDefinition, type MapHost } from "./maps/definition.ts";
import { checkFields, definitionOf, fillMap, noteFields } from "./maps/create.ts";
import type { LinearMemory } from "./memory.ts";
import { type KernelObject, type ObjectValue, type UserMemory, allocateObject } from "./objects/index.ts";
import {
  type JoinOptions,
  type LoadInstructionsOptions,
  type LoadOptions,
  type Loaded,
  type MachineOptions,
  NO_LIMIT,
  checkOptions,
} from "./options.ts";
import { type Parts, connect } from "./parts.ts";
import { planLoad, programsOf } from "./plan.ts";
import { alwaysReached, poisonCalls, poisonError } from "./poison.ts";
import { Program } from "./program.ts";
import type { Regions } from "./regions.ts";
import { DEFAULT_BARE, type Safety, type Unverified, safetyOf } from "./safety.ts";
import { type SharedMachine, btfReader, definitionReader, describeMap } from "./share.ts";
import type { World } from "./world/world.ts";

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
  readonly #verify: boolean | undefined;
  /** Types of programs, by their descriptors. */
  readonly #btfs = new Map<number, Btf>();
  /** Memory of the process that programs watch. */
  readonly user: UserMemory;
  readonly #btf: Btf | undefined;
  /** Where names of types are looked up: the machine's own, then those of loaded objects. */
  readonly #types = new Set<Btf>();
  readonly #maps = new Map<number, BpfMap>();
  readonly #parts: Parts;
  readonly #joined: boolean;
  readonly #optimize: boolean;
  readonly #programs = new Map<number, Program>();

  private constructor(options: MachineOptions, joined?: { shared: SharedMachine; cpu: number }) {
    this.cpus = options.cpus ?? 1;
    this.engine = options.engine ?? "jit";
    this.#btf = options.btf;
    if (options.btf !== undefined) this.#types.add(options.btf);
    this.#optimize = options.optimize ?? true;
    this.#unverified = options.unverified;
    this.#verify = options.verify;
    this.#joined = joined !== undefined;
    this.#parts = connect(options, joined, {
      maps: this.#maps,
      programs: this.#programs,
      types: this.#types,
      btfs: this.#btfs,
      createMap: (definition) => this.createMap(definition),
    });
    const { memory, regions, clock, world, user } = this.#parts;
    this.memory = memory;
    this.regions = regions;
    this.clock = clock;
    this.world = world;
    this.user = user;
    if (joined !== undefined) this.#takeOver(joined.shared);
  }

  #takeOver({ maps, programs, kfuncs, types, numbered }: SharedMachine): void {
    for (const name of kfuncs) this.#parts.helpers.kfuncId(name);
    const read = btfReader();
    for (const bytes of numbered) this.#parts.heap.know(read(bytes));
    for (const [descriptor, bytes] of types) this.#btfs.set(descriptor, read(bytes));
    const definitionOfShared = definitionReader(read);
    for (const map of maps) {
      const definition = definitionOfShared(map, (address) => this.#maps.get(address));
      this.#maps.set(map.address, new BpfMap(this.#mapHost(), definition, map.address, map.buffers));
    }
    for (const installed of programs) {
      const { image, descriptor, safety } = installed;
      this.#parts.code.adopt(installed);
      const hook = image.type === undefined ? undefined : hookOf(image.type);
      this.#programs.set(descriptor, new Program(this.#parts.host, image, hook, descriptor, safety));
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
    for (const btf of this.#btfs.values()) this.#parts.heap.know(btf);
    return {
      memory: this.memory.memory,
      cpus: this.cpus,
      engine: this.engine,
      fuel: this.#parts.fuel === NO_LIMIT ? Infinity : Number(this.#parts.fuel),
      optimize: this.#optimize,
      maps: [...this.#maps.values()].map(describeMap),
      programs: this.#parts.code.installed,
      kfuncs: this.#parts.helpers.kfuncNames,
      types: new Map([...this.#btfs].map(([descriptor, { bytes }]) => [descriptor, bytes])),
      numbered: [...this.#parts.heap.known].map(({ bytes }) => bytes),
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
    await loadSharedCore();
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
      core: this.#parts.core,
      cpus: this.cpus,
      programAt: (descriptor) => this.#programs.get(descriptor),
      programOf: (id) =>
        [...this.#programs.values()].find(({ descriptor }) => this.memory.u32(descriptor + PROG_ID) === id),
      mapAt: (descriptor) => this.#maps.get(descriptor),
      objectOf: (value) => {
        if ("placed" in value) return placeSocket(this.#parts.means, value);
        if ("classid" in value) return this.#parts.means.cgroupObject(value);
        return value.address;
      },
      change: (word, seen) => this.#parts.waiters.change(word, seen),
    };
  }

  /**
   * @throws BpfError code "usage" for options that do not exist or make no sense.
   */
  static async create(options: MachineOptions = {}): Promise<Machine> {
    checkOptions(options);
    if (options.shared === true) await loadSharedCore();
    return new Machine(options);
  }

  /**
   * Creates the maps of an object, links its programs, checks their structure and makes them ready to run.
   *
   * @throws BpfError that names the program or map which cannot be loaded.
   */
  async load(object: ObjectSpec, options: LoadOptions = {}): Promise<Loaded> {
    const plan = await planLoad(object, options, {
      btf: this.#btf,
      cpus: this.cpus,
      verify: this.#verify,
      unverified: this.#unverified,
      hasKfunc: (name) => this.#parts.helpers.hasKfunc(name),
      checked: (image) => this.#checked(image),
    });
    const { spec, images, used, notes } = plan;
    for (const btf of plan.types) this.#types.add(btf);
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
      programs[image.name] = this.#install(image, maps, plan.safetyOf(image.name), spec.btf);
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
      unverified = this.#unverified ?? DEFAULT_BARE,
      references = new Map(),
      attachType,
      attachTo,
      interface: methods,
    }: LoadInstructionsOptions = {},
  ): Program {
    const image = bareImage(name, type, instructions, references, {
      ...(attachType === undefined ? {} : { attachType }),
      ...(attachTo === undefined ? {} : { attachTo }),
      ...(methods === undefined ? {} : { interface: methods }),
      ...(this.#btf === undefined ? {} : { types: [this.#btf] }),
    });
    const checked = this.#checked(image);
    return this.#install(convertContextAccesses(checked, undefined), maps, safetyOf(false, unverified));
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

  #install(image: ProgramImage, maps: Readonly<Record<string, BpfMap>>, safety: Safety, btf?: Btf): Program {
    if (this.#joined) {
      throw new BpfError(
        "usage",
        `program '${image.name}': a thread that has joined a machine runs what it was given; load where it was created, and share again`,
        { where: { program: image.name } },
      );
    }
    const hook = image.type === undefined ? undefined : hookOf(image.type);
    const descriptor = this.#parts.code.install(image, maps, safety);
    if (btf !== undefined) this.#btfs.set(descriptor, btf);
    for (const reference of image.references.values()) {
      const map = reference.kind === "extern" ? undefined : maps[reference.map];
      if (map === undefined || !CLAIMED_BY_USERS.includes(map.type)) continue;
      if (this.#parts.core.claim_programs(map.address, descriptor) === 0) continue;
      throw new BpfError(
        "map",
        `program '${image.name}': it is of type ${image.type ?? "unknown"}${image.frags === true ? " with frags" : ""}, and the programs of map '${map.name}' are not: EINVAL`,
        { where: { program: image.name, map: map.name }, errno: "EINVAL" },
      );
    }
    const program = new Program(this.#parts.host, image, hook, descriptor, safety);
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
    const address = this.#parts.core.map_create(id, keySize, valueSize, maxEntries, flags, extra, template);
    // An address may have its top bit set; errors are the last few numbers below zero.
    if (address < 0 && address > -4096) {
      const errno = errnoName(address);
      throw new BpfError(
        "map",
        `map '${name}': cannot be created: ${errno} (type ${type}, key_size ${keySize}, value_size ${valueSize}, ` +
          `max_entries ${maxEntries}, map_flags 0x${flags.toString(16)})` +
          (maxEntries === 0 ? loadersSizes(definition) : ""),
        { where: { map: name }, errno },
      );
    }
    noteFields(this.memory, this.#parts.heap, address >>> 0, fields, `map '${name}'`);
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
    return this.#parts.helpers.mock(name, mock);
  }

  /**
   * Watches a helper, which answers as always.
   *
   * @throws BpfError code "usage" if Linux has no such helper, "helper" if it is not implemented here.
   */
  spyHelper(name: string): HelperSpy {
    return this.#parts.helpers.mock(name, undefined);
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
    for (
      let due = this.#parts.timers.nextDue;
      due !== undefined && due <= end;
      due = this.#parts.timers.nextDue
    ) {
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
    return this.#parts.helpers.register(name, implementation);
  }

  /** The kernel function that a number stands for: compiled programs import it as `kfunc_NUMBER`. */
  kfuncName(id: number): string | undefined {
    return this.#parts.helpers.kfuncName(id);
  }

  /** Runs the callbacks of timers and work queues that are due; with a real clock nothing else does. */
  runTimers(): number {
    return this.#parts.execution.runTimers();
  }

  /** A program that may be installed: of right structure, and with what it must not reach marked. */
  #checked(image: ProgramImage): ProgramImage {
    const program = poisonCalls(image, (id) => this.#parts.helpers.whyMissing(id));
    checkStructure({
      name: program.name,
      instructions: program.instructions,
      functions: program.functions,
      sourceOf: (slot) => sourceOf(program, slot),
      hasKfunc: (slot) => program.references.get(slot)?.kind === "extern",
    });
    const reached = alwaysReached(program.instructions, program.poisoned);
    if (reached !== undefined) throw poisonError("program", program, reached, sourceOf(program, reached));
    return program;
  }
}

/** How to say what a loader sets at run time. Stacks are of 127 addresses by default (kernel.perf_event_max_stack). */
function loadersSizes({ name, type, valueSize }: MapDefinition): string {
  const stack = type === "stack_trace" && valueSize === 0 ? 8 * 127 : undefined;
  const sizes = stack === undefined ? "1024" : `{ maxEntries: 1024, valueSize: ${stack} }`;
  const option = `${name}=1024${stack === undefined ? "" : `,${stack}`}`;
  return `; what a loader sets here: load(spec, { mapSizes: { ${name}: ${sizes} } }), skep run --map-size ${option}`;
}
