/**
 * Checksums in packets (net/core/filter.c, include/net/checksum.h), and what a socket buffer says of its own. Nothing here
 * has a checksum over the whole packet (CHECKSUM_COMPLETE), as in test runs: of the kernel's states there are "none" and
 * "unnecessary".
 */
import { SKB_CSUM_LEVEL, SKB_CSUM_LEVEL_SHIFT, SKB_CSUM_UNNECESSARY } from "../../layout";
import {
  BPF_CSUM_LEVEL_DEC,
  BPF_CSUM_LEVEL_INC,
  BPF_CSUM_LEVEL_QUERY,
  BPF_CSUM_LEVEL_RESET,
  BPF_F_HDR_FIELD_MASK,
  BPF_F_IPV6,
  BPF_F_MARK_ENFORCE,
  BPF_F_MARK_MANGLED_0,
  BPF_F_PSEUDO_HDR,
  EACCES,
  EFAULT,
  EINVAL,
  ENOTSUPP,
} from "../uapi";
import { dataOf, lengthOf, setState, stateOf } from "./skb-buffer";

/** Ones' complement addition of 32-bit words. */
function add(a: u32, b: u32): u32 {
  const sum = a + b;
  return sum + u32(sum < b);
}

function fold(sum: u32): u16 {
  sum = (sum & 0xffff) + (sum >> 16);
  sum = (sum & 0xffff) + (sum >> 16);
  return u16(~sum);
}

function replaceBy(address: u32, difference: u32): void {
  store<u16>(address, fold(add(difference, ~u32(load<u16>(address)))));
}

function replace4(address: u32, from: u32, to: u32): void {
  store<u16>(address, fold(add(add(~u32(load<u16>(address)), ~from), to)));
}

function add16(a: u32, b: u32): u32 {
  const sum = (a + b) & 0xffff;
  return (sum + u32(sum < b)) & 0xffff;
}

function replace2(address: u32, from: u32, to: u32): void {
  const sum = add16(~u32(load<u16>(address)) & 0xffff, ~from & 0xffff);
  store<u16>(address, u16(~add16(sum, to & 0xffff)));
}

/** Whether a 16-bit field at an offset can be written; the errno if not. */
function field(context: u32, offset: u32): i32 {
  if (offset > 0xffff || (offset & 1) != 0 || offset + 2 > lengthOf(context)) return -EFAULT;
  return 0;
}

export function l3_csum_replace(context: u32, offset: u32, from: u64, to: u64, flags: u64): i32 {
  if ((flags & ~u64(BPF_F_HDR_FIELD_MASK)) != 0) return -EINVAL;
  const bad = field(context, offset);
  if (bad != 0) return bad;
  const address = dataOf(context) + offset;
  switch (u32(flags)) {
    case 0:
      if (from != 0) return -EINVAL;
      replaceBy(address, u32(to));
      return 0;
    case 2:
      replace2(address, u32(from), u32(to));
      return 0;
    case 4:
      replace4(address, u32(from), u32(to));
      return 0;
    default:
      return -EINVAL;
  }
}

export function l4_csum_replace(context: u32, offset: u32, from: u64, to: u64, flags: u64): i32 {
  const known = u64(
    BPF_F_MARK_MANGLED_0 | BPF_F_MARK_ENFORCE | BPF_F_PSEUDO_HDR | BPF_F_HDR_FIELD_MASK | BPF_F_IPV6,
  );
  if ((flags & ~known) != 0) return -EINVAL;
  const bad = field(context, offset);
  if (bad != 0) return bad;
  const address = dataOf(context) + offset;
  // UDP's zero means that there is no checksum.
  const mangled = (flags & BPF_F_MARK_MANGLED_0) != 0;
  if (mangled && (flags & BPF_F_MARK_ENFORCE) == 0 && load<u16>(address) == 0) return 0;
  switch (u32(flags) & BPF_F_HDR_FIELD_MASK) {
    case 0:
      if (from != 0) return -EINVAL;
      replaceBy(address, u32(to));
      break;
    case 2:
      replace4(address, u32(from) & 0xffff, u32(to) & 0xffff);
      break;
    case 4:
      replace4(address, u32(from), u32(to));
      break;
    default:
      return -EINVAL;
  }
  if (mangled && load<u16>(address) == 0) store<u16>(address, 0xffff);
  return 0;
}

export function csum_update(context: u32, sum: u32): i64 {
  return -ENOTSUPP;
}

// linux/skbuff.h SKB_MAX_CSUM_LEVEL.
const MAX_LEVEL: u32 = 3;

/** Forgets that checksums have been checked. */
export function resetChecksum(context: u32): void {
  setState(context, stateOf(context) & ~u32(SKB_CSUM_UNNECESSARY | SKB_CSUM_LEVEL));
}

export function csum_level(context: u32, action: u64): i64 {
  const state = stateOf(context);
  const checked = (state & SKB_CSUM_UNNECESSARY) != 0;
  const level = (state & SKB_CSUM_LEVEL) >> SKB_CSUM_LEVEL_SHIFT;
  const one: u32 = 1 << SKB_CSUM_LEVEL_SHIFT;
  if (action == BPF_CSUM_LEVEL_QUERY) return checked ? i64(level) : -EACCES;
  if (action == BPF_CSUM_LEVEL_INC) {
    if (!checked) setState(context, state | SKB_CSUM_UNNECESSARY);
    else if (level < MAX_LEVEL) setState(context, state + one);
  } else if (action == BPF_CSUM_LEVEL_DEC) {
    if (checked) setState(context, level == 0 ? state & ~u32(SKB_CSUM_UNNECESSARY) : state - one);
  } else if (action == BPF_CSUM_LEVEL_RESET) {
    resetChecksum(context);
  } else {
    return -EINVAL;
  }
  return 0;
}
