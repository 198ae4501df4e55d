/**
 * Reading wherever a 64-bit address leads (kernel/trace/bpf_trace.c). Kernel and user memory are one here: what lies in the
 * machine's memory, above the addresses that are never handed out, can be read; all else is a fault, after which the
 * destination is zero. What is known to be a process's own is not the kernel's, and what is known to be the kernel's (structures that a test
 * has made, values of maps, the stack) is no process's. For a sandboxed program what is not its own is not there.
 */
import {
  EXEC_STACK,
  FIRST_ADDRESS,
  FRAME_SIZE,
  REGION_CONTEXT,
  REGION_HEAP,
  REGION_KIND,
  REGION_MAP_VALUE,
  REGION_RIGHTS,
  REGION_SAMPLE,
  RIGHT_READ,
  RIGHT_WRITE,
  SPACE_KERNEL,
  SPACE_USER,
  STACK_SIZE,
} from "../../layout";
import { isAllowed } from "../sandbox/access";
import { lockRegions, regionAt, unlockRegions } from "../sandbox/regions";
import { exec, isSandboxed } from "../state";
import { EFAULT, ERANGE } from "../uapi";

function accessible(address: u64, size: u32, right: i32): bool {
  if (address < u64(FIRST_ADDRESS) || address + size > u64(memory.size()) << 16 || address + size < address)
    return false;
  if (size == 0 || !isSandboxed(exec)) return true;
  // Of the stack all that the program can have, because compiled code does not say where its frame is.
  return isAllowed(exec, load<u32>(exec, EXEC_STACK) + FRAME_SIZE, u32(address), size, right);
}

/** SPACE_ constant of a region, or 0: of memory that may be either. */
function spaceOf(address: u64): i32 {
  const stack = load<u32>(exec, EXEC_STACK);
  if (address >= u64(stack) && address < u64(stack) + STACK_SIZE) return SPACE_KERNEL;
  lockRegions();
  const record = regionAt(u32(address));
  const kind = record == 0 ? 0 : load<i32>(record, REGION_KIND);
  const space = record == 0 ? 0 : load<i32>(record, REGION_RIGHTS) & (SPACE_USER | SPACE_KERNEL);
  unlockRegions();
  const kernels =
    kind == REGION_CONTEXT || kind == REGION_MAP_VALUE || kind == REGION_SAMPLE || kind == REGION_HEAP;
  return kernels ? SPACE_KERNEL : space;
}

/** A process's memory cannot be read as the kernel's, nor the other way. */
function ofOther(address: u64, space: i32): bool {
  return spaceOf(address) == (space == SPACE_USER ? SPACE_KERNEL : SPACE_USER);
}

/** The same for helpers of the host. */
export function space_of(address: u64): i32 {
  return spaceOf(address);
}

/** For helpers of the host, which read. */
export function may_probe(address: u64, size: u32): i32 {
  return accessible(address, size, RIGHT_READ) ? 1 : 0;
}

// The lowest address of the kernel's half, of x86-64 with four levels of page tables.
const KERNEL_START: u64 = u64(0xffff8000) << 32;

/** Why nothing can be read there: of the kernel it is asked only for addresses of the kernel (copy_from_kernel_nofault). */
function kernelError(address: u64): i32 {
  return address < KERNEL_START ? -ERANGE : -EFAULT;
}

function readKernel(to: u32, size: u32, from: u64): i32 {
  if (!accessible(from, size, RIGHT_READ) || ofOther(from, SPACE_KERNEL)) {
    memory.fill(to, 0, size);
    return kernelError(from);
  }
  memory.copy(to, u32(from), size);
  return 0;
}

function read(to: u32, size: u32, from: u64): i32 {
  if (!accessible(from, size, RIGHT_READ)) {
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
    if (!accessible(from + at, 1, RIGHT_READ)) {
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
  return readKernel(to, size, from);
}

function readUser(to: u32, size: u32, from: u64): i32 {
  if (size == 0 || !ofOther(from, SPACE_USER)) return read(to, size, from);
  memory.fill(to, 0, size);
  return -EFAULT;
}

export function probe_read_user(to: u32, size: u32, from: u64): i32 {
  return readUser(to, size, from);
}

export function probe_read_str(to: u32, size: u32, from: u64): i32 {
  return readString(to, size, from);
}

export function probe_read_kernel_str(to: u32, size: u32, from: u64): i32 {
  const length = readStringOf(to, size, from, SPACE_KERNEL);
  return length == -EFAULT ? kernelError(from) : length;
}

function readStringOf(to: u32, size: u32, from: u64, space: i32): i32 {
  if (size == 0 || !ofOther(from, space)) return readString(to, size, from);
  memory.fill(to, 0, size);
  return -EFAULT;
}

export function probe_read_user_str(to: u32, size: u32, from: u64): i32 {
  return readStringOf(to, size, from, SPACE_USER);
}

export function copy_from_user(to: u32, size: u32, from: u64): i32 {
  return readUser(to, size, from);
}

/** The kernel copies only as far as no page is missing; here all or nothing is there. */
export function probe_write_user(to: u64, from: u32, size: u32): i32 {
  if (!accessible(to, size, RIGHT_WRITE) || ofOther(to, SPACE_USER)) return -EFAULT;
  memory.copy(u32(to), from, size);
  return 0;
}
