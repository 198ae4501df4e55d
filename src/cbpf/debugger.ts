/**
 * A debugger for classic programs: one instruction forward or back, breakpoints, packet by packet. A step is cheap to
 * repeat and costs a packet little, so that going back runs again from the beginning of the packet instead of keeping a
 * history of states.
 */
import { BpfError } from "../errors.ts";
import { CBPF_SCRATCH_CELLS, type CbpfInstruction, type CbpfProgram } from "./instruction.ts";
import { formatCbpfInstruction } from "./listing.ts";
import { type CbpfInput, type CbpfRunOptions, type CbpfState, stepCbpf } from "./run.ts";
import { checkStructure } from "./structure.ts";

/** What is to be seen between two instructions. */
export interface CbpfSnapshot {
  /** Which of the packets. */
  readonly packet: number;
  /** How many instructions have run on this packet. */
  readonly step: number;
  /** The instruction that comes next; undefined when the program has ended. */
  readonly pc: number | undefined;
  readonly instruction: CbpfInstruction | undefined;
  /** The next instruction as `tcpdump -d` writes it, "" at the end. */
  readonly text: string;
  readonly a: number;
  readonly x: number;
  /** The 16 scratch cells. */
  readonly cells: readonly number[];
  /** The program's value, once it has ended. */
  readonly value: number | undefined;
}

/** Why {@link CbpfDebugger.resume} came back. */
export type CbpfStop = "breakpoint" | "end";

const ETHERNET_HEADER = 14;
/** Longest run on one packet, for programs with loops. */
const MAX_STEPS = 1_000_000;

/**
 * Runs a program under control.
 *
 * @example
 * const debug = new CbpfDebugger(program, [packet]);
 * debug.breakpoints.add(3);
 * debug.resume(); // "breakpoint"
 * debug.snapshot().a;
 * debug.step(-1);
 */
export class CbpfDebugger {
  readonly program: CbpfProgram;
  /** Indices of instructions before which {@link resume} stops. */
  readonly breakpoints: Set<number> = new Set();
  readonly #packets: readonly Uint8Array[];
  readonly #options: CbpfRunOptions;
  #packet = 0;
  #step = 0;
  #state: CbpfState = start();
  #value: number | undefined;
  #input: CbpfInput;

  /**
   * @throws BpfError code "program" if the program's structure is wrong, "usage" without packets
   */
  constructor(program: CbpfProgram, packets: readonly Uint8Array[], options: CbpfRunOptions = {}) {
    checkStructure(program);
    this.program = program;
    this.#packets = packets;
    this.#options = options;
    this.#input = this.#inputOf(0);
  }

  #inputOf(index: number): CbpfInput {
    const packet = this.#packets[index];
    if (packet === undefined) {
      throw new BpfError(
        "usage",
        `filter debugger: there is no packet ${index}, there are ${this.#packets.length}`,
      );
    }
    const {
      wireLength = packet.length,
      ancillary = {},
      networkOffset = ETHERNET_HEADER,
      flavor,
    } = this.#options;
    return { packet, wireLength: wireLength >>> 0, ancillary, networkOffset, linux: flavor !== "libpcap" };
  }

  /** Goes to the beginning of a packet: the next one by default. */
  select(packet: number = this.#packet + 1): CbpfSnapshot {
    this.#input = this.#inputOf(packet);
    this.#packet = packet;
    this.#restart();
    return this.snapshot();
  }

  #restart(): void {
    this.#step = 0;
    this.#state = start();
    this.#value = undefined;
  }

  /** Whether an instruction was left to run. */
  #forward(): boolean {
    if (this.#value !== undefined) return false;
    if (this.#step >= MAX_STEPS) {
      throw new BpfError("fault", `filter program: it has not ended after ${MAX_STEPS} instructions`, {
        where: { instruction: this.#state.pc },
      });
    }
    const value = stepCbpf(this.program, this.#state, this.#input);
    this.#step++;
    if (value >= 0) this.#value = value;
    return true;
  }

  /** Runs so many instructions; a negative number takes back as many. Stops at the end and at the beginning. */
  step(count = 1): CbpfSnapshot {
    if (!Number.isInteger(count))
      throw new BpfError("usage", `filter debugger: ${count} is no number of steps`);
    if (count < 0) {
      const target = Math.max(0, this.#step + count);
      this.#restart();
      while (this.#step < target) this.#forward();
    } else {
      for (let left = count; left > 0 && this.#forward(); left--);
    }
    return this.snapshot();
  }

  /** Runs to the next breakpoint, or to the end of the packet. */
  resume(): CbpfStop {
    while (this.#forward()) {
      if (this.#value === undefined && this.breakpoints.has(this.#state.pc)) return "breakpoint";
    }
    return "end";
  }

  /** Goes back to the breakpoint before, or to the beginning of the packet. */
  resumeBack(): CbpfStop {
    const before = this.#step;
    let found = -1;
    this.#restart();
    while (this.#step < before) {
      if (this.breakpoints.has(this.#state.pc)) found = this.#step;
      this.#forward();
    }
    this.#restart();
    while (this.#step < found) this.#forward();
    return found < 0 ? "end" : "breakpoint";
  }

  snapshot(): CbpfSnapshot {
    const ended = this.#value !== undefined;
    const { pc, a, x, cells } = this.#state;
    const instruction = ended ? undefined : this.program[pc];
    return {
      packet: this.#packet,
      step: this.#step,
      pc: ended ? undefined : pc,
      instruction,
      text: instruction === undefined ? "" : formatCbpfInstruction(instruction, pc),
      a,
      x,
      cells: [...cells],
      value: this.#value,
    };
  }
}

function start(): CbpfState {
  return { pc: 0, a: 0, x: 0, cells: new Uint32Array(CBPF_SCRATCH_CELLS) };
}
