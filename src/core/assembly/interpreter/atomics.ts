/**
 * Atomic operations, selected by imm (RFC 9669, section 5.3; load_acquire and store_release from
 * uapi/linux/bpf.h). One thread runs at a time, so plain accesses do; where threads share the memory,
 * WebAssembly's atomic instructions take their place here and nowhere else.
 */
const ADD = 0x00;
const FETCH_ADD = 0x01;
const OR = 0x40;
const FETCH_OR = 0x41;
const AND = 0x50;
const FETCH_AND = 0x51;
const XOR = 0xa0;
const FETCH_XOR = 0xa1;
const XCHG = 0xe1;
const CMPXCHG = 0xf1;
export const LOAD_ACQUIRE = 0x100;
export const STORE_RELEASE = 0x110;

/** `dst` and `src` are addresses of registers, `r0` that of register 0. False if `imm` selects nothing. */
export function atomic64(imm: i32, dst: usize, src: usize, offset: i32, r0: usize): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, load<u64>(load<u32>(src) + offset));
    return true;
  }
  const at = load<u32>(dst) + offset;
  const operand = load<u64>(src);
  if (imm == STORE_RELEASE) {
    store<u64>(at, operand);
    return true;
  }
  const old = load<u64>(at);
  switch (imm) {
    case ADD:
      store<u64>(at, old + operand);
      return true;
    case OR:
      store<u64>(at, old | operand);
      return true;
    case AND:
      store<u64>(at, old & operand);
      return true;
    case XOR:
      store<u64>(at, old ^ operand);
      return true;
    case FETCH_ADD:
      store<u64>(at, old + operand);
      break;
    case FETCH_OR:
      store<u64>(at, old | operand);
      break;
    case FETCH_AND:
      store<u64>(at, old & operand);
      break;
    case FETCH_XOR:
      store<u64>(at, old ^ operand);
      break;
    case XCHG:
      store<u64>(at, operand);
      break;
    case CMPXCHG:
      if (old == load<u64>(r0)) store<u64>(at, operand);
      store<u64>(r0, old);
      return true;
    default:
      return false;
  }
  store<u64>(src, old);
  return true;
}

export function atomic32(imm: i32, dst: usize, src: usize, offset: i32, r0: usize): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, load<u32>(load<u32>(src) + offset));
    return true;
  }
  const at = load<u32>(dst) + offset;
  const operand = load<u32>(src);
  if (imm == STORE_RELEASE) {
    store<u32>(at, operand);
    return true;
  }
  const old = load<u32>(at);
  switch (imm) {
    case ADD:
      store<u32>(at, old + operand);
      return true;
    case OR:
      store<u32>(at, old | operand);
      return true;
    case AND:
      store<u32>(at, old & operand);
      return true;
    case XOR:
      store<u32>(at, old ^ operand);
      return true;
    case FETCH_ADD:
      store<u32>(at, old + operand);
      break;
    case FETCH_OR:
      store<u32>(at, old | operand);
      break;
    case FETCH_AND:
      store<u32>(at, old & operand);
      break;
    case FETCH_XOR:
      store<u32>(at, old ^ operand);
      break;
    case XCHG:
      store<u32>(at, operand);
      break;
    case CMPXCHG:
      if (old == load<u32>(r0)) store<u32>(at, operand);
      store<u64>(r0, u64(old));
      return true;
    default:
      return false;
  }
  store<u64>(src, u64(old));
  return true;
}

export function atomic16(imm: i32, dst: usize, src: usize, offset: i32): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, load<u16>(load<u32>(src) + offset));
  } else if (imm == STORE_RELEASE) {
    store<u16>(load<u32>(dst) + offset, load<u16>(src));
  } else {
    return false;
  }
  return true;
}

export function atomic8(imm: i32, dst: usize, src: usize, offset: i32): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, load<u8>(load<u32>(src) + offset));
  } else if (imm == STORE_RELEASE) {
    store<u8>(load<u32>(dst) + offset, load<u8>(src));
  } else {
    return false;
  }
  return true;
}
