/**
 * A run of the interpreter that its caller drives. All that the interpreter knows lies in the execution state, so it can stop
 * between any two instructions, be looked at, be changed, and go on; and a copy of the memory is a copy of the run.
 */
import {
  CORE_TOP,
  EXEC_COUNT,
  EXEC_DEPTH,
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_FRAMES,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REGS,
  FAULT_FUEL,
  FRAME_RECORD,
  FRAME_RECORD_PC,
  FRAME_RECORD_PROG,
  STATUS_DONE,
  STATUS_PAUSED,
} from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import type { Instruction } from "../isa/index.ts";
import { sourceOf } from "./image.ts";
import type { LinearMemory } from "./memory.ts";
import type { Program, RunResult } from "./program.ts";

/** What a debugger needs of its machine. */
export interface DebugWorld {
  /** Address of the execution state. */
  readonly exec: number;
  readonly memory: LinearMemory;
  readonly fuel: bigint;
  begin(descriptor: number, r1: number): void;
  interpret(count: number): number;
  programAt(descriptor: number): Program | undefined;
  slotAt(descriptor: number, address: number): number | undefined;
  faultOf(program: Program, cause: unknown): BpfError;
}

/** How the run ends. */
interface OpenRun {
  result(r0: bigint): RunResult;
  release(): void;
}

/** Where a function is: of the innermost what runs next, of its callers the instruction that follows the call. */
export interface StackFrame {
  readonly program: string;
  readonly function: string;
  /** Index of the slot in the program. */
  readonly instruction: number;
  /** "file.c:12", as far as known. */
  readonly source: string | undefined;
}

/** A state to come back to: see {@link Debugger.snapshot}. */
export interface DebugSnapshot {
  readonly memory: Uint8Array;
  readonly ended: boolean;
}

const REGISTERS = 11;
/** Instructions between two looks at the fuel. */
const SLICE = 1 << 16;
/** Snapshots copy the memory in use; a machine with arrays of this size is no place for them. */
const MAX_SNAPSHOT = 1 << 28;

/**
 * A run under way. While it is, the machine's CPU that it is on runs nothing else.
 *
 * @example
 * const debug = programs.firewall.debug({ packet });
 * while (debug.step()) console.log(debug.instruction, debug.source, debug.registers());
 * debug.finish().returnName; // "XDP_DROP"
 */
export class Debugger {
  readonly #world: DebugWorld;
  readonly #started: Program;
  readonly #run: OpenRun;
  #ended = false;
  #closed = false;

  constructor(world: DebugWorld, program: Program, run: OpenRun) {
    this.#world = world;
    this.#started = program;
    this.#run = run;
  }

  /** The program has returned. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Instructions executed. */
  get steps(): bigint {
    return this.#world.memory.u64(this.#world.exec + EXEC_COUNT);
  }

  /** The program under way: another than the one that was started after a tail call. */
  get program(): Program {
    const { exec, memory, programAt } = this.#world;
    return programAt(memory.u32(exec + EXEC_PROG)) ?? this.#started;
  }

  /** Index of the slot that runs next. */
  get instruction(): number {
    const { exec, memory, slotAt } = this.#world;
    return slotAt(this.program.descriptor, memory.u32(exec + EXEC_PC)) ?? 0;
  }

  /** The instruction that runs next, with maps as addresses. */
  get next(): Instruction {
    return this.program.image.instructions[this.instruction] as Instruction;
  }

  /** "file.c:12" of what runs next, as far as the object tells. */
  get source(): string | undefined {
    return sourceOf(this.program.image, this.instruction);
  }

  /** r0 to r10, unsigned. */
  registers(): bigint[] {
    return Array.from({ length: REGISTERS }, (_, register) => this.register(register));
  }

  /** A register, unsigned. */
  register(register: number): bigint {
    return this.#world.memory.u64(this.#register(register));
  }

  setRegister(register: number, value: bigint | number): void {
    this.#alive();
    this.#world.memory.setU64(this.#register(register), BigInt.asUintN(64, BigInt(value)));
  }

  #register(register: number): number {
    if (!Number.isInteger(register) || register < 0 || register >= REGISTERS)
      throw new BpfError("usage", `debugger: no register ${register}; there are r0 to r10`);
    return this.#world.exec + EXEC_REGS + 8 * register;
  }

  /** A copy of memory: of what a register points to, of a map, of the stack. */
  readMemory(address: number | bigint, length: number): Uint8Array {
    const at = this.#range(address, length);
    return this.#world.memory.read(at, length);
  }

  writeMemory(address: number | bigint, bytes: Uint8Array): void {
    this.#alive();
    this.#world.memory.write(this.#range(address, bytes.length), bytes);
  }

  #range(address: number | bigint, length: number): number {
    const at = Number(address);
    if (!(at >= 0 && length >= 0 && at + length <= this.#world.memory.u8.length))
      throw new BpfError(
        "memory",
        `debugger: ${length} bytes at 0x${at.toString(16)} are outside the memory`,
      );
    return at;
  }

  /** The functions under way, the innermost first. */
  callStack(): readonly StackFrame[] {
    const { exec, memory, programAt, slotAt } = this.#world;
    const frames = [this.#frame(this.program, this.instruction)];
    for (let depth = memory.u32(exec + EXEC_DEPTH) - 1; depth >= 0; depth--) {
      const record = exec + EXEC_FRAMES + depth * FRAME_RECORD;
      const program = programAt(memory.u32(record + FRAME_RECORD_PROG)) ?? this.#started;
      frames.push(
        this.#frame(program, slotAt(program.descriptor, memory.u32(record + FRAME_RECORD_PC)) ?? 0),
      );
    }
    return frames;
  }

  #frame(program: Program, slot: number): StackFrame {
    const { image } = program;
    const own = image.functions.find(({ start, end }) => slot >= start && slot < end);
    return {
      program: program.name,
      function: own?.name ?? program.name,
      instruction: slot,
      source: sourceOf(image, slot),
    };
  }

  /**
   * Executes up to `count` instructions.
   *
   * @returns false once the program has returned.
   * @throws BpfError code "fault" or "fuel", as a run does.
   */
  step(count = 1): boolean {
    this.#alive();
    if (!Number.isInteger(count) || count < 1)
      throw new BpfError("usage", `debugger: ${count} steps: a whole number from 1 on`);
    for (let left = count; left > 0 && !this.#ended; ) {
      const part = Math.min(left, SLICE);
      this.#advance(part);
      left -= part;
    }
    return !this.#ended;
  }

  #advance(count: number): void {
    const { exec, memory, fuel } = this.#world;
    if (this.steps >= fuel) {
      memory.setU32(exec + EXEC_FAULT, FAULT_FUEL);
      memory.setU32(exec + EXEC_FAULT_ADDRESS, memory.u32(exec + EXEC_PC));
      this.#fail(undefined);
    }
    let status: number = STATUS_DONE;
    try {
      status = this.#world.interpret(count);
    } catch (error) {
      this.#fail(error);
    }
    if (status === STATUS_PAUSED) return;
    if (status !== STATUS_DONE) this.#fail(undefined);
    this.#ended = true;
  }

  #fail(cause: unknown): never {
    const error = this.#world.faultOf(this.#started, cause);
    this.close();
    throw error;
  }

  /**
   * Runs until the given place is next: a slot of the started program, or a source line as "file.c:12" or ":12".
   *
   * @returns false if the program returned before.
   */
  runTo(place: number | string): boolean {
    const here = this.#matcher(place);
    while (this.step()) if (here()) return true;
    return false;
  }

  #matcher(place: number | string): () => boolean {
    if (typeof place === "number") return () => this.program === this.#started && this.instruction === place;
    const wanted = place.startsWith(":") ? place : `/${place}`;
    return () => {
      const source = this.source;
      return source !== undefined && `/${source}`.endsWith(wanted);
    };
  }

  /** Executes one instruction, a call with all that it calls. False once the program has returned. */
  stepOver(): boolean {
    const depth = this.#depth;
    while (this.step()) if (this.#depth <= depth) return true;
    return false;
  }

  /** Runs until the function under way has returned to its caller. False once the program has returned. */
  stepOut(): boolean {
    const depth = this.#depth;
    while (this.step()) if (this.#depth < depth) return true;
    return false;
  }

  get #depth(): number {
    return this.#world.memory.u32(this.#world.exec + EXEC_DEPTH);
  }

  /**
   * A copy of the run and of all that it can change: registers, stack, packet, maps. What the host keeps (the trace, a real clock) is
   * not in it.
   *
   * @throws BpfError code "unsupported" if more than 256 MiB of memory are in use.
   */
  snapshot(): DebugSnapshot {
    this.#alive();
    const { memory } = this.#world;
    const end = memory.u32(CORE_TOP);
    if (end > MAX_SNAPSHOT)
      throw new BpfError("unsupported", `debugger: ${end} bytes are in use, too many for a snapshot`);
    return { memory: memory.read(0, end), ended: this.#ended };
  }

  /** Goes back to a snapshot of this run. */
  restore({ memory: bytes, ended }: DebugSnapshot): void {
    this.#alive();
    const { memory } = this.#world;
    const top = memory.u32(CORE_TOP);
    memory.write(0, bytes);
    // What was taken from the top since is zero again when it is taken the next time.
    if (top > bytes.length) memory.u8.fill(0, bytes.length, top);
    this.#ended = ended;
  }

  /**
   * Runs to the end.
   *
   * @returns what {@link Program.run} returns.
   */
  finish(): RunResult {
    while (this.step(SLICE));
    const { exec, memory } = this.#world;
    try {
      return this.#run.result(memory.u64(exec + EXEC_REGS));
    } finally {
      this.close();
    }
  }

  /** Gives up the run. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#run.release();
  }

  #alive(): void {
    if (this.#closed) throw new BpfError("usage", "debugger: the run is over");
  }
}
