/** Programs of arithmetic, jumps, stack accesses, short loops and calls of one function, from a seed. */
import type { Instruction } from "../../src/isa/index.ts";

const IMMEDIATES = [
  0, 1, 2, 3, 7, 8, 15, 16, 31, 32, 63, 255, 256, 4095, 0x7fff, 0xffff, -1, -2, -8, 0x7fffffff, -0x80000000,
];
const ARITHMETIC = [0x00, 0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0x90, 0xa0, 0xc0];
const JUMPS = [0x10, 0x20, 0x30, 0x40, 0x50, 0x60, 0x70, 0xa0, 0xb0, 0xc0, 0xd0];
const LOADS = [0x61, 0x69, 0x71, 0x79, 0x81, 0x89, 0x91];
const ATOMICS = [0x00, 0x01, 0x40, 0x41, 0x50, 0xa1, 0xe1, 0xf1];
const LIVE = [0, 2, 3, 6, 7];
const BYTES = [4, 2, 1, 8];

export function randomProgram(seed: number): Instruction[] {
  let state = Math.imul(seed, 0x9e3779b1) >>> 0;
  const int = (limit: number): number => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (Math.imul(state ^ (state >>> 15), 0x85ebca6b) >>> 3) % limit;
  };
  const pick = (list: readonly number[]): number => list[int(list.length)] as number;
  const out: Instruction[] = [];
  const emit = (opcode: number, dst = 0, src = 0, offset = 0, imm = 0): void => {
    out.push({ opcode, dst, src, offset, imm: imm | 0 });
  };
  const register = (): number => pick(LIVE);
  for (const regno of LIVE) {
    if (int(4) === 0) emit(0xb7, regno, 0, 0, pick(IMMEDIATES));
    else emit(pick(LOADS), regno, 10, -8 * (1 + int(4)));
  }
  const forward: number[] = [];
  const length = 12 + int(12);
  for (let step = 0; step < length; step++) {
    const narrow = int(5) < 2;
    const kind = int(20);
    if (kind < 6) {
      const operation = pick(ARITHMETIC);
      const cls = narrow ? 4 : 7;
      const shift = operation === 0x60 || operation === 0x70 || operation === 0xc0;
      if (int(2) === 0) emit(operation | 8 | cls, register(), register());
      else {
        const imm = shift ? int(narrow ? 32 : 64) : pick(IMMEDIATES);
        const division = operation === 0x30 || operation === 0x90;
        emit(operation | cls, register(), 0, 0, division && imm === 0 ? 3 : imm);
      }
    } else if (kind < 8) {
      emit(
        narrow ? 0xbc : 0xbf,
        register(),
        register(),
        int(4) === 0 ? pick(narrow ? [8, 16] : [8, 16, 32]) : 0,
      );
    } else if (kind === 8) emit(narrow ? 0x84 : 0x87, register());
    else if (kind === 9) emit(pick([0xd4, 0xdc, 0xd7]), register(), 0, 0, pick([16, 32, 64]));
    else if (kind < 14) {
      forward.push(out.length);
      const fromRegister = int(5) < 2;
      emit(
        pick(JUMPS) | (narrow ? 6 : 5) | (fromRegister ? 8 : 0),
        register(),
        fromRegister ? register() : 0,
        1 + int(4),
        fromRegister ? 0 : pick(IMMEDIATES),
      );
    } else if (kind < 19) {
      const size = int(4);
      const bytes = BYTES[size] as number;
      const off = -8 * (1 + int(5)) + bytes * int(8 / bytes);
      if (kind < 16) emit(0x63 | (size << 3), 10, register(), off);
      else if (kind === 16) emit(0x62 | (size << 3), 10, 0, off, pick(IMMEDIATES));
      else emit((int(5) === 0 && size !== 3 ? 0x81 : 0x61) | (size << 3), register(), 10, off);
    } else emit(0xdb, 10, register(), -8 * (1 + int(5)), pick(ATOMICS));
  }
  if (int(3) === 0) {
    // A loop that ends after at most 20 rounds.
    emit(0xb7, 8, 0, 0, 0);
    emit(0x07, 8, 0, 0, 1);
    emit(0x0f, register(), 8);
    emit(0xa5, 8, 0, -3, 5 + int(16));
  }
  const calls = int(3) === 0 ? 1 + int(2) : 0;
  const callsAt: number[] = [];
  for (let call = 0; call < calls; call++) {
    emit(0xbf, 1, register());
    emit(0xbf, 2, int(2) === 0 ? 10 : register());
    emit(0xb7, 3, 0, 0, 5);
    callsAt.push(out.length);
    emit(0x85, 0, 1);
    emit(0xb7, 2);
    emit(0xb7, 3);
  }
  emit(0xb7, 0);
  emit(0x95);
  const end = out.length - 2;
  for (const at of forward) {
    const jump = out[at] as Instruction;
    if (at + 1 + jump.offset > end) out[at] = { ...jump, offset: end - at - 1 };
  }
  if (calls > 0) {
    const start = out.length;
    for (const at of callsAt) out[at] = { ...(out[at] as Instruction), imm: start - at - 1 };
    emit(0xbf, 6, 1);
    emit(0xb7, 0, 0, 0, 1);
    emit(pick([0x25, 0x15, 0x65, 0x45]), 6, 0, 1, pick(IMMEDIATES));
    emit(0xbf, 0, 6);
    emit(0x7b, 10, 6, -8);
    emit(0x79, 3, 10, -8);
    emit(0x95);
  }
  return out;
}
