/**
 * Atomic operations, selected by imm (RFC 9669, section 5.3; load_acquire and store_release from
 * uapi/linux/bpf.h). In the build for memories that threads share they are WebAssembly's atomic instructions, which trap on
 * addresses that are not aligned; in the other plain accesses do, and any address will.
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

// All that read, change and write have the lowest bit set where they fetch.
const FETCH = 1;

function peek<T>(at: usize): T {
  return ASC_FEATURE_THREADS ? atomic.load<T>(at) : load<T>(at);
}

function poke<T>(at: usize, value: T): void {
  if (ASC_FEATURE_THREADS) atomic.store<T>(at, value);
  else store<T>(at, value);
}

/** Reads, changes and writes a word; what it was. */
function change<T>(operation: i32, at: usize, operand: T): T {
  if (ASC_FEATURE_THREADS) {
    switch (operation) {
      case ADD:
        return atomic.add<T>(at, operand);
      case OR:
        return atomic.or<T>(at, operand);
      case AND:
        return atomic.and<T>(at, operand);
      case XOR:
        return atomic.xor<T>(at, operand);
      default:
        return atomic.xchg<T>(at, operand);
    }
  }
  const old = load<T>(at);
  switch (operation) {
    case ADD:
      store<T>(at, old + operand);
      break;
    case OR:
      store<T>(at, old | operand);
      break;
    case AND:
      store<T>(at, old & operand);
      break;
    case XOR:
      store<T>(at, old ^ operand);
      break;
    default:
      store<T>(at, operand);
  }
  return old;
}

function exchange<T>(at: usize, expected: T, replacement: T): T {
  if (ASC_FEATURE_THREADS) return atomic.cmpxchg<T>(at, expected, replacement);
  const old = load<T>(at);
  if (old == expected) store<T>(at, replacement);
  return old;
}

function exists(imm: i32): bool {
  switch (imm) {
    case ADD:
    case OR:
    case AND:
    case XOR:
    case FETCH_ADD:
    case FETCH_OR:
    case FETCH_AND:
    case FETCH_XOR:
    case XCHG:
      return true;
    default:
      return false;
  }
}

/** `dst` and `src` are addresses of registers, `r0` that of register 0. False if `imm` selects nothing. */
export function atomic64(imm: i32, dst: usize, src: usize, offset: i32, r0: usize): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, peek<u64>(load<u32>(src) + offset));
    return true;
  }
  const at = load<u32>(dst) + offset;
  const operand = load<u64>(src);
  if (imm == STORE_RELEASE) {
    poke<u64>(at, operand);
    return true;
  }
  if (imm == CMPXCHG) {
    store<u64>(r0, exchange<u64>(at, load<u64>(r0), operand));
    return true;
  }
  if (!exists(imm)) return false;
  const old = change<u64>(imm & ~FETCH, at, operand);
  if ((imm & FETCH) != 0) store<u64>(src, old);
  return true;
}

export function atomic32(imm: i32, dst: usize, src: usize, offset: i32, r0: usize): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, peek<u32>(load<u32>(src) + offset));
    return true;
  }
  const at = load<u32>(dst) + offset;
  const operand = load<u32>(src);
  if (imm == STORE_RELEASE) {
    poke<u32>(at, operand);
    return true;
  }
  if (imm == CMPXCHG) {
    store<u64>(r0, u64(exchange<u32>(at, load<u32>(r0), operand)));
    return true;
  }
  if (!exists(imm)) return false;
  const old = change<u32>(imm & ~FETCH, at, operand);
  if ((imm & FETCH) != 0) store<u64>(src, u64(old));
  return true;
}

export function atomic16(imm: i32, dst: usize, src: usize, offset: i32): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, peek<u16>(load<u32>(src) + offset));
  } else if (imm == STORE_RELEASE) {
    poke<u16>(load<u32>(dst) + offset, load<u16>(src));
  } else {
    return false;
  }
  return true;
}

export function atomic8(imm: i32, dst: usize, src: usize, offset: i32): bool {
  if (imm == LOAD_ACQUIRE) {
    store<u64>(dst, peek<u8>(load<u32>(src) + offset));
  } else if (imm == STORE_RELEASE) {
    poke<u8>(load<u32>(dst) + offset, load<u8>(src));
  } else {
    return false;
  }
  return true;
}
