/**
 * Objects that programs allocate (bpf_obj_new, CPU masks): blocks of one size in slabs, which are never given back, so that what
 * was an object of a type stays one (as kernel/bpf/memalloc.c has it for readers under RCU). Freed blocks wait at the end of the
 * line, so that an address comes back as late as possible and one who uses it too long is told.
 *
 * The header before each object is out of every program's reach: what is in use, and whose it is, does not depend on what
 * programs write.
 */
import {
  CACHE_BLOCK,
  CACHE_BYTES,
  CACHE_COPY_STRIDE,
  CACHE_FREE,
  CACHE_LAST,
  CACHE_LOCK,
  CACHE_NEXT_SLAB,
  CACHE_RECORD,
  CACHE_RIGHTS,
  CACHE_SIZE,
  CACHE_TYPE,
  HEAP_CACHE,
  HEAP_HEADER,
  HEAP_NEXT,
  HEAP_OWNER,
  HEAP_REFERENCES,
  REGION_BASE,
  REGION_HEAP,
  REGION_KIND,
  REGION_STRIDE,
} from "../layout";
import { alloc } from "./allocator";
import { lock, unlock } from "./lock";
import { lockRegions, regionAt, region_add, setCopies, setStride, unlockRegions } from "./sandbox/regions";

const HEADER: u32 = HEAP_HEADER;
const FIRST_SLAB: u32 = 16;
// Bytes; larger objects get slabs of one block.
const LARGEST_SLAB: u32 = 1 << 20;

/** A type of objects; 0 when the memory is used up. `copies` is 1, or the number of CPUs for per-CPU objects. */
export function object_cache(size: u32, copies: u32, type: u32, record: u32, rights: i32): u32 {
  const stride = (size + 7) & ~7;
  const block = u64(HEADER) + u64(stride) * copies;
  if (block > u64(i32.MAX_VALUE)) return 0;
  const cache = alloc(CACHE_BYTES, 8);
  if (cache == 0) return 0;
  store<u32>(cache, size, CACHE_SIZE);
  store<u32>(cache, copies > 1 ? stride : 0, CACHE_COPY_STRIDE);
  store<u32>(cache, u32(block), CACHE_BLOCK);
  store<u32>(cache, type, CACHE_TYPE);
  store<u32>(cache, record, CACHE_RECORD);
  store<i32>(cache, rights, CACHE_RIGHTS);
  store<u32>(cache, FIRST_SLAB, CACHE_NEXT_SLAB);
  return cache;
}

/** A zeroed object with one reference to it; 0 when the memory is used up. */
export function object_alloc(cache: u32, owner: u32): u32 {
  lock(cache + CACHE_LOCK);
  let object = load<u32>(cache, CACHE_FREE);
  if (object == 0 && grow(cache)) object = load<u32>(cache, CACHE_FREE);
  if (object != 0) {
    const next = load<u32>(object - HEADER, HEADER + HEAP_NEXT);
    store<u32>(cache, next, CACHE_FREE);
    if (next == 0) store<u32>(cache, 0, CACHE_LAST);
    memory.fill(object, 0, load<u32>(cache, CACHE_BLOCK) - HEADER);
    store<u32>(object - HEADER, owner, HEADER + HEAP_OWNER);
    store<u32>(object - HEADER, 0, HEADER + HEAP_NEXT);
    store<u32>(object - HEADER, 1, HEADER + HEAP_REFERENCES);
  }
  unlock(cache + CACHE_LOCK);
  return object;
}

/** One reference less; whether it was the last. */
export function dropReference(object: u32): bool {
  const header = object - HEADER;
  const cache = load<u32>(header, HEADER + HEAP_CACHE);
  lock(cache + CACHE_LOCK);
  const references = load<u32>(header, HEADER + HEAP_REFERENCES);
  if (references != 0) store<u32>(header, references - 1, HEADER + HEAP_REFERENCES);
  unlock(cache + CACHE_LOCK);
  return references == 1;
}

/** An object without references becomes free. */
export function giveBack(object: u32): void {
  const cache = load<u32>(object - HEADER, HEADER + HEAP_CACHE);
  lock(cache + CACHE_LOCK);
  append(cache, object);
  unlock(cache + CACHE_LOCK);
}

/** One reference more. */
export function object_retain(object: u32): void {
  const cache = load<u32>(object - HEADER, HEADER + HEAP_CACHE);
  lock(cache + CACHE_LOCK);
  store<u32>(
    object - HEADER,
    load<u32>(object - HEADER, HEADER + HEAP_REFERENCES) + 1,
    HEADER + HEAP_REFERENCES,
  );
  unlock(cache + CACHE_LOCK);
}

function append(cache: u32, object: u32): void {
  const last = load<u32>(cache, CACHE_LAST);
  store<u32>(object - HEADER, 0, HEADER + HEAP_NEXT);
  if (last == 0) store<u32>(cache, object, CACHE_FREE);
  else store<u32>(last - HEADER, object, HEADER + HEAP_NEXT);
  store<u32>(cache, object, CACHE_LAST);
}

function grow(cache: u32): bool {
  const block = load<u32>(cache, CACHE_BLOCK);
  const count = max<u32>(1, min<u32>(load<u32>(cache, CACHE_NEXT_SLAB), LARGEST_SLAB / block));
  const slab = alloc(count * block, 8);
  if (slab == 0) return false;
  for (let at = slab; at < slab + count * block; at += block) {
    store<u32>(at, cache, HEADER + HEAP_CACHE);
    append(cache, at + HEADER);
  }
  const region = region_add(slab, count * block, REGION_HEAP, load<i32>(cache, CACHE_RIGHTS), cache);
  setStride(region, block, HEADER, load<u32>(cache, CACHE_SIZE));
  const stride = load<u32>(cache, CACHE_COPY_STRIDE);
  if (stride != 0) setCopies(region, stride, (block - HEADER) / stride);
  store<u32>(cache, count * 2, CACHE_NEXT_SLAB);
  return true;
}

/** The object that an address lies in, in use or free, or 0. The table of regions is locked. */
export function lockedObject(address: u32): u32 {
  const record = regionAt(address);
  if (record == 0 || load<i32>(record, REGION_KIND) != REGION_HEAP) return 0;
  const distance = (address - load<u32>(record, REGION_BASE)) % load<u32>(record, REGION_STRIDE);
  return distance < HEADER ? 0 : address - distance + HEADER;
}

/** The object in use that an address lies in, or 0. */
export function object_of(address: u32): u32 {
  lockRegions();
  const object = lockedObject(address);
  unlockRegions();
  return object != 0 && load<u32>(object - HEADER, HEADER + HEAP_REFERENCES) != 0 ? object : 0;
}
