/**
 * Loads through pointers to the kernel's structures, which may point anywhere: what is not there reads as zero (the kernel's
 * BPF_PROBE_MEM and BPF_PROBE_MEMSX, whose opcodes these are). The loader puts them in place of plain loads; no object file
 * holds them.
 */
import { FIRST_ADDRESS, RIGHT_READ } from "../../layout";
import { isAllowed } from "../sandbox/access";

export const PROBEW = 0x21;
export const PROBEH = 0x29;
export const PROBEB = 0x31;
export const PROBEDW = 0x39;
export const PROBESW = 0x41;
export const PROBESH = 0x49;
export const PROBESB = 0x51;

const R10 = 80;

/** The address of the load, or 0 if there is nothing. `source` is the address of the register. */
function place(state: u32, source: u32, word: i32, size: u32, sandboxed: bool): u32 {
  const address = load<u64>(source) + u64(i64(word >> 16));
  if (address < u64(FIRST_ADDRESS) || address > (u64(memory.size()) << 16) - size) return 0;
  if (sandboxed && !isAllowed(state, load<u32>(state, R10), u32(address), size, RIGHT_READ)) return 0;
  return u32(address);
}

export function probe(state: u32, dst: u32, source: u32, word: i32, sandboxed: bool): void {
  const opcode = word & 0xff;
  const width = opcode & 0x18;
  const size: u32 = width == 0 ? 4 : width == 8 ? 2 : width == 0x10 ? 1 : 8;
  const at = place(state, source, word, size, sandboxed);
  let value: u64 = 0;
  if (at != 0) {
    switch (opcode) {
      case PROBEW:
        value = load<u32>(at);
        break;
      case PROBEH:
        value = load<u16>(at);
        break;
      case PROBEB:
        value = load<u8>(at);
        break;
      case PROBEDW:
        value = load<u64>(at);
        break;
      case PROBESW:
        value = u64(i64(load<i32>(at)));
        break;
      case PROBESH:
        value = u64(i64(load<i16>(at)));
        break;
      default:
        value = u64(i64(load<i8>(at)));
    }
  }
  store<u64>(dst, value);
}
