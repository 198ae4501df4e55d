/**
 * A run of a linked program in JavaScript, instruction by instruction, callbacks included, with all that it holds on record: what it must
 * give back, locks and regions that it is in. Before each instruction the registers are compared with the verifier's states.
 *
 * The sandbox of the engines can't do this: it refuses functions that believe what a program could have written (dynptrs, iterators,
 * lists). The model keeps what they know beside the memory.
 */
import { type Instruction, rowOf } from "../../../src/isa/index.ts";
import type { LinkedProgram } from "../../../src/object/index.ts";
import type { InstructionView, RegisterView } from "../../../src/verifier/index.ts";
import { alu, atomic, endian, jumpTaken, u64 } from "../../reference/semantics.ts";
import type { Random } from "../../random/prng.ts";
import { Memory, type Region, Unsound, readBytes, writeBytes } from "./memory.ts";
import { holds, inRange, mismatch } from "./within.ts";

/** Function addresses: of the slot where the function begins. */
export const FUNCTIONS = 0x7f00_0000_0000n;
/** Maps' addresses: by their index. */
const MAPS = 0x7e00_0000_0000n;
const STACK_SIZE = 512;
/** Bounded loops within bounded loops take millions. */
const MOST_STEPS = 20_000_000;
/** Steps whose registers are compared: loops of thousands of rounds say nothing new. */
const COMPARED_STEPS = 3000;

export interface ModelMap {
  readonly name: string;
  readonly address: bigint;
  readonly valueSize: number;
  readonly isArray: boolean;
  readonly isRing: boolean;
  /** By key. */
  readonly values: Map<number, Region>;
}

/** Asked what follows, with r0 of the function that has returned: undefined to go on behind the call. */
export type Returned = (r0: bigint) => void;

interface Frame {
  readonly stack: Region;
  readonly depth: number;
  readonly saved: readonly bigint[];
  readonly returnTo: number;
  readonly returned: Returned | undefined;
}

export type ModelArguments = readonly [bigint, bigint, bigint, bigint, bigint];

/** What helpers and kernel functions do (`calls.ts`). */
export interface ModelCalls {
  helper(run: ModelRun, id: number, args: ModelArguments): void;
  kfunc(run: ModelRun, name: string, args: ModelArguments): void;
}

/** A dynptr on the stack, by its address. */
export interface ModelDynptr {
  readonly region: Region | undefined;
  readonly offset: number;
  readonly size: number;
  readonly writable: boolean;
  readonly kind: "record" | "packet" | "memory";
}

export interface ModelIterator {
  readonly values: Iterator<number>;
  readonly number: Region;
}

/** bpf_throw. */
export class Throw extends Error {
  readonly cookie: bigint;

  constructor(cookie: bigint) {
    super("bpf_throw");
    this.cookie = cookie;
  }
}

export class ModelRun {
  readonly memory = new Memory();
  readonly random: Random;
  readonly maps: readonly ModelMap[];
  readonly registers: bigint[] = Array.from({ length: 11 }, () => 0n);
  readonly dynptrs = new Map<bigint, ModelDynptr>();
  readonly iterators = new Map<bigint, ModelIterator>();
  /** Lists and trees by the address of their root, in order. */
  readonly graphs = new Map<bigint, Region[]>();
  /** Addresses of the locks that are held, and the region that each is in. */
  readonly locks = new Map<bigint, Region>();
  readonly timers = new Map<
    bigint,
    { callback: bigint; readonly map: ModelMap; readonly value: Region; due: boolean }
  >();
  rcu = 0;
  preempt = 0;
  irq = 0;
  steps = 0;
  context: Region;
  packet: Region;
  readonly #linked: LinkedProgram;
  readonly #calls: ModelCalls;
  readonly #states: ReadonlyMap<number, InstructionView>;
  readonly #type: string;
  readonly #arena = new Map<bigint, number>();
  readonly #frames: Frame[] = [];
  readonly #globals: ReadonlySet<number>;
  #pc = 0;
  #stack: Region;
  #depth = 0;
  /** Views of what a register is at the current instruction: those of the visits that fit. */
  #bases: readonly RegisterView[] = [];

  constructor(
    linked: LinkedProgram,
    states: ReadonlyMap<number, InstructionView>,
    random: Random,
    calls: ModelCalls,
  ) {
    this.random = random;
    this.#calls = calls;
    this.#linked = linked;
    this.#states = states;
    this.#type = linked.program?.type ?? "";
    this.#globals = new Set(
      linked.functions.flatMap(({ start, spec }) => (start > 0 && spec.linkage !== "static" ? [start] : [])),
    );
    this.packet = this.memory.add("packet", "packet", random.bytes(14 + random.below(80)));
    this.context = this.memory.add("context", "context", random.bytes(256));
    this.movePacket();
    this.#stack = this.#newStack();
    this.maps = Object.values(linked.object.maps).map((map, index) => this.#makeMap(map, index));
  }

  #makeMap(
    { name, type, valueSize, maxEntries }: LinkedProgram["object"]["maps"][string],
    index: number,
  ): ModelMap {
    const values = new Map<number, Region>();
    const isArray = type === "array";
    if (isArray || type === "hash") {
      for (let key = 0; key < Math.min(4, maxEntries); key++) {
        if (!isArray && this.random.chance(0.3)) continue;
        const bytes = new Uint8Array(valueSize);
        if (name === "numbers") bytes.set(this.random.bytes(valueSize));
        values.set(key, this.memory.add("map_value", name, bytes));
      }
    }
    const address = MAPS + BigInt(index + 1) * 64n;
    return { name, address, valueSize, isArray, isRing: type === "ringbuf", values };
  }

  #newStack(): Region {
    return this.memory.add("stack", "stack", this.random.bytes(STACK_SIZE));
  }

  mapAt(address: bigint): ModelMap {
    const map = this.maps.find((row) => row.address === address);
    if (map === undefined) throw new Unsound(`0x${address.toString(16)} is no map`);
    return map;
  }

  /** After something has changed the packet it lies elsewhere, and pointers to it are worth nothing. */
  movePacket(): void {
    const { bytes } = this.packet;
    this.packet.alive = false;
    this.packet = this.memory.add("packet", "packet", Uint8Array.from(bytes));
    const [data, end] = this.#type === "xdp" ? [0, 4] : [76, 80];
    writeBytes(this.context.bytes, data, 4, this.packet.base);
    writeBytes(this.context.bytes, end, 4, this.packet.base + BigInt(bytes.length));
    if (this.#type === "xdp") writeBytes(this.context.bytes, 8, 4, this.packet.base);
  }

  /** Runs the program, and what it has left to be called later. */
  run(): number {
    this.registers[1] = this.context.base;
    this.#goTo(0);
    this.#caught();
    for (const timer of this.timers.values()) {
      if (!timer.due) continue;
      const key = this.memory.add("map_key", "key", new Uint8Array(8), false);
      this.#forget();
      this.registers[1] = timer.map.address;
      this.registers[2] = key.base;
      this.registers[3] = timer.value.base;
      this.#goTo(Number(timer.callback - FUNCTIONS));
      this.#caught();
    }
    return this.steps;
  }

  #caught(): void {
    try {
      this.#loop();
    } catch (error) {
      if (!(error instanceof Throw)) throw error;
      this.#mayEnd("bpf_throw");
      this.#frames.length = 0;
      const callback = this.#linked.exceptionCallback;
      if (callback !== undefined) {
        this.#forget();
        this.registers[1] = error.cookie;
        this.#goTo(callback);
        this.#loop();
      }
    }
    this.#mayEnd("the end");
  }

  #forget(): void {
    for (let reg = 0; reg < 10; reg++) this.registers[reg] = this.random.u64();
  }

  #goTo(slot: number): void {
    this.#depth = 0;
    this.#pc = slot;
    this.#stack = this.#newStack();
    this.registers[10] = this.#stack.base + BigInt(STACK_SIZE);
  }

  #mayEnd(where: string): void {
    const held = this.memory.regions.find((region) => region.held > 0);
    if (held !== undefined) throw new Unsound(`${where}: ${held.label} is not given back`);
    if (this.iterators.size > 0) throw new Unsound(`${where}: an iterator is not destroyed`);
    if (this.locks.size + this.rcu + this.preempt + this.irq > 0)
      throw new Unsound(
        `${where}: inside of ${this.locks.size} locks, ${this.rcu} RCU, ${this.preempt} preempt, ${this.irq} irq regions`,
      );
  }

  /** Calls a function of the program from within a helper; its result goes to `returned`. */
  callBack(address: bigint, args: readonly bigint[], returned: Returned): void {
    this.#enter(Number(address - FUNCTIONS), args, this.#depth + 1, returned);
  }

  #enter(slot: number, args: readonly bigint[], depth: number, returned: Returned | undefined): void {
    if (this.#frames.length >= 16) throw new Unsound("calls are nested too deeply");
    this.#frames.push({
      stack: this.#stack,
      depth: this.#depth,
      saved: this.registers.slice(6, 11),
      returnTo: this.#pc,
      returned,
    });
    this.#forget();
    args.forEach((value, index) => {
      this.registers[index + 1] = value;
    });
    this.#stack = this.#newStack();
    this.registers[10] = this.#stack.base + BigInt(STACK_SIZE);
    this.#depth = depth;
    this.#pc = slot;
  }

  #leave(): boolean {
    const frame = this.#frames.pop();
    if (frame === undefined) return false;
    const r0 = this.registers[0] as bigint;
    this.#stack.alive = false;
    this.#stack = frame.stack;
    this.#depth = frame.depth;
    this.#pc = frame.returnTo;
    for (let reg = 1; reg <= 5; reg++) this.registers[reg] = this.random.u64();
    frame.saved.forEach((value, index) => {
      this.registers[6 + index] = value;
    });
    frame.returned?.(r0);
    return true;
  }

  #loop(): void {
    const { instructions } = this.#linked;
    for (;;) {
      const instruction = instructions[this.#pc];
      if (instruction === undefined) throw new Unsound(`instruction ${this.#pc} is outside of the program`);
      this.#compare(instruction);
      if (++this.steps > MOST_STEPS) throw new Unsound("it does not end");
      try {
        if (!this.#step(instruction)) return;
      } catch (error) {
        if (error instanceof Unsound) error.message = `instruction ${this.#pc}: ${error.message}`;
        throw error;
      }
    }
  }

  #compare(instruction: Instruction): void {
    this.#bases = [];
    if (this.#states.size === 0) return;
    const view = this.#states.get(this.#pc);
    if (view === undefined) throw new Unsound(`instruction ${this.#pc} was never walked`);
    const kind = instruction.opcode & 7;
    const base = kind === 1 ? instruction.src : kind === 2 || kind === 3 ? instruction.dst : undefined;
    if (this.steps >= COMPARED_STEPS && base === undefined) return;
    const fits = (known: RegisterView, value: bigint): boolean => this.#fits(known, value);
    const fitting = view.visits.filter((visit) => holds(visit, view.live, this.registers, this.#depth, fits));
    if (fitting.length === 0)
      throw new Unsound(`instruction ${this.#pc}: ${mismatch(view, this.registers, this.#depth, fits)}`);
    if (base !== undefined) this.#bases = fitting.flatMap(({ registers }) => registers[base] ?? []);
  }

  #fits(view: RegisterView, value: bigint): boolean {
    const { type } = view;
    if (type === "scalar") return inRange(view, value);
    if (value === 0n && type.includes("or_null")) return true;
    const region = this.memory.find(value);
    const inside = (kind: string, origin = 0): boolean =>
      region !== undefined &&
      region.kind === kind &&
      inRange(view, value - region.base - BigInt(origin + view.offset));
    switch (type) {
      case "ctx":
        return inside("context");
      case "pkt":
        return inside("packet");
      case "fp":
        return inside("stack", STACK_SIZE);
      case "map_value":
      case "map_value_or_null":
        return inside("map_value") && region?.label === view.map;
      case "mem":
      case "rdonly_mem":
      case "ringbuf_mem":
      case "sock":
      case "ptr_":
      case "trusted_ptr_":
        return value !== 0n;
      default:
        return true;
    }
  }

  /** Address, and how it may be used: undefined if it reads as zero, "map" for the kernel's own fields of a map. */
  #access(
    address: bigint,
    size: number,
    write: boolean,
  ): { region: Region; offset: number } | "arena" | "map" | undefined {
    const is = (name: RegExp): boolean => this.#bases.some(({ type }) => name.test(type));
    if (is(/^arena/)) return "arena";
    if (is(/^map_ptr/)) return "map";
    const found = this.memory.locate(address, size);
    if (is(/^untrusted_ptr_/)) return write ? undefined : found;
    // What RCU protects stays readable until the section ends, given back or not.
    if (is(/^rcu_ptr_/) && !write && found !== undefined) return found;
    const { region, offset } = this.memory.at(address, size, write ? "write" : "read");
    if (write && !region.writable) throw new Unsound(`write to ${region.label}, which is read only`);
    const borrowed = region.root !== undefined && [...this.locks.values()].includes(region.root);
    if (region.kind === "object" && region.held === 0 && !borrowed)
      throw new Unsound(`access to ${region.label}, which the program does not hold`);
    return { region, offset };
  }

  read(address: bigint, size: number): bigint {
    const place = this.#access(address, size, false);
    if (place === undefined) return 0n;
    if (place === "arena") return this.#readArena(address, size);
    if (place === "map") return BigInt.asUintN(8 * size, this.random.u64());
    return readBytes(place.region.bytes, place.offset, size);
  }

  write(address: bigint, size: number, value: bigint): void {
    const place = this.#access(address, size, true);
    if (place === undefined) return;
    if (place === "map") throw new Unsound("write to a map's own fields");
    if (place !== "arena") return writeBytes(place.region.bytes, place.offset, size, value);
    for (let at = 0; at < size; at++)
      this.#arena.set(BigInt.asUintN(32, address) + BigInt(at), Number((value >> BigInt(8 * at)) & 0xffn));
  }

  #readArena(address: bigint, size: number): bigint {
    let value = 0n;
    for (let at = size - 1; at >= 0; at--)
      value = (value << 8n) | BigInt(this.#arena.get(BigInt.asUintN(32, address) + BigInt(at)) ?? 0);
    return value;
  }

  /** False at the end of the program. */
  #step(instruction: Instruction): boolean {
    const { registers } = this;
    const { dst, src, offset, imm, opcode } = instruction;
    const semantics = rowOf(instruction)?.semantics;
    const at = this.#pc;
    this.#pc++;
    const to = registers[dst] as bigint;
    const from = registers[src] as bigint;
    const number = u64(BigInt(imm));
    switch (semantics?.kind) {
      case "alu":
        registers[dst] = alu(
          semantics.op,
          semantics.width,
          to,
          semantics.source === "reg" ? from : number,
          semantics.from,
        );
        return true;
      case "addr_space_cast":
        registers[dst] = BigInt.asUintN(32, from);
        return true;
      case "may_goto":
        // It leaves when its budget is used up, whenever that is.
        if (this.random.chance(0.2)) this.#pc += offset;
        return true;
      case "endian":
        registers[dst] = endian(semantics.op, semantics.size, to);
        return true;
      case "jump": {
        const other = semantics.source === "reg" ? from : number;
        if (jumpTaken(semantics.op, semantics.width, to, other)) this.#pc += offset;
        return true;
      }
      case "goto":
        this.#pc += semantics.distance === "imm" ? imm : offset;
        return true;
      case "load": {
        const value = this.read(u64(from + BigInt(offset)), semantics.bytes);
        registers[dst] = semantics.signed ? u64(BigInt.asIntN(8 * semantics.bytes, value)) : value;
        return true;
      }
      case "store":
        this.write(u64(to + BigInt(offset)), semantics.bytes, semantics.source === "reg" ? from : number);
        return true;
      case "atomic": {
        const address = u64(to + BigInt(offset));
        const { bytes } = semantics;
        const result = atomic(semantics.op, semantics.fetch, bytes, {
          memory: this.read(address, bytes),
          source: from,
          r0: registers[0] as bigint,
        });
        this.write(address, bytes, result.memory);
        registers[src] = result.source;
        registers[0] = result.r0;
        return true;
      }
      case "lddw":
        registers[dst] = this.#constant(at, instruction);
        this.#pc++;
        return true;
      case "exit":
        return this.#leave();
      case "call":
        this.#call(at, instruction);
        return true;
      default:
        throw new Unsound(`no model of opcode 0x${opcode.toString(16)}`);
    }
  }

  #constant(at: number, { src, imm }: Instruction): bigint {
    const high = BigInt((this.#linked.instructions[at + 1] as Instruction).imm);
    if (src === 4) return FUNCTIONS + BigInt(at + 1 + imm);
    const reference = this.#linked.references.get(at);
    if (reference === undefined || reference.kind === "extern")
      return u64((high << 32n) | BigInt.asUintN(32, BigInt(imm)));
    const map = this.maps.find(({ name }) => name === reference.map.name) as ModelMap;
    if (reference.kind === "map") return map.address;
    return (map.values.get(0) as Region).base + BigInt(reference.offset);
  }

  #call(at: number, { src, imm }: Instruction): void {
    if (src === 1) {
      const slot = at + 1 + imm;
      // A global function is verified for itself, whatever calls it.
      const depth = this.#globals.has(slot) ? 0 : this.#depth + 1;
      const args = this.registers.slice(1, 6);
      this.#enter(slot, args, depth, undefined);
      return;
    }
    const args = this.registers.slice(1, 6) as unknown as ModelArguments;
    this.registers[0] = this.random.u64();
    for (let reg = 1; reg <= 5; reg++) this.registers[reg] = this.random.u64();
    if (src === 0) this.#calls.helper(this, imm, args);
    else {
      const reference = this.#linked.references.get(at);
      this.#calls.kfunc(this, reference?.kind === "extern" ? reference.extern.name : "", args);
    }
  }
}
