import { COUNTS, imm32, imm64, note } from "./words";

function src(registers: u32, word: i32): u32 {
  return registers + ((word >> 9) & 0x78);
}

function jump(word: i32): i32 {
  return (word >> 16) << 3;
}

function address(register: u32, word: i32): u32 {
  return load<u32>(register) + (word >> 16);
}

/** BPF, as far as the classic programs need it. */
export function register<T>(code: u32, registers: u32): u64 {
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
