/**
 * Reading wherever a 64-bit address leads (kernel/trace/bpf_trace.c). Kernel and user memory are one here: what lies in the
 * machine's memory, above the addresses that are never handed out, can be read; all else is a fault, after which the
 * destination is zero.
 */
import { FIRST_ADDRESS } from "../../layout";
import { EFAULT } from "../uapi";

function readable(address: u64, size: u32): bool {
  return (
    address >= u64(FIRST_ADDRESS) && address + size <= u64(memory.size()) << 16 && address + size >= address
  );
}

function read(to: u32, size: u32, from: u64): i32 {
  if (!readable(from, size)) {
    memory.fill(to, 0, size);
    return size == 0 ? 0 : -EFAULT;
  }
  memory.copy(to, u32(from), size);
  return 0;
}

/** Up to a NUL, which is always there in the end. The result counts it. */
function readString(to: u32, size: u32, from: u64): i32 {
  if (size == 0) return 0;
  for (let at: u32 = 0; at < size; at++) {
    if (!readable(from + at, 1)) {
      memory.fill(to, 0, size);
      return -EFAULT;
    }
    const byte = load<u8>(u32(from) + at);
    store<u8>(to + at, byte);
    if (byte == 0) return at + 1;
  }
  store<u8>(to + size - 1, 0);
  return size;
}

export function probe_read(to: u32, size: u32, from: u64): i32 {
  return read(to, size, from);
}

export function probe_read_kernel(to: u32, size: u32, from: u64): i32 {
  return read(to, size, from);
}

export function probe_read_user(to: u32, size: u32, from: u64): i32 {
  return read(to, size, from);
}

export function probe_read_str(to: u32, size: u32, from: u64): i32 {
  return readString(to, size, from);
}

export function probe_read_kernel_str(to: u32, size: u32, from: u64): i32 {
  return readString(to, size, from);
}

export function probe_read_user_str(to: u32, size: u32, from: u64): i32 {
  return readString(to, size, from);
}

export function copy_from_user(to: u32, size: u32, from: u64): i32 {
  return read(to, size, from);
}

/** The kernel copies only as far as no page is missing; here all or nothing is there. */
export function probe_write_user(to: u64, from: u32, size: u32): i32 {
  if (!readable(to, size)) return -EFAULT;
  memory.copy(u32(to), from, size);
  return 0;
}
