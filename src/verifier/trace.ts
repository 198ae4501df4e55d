/**
 * The walk as data: which instruction was visited after which, where paths ended and why, and what was known at the visits
 * that somebody asks for. Explanations and reports are made of it.
 *
 * Visits are numbered in the order of the walk. They form a tree: a path that waits at a conditional jump goes on from the visit
 * of that jump. A verification of a million visits costs eight megabytes here; states cost much more, so only those visits have
 * one that `wanted` names. The walk is deterministic: whoever needs the states of the failing path walks a second time.
 */
import type { Environment } from "./environment.ts";
import { registerText, slotText } from "./print.ts";
import {
  NOT_INIT,
  PTR_TO_BTF_ID,
  PTR_TO_STACK,
  SCALAR_VALUE,
  baseType,
  mayBeNull,
  typeName,
} from "./register-types.ts";
import { type ScalarParts, isConstant, partsOf } from "./scalar/index.ts";
import {
  type FunctionState,
  type Reference,
  type RegisterState,
  type VerifierState,
  isSpilled,
} from "./state.ts";

/** A register, or a spilled one, before an instruction. */
export interface RegisterSnapshot {
  /** "scalar", "ctx", "map_value_or_null", ... */
  readonly type: string;
  readonly pointer: boolean;
  readonly nullable: boolean;
  /** As the log writes it. */
  readonly text: string;
  /** Fixed offset of a pointer. */
  readonly offset: number;
  /** The number, or the variable offset of a pointer. */
  readonly value: ScalarParts;
  /** The number is known. */
  readonly constant: boolean;
  /** Packet pointers: bytes behind it that are there. */
  readonly range: number;
  readonly id: number;
  readonly reference: number;
  /** Bytes of the memory, map value or key that it points to; 0 if it is none. */
  readonly size: number;
  /** The map that it is or points into. */
  readonly map: { readonly name: string; readonly type: string; readonly valueSize: number } | undefined;
  /** Stack pointers: whose stack. */
  readonly frame: number;
  /** Kernel structures: the name of the type. */
  readonly struct: string;
}

/** Eight bytes of stack. */
export interface SlotSnapshot {
  /** As the log writes it. */
  readonly text: string;
  readonly spilled: RegisterSnapshot | undefined;
}

export interface FrameSnapshot {
  /** Number of the function. */
  readonly subprogram: number;
  /** Slot of the call; -1 of the main program. */
  readonly callsite: number;
  /** Undefined: nothing that may be read. */
  readonly registers: readonly (RegisterSnapshot | undefined)[];
  /** `slots[0]` is fp-8. */
  readonly slots: readonly (SlotSnapshot | undefined)[];
}

export interface StateSnapshot {
  readonly frames: readonly FrameSnapshot[];
  /** What must be given back: where it was acquired. */
  readonly references: readonly Pick<Reference, "id" | "index" | "kind">[];
}

/** How a path ended. */
export interface PathEnd {
  /** The last visit of the path. */
  readonly from: number;
  readonly kind: "exit" | "pruned";
  /** The slot at which it ended. */
  readonly slot: number;
  /** Pruned: the visit at which the state was kept that covers this one. */
  readonly by: number;
}

export interface WalkTrace {
  /** Slot of each visit. */
  readonly slots: readonly number[];
  /** The visit before each visit on its path; -1 at the beginning of a function's walk. */
  readonly parents: readonly number[];
  /** In the order of the walk. */
  readonly ends: readonly PathEnd[];
  /** Visits at which a state was kept for comparison. */
  readonly kept: ReadonlySet<number>;
  /** The visit under way when the program was rejected; -1 if it was not, or not during the walk. */
  readonly last: number;
  /** The slot at which the walk stood then: another than that of `last` if it was rejected before the instruction was looked at. */
  readonly stoppedAt: number;
  readonly states: ReadonlyMap<number, StateSnapshot>;
}

/** What is to be traced. */
export interface TraceOptions {
  /** Whether the state before a visit is wanted. */
  readonly wanted?: (visit: number) => boolean;
}

const NO_TYPE = "";

export class Tracer {
  readonly #wanted: (visit: number) => boolean;
  readonly #slots: number[] = [];
  readonly #parents: number[] = [];
  readonly #ends: PathEnd[] = [];
  readonly #kept: Set<number> = new Set();
  readonly #keptAt: WeakMap<VerifierState, number> = new WeakMap();
  readonly #forks: WeakMap<VerifierState, number> = new WeakMap();
  readonly #states: Map<number, StateSnapshot> = new Map();
  #current = -1;
  #resumed = -1;
  #pruned = false;

  constructor({ wanted = () => false }: TraceOptions) {
    this.#wanted = wanted;
  }

  /** The walk of a function begins. */
  begin(): void {
    this.#resumed = -1;
  }

  /** Before an instruction. */
  step(env: Environment): void {
    const visit = this.#slots.length;
    this.#slots.push(env.index);
    this.#parents.push(this.#resumed);
    this.#current = visit;
    this.#resumed = visit;
    this.#pruned = false;
    if (this.#wanted(visit)) this.#states.set(visit, snapshot(env.state));
  }

  /** A path waits from here. */
  fork(state: VerifierState): void {
    this.#forks.set(state, this.#current);
  }

  /** The path has ended; another goes on. */
  resume(state: VerifierState): void {
    this.#resumed = this.#forks.get(state) ?? -1;
  }

  /** A state is kept before the instruction that comes next. */
  keep(state: VerifierState): void {
    this.#kept.add(this.#slots.length);
    this.#keptAt.set(state, this.#slots.length);
  }

  /** The path ends because a kept state covers it. */
  prune(env: Environment, kept: VerifierState): void {
    const by = this.#keptAt.get(kept) ?? -1;
    this.#ends.push({ from: this.#resumed, kind: "pruned", slot: env.index, by });
    this.#pruned = true;
  }

  /** The path ends. */
  end(env: Environment): void {
    if (!this.#pruned) this.#ends.push({ from: this.#current, kind: "exit", slot: env.index, by: -1 });
    this.#pruned = false;
  }

  result(failed: boolean, stoppedAt: number): WalkTrace {
    return {
      slots: this.#slots,
      parents: this.#parents,
      ends: this.#ends,
      kept: this.#kept,
      last: failed ? this.#resumed : -1,
      stoppedAt: failed ? stoppedAt : -1,
      states: this.#states,
    };
  }
}

function snapshot({ frames, references }: VerifierState): StateSnapshot {
  return {
    frames: frames.map(frameSnapshot),
    references: references.map(({ id, index, kind }) => ({ id, index, kind })),
  };
}

function frameSnapshot(frame: FunctionState): FrameSnapshot {
  return {
    subprogram: frame.subprogno,
    callsite: frame.callsite,
    registers: frame.registers.map((reg) =>
      reg.type === NOT_INIT ? undefined : registerSnapshot(frame, reg),
    ),
    slots: frame.stack.map((slot) => {
      const text = slotText(frame, slot);
      if (text === undefined) return undefined;
      return { text, spilled: isSpilled(slot) ? registerSnapshot(frame, slot.spilled) : undefined };
    }),
  };
}

function registerSnapshot(frame: FunctionState, reg: RegisterState): RegisterSnapshot {
  const { type, map } = reg;
  const base = baseType(type);
  const named = base === PTR_TO_BTF_ID && reg.btf !== undefined ? reg.btf.type(reg.btfId) : undefined;
  return {
    type: typeName(type),
    pointer: type !== SCALAR_VALUE,
    nullable: mayBeNull(type),
    text: registerText(frame, reg),
    offset: type === SCALAR_VALUE ? 0 : reg.off,
    value: partsOf(reg.scalar),
    constant: isConstant(reg.scalar),
    range: reg.range,
    id: reg.id,
    reference: reg.refObjId,
    size: map?.valueSize ?? reg.memSize,
    map: map === undefined ? undefined : { name: map.name, type: map.type, valueSize: map.valueSize },
    frame: type === PTR_TO_STACK ? reg.frameno : -1,
    struct: named !== undefined && "name" in named ? named.name : NO_TYPE,
  };
}
