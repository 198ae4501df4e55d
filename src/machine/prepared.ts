/** Calls of one program that are set up once: `Program.prepare`. */
import {
  ENGINE_INTERPRETER,
  ENGINE_JIT,
  EXEC_COUNT,
  RUN_COUNT,
  RUN_ENGINE,
  RUN_FUEL,
  RUN_PROG,
  RUN_SIZE,
  STATUS_DONE,
} from "../core/layout.ts";
import type { BpfError } from "../errors.ts";
import type { Engine } from "./engine.ts";
import type { LinearMemory } from "./memory.ts";

/** What a prepared call needs of its machine. */
interface PreparedWorld {
  readonly memory: LinearMemory;
  /** Address of the execution state. */
  readonly exec: number;
  runCalls(exec: number, run: number, r1: number, r2: number): number;
  /** Turns whatever stopped a run into the error to report. */
  faultOf(cause: unknown): BpfError;
}

/** A program with everything set up for calls: see {@link Program.prepare}. */
export class PreparedCall {
  readonly #world: PreparedWorld;
  readonly #exec: number;
  readonly #order: number;
  #count = 1;

  constructor(world: PreparedWorld, descriptor: number, engine: Engine, fuel: bigint) {
    const { memory } = world;
    this.#world = world;
    this.#exec = world.exec;
    this.#order = memory.alloc(RUN_SIZE, "prepared call");
    memory.setU32(this.#order + RUN_PROG, descriptor);
    memory.setU32(this.#order + RUN_ENGINE, engine === "jit" ? ENGINE_JIT : ENGINE_INTERPRETER);
    memory.setU32(this.#order + RUN_COUNT, 1);
    memory.setU64(this.#order + RUN_FUEL, fuel);
  }

  /**
   * One run with r1 and r2.
   *
   * @returns the low 32 bits of r0, unsigned.
   * @throws BpfError code "fault" or "fuel" if the run was stopped.
   */
  run(r1: number, r2: number): number {
    return this.repeat(r1, r2, 1);
  }

  /**
   * `count` runs with the same arguments, without a return to JavaScript in between.
   *
   * @returns the low 32 bits of the last run's r0, unsigned.
   */
  repeat(r1: number, r2: number, count: number): number {
    const { memory } = this.#world;
    if (count !== this.#count) {
      this.#count = count;
      memory.setU32(this.#order + RUN_COUNT, count);
    }
    let cause: unknown;
    try {
      if (this.#world.runCalls(this.#exec, this.#order, r1, r2) === STATUS_DONE)
        return memory.u32(this.#exec);
    } catch (error) {
      cause = error;
    }
    throw this.#world.faultOf(cause);
  }

  /** How many instructions the interpreter executed in the last run. */
  get instructions(): bigint {
    return this.#world.memory.u64(this.#exec + EXEC_COUNT);
  }
}

/** A program and a packet with everything set up for runs: see {@link Program.preparePacket}. */
export class PreparedPacket {
  readonly #call: PreparedCall;
  readonly #context: number;
  readonly #read: (result: number) => number;

  constructor(call: PreparedCall, context: number, read: (result: number) => number) {
    this.#call = call;
    this.#context = context;
    this.#read = read;
  }

  /**
   * One run.
   *
   * @returns the result as the program type reads it.
   * @throws BpfError code "fault" or "fuel" if the run was stopped.
   */
  run(): number {
    return this.repeat(1);
  }

  /** `count` runs without a return to JavaScript in between; the result of the last. */
  repeat(count: number): number {
    return this.#read(this.#call.repeat(this.#context, 0, count));
  }
}
