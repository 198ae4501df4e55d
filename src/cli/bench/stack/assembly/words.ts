/** What both interpreters have: the constants of an instruction, and counting. */

/** The size of the type that counts. */
export const COUNTS = sizeof<u16>();

let counts: u32 = 0;

/** Where 256 numbers of 32 bits are counted up, by opcode. */
export function count_at(address: u32): void {
  counts = address;
}

export function note(opcode: u32): void {
  const at = counts + (opcode << 2);
  store<u32>(at, load<u32>(at) + 1);
}

export function imm32(pc: u32): u32 {
  return load<u32>(pc, 4);
}

export function imm64(pc: u32): i64 {
  return load<i32>(pc, 4);
}
