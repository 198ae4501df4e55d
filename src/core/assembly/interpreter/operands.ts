/** The fields of an instruction, and where its operands lie. */
import { EXEC_WINDOWS, EXEC_WRITE_WINDOWS, RIGHT_READ, WINDOW_BIAS } from "../../layout";
import { checkRegister } from "../sandbox/access";

/** Size of the type that stands for sandboxed programs. */
export const SANDBOXED: u32 = 1;

// An instruction's first word holds opcode, registers and offset. A register's address is its number times 8 from
// the state, which the field gives with one shift and one mask.
export function src(state: u32, word: i32): u32 {
  return state + ((word >> 9) & 0x78);
}

export function offset(word: i32): i32 {
  return word >> 16;
}

/** The address of an access. Of a sandboxed program (S: see `slice`) it must lie in a window that holds all its bytes. */
export function at<S>(state: u32, register: u32, word: i32, size: u32, right: i32): u32 {
  const address = load<u32>(register) + (word >> 16);
  if (sizeof<S>() == SANDBOXED) {
    const slot = register + (right == RIGHT_READ ? EXEC_WINDOWS : EXEC_WRITE_WINDOWS);
    if (address + WINDOW_BIAS - load<u32>(slot) > load<u32>(slot, 4) + (8 - size)) {
      checkRegister(state, register - state, address, size, right);
    }
  }
  return address;
}

export function jump(word: i32): i32 {
  return (word >> 16) << 3;
}

// Read as unsigned: Binaryen (as of AssemblyScript 0.28.20) makes a sign-extending load of a signed 32-bit load that
// is then zero-extended.
export function imm32(pc: u32): i32 {
  return load<u32>(pc, 4);
}

export function imm64(pc: u32): i64 {
  return load<i32>(pc, 4);
}

/** 32-bit operations zero the upper half (RFC 9669, section 4.1). */
export function set32(dst: u32, value: u32): void {
  store<u64>(dst, u64(value));
}
