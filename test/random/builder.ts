import type { Instruction, InstructionRow } from "../../src/isa/index.ts";
import type { GeneratedMap, GeneratedReference, GeneratedType } from "./model.ts";
import type { Random } from "./prng.ts";
import { rowNamed } from "./rows.ts";
import { FRAME, NONE, SCALAR, State, type Value, merge } from "./state.ts";
import { randomImm } from "./values.ts";

export interface Operands {
  readonly dst?: number;
  readonly src?: number;
  readonly offset?: number;
  readonly imm?: number;
}

/** What an argument of a generated function is. */
export type Argument = "scalar" | "ctx" | { readonly bytes: number };

/** A function under construction or done. */
export interface Plan {
  readonly index: number;
  readonly args: readonly Argument[];
  /** Frames that it needs below it, itself included. */
  readonly depth: number;
  /** It may move the packet, so pointers into it are lost over a call. */
  readonly movesPacket: boolean;
  readonly builder: FunctionBuilder;
}

/** What all functions of a program share. */
export interface ProgramContext {
  readonly random: Random;
  readonly type: GeneratedType;
  readonly maps: readonly GeneratedMap[];
  readonly plans: Plan[];
  /** Statements that may still be written, over all functions. */
  budget: number;
  /** Weights of the statements: each program favours some and lacks others. */
  readonly weights: Readonly<Record<string, number>>;
  nextPacketBase: number;
}

/** A jump whose target is not known yet. */
interface Pending {
  readonly slot: number;
  readonly field: "offset" | "imm";
  readonly state: State;
  /** Loops that it lies in: it may leave them, but not enter others. */
  readonly loops: readonly number[];
}

/**
 * One function as it grows: instructions, what is known at their end, and the jumps that wait for a target.
 *
 * Control flow is made forwards: a jump is written at once, and any later place may become its target if what is known
 * there holds on both ways. That gives every acyclic graph, nested or not. Loops are statements of their own.
 */
export class FunctionBuilder {
  readonly program: ProgramContext;
  readonly random: Random;
  readonly code: Instruction[] = [];
  readonly references = new Map<number, GeneratedReference>();
  /** Slots of calls, with the index of the function. */
  readonly calls: { readonly slot: number; readonly plan: number }[] = [];
  readonly depth: number;
  /** Bytes of stack that it may use. */
  readonly frame: number;
  /** Undefined after a jump or exit: nothing reaches the next slot yet. */
  state: State | undefined;
  /** Registers that must keep what they have. */
  readonly locked = new Set<number>();
  /** Bytes of the frame, as offsets from fp in steps of 8, that must keep what they have. */
  readonly lockedSlots = new Set<number>();
  /** While above 0, nothing may make pointers into packets (or into elements of maps) stale. */
  keepPackets = 0;
  keepElements = 0;
  movesPacket = false;
  loops: readonly number[] = [];
  #loopCount = 0;
  #pending: Pending[] = [];

  constructor(program: ProgramContext, depth: number, frame: number, args: readonly Argument[]) {
    this.program = program;
    this.random = program.random;
    this.depth = depth;
    this.frame = frame;
    const state = new State();
    args.forEach((arg, index) => {
      state.regs[index + 1] =
        arg === "scalar"
          ? SCALAR
          : arg === "ctx"
            ? { kind: "ctx" }
            : { kind: "buffer", offset: 0, size: arg.bytes };
    });
    this.state = state;
  }

  /** The state, where code can be written. */
  get now(): State {
    if (this.state === undefined) throw new Error("nothing reaches this place");
    return this.state;
  }

  // --- Instructions --------------------------------------------------------------------------------------------

  /** Appends one slot; returns its index. */
  emit(row: InstructionRow | string, { dst = 0, src = 0, offset = 0, imm = 0 }: Operands = {}): number {
    const { opcode, fields } = typeof row === "string" ? rowNamed(row) : row;
    return (
      this.code.push({
        opcode,
        dst: typeof fields.dst === "number" ? fields.dst : dst,
        src: typeof fields.src === "number" ? fields.src : src,
        // The sum makes 0 of -0, which no encoding can hold.
        offset: typeof fields.offset === "number" ? fields.offset : offset + 0,
        imm: typeof fields.imm === "number" ? fields.imm : imm + 0,
      }) - 1
    );
  }

  /** `dst = value`. */
  wide(dst: number, value: bigint): void {
    this.emit("lddw_imm", { dst, imm: Number(BigInt.asIntN(32, value)) });
    this.code.push({ opcode: 0, dst: 0, src: 0, offset: 0, imm: Number(BigInt.asIntN(32, value >> 32n)) });
    this.set(dst, SCALAR);
  }

  /** `dst = map`, or the address of a byte of its value. */
  loadMap(dst: number, map: GeneratedMap, valueOffset?: number): void {
    const kind = valueOffset === undefined ? "map" : "map_value";
    const slot = this.emit(valueOffset === undefined ? "lddw_map_fd" : "lddw_map_value", { dst });
    this.code.push({ opcode: 0, dst: 0, src: 0, offset: 0, imm: valueOffset ?? 0 });
    this.references.set(slot, { kind, map: map.name, offset: valueOffset ?? 0 });
    this.set(dst, NONE);
  }

  constant(dst: number, value: number): void {
    this.emit("mov64_imm", { dst, imm: value });
    this.set(dst, SCALAR);
  }

  copy(dst: number, src: number): void {
    this.emit("mov64_reg", { dst, src });
    this.set(dst, this.get(src));
  }

  // --- Registers -----------------------------------------------------------------------------------------------

  get(reg: number): Value {
    return reg === 10 ? { kind: "stack", offset: 0, spread: 0, align: 8 } : (this.now.regs[reg] as Value);
  }

  set(reg: number, value: Value): void {
    this.now.regs[reg] = value;
  }

  /** Registers (r10 included) whose value matches. */
  having(matches: (value: Value) => boolean): number[] {
    return [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10].filter((reg) => matches(this.get(reg)));
  }

  /** A register that may be written, but none of `keep`; rather one that holds nothing of worth. */
  target(keep: readonly number[] = []): number {
    const free = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9].filter((reg) => !this.locked.has(reg) && !keep.includes(reg));
    const cheap = free.filter((reg) => ["none", "scalar"].includes(this.get(reg).kind));
    return this.random.pick(cheap.length > 0 && this.random.chance(0.95) ? cheap : free);
  }

  /** A register that holds a scalar; one is made if there is none. */
  scalar(avoid: readonly number[] = []): number {
    const found = this.having(({ kind }) => kind === "scalar").filter((reg) => !avoid.includes(reg));
    if (found.length > 0) return this.random.pick(found);
    const reg = this.target(avoid);
    this.constant(reg, randomImm(this.random));
    return reg;
  }

  /** A scalar in a register that may be changed. */
  scratch(avoid: readonly number[] = []): number {
    const found = this.having(({ kind }) => kind === "scalar").filter(
      (reg) => !this.locked.has(reg) && !avoid.includes(reg),
    );
    if (found.length > 0) return this.random.pick(found);
    const reg = this.target(avoid);
    this.constant(reg, randomImm(this.random));
    return reg;
  }

  /** A register with the context: as it is, or filled from a spill. */
  context(avoid: readonly number[] = []): number | undefined {
    const [found] = this.having(({ kind }) => kind === "ctx");
    if (found !== undefined) return found;
    for (const [slot, value] of this.now.spills) {
      if (value.kind !== "ctx") continue;
      const reg = this.target(avoid);
      this.emit("ldxdw", { dst: reg, src: 10, offset: slot });
      this.set(reg, value);
      return reg;
    }
    return undefined;
  }

  // --- Stack ---------------------------------------------------------------------------------------------------

  /** A place for `size` bytes, aligned to the power of two that holds them (8 at most), clear of locked slots. */
  place(size: number, align = Math.min(8, 2 ** Math.ceil(Math.log2(size)))): number | undefined {
    for (let tries = 0; tries < 8; tries++) {
      const offset = -this.random.between(1, Math.floor(this.frame / align)) * align;
      if (offset + size > 0) continue;
      if (!this.touchesLocked(offset, size)) return offset;
    }
    return undefined;
  }

  touchesLocked(offset: number, size: number): boolean {
    for (const slot of this.lockedSlots) if (slot < offset + size && offset < slot + 8) return true;
    return false;
  }

  /** A place of which every byte has been written; undefined if none is found. */
  writtenPlace(size: number, align = 8): number | undefined {
    const places: number[] = [];
    for (let offset = -align * Math.floor(this.frame / align); offset + size <= 0; offset += align) {
      if (this.now.isWritten(offset, size)) places.push(offset);
    }
    return places.length === 0 ? undefined : this.random.pick(places);
  }

  /** Writes constants or scalars to fp+offset, so that `size` bytes there are written. */
  fill(offset: number, size: number): void {
    for (let at = offset; at < offset + size; ) {
      const step = ([8, 4, 2, 1] as const).find(
        (bytes) => at + bytes <= offset + size && (at + FRAME) % bytes === 0,
      ) as 1 | 2 | 4 | 8;
      const letter = { 1: "b", 2: "h", 4: "w", 8: "dw" }[step];
      const source = this.random.chance(0.4) ? this.having(({ kind }) => kind === "scalar") : [];
      if (source.length > 0)
        this.emit(`stx${letter}`, { dst: 10, src: this.random.pick(source), offset: at });
      else this.emit(`st${letter}`, { dst: 10, offset: at, imm: randomImm(this.random) });
      at += step;
    }
    this.now.write(offset, size);
  }

  // --- Control flow --------------------------------------------------------------------------------------------

  /** Writes a jump to a place that is found later; what is known there is `state` (now, if left out). */
  jump(row: InstructionRow | string, operands: Operands, state: State = this.now): void {
    const named = typeof row === "string" ? rowNamed(row) : row;
    const slot = this.emit(named, operands);
    const field = named.fields.offset === "jump" ? "offset" : "imm";
    this.#pending.push({ slot, field, state: state.clone(), loops: this.loops });
  }

  /** Jumps that may end here: those that enter no loop. */
  #bindable(): Pending[] {
    return this.#pending.filter(({ loops }) => this.loops.every((loop) => loops.includes(loop)));
  }

  get canBind(): boolean {
    return this.#bindable().length > 0;
  }

  /** Makes this place the target of some waiting jumps (at least one if nothing else reaches it), or of all. */
  bind(all = false): void {
    const candidates = this.#bindable();
    const chosen = candidates.filter(() => all || this.random.chance(0.4));
    if (chosen.length === 0 && this.state === undefined && candidates.length > 0) {
      chosen.push(this.random.pick(candidates));
    }
    this.#bind(new Set(chosen));
  }

  /** Makes this place the target of all waiting jumps that were written at or after a slot. */
  bindFrom(slot: number): void {
    this.#bind(new Set(this.#pending.filter((pending) => pending.slot >= slot)));
  }

  #bind(chosen: ReadonlySet<Pending>): void {
    for (const pending of chosen) {
      const at = this.code[pending.slot] as Instruction;
      this.code[pending.slot] = { ...at, [pending.field]: this.code.length - pending.slot - 1 };
      this.state = this.state === undefined ? pending.state.clone() : merge(this.state, pending.state);
    }
    this.#pending = this.#pending.filter((pending) => !chosen.has(pending));
  }

  /** Sets the target of a jump that has been written to the next slot. */
  land(slot: number): void {
    const at = this.code[slot] as Instruction;
    this.code[slot] = { ...at, offset: this.code.length - slot - 1 };
  }

  enterLoop(): void {
    this.loops = [...this.loops, this.#loopCount++];
  }

  leaveLoop(): void {
    this.loops = this.loops.slice(0, -1);
  }
}
