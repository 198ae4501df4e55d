/** The reference model as the compiler's tests need it: with helpers, packets, `callx` and `may_goto`. */
import { type Instruction, rowOf } from "../../src/isa/index.ts";
import { type ReferenceState, step, u64 } from "../reference/semantics.ts";

export interface ReferenceOptions {
  readonly instructions: readonly Instruction[];
  /** Linear memory from address 0. Changed in place. */
  readonly memory: Uint8Array;
  /** r1 to r5, missing ones being 0. */
  readonly args?: readonly bigint[];
  /** One past the highest address of the program stack. */
  readonly stackEnd: number;
  /** How often `may_goto` goes on in one frame. Default 8,388,608. */
  readonly mayGotoLimit?: number;
  /** Default 1,000,000. */
  readonly maxSteps?: number;
  /** Called with r1 to r5; the result goes to r0. `id` is that of a helper, or "kfunc:ID". */
  helper?(id: number | string, args: readonly bigint[]): bigint;
  /** The packet access of `ld_abs` and `ld_ind`: the value, or undefined outside the packet. */
  packet?(context: bigint, offset: number, bytes: number): bigint | undefined;
}

export type ReferenceResult =
  | { readonly kind: "done"; readonly r0: bigint }
  | { readonly kind: "steps" }
  | { readonly kind: "fault"; readonly reason: string; readonly slot: number };

/** Runs a program from slot 0 to its end. */
export function referenceRun(options: ReferenceOptions): ReferenceResult {
  const { memory, args = [], stackEnd, maxSteps = 1_000_000 } = options;
  const registers = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].map((index) => u64(args[index - 1] ?? 0n));
  const state: ReferenceState = {
    registers: [...registers, BigInt(stackEnd)],
    memory: { base: 0n, bytes: memory },
    pc: 0,
    frames: [],
  };
  // Rounds of `may_goto` that are left, for each frame.
  const rounds = [options.mayGotoLimit ?? 0x800000];
  for (let count = 0; count < maxSteps; count++) {
    const slot = state.pc;
    const end = stepOrCall(options, state, rounds);
    if (end === "exit") return { kind: "done", r0: state.registers[0] as bigint };
    if (end !== undefined) return { kind: "fault", reason: end, slot };
  }
  return { kind: "steps" };
}

/** What the model leaves to its user, or else one step of the model. */
function stepOrCall(options: ReferenceOptions, state: ReferenceState, rounds: number[]): string | undefined {
  const instruction = options.instructions[state.pc];
  const semantics = instruction === undefined ? undefined : rowOf(instruction)?.semantics;
  if (instruction === undefined || semantics === undefined) return "instruction";
  const { registers, frames } = state;
  const { imm, offset, src, dst } = instruction;
  if (semantics.kind === "may_goto") {
    const left = rounds[frames.length] as number;
    state.pc += left === 0 ? 1 + offset : 1;
    if (left > 0) rounds[frames.length] = left - 1;
    return undefined;
  }
  if (semantics.kind === "packet") {
    const at =
      semantics.mode === "abs" ? imm : Number(BigInt.asIntN(32, (registers[src] as bigint) + BigInt(imm)));
    const value = options.packet?.(registers[6] as bigint, at, semantics.bytes);
    registers[0] = value ?? 0n;
    if (value !== undefined) {
      state.pc++;
      return undefined;
    }
    return step([{ opcode: 0x95, dst: 0, src: 0, offset: 0, imm: 0 }], Object.assign(state, { pc: 0 }));
  }
  if (semantics.kind === "call" && semantics.target !== "local") {
    const id = { helper: imm, kfunc: `kfunc:${imm}`, register: Number(registers[dst]) }[semantics.target];
    if (options.helper === undefined) return "target";
    registers[0] = u64(options.helper(id, registers.slice(1, 6)));
    state.pc++;
    return undefined;
  }
  const end = step(options.instructions, state);
  if (semantics.kind === "call") rounds[frames.length] = options.mayGotoLimit ?? 0x800000;
  return end;
}
