/**
 * Random programs for verifiers: statements that mostly make sense, put one after the other, and then, in every other
 * program, one or two small damages: a check left out, a bound off by one, another size or register. So about half of them are
 * fine and the rest nearly so, which is where verifiers differ.
 */
import type { Instruction } from "../../src/isa/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { Random } from "../random/prng.ts";

/** Maps that generated programs refer to, by index. */
export const GENERATED_MAPS = [
  { name: "hash", type: "hash", keySize: 8, valueSize: 48, maxEntries: 4 },
  { name: "array", type: "array", keySize: 4, valueSize: 64, maxEntries: 2 },
  { name: "ring", type: "ringbuf", keySize: 0, valueSize: 0, maxEntries: 4096 },
] as const;

export interface GeneratedProgram {
  readonly type: ProgramType;
  readonly instructions: readonly Instruction[];
  /** Slot of the `lddw`, index of the map. */
  readonly maps: ReadonlyMap<number, number>;
}

const TYPES = ["xdp", "sched_cls", "socket_filter"] as const;
const ALU = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xb0, 0xc0] as const;
const JUMPS = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0] as const;
const SIZES = [
  [0x10, 1],
  [0x08, 2],
  [0x00, 4],
  [0x18, 8],
] as const;
const NUMBERS = [
  0, 1, 2, 3, 4, 7, 8, 15, 16, 31, 32, 40, 47, 48, 63, 64, 100, 255, -1, -8, 0x7fffffff, -2147483648,
];
/** r7 to r9 hold numbers; r6 the context. */
const SCALARS = [7, 8, 9] as const;

export function generateForVerifier(seed: number): GeneratedProgram {
  return new Generator(seed).program();
}

class Generator {
  readonly #random: Random;
  readonly #out: Instruction[] = [];
  readonly #maps = new Map<number, number>();
  readonly #type: (typeof TYPES)[number];
  /** Slots of calls whose functions come at the end. */
  readonly #calls: number[] = [];

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#type = this.#pick(TYPES);
  }

  program(): GeneratedProgram {
    this.#emit(0xbf, 6, 1);
    for (const reg of SCALARS) this.#scalar(reg);
    const statements = 2 + this.#below(8);
    for (let index = 0; index < statements; index++) this.#statement(2);
    if (this.#below(4) === 0) this.#emit(0xb7, 0, 0, 0, this.#below(4));
    else this.#emit(0xbf, 0, this.#pick(SCALARS));
    this.#emit(0x95);
    this.#functions();
    if (this.#below(2) === 0) for (let count = 1 + this.#below(2); count > 0; count--) this.#damage();
    return { type: this.#type, instructions: this.#out, maps: this.#maps };
  }

  #below(limit: number): number {
    return this.#random.below(limit);
  }

  #pick<T>(list: readonly T[]): T {
    return list[this.#below(list.length)] as T;
  }

  /** An offset up to a limit; now and then one beyond. */
  #upTo(limit: number): number {
    return this.#below(24) === 0 ? limit + 1 : this.#below(Math.max(0, limit) + 1);
  }

  #emit(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): void {
    this.#out.push({ opcode, dst, src, offset, imm });
  }

  #mapAddress(dst: number, map: number): void {
    this.#maps.set(this.#out.length, map);
    this.#emit(0x18, dst, 1);
    this.#emit(0);
  }

  #scalar(dst: number): void {
    switch (this.#below(4)) {
      case 0:
        this.#emit(0xb7, dst, 0, 0, this.#pick(NUMBERS));
        break;
      case 1:
        this.#emit(0x61, dst, 6, this.#type === "xdp" ? 12 : 0);
        break;
      default:
        this.#emit(0x85, 0, 0, 0, 7);
        this.#emit(0xbf, dst, 0);
    }
  }

  /** The body is jumped over where a condition holds. */
  #guard(opcode: number, dst: number, src: number, imm: number, body: () => void): void {
    const at = this.#out.length;
    this.#emit(opcode, dst, src, 0, imm);
    body();
    this.#out[at] = { ...(this.#out[at] as Instruction), offset: this.#out.length - at - 1 };
  }

  #statement(depth: number): void {
    const kind = this.#below(depth > 0 ? 14 : 7);
    switch (kind) {
      case 0:
      case 1:
        return this.#arithmetic();
      case 2:
        return this.#stack();
      case 3:
        return this.#bound();
      case 4:
        return this.#lookup();
      case 5:
        return this.#type === "socket_filter" ? this.#legacy() : this.#packet();
      case 6:
        return this.#record();
      case 7:
      case 8:
        return this.#branch(depth);
      case 9:
        return this.#loop(depth);
      case 10:
        return this.#call();
      case 11:
        return this.#type === "socket_filter" ? this.#record() : this.#socket();
      case 12:
        return this.#barriers();
      default:
        return this.#helper();
    }
  }

  /** One of the functions at the end gets the context, two numbers, and a place on the stack. */
  #call(): void {
    const slot = -8 * (1 + this.#below(4));
    this.#emit(0x7a, 10, 0, slot, this.#pick(NUMBERS));
    this.#emit(0xbf, 1, 6);
    this.#emit(0xbf, 2, this.#pick(SCALARS));
    this.#emit(0xbf, 3, this.#pick(SCALARS));
    this.#emit(0xbf, 4, 10);
    this.#emit(0x07, 4, 0, 0, slot);
    this.#calls.push(this.#out.length);
    this.#emit(0x85, 0, 1);
    this.#emit(0xbf, this.#pick(SCALARS), 0);
    if (this.#below(2) === 0) this.#emit(0x79, this.#pick(SCALARS), 10, slot);
  }

  #functions(): void {
    const starts: number[] = [];
    const count = this.#calls.length === 0 ? 0 : 1 + this.#below(2);
    const calls = this.#calls.splice(0);
    for (let number = 0; number < count; number++) {
      starts.push(this.#out.length);
      this.#emit(0xbf, 6, 1);
      for (const [reg, from] of [
        [7, 2],
        [8, 3],
        [9, 2],
      ] as const)
        this.#emit(0xbf, reg, from);
      const through = this.#below(3);
      if (through === 0) this.#emit(0x7b, 4, this.#pick(SCALARS), 0);
      else if (through === 1) this.#emit(0x79, this.#pick(SCALARS), 4, 0);
      for (let statements = this.#below(4); statements > 0; statements--) this.#statement(1);
      this.#emit(0xbf, 0, this.#pick(SCALARS));
      this.#emit(0x95);
      // Calls from here: of functions that come later, or they are taken out.
      for (const at of this.#calls.splice(0)) calls.push(at);
    }
    for (const at of calls) {
      const later = starts.filter((start) => start > at);
      const target = later[this.#below(Math.max(1, later.length))];
      this.#out[at] =
        target === undefined
          ? { opcode: 0xb7, dst: 0, src: 0, offset: 0, imm: 1 }
          : { ...(this.#out[at] as Instruction), imm: target - at - 1 };
    }
    // What is called by nobody does not load.
    for (const start of starts) {
      if (
        this.#out.some(({ opcode, src, imm }, at) => opcode === 0x85 && src === 1 && at + imm + 1 === start)
      )
        continue;
      const at = calls[0] as number;
      this.#out[at] = { opcode: 0x85, dst: 0, src: 1, offset: 0, imm: start - at - 1 };
    }
  }

  /** A socket that is looked up must be given back. */
  #socket(): void {
    this.#emit(0x7a, 10, 0, -16, 0);
    this.#emit(0x7a, 10, 0, -8, 0);
    this.#emit(0xbf, 1, 6);
    this.#emit(0xbf, 2, 10);
    this.#emit(0x07, 2, 0, 0, -16);
    this.#emit(0xb7, 3, 0, 0, 12);
    this.#emit(0xb7, 4, 0, 0, -1);
    this.#emit(0xb7, 5, 0, 0, 0);
    this.#emit(0x85, 0, 0, 0, this.#pick([84, 85]));
    this.#guard(0x15, 0, 0, 0, () => {
      if (this.#below(2) === 0) this.#emit(0x61, this.#pick(SCALARS), 0, 4 * this.#below(4));
      this.#emit(0xbf, 1, 0);
      this.#emit(0x85, 0, 0, 0, 86);
    });
  }

  /** Atomics on the stack, loads that acquire, stores that release, signed loads and moves. */
  #barriers(): void {
    const at = -8 * (1 + this.#below(4));
    this.#emit(0x7b, 10, this.#pick(SCALARS), at);
    switch (this.#below(5)) {
      case 0:
        this.#emit(0xdb, 10, this.#pick(SCALARS), at, this.#pick([0, 1, 0x40, 0x41, 0x50, 0xa1, 0xe1]));
        break;
      case 1:
        this.#emit(0xc3, 10, this.#pick(SCALARS), at, this.#pick([0, 1, 0x41, 0xe1]));
        break;
      case 2:
        this.#emit(this.#pick([0xdb, 0xc3]), this.#pick(SCALARS), 10, at, 0x100);
        break;
      case 3:
        this.#emit(this.#pick([0x81, 0x89, 0x91]), this.#pick(SCALARS), 10, at + this.#pick([0, 4]));
        break;
      default:
        this.#emit(0xbf, this.#pick(SCALARS), this.#pick(SCALARS), this.#pick([8, 16, 32]));
    }
    this.#emit(0x79, this.#pick(SCALARS), 10, at);
  }

  #arithmetic(): void {
    const op = this.#pick(ALU);
    const wide = this.#below(2) === 0 ? 0x07 : 0x04;
    const dst = this.#pick(SCALARS);
    const isShift = op === 0x60 || op === 0x70 || op === 0xc0;
    const kind = this.#below(8);
    if (kind === 0) this.#emit(this.#below(2) === 0 ? 0xd7 : 0xdc, dst, 0, 0, this.#pick([16, 32, 64]));
    else if (kind === 1) this.#emit(0x80 | wide, dst);
    else if (kind < 5) this.#emit(op | wide | 8, dst, this.#pick(SCALARS));
    else {
      const imm = this.#pick(NUMBERS);
      this.#emit(
        op | wide,
        dst,
        0,
        0,
        isShift ? imm & (wide === 7 ? 63 : 31) : op === 0x30 || op === 0x90 ? imm || 3 : imm,
      );
    }
  }

  #stack(): void {
    const at = -8 * (1 + this.#below(6));
    const [code, size] = this.#pick(SIZES);
    const inner = size === 8 ? 0 : this.#below(8 / size) * size;
    switch (this.#below(4)) {
      case 0:
        this.#emit(0x7b, 10, this.#pick(SCALARS), at);
        this.#emit(0x79, this.#pick(SCALARS), 10, at);
        break;
      case 1:
        this.#emit(0x62 | code, 10, 0, at + inner, this.#pick(NUMBERS));
        this.#emit(0x61 | code, this.#pick(SCALARS), 10, at + inner);
        break;
      case 2:
        this.#emit(0x7b, 10, this.#pick([6, 7, 10]), at);
        this.#emit(0x79, this.#pick([3, 4]), 10, at);
        break;
      default: {
        // A variable offset into what has been written.
        for (let slot = 1; slot <= 4; slot++) this.#emit(0x7a, 10, 0, -8 * slot, 0);
        this.#emit(0xbf, 2, 10);
        const index = this.#pick(SCALARS);
        const mask = this.#pick([7, 15, 24, 31]);
        this.#emit(0x57, index, 0, 0, mask);
        this.#emit(0x0f, 2, index);
        this.#emit(0x61 | code, this.#pick(SCALARS), 2, -32 - 8 + this.#upTo(40 - 32 + 31 - mask - size + 1));
      }
    }
  }

  #bound(): void {
    const dst = this.#pick(SCALARS);
    if (this.#below(2) === 0) this.#emit(0x57, dst, 0, 0, this.#pick([1, 7, 15, 31, 63, 255]));
    else {
      this.#guard(this.#pick(JUMPS) | this.#pick([5, 6]), dst, 0, this.#pick(NUMBERS), () => {
        this.#emit(0xb7, dst, 0, 0, this.#below(8));
      });
    }
  }

  #lookup(): void {
    const map = this.#below(2);
    const { keySize, valueSize } = GENERATED_MAPS[map] as { keySize: number; valueSize: number };
    if (keySize === 8) this.#emit(0x7a, 10, 0, -8, this.#below(3));
    else if (this.#below(2) === 0) this.#emit(0x62, 10, 0, -4, this.#below(4));
    else this.#emit(0x63, 10, this.#pick(SCALARS), -4);
    this.#emit(0xbf, 2, 10);
    this.#emit(0x07, 2, 0, 0, -keySize);
    this.#mapAddress(1, map);
    this.#emit(0x85, 0, 0, 0, 1);
    this.#guard(0x15, 0, 0, 0, () => {
      const [code, size] = this.#pick(SIZES);
      let mask = 0;
      if (this.#below(2) === 0) {
        const index = this.#pick(SCALARS);
        mask = this.#pick([7, 15, 31, 39]);
        this.#emit(0x57, index, 0, 0, mask);
        this.#emit(0x0f, 0, index);
      }
      const off = this.#below(2) === 0 ? 0 : this.#upTo(valueSize - size - mask);
      if (this.#below(2) === 0) this.#emit(0x61 | code, this.#pick(SCALARS), 0, off);
      else this.#emit(0x63 | code, 0, this.#pick(SCALARS), off);
      if (this.#below(4) === 0 && mask === 0)
        this.#emit(0xdb, 0, this.#pick(SCALARS), off & ~7, this.#pick([0, 1, 0x51, 0xe1]));
    });
  }

  #packet(): void {
    const [data, end] = this.#type === "xdp" ? [0, 4] : [76, 80];
    this.#emit(0x61, 2, 6, data);
    this.#emit(0x61, 3, 6, end);
    this.#emit(0xbf, 4, 2);
    const length = this.#pick([1, 2, 8, 14, 34, 64]);
    if (this.#below(3) === 0) {
      const index = this.#pick(SCALARS);
      this.#emit(0x57, index, 0, 0, this.#pick([7, 63, 255]));
      this.#emit(0x0f, 4, index);
      this.#emit(0xbf, 2, 4);
    }
    this.#emit(0x07, 4, 0, 0, length);
    const reversed = this.#below(2) === 0;
    const opcode = this.#pick(reversed ? [0xad, 0xbd] : [0x2d, 0x3d]);
    this.#guard(opcode, reversed ? 3 : 4, reversed ? 4 : 3, 0, () => {
      const [code, size] = this.#pick(SIZES);
      if (size > length) return;
      const off = this.#upTo(length - size);
      if (this.#below(3) > 0) this.#emit(0x61 | code, this.#pick(SCALARS), 2, off);
      else this.#emit(0x63 | code, 2, this.#pick(SCALARS), off);
    });
  }

  #legacy(): void {
    this.#emit(this.#pick([0x20, 0x28, 0x30]), 0, 0, 0, this.#below(64));
    this.#emit(0xbf, this.#pick(SCALARS), 0);
  }

  #record(): void {
    this.#mapAddress(1, 2);
    const size = this.#pick([8, 16, 24]);
    this.#emit(0xb7, 2, 0, 0, size);
    this.#emit(0xb7, 3, 0, 0, 0);
    this.#emit(0x85, 0, 0, 0, 131);
    this.#guard(0x15, 0, 0, 0, () => {
      this.#emit(0x7b, 0, this.#pick(SCALARS), this.#upTo(size - 8));
      this.#emit(0xbf, 1, 0);
      this.#emit(0xb7, 2, 0, 0, 0);
      this.#emit(0x85, 0, 0, 0, this.#pick([132, 133]));
    });
  }

  #branch(depth: number): void {
    const op = this.#pick(JUMPS) | this.#pick([5, 6]);
    const isRegister = this.#below(2) === 0;
    this.#guard(
      isRegister ? op | 8 : op,
      this.#pick(SCALARS),
      isRegister ? this.#pick(SCALARS) : 0,
      isRegister ? 0 : this.#pick(NUMBERS),
      () => this.#statement(depth - 1),
    );
  }

  #loop(depth: number): void {
    const counter = this.#pick(SCALARS);
    this.#emit(0xb7, counter, 0, 0, 0);
    const start = this.#out.length;
    if (this.#below(2) === 0 && depth > 1) this.#arithmetic();
    this.#emit(0x07, counter, 0, 0, 1);
    this.#emit(this.#pick([0xa5, 0x55, 0xc5]), counter, 0, start - this.#out.length - 1, 1 + this.#below(12));
  }

  #helper(): void {
    const at = -8 * (2 + this.#below(4));
    const size = this.#pick([1, 8, 16]);
    this.#emit(0x7a, 10, 0, at, 0);
    this.#emit(0xbf, 1, 10);
    this.#emit(0x07, 1, 0, 0, at);
    if (this.#below(2) === 0) this.#emit(0xb7, 2, 0, 0, size);
    else {
      this.#emit(0xbf, 2, this.#pick(SCALARS));
      this.#emit(0x57, 2, 0, 0, this.#pick([7, 8, 15]));
      if (this.#below(8) > 0) this.#emit(0x07, 2, 0, 0, 1);
    }
    this.#emit(0x85, 0, 0, 0, 6);
  }

  #damage(): void {
    const at = this.#below(this.#out.length - 1);
    const old = this.#out[at] as Instruction;
    if (this.#maps.has(at) || this.#maps.has(at - 1)) return;
    const change = (fields: Partial<Instruction>): void => {
      this.#out[at] = { ...old, ...fields };
    };
    const isJump = (old.opcode & 7) === 5 || (old.opcode & 7) === 6;
    switch (this.#below(6)) {
      case 0:
        return change({ imm: old.imm + this.#pick([-1, 1, 8, -8]) });
      case 1:
        return change(isJump ? { imm: old.imm + 1 } : { offset: old.offset + this.#pick([-1, 1, 4, 8, -8]) });
      case 2:
        return change({ opcode: 0xbf, dst: 7, src: 7, offset: 0, imm: 0 });
      case 3:
        return isJump && old.opcode !== 0x85 && old.opcode !== 0x95
          ? change({ opcode: this.#pick(JUMPS) | (old.opcode & 0x0f) })
          : change({ dst: this.#below(10) });
      case 4:
        return change({ src: old.opcode === 0x85 ? 0 : this.#below(10) });
      default:
        return (old.opcode & 7) < 4 && old.opcode !== 0x18
          ? change({ opcode: (old.opcode & ~0x18) | this.#pick(SIZES)[0] })
          : change({ dst: this.#pick(SCALARS) });
    }
  }
}
