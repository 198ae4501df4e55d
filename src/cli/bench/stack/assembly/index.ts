/**
 * Two interpreters written in the same way, for the suite `stack`: one for BPF, whose instructions name registers, and one for
 * WebAssembly flattened to a list (../flatten.ts), whose instructions work on a stack. Both have slots of 8 bytes, one `switch`,
 * a jump to its head after each instruction, and registers, locals and stack in memory, 8 bytes each.
 *
 * Each is there twice: with `u8` as it is measured, with `u16` counting how often each opcode runs.
 */

const COUNTS = sizeof<u16>();

let counts: u32 = 0;

/** Where 256 numbers of 32 bits are counted up, by opcode. */
export function count_at(address: u32): void {
  counts = address;
}

function note(opcode: u32): void {
  const at = counts + (opcode << 2);
  store<u32>(at, load<u32>(at) + 1);
}

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

function src(registers: u32, word: i32): u32 {
  return registers + ((word >> 9) & 0x78);
}

function imm32(pc: u32): u32 {
  return load<u32>(pc, 4);
}

function imm64(pc: u32): i64 {
  return load<i32>(pc, 4);
}

function jump(word: i32): i32 {
  return (word >> 16) << 3;
}

function address(register: u32, word: i32): u32 {
  return load<u32>(register) + (word >> 16);
}

/** BPF, as far as the classic programs need it. */
function register<T>(code: u32, registers: u32): u64 {
  let pc = code;
  while (true) {
    const word = load<i32>(pc);
    if (sizeof<T>() == COUNTS) note(word & 0xff);
    const dst = registers + ((word >> 5) & 0x78);
    switch (word & 0xff) {
      // add
      case 0x7:
        store<u64>(dst, load<u64>(dst) + imm64(pc));
        break;
      case 0xf:
        store<u64>(dst, load<u64>(dst) + load<u64>(src(registers, word)));
        break;
      case 0x4:
        store<u64>(dst, load<u32>(dst) + imm32(pc));
        break;
      case 0xc:
        store<u64>(dst, load<u32>(dst) + load<u32>(src(registers, word)));
        break;
      // sub
      case 0x17:
        store<u64>(dst, load<u64>(dst) - imm64(pc));
        break;
      case 0x1f:
        store<u64>(dst, load<u64>(dst) - load<u64>(src(registers, word)));
        break;
      case 0x14:
        store<u64>(dst, load<u32>(dst) - imm32(pc));
        break;
      case 0x1c:
        store<u64>(dst, load<u32>(dst) - load<u32>(src(registers, word)));
        break;
      // mul
      case 0x27:
        store<u64>(dst, load<u64>(dst) * imm64(pc));
        break;
      case 0x2f:
        store<u64>(dst, load<u64>(dst) * load<u64>(src(registers, word)));
        break;
      case 0x24:
        store<u64>(dst, load<u32>(dst) * imm32(pc));
        break;
      case 0x2c:
        store<u64>(dst, load<u32>(dst) * load<u32>(src(registers, word)));
        break;
      // or
      case 0x47:
        store<u64>(dst, load<u64>(dst) | imm64(pc));
        break;
      case 0x4f:
        store<u64>(dst, load<u64>(dst) | load<u64>(src(registers, word)));
        break;
      case 0x44:
        store<u64>(dst, load<u32>(dst) | imm32(pc));
        break;
      case 0x4c:
        store<u64>(dst, load<u32>(dst) | load<u32>(src(registers, word)));
        break;
      // and
      case 0x57:
        store<u64>(dst, load<u64>(dst) & imm64(pc));
        break;
      case 0x5f:
        store<u64>(dst, load<u64>(dst) & load<u64>(src(registers, word)));
        break;
      case 0x54:
        store<u64>(dst, load<u32>(dst) & imm32(pc));
        break;
      case 0x5c:
        store<u64>(dst, load<u32>(dst) & load<u32>(src(registers, word)));
        break;
      // lsh
      case 0x67:
        store<u64>(dst, load<u64>(dst) << imm64(pc));
        break;
      case 0x6f:
        store<u64>(dst, load<u64>(dst) << load<u64>(src(registers, word)));
        break;
      case 0x64:
        store<u64>(dst, load<u32>(dst) << imm32(pc));
        break;
      case 0x6c:
        store<u64>(dst, load<u32>(dst) << load<u32>(src(registers, word)));
        break;
      // rsh
      case 0x77:
        store<u64>(dst, load<u64>(dst) >> imm64(pc));
        break;
      case 0x7f:
        store<u64>(dst, load<u64>(dst) >> load<u64>(src(registers, word)));
        break;
      case 0x74:
        store<u64>(dst, load<u32>(dst) >> imm32(pc));
        break;
      case 0x7c:
        store<u64>(dst, load<u32>(dst) >> load<u32>(src(registers, word)));
        break;
      // mod
      case 0x97:
        store<u64>(dst, load<u64>(dst) % imm64(pc));
        break;
      case 0x9f:
        store<u64>(dst, load<u64>(dst) % load<u64>(src(registers, word)));
        break;
      case 0x94:
        store<u64>(dst, load<u32>(dst) % imm32(pc));
        break;
      case 0x9c:
        store<u64>(dst, load<u32>(dst) % load<u32>(src(registers, word)));
        break;
      // xor
      case 0xa7:
        store<u64>(dst, load<u64>(dst) ^ imm64(pc));
        break;
      case 0xaf:
        store<u64>(dst, load<u64>(dst) ^ load<u64>(src(registers, word)));
        break;
      case 0xa4:
        store<u64>(dst, load<u32>(dst) ^ imm32(pc));
        break;
      case 0xac:
        store<u64>(dst, load<u32>(dst) ^ load<u32>(src(registers, word)));
        break;
      // mov
      case 0xb7:
        store<u64>(dst, imm64(pc));
        break;
      case 0xbf:
        store<u64>(dst, load<u64>(src(registers, word)));
        break;
      case 0xb4:
        store<u64>(dst, imm32(pc));
        break;
      case 0xbc:
        store<u64>(dst, load<u32>(src(registers, word)));
        break;
      // Loads and stores.
      case 0x71:
        store<u64>(dst, load<u8>(address(src(registers, word), word)));
        break;
      case 0x61:
        store<u64>(dst, load<u32>(address(src(registers, word), word)));
        break;
      case 0x73:
        store<u8>(address(dst, word), load<u8>(src(registers, word)));
        break;
      case 0x63:
        store<u32>(address(dst, word), load<u32>(src(registers, word)));
        break;
      // Jumps.
      case 0x05:
        pc += jump(word);
        break;
      // jeq
      case 0x15:
        if (load<u64>(dst) == u64(imm64(pc))) pc += jump(word);
        break;
      case 0x1d:
        if (load<u64>(dst) == load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0x16:
        if (load<u32>(dst) == imm32(pc)) pc += jump(word);
        break;
      case 0x1e:
        if (load<u32>(dst) == load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jgt
      case 0x25:
        if (load<u64>(dst) > u64(imm64(pc))) pc += jump(word);
        break;
      case 0x2d:
        if (load<u64>(dst) > load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0x26:
        if (load<u32>(dst) > imm32(pc)) pc += jump(word);
        break;
      case 0x2e:
        if (load<u32>(dst) > load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jge
      case 0x35:
        if (load<u64>(dst) >= u64(imm64(pc))) pc += jump(word);
        break;
      case 0x3d:
        if (load<u64>(dst) >= load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0x36:
        if (load<u32>(dst) >= imm32(pc)) pc += jump(word);
        break;
      case 0x3e:
        if (load<u32>(dst) >= load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jne
      case 0x55:
        if (load<u64>(dst) != u64(imm64(pc))) pc += jump(word);
        break;
      case 0x5d:
        if (load<u64>(dst) != load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0x56:
        if (load<u32>(dst) != imm32(pc)) pc += jump(word);
        break;
      case 0x5e:
        if (load<u32>(dst) != load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jsgt
      case 0x65:
        if (load<i64>(dst) > imm64(pc)) pc += jump(word);
        break;
      case 0x6d:
        if (load<i64>(dst) > load<i64>(src(registers, word))) pc += jump(word);
        break;
      case 0x66:
        if (load<i32>(dst) > i32(imm32(pc))) pc += jump(word);
        break;
      case 0x6e:
        if (load<i32>(dst) > load<i32>(src(registers, word))) pc += jump(word);
        break;
      // jsge
      case 0x75:
        if (load<i64>(dst) >= imm64(pc)) pc += jump(word);
        break;
      case 0x7d:
        if (load<i64>(dst) >= load<i64>(src(registers, word))) pc += jump(word);
        break;
      case 0x76:
        if (load<i32>(dst) >= i32(imm32(pc))) pc += jump(word);
        break;
      case 0x7e:
        if (load<i32>(dst) >= load<i32>(src(registers, word))) pc += jump(word);
        break;
      // jlt
      case 0xa5:
        if (load<u64>(dst) < u64(imm64(pc))) pc += jump(word);
        break;
      case 0xad:
        if (load<u64>(dst) < load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0xa6:
        if (load<u32>(dst) < imm32(pc)) pc += jump(word);
        break;
      case 0xae:
        if (load<u32>(dst) < load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jle
      case 0xb5:
        if (load<u64>(dst) <= u64(imm64(pc))) pc += jump(word);
        break;
      case 0xbd:
        if (load<u64>(dst) <= load<u64>(src(registers, word))) pc += jump(word);
        break;
      case 0xb6:
        if (load<u32>(dst) <= imm32(pc)) pc += jump(word);
        break;
      case 0xbe:
        if (load<u32>(dst) <= load<u32>(src(registers, word))) pc += jump(word);
        break;
      // jslt
      case 0xc5:
        if (load<i64>(dst) < imm64(pc)) pc += jump(word);
        break;
      case 0xcd:
        if (load<i64>(dst) < load<i64>(src(registers, word))) pc += jump(word);
        break;
      case 0xc6:
        if (load<i32>(dst) < i32(imm32(pc))) pc += jump(word);
        break;
      case 0xce:
        if (load<i32>(dst) < load<i32>(src(registers, word))) pc += jump(word);
        break;
      // jsle
      case 0xd5:
        if (load<i64>(dst) <= imm64(pc)) pc += jump(word);
        break;
      case 0xdd:
        if (load<i64>(dst) <= load<i64>(src(registers, word))) pc += jump(word);
        break;
      case 0xd6:
        if (load<i32>(dst) <= i32(imm32(pc))) pc += jump(word);
        break;
      case 0xde:
        if (load<i32>(dst) <= load<i32>(src(registers, word))) pc += jump(word);
        break;
      case 0x95:
        return load<u64>(registers);
      default:
        unreachable();
    }
    pc += 8;
  }
  return 0;
}

/** Flattened WebAssembly, as far as the classic programs need it. Opcodes are its own; 0xfe is a constant of two slots. */
function stacked<T>(code: u32, locals: u32, stack: u32): u64 {
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
