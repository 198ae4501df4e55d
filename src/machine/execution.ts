/** Runs: on which CPU, with which budget, and what becomes of one that was stopped. */
import type { CoreExports } from "../core/index.ts";
import {
  EXEC_BUSY,
  EXEC_FAULT,
  EXEC_FAULT_ADDRESS,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REGS,
  FAULT_FUEL,
  FAULT_MEMORY,
  FAULT_NONE,
  FUNC_PROG,
  STATUS_DONE,
  STATUS_PAUSED,
} from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import type { Clock } from "./clock.ts";
import type { DebugWorld } from "./debug.ts";
import type { Engine } from "./engine.ts";
import { describeFault } from "./faults.ts";
import { Thrown } from "./kfuncs/exceptions.ts";
import type { Timers } from "./helpers/timers.ts";
import type { Handles } from "./handles.ts";
import { sourceOf } from "./image.ts";
import type { Waiters } from "./maps/wait.ts";
import type { LinearMemory } from "./memory.ts";
import { explainPoison } from "./poison.ts";
import { PreparedCall } from "./prepared.ts";
import type { Program } from "./program.ts";
import type { Regions, Window } from "./regions.ts";

/** What runs need of their machine. */
interface ExecutionWorld {
  readonly memory: LinearMemory;
  readonly core: CoreExports;
  readonly clock: Clock;
  readonly timers: Timers;
  readonly handles: Handles;
  readonly waiters: Waiters;
  readonly regions: Regions;
  readonly engine: Engine;
  readonly fuel: bigint;
  /** The descriptor of the function that bpf_throw calls, of the program whose descriptor lies at an address. */
  exceptionCallback(descriptor: number): number | undefined;
  programAt(descriptor: number): Program | undefined;
  /** The slot of a program that lies at an address. */
  slotAt(descriptor: number, address: number): number | undefined;
}

/** The ways into the core, each on the execution state of one CPU. */
export class Execution {
  readonly #world: ExecutionWorld;

  constructor(world: ExecutionWorld) {
    this.#world = world;
  }

  /**
   * A run on a CPU; afterwards readers that wait for events of programs look again. What it holds is taken from it then, unless it
   * `goesOn`: a part of a run that a debugger drives.
   */
  running<T>(cpu: number, run: (exec: number) => T, goesOn?: (result: T) => boolean): T {
    const exec = this.#world.core.exec_of(cpu);
    const busy = this.#claim(exec, cpu);
    // What a stopped run held is looked at once more, to say why it was stopped.
    let stopped = true;
    try {
      const result = run(exec);
      stopped = this.#world.memory.u32(exec + EXEC_FAULT) !== FAULT_NONE || goesOn?.(result) === true;
      return result;
    } finally {
      if (!stopped) this.#world.handles.end(exec >>> 0);
      if (busy !== undefined) Atomics.store(busy, 0, 0);
      this.#world.waiters.check();
    }
  }

  /** Of a shared memory: a CPU runs one program at a time, so only one thread may use it. */
  #claim(exec: number, cpu: number): Int32Array | undefined {
    if (!this.#world.memory.shared) return undefined;
    const word = new Int32Array(this.#world.memory.u8.buffer as ArrayBuffer, exec + EXEC_BUSY, 1);
    if (Atomics.compareExchange(word, 0, 0, 1) === 0) return word;
    throw new BpfError("usage", `machine: CPU ${cpu} is running a program in another thread`);
  }

  debug(cpu: number): DebugWorld {
    const exec = this.#world.core.exec_of(cpu) >>> 0;
    return {
      exec,
      memory: this.#world.memory,
      fuel: this.#world.fuel,
      begin: (descriptor, r1) => this.#world.core.begin(exec, descriptor, r1, 0),
      interpret: (count) => {
        try {
          return this.running(
            cpu,
            () => this.#world.core.interpret(exec, BigInt(count)),
            (status) => status === STATUS_PAUSED,
          );
        } catch (error) {
          if (this.endedBy(error, cpu, "interpreter")) return STATUS_DONE;
          throw error;
        }
      },
      programAt: (descriptor) => this.#world.programAt(descriptor),
      slotAt: (descriptor, address) => this.#world.slotAt(descriptor, address),
      faultOf: (program, cause) => this.faultOf(program, cpu, cause),
    };
  }

  call(program: Program, engine: Engine, cpu: number, r1: number, r2: number): bigint {
    return this.running(cpu, (exec) => this.#callOn(exec, program, engine, cpu, r1, r2));
  }

  #callOn(exec: number, program: Program, engine: Engine, cpu: number, r1: number, r2: number): bigint {
    const { core, fuel, memory } = this.#world;
    let stopped = false;
    let cause: unknown;
    try {
      if (engine === "jit") {
        core.fuel.value = fuel;
        core.run_jit(exec, program.descriptor, r1, r2);
      } else {
        core.begin(exec, program.descriptor, r1, r2);
        const status = core.interpret(exec, fuel);
        // Here a budget that is used up is no pause but the end.
        if (status === STATUS_PAUSED) {
          memory.setU32(exec + EXEC_FAULT, FAULT_FUEL);
          memory.setU32(exec + EXEC_FAULT_ADDRESS, memory.u32(exec + EXEC_PC));
        }
        stopped = status !== STATUS_DONE;
      }
    } catch (error) {
      stopped = !this.endedBy(error, cpu, engine);
      cause = error;
    }
    if (stopped) throw this.faultOf(program, cpu, cause);
    return memory.u64(exec + EXEC_REGS);
  }

  /**
   * Whether what has unwound an engine is bpf_throw, which ends a run like its last instruction does: r0 is what the program's
   * callback for it makes of its argument, or the argument itself.
   */
  endedBy(error: unknown, cpu: number, engine: Engine): boolean {
    if (!(error instanceof Thrown)) return false;
    const { core, fuel, memory, exceptionCallback, handles } = this.#world;
    const exec = core.exec_of(cpu) >>> 0;
    handles.end(exec);
    const callback = exceptionCallback(memory.u32(exec + EXEC_PROG));
    if (callback === undefined) memory.setU64(exec + EXEC_REGS, error.cookie);
    else {
      memory.setU64(exec + EXEC_REGS + 8, error.cookie);
      const budget = Math.min(Number(fuel), 0xffffffff);
      return core.run_callback(exec, callback, engine === "jit" ? 1 : 0, budget) === STATUS_DONE;
    }
    return true;
  }

  prepare(program: Program, engine: Engine, cpu: number): PreparedCall {
    const sandboxed = program.safety === "sandbox";
    const world = {
      memory: this.#world.memory,
      exec: this.#world.core.exec_of(cpu) >>> 0,
      // As #running, but without a closure and another call of the core: 43 ns a call instead of 64.
      runCalls: (exec: number, run: number, r1: number, r2: number): number => {
        try {
          return this.#world.core.run_calls(exec, run, r1, r2);
        } catch (error) {
          if (this.endedBy(error, cpu, engine)) return STATUS_DONE;
          throw error;
        } finally {
          if (sandboxed && this.#world.memory.u32(exec + EXEC_FAULT) === FAULT_NONE)
            this.#world.handles.end(exec);
          this.#world.waiters.check();
        }
      },
      faultOf: (cause: unknown) => this.faultOf(program, cpu, cause),
    };
    return new PreparedCall(world, program.descriptor, engine, this.#world.fuel);
  }

  faultOf(started: Program, cpu: number, thrown: unknown): BpfError {
    const { memory, programAt, slotAt, regions } = this.#world;
    const exec = this.#world.core.exec_of(cpu) >>> 0;
    // Tail calls may have led elsewhere.
    const current =
      memory.u32(exec + EXEC_FAULT) === FAULT_MEMORY
        ? started
        : (programAt(memory.u32(exec + EXEC_PROG)) ?? started);
    const { name, image, descriptor } = current;
    const cause = explainPoison(image, thrown, (slot) => sourceOf(image, slot));
    const nearest = (frame: number, address: number, size: number): Window | undefined =>
      regions.nearest(exec, frame, address, size);
    const error = describeFault({ program: name, memory, exec, cause, nearest }, (address) => {
      const slot = slotAt(descriptor, address);
      if (slot === undefined) return undefined;
      const source = sourceOf(image, slot);
      return { slot, ...(source === undefined ? {} : { source }) };
    });
    this.#world.handles.end(exec);
    return error;
  }

  /** Runs the callbacks of timers and work queues that are due; with a real clock nothing else does. */
  runTimers(): number {
    const { clock, core, engine, fuel, memory, programAt, regions, timers } = this.#world;
    const now = clock.now();
    let count = 0;
    for (let due = timers.takeDue(now); due !== undefined; due = timers.takeDue(now)) {
      const exec = core.exec_of(0) >>> 0;
      due.args.forEach((value, index) => memory.setU64(exec + EXEC_REGS + 8 * (index + 1), BigInt(value)));
      const program = programAt(memory.u32(due.callback + FUNC_PROG));
      const jit = engine === "jit" && program !== undefined ? 1 : 0;
      if (jit === 1) program?.compile();
      let cause: unknown;
      let done = false;
      const [, key] = due.args;
      const sandboxed = program?.safety === "sandbox";
      if (sandboxed)
        regions.add({
          kind: "memory",
          label: "key",
          address: key,
          size: due.keySize,
          writable: false,
          owner: exec,
        });
      try {
        const budget = Math.min(Number(fuel), 0xffffffff);
        done = core.run_callback(exec, due.callback, jit, budget) === STATUS_DONE;
      } catch (error) {
        done = this.endedBy(error, 0, engine);
        cause = error;
      } finally {
        if (sandboxed) regions.remove(key);
      }
      if (done) this.#world.handles.end(exec);
      if (!done && program !== undefined) throw this.faultOf(program, 0, cause);
      count++;
    }
    return count;
  }

  callBack(func: number, args: readonly (number | bigint)[]): bigint {
    const { core, fuel, memory } = this.#world;
    const exec = core.exec.value >>> 0;
    args.forEach((value, index) => {
      memory.setU64(exec + EXEC_REGS + 8 * (index + 1), BigInt.asUintN(64, BigInt(value)));
    });
    for (let register = args.length + 1; register <= 5; register++) {
      memory.setU64(exec + EXEC_REGS + 8 * register, 0n);
    }
    const status = core.call_back(func, Math.min(Number(fuel), 0xffffffff));
    if (status !== STATUS_DONE) throw new Error("stopped in a callback");
    return memory.u64(exec + EXEC_REGS);
  }
}
