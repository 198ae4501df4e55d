import { COUNTS, imm32, imm64, note } from "./words";

/** Flattened WebAssembly, as far as the classic programs need it. Opcodes are its own; 0xfe is a constant of two slots. */
export function stacked<T>(code: u32, locals: u32, stack: u32): u64 {
  let pc = code;
  // The next free place.
  let sp = stack;
  while (true) {
    const word = load<i32>(pc);
    if (sizeof<T>() == COUNTS) note(word & 0xff);
    switch (word & 0xff) {
      // local.get, local.set, local.tee
      case 0x20:
        store<u64>(sp, load<u64>(locals + imm32(pc)));
        sp += 8;
        break;
      case 0x21:
        sp -= 8;
        store<u64>(locals + imm32(pc), load<u64>(sp));
        break;
      case 0x22:
        store<u64>(locals + imm32(pc), load<u64>(sp - 8));
        break;
      // i32.const, i64.const
      case 0x41:
        store<u64>(sp, imm32(pc));
        sp += 8;
        break;
      case 0x42:
        store<u64>(sp, imm64(pc));
        sp += 8;
        break;
      case 0xfe:
        store<u64>(sp, load<u64>(pc, 8));
        sp += 8;
        pc += 8;
        break;
      // drop, select
      case 0x1a:
        sp -= 8;
        break;
      case 0x1b:
        sp -= 16;
        if (load<u32>(sp, 8) == 0) store<u64>(sp - 8, load<u64>(sp));
        break;
      // br, br_if, br_table, return
      case 0x0c:
        pc = code + imm32(pc);
        continue;
      case 0x0d:
        sp -= 8;
        if (load<u32>(sp) != 0) {
          pc = code + imm32(pc);
          continue;
        }
        break;
      case 0x0e: {
        sp -= 8;
        const index = min(load<u32>(sp), imm32(pc));
        pc = code + load<u32>(pc + 12 + (index << 3));
        continue;
      }
      case 0x0f:
        return load<u64>(sp - 8);
      // Loads and stores.
      case 0x28:
        store<u64>(sp - 8, load<u32>(load<u32>(sp - 8) + imm32(pc)));
        break;
      case 0x2d:
      case 0x31:
        store<u64>(sp - 8, load<u8>(load<u32>(sp - 8) + imm32(pc)));
        break;
      case 0x36:
        sp -= 16;
        store<u32>(load<u32>(sp) + imm32(pc), load<u32>(sp, 8));
        break;
      case 0x3a:
        sp -= 16;
        store<u8>(load<u32>(sp) + imm32(pc), load<u8>(sp, 8));
        break;
      // i32.wrap_i64, i64.extend_i32_u
      case 0xa7:
      case 0xad:
        store<u64>(sp - 8, load<u32>(sp - 8));
        break;
      // eqz
      case 0x45:
        store<u64>(sp - 8, load<u32>(sp - 8) == 0 ? 1 : 0);
        break;
      case 0x50:
        store<u64>(sp - 8, load<u64>(sp - 8) == 0 ? 1 : 0);
        break;
      // Comparisons: eq, ne, lt_s, lt_u, gt_s, gt_u, le_s, le_u, ge_s, ge_u.
      case 0x46:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) == load<u32>(sp) ? 1 : 0);
        break;
      case 0x47:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) != load<u32>(sp) ? 1 : 0);
        break;
      case 0x48:
        sp -= 8;
        store<u64>(sp - 8, load<i32>(sp - 8) < load<i32>(sp) ? 1 : 0);
        break;
      case 0x49:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) < load<u32>(sp) ? 1 : 0);
        break;
      case 0x4a:
        sp -= 8;
        store<u64>(sp - 8, load<i32>(sp - 8) > load<i32>(sp) ? 1 : 0);
        break;
      case 0x4b:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) > load<u32>(sp) ? 1 : 0);
        break;
      case 0x4c:
        sp -= 8;
        store<u64>(sp - 8, load<i32>(sp - 8) <= load<i32>(sp) ? 1 : 0);
        break;
      case 0x4d:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) <= load<u32>(sp) ? 1 : 0);
        break;
      case 0x4e:
        sp -= 8;
        store<u64>(sp - 8, load<i32>(sp - 8) >= load<i32>(sp) ? 1 : 0);
        break;
      case 0x4f:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) >= load<u32>(sp) ? 1 : 0);
        break;
      case 0x51:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) == load<u64>(sp) ? 1 : 0);
        break;
      case 0x52:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) != load<u64>(sp) ? 1 : 0);
        break;
      case 0x53:
        sp -= 8;
        store<u64>(sp - 8, load<i64>(sp - 8) < load<i64>(sp) ? 1 : 0);
        break;
      case 0x54:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) < load<u64>(sp) ? 1 : 0);
        break;
      case 0x55:
        sp -= 8;
        store<u64>(sp - 8, load<i64>(sp - 8) > load<i64>(sp) ? 1 : 0);
        break;
      case 0x56:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) > load<u64>(sp) ? 1 : 0);
        break;
      case 0x57:
        sp -= 8;
        store<u64>(sp - 8, load<i64>(sp - 8) <= load<i64>(sp) ? 1 : 0);
        break;
      case 0x58:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) <= load<u64>(sp) ? 1 : 0);
        break;
      case 0x59:
        sp -= 8;
        store<u64>(sp - 8, load<i64>(sp - 8) >= load<i64>(sp) ? 1 : 0);
        break;
      case 0x5a:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) >= load<u64>(sp) ? 1 : 0);
        break;
      // add, sub, mul, rem_u, and, or, xor, shl, shr_u, rotl
      case 0x6a:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) + load<u32>(sp));
        break;
      case 0x7c:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) + load<u64>(sp));
        break;
      case 0x6b:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) - load<u32>(sp));
        break;
      case 0x7d:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) - load<u64>(sp));
        break;
      case 0x6c:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) * load<u32>(sp));
        break;
      case 0x7e:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) * load<u64>(sp));
        break;
      case 0x70:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) % load<u32>(sp));
        break;
      case 0x82:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) % load<u64>(sp));
        break;
      case 0x71:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) & load<u32>(sp));
        break;
      case 0x83:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) & load<u64>(sp));
        break;
      case 0x72:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) | load<u32>(sp));
        break;
      case 0x84:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) | load<u64>(sp));
        break;
      case 0x73:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) ^ load<u32>(sp));
        break;
      case 0x85:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) ^ load<u64>(sp));
        break;
      case 0x74:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) << load<u32>(sp));
        break;
      case 0x86:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) << load<u64>(sp));
        break;
      case 0x76:
        sp -= 8;
        store<u64>(sp - 8, load<u32>(sp - 8) >> load<u32>(sp));
        break;
      case 0x88:
        sp -= 8;
        store<u64>(sp - 8, load<u64>(sp - 8) >> load<u64>(sp));
        break;
      case 0x77:
        sp -= 8;
        store<u64>(sp - 8, rotl<u32>(load<u32>(sp - 8), load<u32>(sp)));
        break;
      case 0x89:
        sp -= 8;
        store<u64>(sp - 8, rotl<u64>(load<u64>(sp - 8), load<u64>(sp)));
        break;
      default:
        unreachable();
    }
    pc += 8;
  }
  return 0;
}
