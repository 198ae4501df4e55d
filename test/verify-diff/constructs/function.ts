/** A function of a generated program as it grows: instructions, and what they refer to by name. */
import type { Instruction } from "../../../src/isa/index.ts";
import type { Random } from "../../random/prng.ts";

/** What the instruction at a slot names. */
export type Mention =
  | { readonly kind: "map"; readonly name: string }
  | { readonly kind: "map_value"; readonly name: string; readonly offset: number }
  | { readonly kind: "kfunc"; readonly name: string }
  | { readonly kind: "call" | "function"; readonly name: string };

/** What all functions of a program share. */
export interface Shared {
  readonly random: Random;
  readonly type: "xdp" | "sched_cls";
  /** Id of a structure in the object's types. */
  typeId(name: string): number;
  /** Functions that are called, whose bodies are still to be written. */
  readonly wanted: Set<string>;
}

/** r6 is the context (of a callback: what it is given), r7 and r8 are numbers, r9 serves one statement; the rest is lost with each call. */
export const NUMBERS = [7, 8] as const;

/** Bytes of stack of a function: several are under way at once. */
const STACK = 152;

export class FunctionBuilder {
  readonly name: string;
  readonly shared: Shared;
  readonly code: Instruction[] = [];
  readonly mentions = new Map<number, Mention>();
  /** Kinds of statements that are under way. */
  readonly open = new Set<string>();
  /** Bytes from the frame pointer down that statements under way use. */
  #used = 0;

  constructor(name: string, shared: Shared) {
    this.name = name;
    this.shared = shared;
  }

  below(limit: number): number {
    return this.shared.random.below(limit);
  }

  pick<T>(list: readonly T[]): T {
    return list[this.below(list.length)] as T;
  }

  /** Once in `count` times. */
  once(count: number): boolean {
    return this.below(count) === 0;
  }

  number(): number {
    return this.pick(NUMBERS);
  }

  emit(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): number {
    return this.code.push({ opcode, dst, src, offset, imm }) - 1;
  }

  move(dst: number, src: number): void {
    this.emit(0xbf, dst, src);
  }

  set(dst: number, value: number): void {
    this.emit(0xb7, dst, 0, 0, value);
  }

  add(dst: number, value: number): void {
    this.emit(0x07, dst, 0, 0, value);
  }

  /** `dst = fp + offset` */
  address(dst: number, offset: number): void {
    this.move(dst, 10);
    this.add(dst, offset);
  }

  /** A place on the stack for as long as `body` is written. */
  withStack(bytes: number, body: (offset: number) => void): void {
    // A damage of its own: now and then the place of somebody else.
    const own = this.#used + bytes;
    if (own > STACK) return;
    const before = this.#used;
    if (!this.once(200)) this.#used = own;
    body(-own);
    this.#used = before;
  }

  helper(id: number): void {
    this.emit(0x85, 0, 0, 0, id);
  }

  kfunc(name: string): void {
    this.mentions.set(this.emit(0x85, 0, 2), { kind: "kfunc", name });
  }

  /** Functions of the program are called by its main function and by callbacks, so that the chain of calls stays short. */
  get mayCall(): boolean {
    return !/^(of_|local|less|on_throw)/.test(this.name) || this.once(40);
  }

  /** r6 is the program's context, not what a callback or a caller has given. */
  get hasContext(): boolean {
    return /_main$|^tc_|^of_xdp|^of_tc|^local/.test(this.name) || this.once(40);
  }

  call(name: string): void {
    this.shared.wanted.add(name);
    this.mentions.set(this.emit(0x85, 0, 1), { kind: "call", name });
  }

  #wide(dst: number, src: number, mention: Mention, high = 0): void {
    this.mentions.set(this.emit(0x18, dst, src), mention);
    this.emit(0, 0, 0, 0, high);
  }

  callback(dst: number, name: string): void {
    this.shared.wanted.add(name);
    this.#wide(dst, 4, { kind: "function", name });
  }

  map(dst: number, name: string): void {
    this.#wide(dst, 1, { kind: "map", name });
  }

  mapValue(dst: number, name: string, offset: number): void {
    this.#wide(dst, 2, { kind: "map_value", name, offset }, offset);
  }

  /** What `body` writes is jumped over where the comparison holds. */
  unless(opcode: number, dst: number, src: number, imm: number, body: () => void): void {
    const at = this.emit(opcode, dst, src, 0, imm);
    body();
    this.code[at] = {
      ...(this.code[at] as Instruction),
      offset: this.code.length - at - 1,
    };
  }

  ifNotNull(reg: number, body: () => void): void {
    // Rarely the check is left out.
    if (this.once(60)) body();
    else this.unless(0x15, reg, 0, 0, body);
  }

  /** `body` where the register is NULL, `rest` where it is not. */
  either(reg: number, body: () => void, rest: () => void): void {
    const at = this.emit(0x55, reg);
    body();
    const over = this.emit(0x05);
    this.code[at] = { ...(this.code[at] as Instruction), offset: this.code.length - at - 1 };
    rest();
    this.code[over] = { ...(this.code[over] as Instruction), offset: this.code.length - over - 1 };
  }

  /** Back to `start`, from where the caller has looked whether to go on. */
  backTo(start: number): void {
    this.emit(0x05, 0, 0, start - this.code.length - 1);
  }
}
