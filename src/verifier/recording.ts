/**
 * What the walk knew before each instruction: every visit, and all visits together. Recorded only on request: a long
 * verification has hundreds of thousands of visits.
 */
import type { Environment } from "./environment.ts";
import { NOT_INIT, SCALAR_VALUE, typeName } from "./register-types.ts";
import { type ScalarParts, partsOf } from "./scalar/index.ts";
import { type FunctionState, type RegisterState, isSpilled } from "./state.ts";

/** A register, or a spilled one. */
export interface RegisterView {
  /** "scalar", "ctx", "map_value_or_null", ...; "any" if visits differ. */
  readonly type: string;
  /** Fixed offset of a pointer. */
  readonly offset: number;
  /** The number, or the variable offset of a pointer. */
  readonly value: ScalarParts;
  /** Name of the map that it is, or points into. */
  readonly map: string | undefined;
}

/** One frame before an instruction. Registers and slots that hold nothing are undefined. */
export interface FrameView {
  /** Number of the function. */
  readonly subprogram: number;
  /** How many calls deep: 0 is the main program. */
  readonly frame: number;
  readonly registers: readonly (RegisterView | undefined)[];
  /** Spilled registers by their slots: `stack[0]` is the register at fp-8. */
  readonly stack: readonly (RegisterView | undefined)[];
}

/** All that was known at one instruction. */
export interface InstructionView {
  /** In the order of the walk. */
  readonly visits: readonly FrameView[];
  /** What holds at every visit. Registers that nothing reads any more are undefined: visits that differ in them count as one. */
  readonly merged: FrameView;
  /** Bit n: register n may be read from here on before it is written. */
  readonly live: number;
}

function viewOf(reg: RegisterState): RegisterView | undefined {
  if (reg.type === NOT_INIT) return undefined;
  const offset = reg.type === SCALAR_VALUE ? 0 : reg.off;
  return { type: typeName(reg.type), offset, value: partsOf(reg.scalar), map: reg.map?.name };
}

function frameView({ subprogno, frameno, registers, stack }: FunctionState): FrameView {
  return {
    subprogram: subprogno,
    frame: frameno,
    registers: registers.map(viewOf),
    stack: stack.map((slot) => (isSpilled(slot) ? viewOf(slot.spilled) : undefined)),
  };
}

function least<T extends bigint | number>(a: T, b: T): T {
  return a < b ? a : b;
}

function most<T extends bigint | number>(a: T, b: T): T {
  return a > b ? a : b;
}

/** The smallest value that holds both: of bits those known in both and equal. */
function joinParts(a: ScalarParts, b: ScalarParts): ScalarParts {
  const mask = a.mask | b.mask | (a.value ^ b.value);
  return {
    value: a.value & b.value & ~mask,
    mask,
    smin: least(a.smin, b.smin),
    smax: most(a.smax, b.smax),
    umin: least(a.umin, b.umin),
    umax: most(a.umax, b.umax),
    s32min: least(a.s32min, b.s32min),
    s32max: most(a.s32max, b.s32max),
    u32min: least(a.u32min, b.u32min),
    u32max: most(a.u32max, b.u32max),
  };
}

function joinRegisters(a: RegisterView | undefined, b: RegisterView | undefined): RegisterView | undefined {
  if (a === undefined || b === undefined) return undefined;
  const same = a.type === b.type && a.offset === b.offset && a.map === b.map;
  return {
    type: same ? a.type : "any",
    offset: same ? a.offset : 0,
    value: joinParts(a.value, b.value),
    map: same ? a.map : undefined,
  };
}

function joinFrames(a: FrameView, b: FrameView): FrameView {
  return {
    subprogram: a.subprogram,
    frame: a.frame === b.frame ? a.frame : -1,
    registers: a.registers.map((register, index) => joinRegisters(register, b.registers[index])),
    stack: a.stack.slice(0, b.stack.length).map((register, index) => joinRegisters(register, b.stack[index])),
  };
}

/** Collects views while a program is walked. */
export class Recording {
  readonly #visits: Map<number, FrameView[]> = new Map();
  readonly #merged: Map<number, FrameView> = new Map();
  readonly #live: Map<number, number> = new Map();

  /** Before the current instruction. */
  add(env: Environment): void {
    const view = frameView(env.frame);
    const visits = this.#visits.get(env.index);
    if (visits === undefined) this.#visits.set(env.index, [view]);
    else visits.push(view);
    const live = env.currentAux.liveRegisters | (1 << 10);
    this.#live.set(env.index, live);
    const needed = {
      ...view,
      registers: view.registers.map((reg, regno) => ((live >> regno) & 1 ? reg : undefined)),
    };
    const merged = this.#merged.get(env.index);
    this.#merged.set(env.index, merged === undefined ? needed : joinFrames(merged, needed));
  }

  /** By slot; instructions that were never reached have none. */
  result(): ReadonlyMap<number, InstructionView> {
    const views = new Map<number, InstructionView>();
    for (const [index, visits] of this.#visits) {
      views.set(index, {
        visits,
        merged: this.#merged.get(index) as FrameView,
        live: this.#live.get(index) ?? 0,
      });
    }
    return views;
  }
}
