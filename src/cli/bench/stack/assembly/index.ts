/**
 * Two interpreters written in the same way, for the suite `stack`: one for BPF, whose instructions name registers, and one for
 * WebAssembly flattened to a list (../flatten.ts), whose instructions work on a stack. Both have slots of 8 bytes, one `switch`,
 * a jump to its head after each instruction, and registers, locals and stack in memory, 8 bytes each.
 *
 * Each is there twice: with `u8` as it is measured, with `u16` counting how often each opcode runs.
 */

import { register } from "./register";
import { stacked } from "./stacked";

export { count_at } from "./words";

export function run_register(code: u32, registers: u32): u64 {
  return register<u8>(code, registers);
}

export function count_register(code: u32, registers: u32): u64 {
  return register<u16>(code, registers);
}

export function run_stack(code: u32, locals: u32, stack: u32): u64 {
  return stacked<u8>(code, locals, stack);
}

export function count_stack(code: u32, locals: u32, stack: u32): u64 {
  return stacked<u16>(code, locals, stack);
}
