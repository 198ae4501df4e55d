/** Random classic programs and packets, for tests that compare engines. */
import { CBPF_INSTRUCTIONS, type CbpfInstruction } from "../../src/cbpf/index.ts";

/** A generator of whole numbers below a bound; the same seed gives the same numbers. */
export function randomNumbers(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * bound);
  };
}

const EDGES = [
  0, 1, 2, 3, 4, 14, 15, 16, 31, 32, 33, 60, 0xff, 0x800, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe,
  0xffffffff,
];
const OFFSETS = [
  0, 1, 12, 13, 14, 23, 30, 46, 47, 48, 60, 64, 65, 0x7fffffff, 0xfffffffc, 0xffffffff, 0xfff00000,
  0xfff00001, 0xffe00000, 0xffe0000c, 0xfffff000, 0xfffff004, 0xfffff008, 0xfffff014, 0xfffff028, 0xfffff02c,
  0xfffff03c, 0xfffff001,
];
/** Forms that make programs worth running, more often than the others. */
const USUAL = [
  0x20, 0x28, 0x30, 0x40, 0x48, 0x50, 0xb1, 0x15, 0x15, 0x45, 0x54, 0x54, 0x25, 0x35, 0x07, 0x87,
];

/** A program that ends: jumps go forward and stay inside. Not everything in it need pass Linux's checker. */
export function randomProgram(random: (bound: number) => number, longest = 20): CbpfInstruction[] {
  const count = 1 + random(longest);
  const program: CbpfInstruction[] = [];
  for (let index = 0; index < count; index++) {
    const any = CBPF_INSTRUCTIONS[random(CBPF_INSTRUCTIONS.length)]!;
    const code = random(3) === 0 ? any.code : USUAL[random(USUAL.length)]!;
    const { shape, semantics } = CBPF_INSTRUCTIONS.find((row) => row.code === code)!;
    if (semantics.kind === "return" && random(3) !== 0) {
      index--;
      continue;
    }
    const left = count - index;
    const branches = semantics.kind === "branch";
    const k =
      shape === "mem"
        ? random(16)
        : shape === "target"
          ? random(left)
          : shape === "abs" || shape === "ind" || shape === "msh"
            ? random(4) === 0
              ? OFFSETS[random(OFFSETS.length)]!
              : random(60)
            : random(2) === 0
              ? EDGES[random(EDGES.length)]!
              : random(300);
    program.push({ code, jt: branches ? random(left) : 0, jf: branches ? random(left) : 0, k });
  }
  program.push(
    random(2) === 0 ? { code: 0x16, jt: 0, jf: 0, k: 0 } : { code: 6, jt: 0, jf: 0, k: random(5) },
  );
  return program;
}

/** A packet of small and large bytes. */
export function randomPacket(random: (bound: number) => number, longest = 70): Uint8Array {
  const packet = new Uint8Array(random(longest));
  for (let index = 0; index < packet.length; index++)
    packet[index] = random(3) === 0 ? random(256) : random(8);
  if (packet.length > 13 && random(2) === 0) packet.set([8, 0], 12);
  return packet;
}
