/**
 * The allocator of the linear memory.
 *
 * Fresh WebAssembly memory is zero and its pages cost nothing until they are touched, so a block is carved from the
 * top of the heap without writing to it: an array map of 33 million elements costs the pages that a program uses.
 * Only what was in use before is zeroed when it is handed out again; CORE_DIRTY_END is where such memory ends.
 *
 * Each block has an 8-byte header in front of it with its capacity. Freed blocks of up to LARGE bytes wait in one list
 * for each size class (four classes between two powers of two, so at most a quarter is wasted). Larger ones
 * lie in one list ordered by address, where neighbours are joined; what borders on the top goes back to the top.
 */
import {
  CORE_ALLOC_LOCK,
  CORE_CLASSES,
  CORE_DIRTY_END,
  CORE_FIRST_LARGE,
  CORE_TOP,
  FIRST_ADDRESS,
} from "../layout";
import { lock, unlock } from "./lock";

const HEADER: u32 = 8;
const MIN_BLOCK: u32 = 16;
const LARGE: u32 = 0x10000;
// One page below 4 GiB stays unused, so that an end address always fits in 32 bits.
const LIMIT: u64 = 0xffff0000;
const PAGE: u64 = 0x10000;
// The state of a block in the second word of its header.
const USED: u32 = 0x75736564;
const FREED: u32 = 0x66726565;
// How many blocks of a class are looked at for one of a rare alignment.
const ALIGNED_TRIES: i32 = 8;

/** Zeroed memory, or 0 when there is no more. `align` is a power of two. */
export function alloc(size: u32, align: u32): u32 {
  lock(CORE_ALLOC_LOCK);
  const block = allocate(size, align);
  unlock(CORE_ALLOC_LOCK);
  return block;
}

function allocate(size: u32, align: u32): u32 {
  if (size > u32(LIMIT)) return 0;
  if (align < 8 || (align & (align - 1)) != 0) align = 8;
  const wanted = size < MIN_BLOCK ? MIN_BLOCK : (size + 7) & ~7;
  let block: u32 = 0;
  if (wanted <= LARGE) {
    const sizeClass = classOf(wanted);
    block = takeFromClass(sizeClass, align);
    if (block == 0) return carve(classSize(sizeClass), align);
  } else {
    block = takeLarge(wanted, align);
    if (block == 0) return carve(wanted, align);
  }
  memory.fill(block, 0, size);
  return block;
}

/** Gives a block back. 0 is allowed; an address that is no block in use is ignored. */
export function free(block: u32): void {
  if (block < u32(FIRST_ADDRESS) + HEADER || load<u32>(block - HEADER, 4) != USED) return;
  lock(CORE_ALLOC_LOCK);
  store<u32>(block - HEADER, FREED, 4);
  const size = load<u32>(block - HEADER);
  if (size <= LARGE) {
    const head = u32(CORE_CLASSES) + (classOf(size) << 2);
    store<u32>(block, load<u32>(head));
    store<u32>(head, block);
  } else {
    insertLarge(block);
  }
  unlock(CORE_ALLOC_LOCK);
}

/** A block from the top of the heap, growing the memory as needed. */
function carve(size: u32, align: u32): u32 {
  const top = load<u32>(CORE_TOP) == 0 ? u32(__heap_base) : load<u32>(CORE_TOP);
  const dirtyEnd = load<u32>(CORE_DIRTY_END);
  const mask = u64(align) - 1;
  const block = (u64(top) + HEADER + mask) & ~mask;
  const end = block + size;
  if (end > LIMIT || !grow(end)) return 0;
  const address = u32(block);
  store<u32>(address - HEADER, size);
  store<u32>(address - HEADER, USED, 4);
  if (address < dirtyEnd) {
    memory.fill(address, 0, (end < u64(dirtyEnd) ? u32(end) : dirtyEnd) - address);
  }
  store<u32>(CORE_TOP, u32(end));
  return address;
}

/** Makes the memory reach to `end`; by more than is needed if it can, since each growth detaches the host's views. */
function grow(end: u64): bool {
  const pages = u64(memory.size());
  const needed = (end + PAGE - 1) / PAGE;
  if (needed <= pages) return true;
  let generous = needed + min<u64>(pages / 4, 256);
  if (generous > LIMIT / PAGE) generous = LIMIT / PAGE;
  return memory.grow(i32(generous - pages)) >= 0 || memory.grow(i32(needed - pages)) >= 0;
}

/** Sizes to 128 in steps of 8; then four steps for each power of two. */
function classOf(size: u32): u32 {
  if (size <= 128) return size >> 3;
  const shift = 29 - clz(size - 1);
  return 17 + ((shift - 5) << 2) + (((size - 1) >> shift) - 4);
}

function classSize(sizeClass: u32): u32 {
  if (sizeClass < 17) return sizeClass << 3;
  const step = sizeClass - 17;
  return ((step & 3) + 5) << ((step >> 2) + 5);
}

function takeFromClass(sizeClass: u32, align: u32): u32 {
  let link = u32(CORE_CLASSES) + (sizeClass << 2);
  for (let tries = ALIGNED_TRIES; tries > 0; tries--) {
    const block = load<u32>(link);
    if (block == 0) return 0;
    if ((block & (align - 1)) == 0) {
      store<u32>(link, load<u32>(block));
      store<u32>(block - HEADER, USED, 4);
      return block;
    }
    link = block;
  }
  return 0;
}

/** First fit. The rest of a block that is much too large becomes a block of its own. */
function takeLarge(size: u32, align: u32): u32 {
  let previous: u32 = 0;
  for (let block = load<u32>(CORE_FIRST_LARGE); block != 0; block = load<u32>(block)) {
    const capacity = load<u32>(block - HEADER);
    if (capacity >= size && (block & (align - 1)) == 0) {
      let next = load<u32>(block);
      if (capacity - size > LARGE + HEADER) {
        const rest = block + size + HEADER;
        store<u32>(rest - HEADER, capacity - size - HEADER);
        store<u32>(rest - HEADER, FREED, 4);
        store<u32>(rest, next);
        store<u32>(block - HEADER, size);
        next = rest;
      }
      setNext(previous, next);
      store<u32>(block - HEADER, USED, 4);
      return block;
    }
    previous = block;
  }
  return 0;
}

function insertLarge(block: u32): void {
  let previous: u32 = 0;
  let next = load<u32>(CORE_FIRST_LARGE);
  while (next != 0 && next < block) {
    previous = next;
    next = load<u32>(next);
  }
  store<u32>(block, next);
  setNext(previous, block);
  if (next != 0 && endOf(block) + HEADER == next) join(block, next);
  if (previous != 0 && endOf(previous) + HEADER == block) {
    join(previous, block);
    block = previous;
  }
  const top = load<u32>(CORE_TOP);
  if (endOf(block) == top) {
    // It is the last of the list: take it off again, and the heap ends before it.
    let before: u32 = 0;
    for (let at = load<u32>(CORE_FIRST_LARGE); at != block; at = load<u32>(at)) before = at;
    setNext(before, 0);
    if (top > load<u32>(CORE_DIRTY_END)) store<u32>(CORE_DIRTY_END, top);
    store<u32>(CORE_TOP, block - HEADER);
  }
}

function setNext(block: u32, next: u32): void {
  if (block == 0) store<u32>(CORE_FIRST_LARGE, next);
  else store<u32>(block, next);
}

function endOf(block: u32): u32 {
  return block + load<u32>(block - HEADER);
}

function join(block: u32, next: u32): void {
  store<u32>(block - HEADER, load<u32>(block - HEADER) + HEADER + load<u32>(next - HEADER));
  store<u32>(block, load<u32>(next));
  // What looked like a block is now in the middle of one.
  store<u32>(next - HEADER, 0, 4);
}
