/**
 * arena: pages that programs ask for and give back (kernel/bpf/arena.c). Its addresses are those of the linear memory, so the
 * low half of a pointer is where the page lies in both address spaces of a program; nothing is touched before it is used.
 */
import { MAP_LOCK, MAP_MAX_ENTRIES, MAP_VALUES, REGION_MEMORY, RIGHT_READ, RIGHT_WRITE } from "../../layout";
import { alloc, free } from "../allocator";
import { lock, unlock } from "../lock";
import { region_add } from "../sandbox/regions";
import { EBUSY, EINVAL, ENOMEM } from "../uapi";
import { ARENA_BITMAP, ARENA_PAGES, ARENA_START } from "./fields";

const PAGE: u32 = 4096;

export function arenaCreate(map: u32): i32 {
  const pages = load<u32>(map, MAP_MAX_ENTRIES);
  const size = u64(pages) * PAGE;
  if (size > u64(u32.MAX_VALUE)) return -ENOMEM;
  const start = alloc(u32(size), PAGE);
  const bitmap = start == 0 ? 0 : alloc((pages + 7) >> 3, 8);
  if (bitmap == 0) {
    free(start);
    return -ENOMEM;
  }
  store<u32>(map, start, ARENA_START);
  store<u32>(map, start, MAP_VALUES);
  store<u32>(map, pages, ARENA_PAGES);
  store<u32>(map, bitmap, ARENA_BITMAP);
  region_add(start, u32(size), REGION_MEMORY, RIGHT_READ | RIGHT_WRITE, map);
  return 0;
}

export function arenaFree(map: u32): void {
  free(load<u32>(map, ARENA_START));
  free(load<u32>(map, ARENA_BITMAP));
}

function isTaken(map: u32, page: u32): bool {
  return ((load<u8>(load<u32>(map, ARENA_BITMAP) + (page >> 3)) >> u8(page & 7)) & 1) != 0;
}

function mark(map: u32, first: u32, count: u32, taken: bool): void {
  for (let page = first; page < first + count; page++) {
    const at = load<u32>(map, ARENA_BITMAP) + (page >> 3);
    const bit = u8(1) << u8(page & 7);
    store<u8>(at, taken ? load<u8>(at) | bit : load<u8>(at) & ~bit);
  }
}

function isFree(map: u32, first: u32, count: u32): bool {
  for (let page = first; page < first + count; page++) if (isTaken(map, page)) return false;
  return true;
}

/** bpf_arena_alloc_pages: zeroed pages, at `address` if that is not 0; or 0. */
export function arena_alloc_pages(map: u32, address: u32, count: u32): u32 {
  const pages = load<u32>(map, ARENA_PAGES);
  const start = load<u32>(map, ARENA_START);
  if (count == 0 || count > pages || (address & (PAGE - 1)) != 0) return 0;
  lock(map + MAP_LOCK);
  let found = u32.MAX_VALUE;
  if (address != 0) {
    const page = (address - start) / PAGE;
    if (address >= start && page <= pages - count && isFree(map, page, count)) found = page;
  } else {
    for (let page: u32 = 0; page <= pages - count && found == u32.MAX_VALUE; page++) {
      if (isFree(map, page, count)) found = page;
    }
  }
  let result: u32 = 0;
  if (found != u32.MAX_VALUE) {
    mark(map, found, count, true);
    result = start + found * PAGE;
    memory.fill(result, 0, count * PAGE);
  }
  unlock(map + MAP_LOCK);
  return result;
}

/** bpf_arena_reserve_pages: nobody gets them from then on. */
export function arena_reserve_pages(map: u32, address: u32, count: u32): i32 {
  const pages = load<u32>(map, ARENA_PAGES);
  const start = load<u32>(map, ARENA_START);
  if ((address & (PAGE - 1)) != 0) return 0;
  const page = (address - start) / PAGE;
  if (address < start || count > pages || page > pages - count) return -EINVAL;
  lock(map + MAP_LOCK);
  const free = isFree(map, page, count);
  if (free) mark(map, page, count, true);
  unlock(map + MAP_LOCK);
  return free ? 0 : -EBUSY;
}

/** bpf_arena_free_pages: what lies outside of the arena is ignored. */
export function arena_free_pages(map: u32, address: u32, count: u32): void {
  const pages = load<u32>(map, ARENA_PAGES);
  const start = load<u32>(map, ARENA_START);
  if (address < start) return;
  const page = (address - start) / PAGE;
  if (page >= pages) return;
  lock(map + MAP_LOCK);
  mark(map, page, min(count, pages - page), false);
  unlock(map + MAP_LOCK);
}
