import type { Instruction } from "../isa/index.ts";

/**
 * What stands in place of an instruction that needs what the target has not: a call of a helper that does not exist. It
 * may lie in code that is never reached because the program asked first; if it is reached, verifiers refuse it. libbpf and
 * the kernel use this number, whose hexadecimal digits read "bad relo".
 */
export const POISON_HELPER = 0xbad2310;

export const POISON: Instruction = { opcode: 0x85, dst: 0, src: 0, offset: 0, imm: POISON_HELPER };
