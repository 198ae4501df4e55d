/** `mov` between registers whose offset field is set: sign extension (RFC 9669, section 4.1) and address spaces. */

const ADDR_SPACE_CAST = 1;

/** False if the offset selects nothing. */
export function move64(offset: i32, dst: usize, src: usize): bool {
  switch (offset) {
    case 8:
      store<i64>(dst, load<i8>(src));
      return true;
    case 16:
      store<i64>(dst, load<i16>(src));
      return true;
    case 32:
      store<i64>(dst, load<i32>(src));
      return true;
    // Both address spaces are the one linear memory, whose addresses have 32 bits.
    case ADDR_SPACE_CAST:
      store<u64>(dst, load<u32>(src));
      return true;
    default:
      return false;
  }
}

export function move32(offset: i32, dst: usize, src: usize): bool {
  switch (offset) {
    case 8:
      store<u64>(dst, u64(u32(load<i8>(src))));
      return true;
    case 16:
      store<u64>(dst, u64(u32(load<i16>(src))));
      return true;
    default:
      return false;
  }
}
