/**
 * Which element of an LRU hash makes room for a new one.
 *
 * Linux leaves this open: its documentation promises that an update of a full map succeeds by removing elements that
 * were not used of late, and its own lists are approximate (batches for each CPU, so that it removes more than is
 * needed). Here, in the same spirit but one element at a time: a lookup by a program only sets the reference bit of
 * an element. New elements enter at the head of the inactive list. To make room, the inactive list is searched from
 * its tail: referenced elements move to the active list and lose their bit, the first other one goes. While the
 * active list is the longer one, its tail moves to the inactive list, or to its own head if it was
 * referenced. When too many elements in a row are referenced, the tail goes regardless.
 */
import { AFTER_HASH, LRU_ACTIVE, LRU_NEXT, LRU_NODE, LRU_PREVIOUS, LRU_REFERENCED } from "./fields";

// Two list heads, each like the start of a node, and their lengths.
const ACTIVE_HEAD = AFTER_HASH;
const INACTIVE_HEAD = AFTER_HASH + 8;
const ACTIVE_COUNT = AFTER_HASH + 16;
const INACTIVE_COUNT = AFTER_HASH + 20;

// How many elements a search looks at, so that an update takes a bounded time.
const SCANS: i32 = 128;

export function lruCreate(map: u32): void {
  clear(map + ACTIVE_HEAD);
  clear(map + INACTIVE_HEAD);
}

function clear(head: u32): void {
  store<u32>(head, head, LRU_PREVIOUS);
  store<u32>(head, head, LRU_NEXT);
}

/** A program has found the element. */
export function lruTouch(element: u32): void {
  const node = element - LRU_NODE;
  // Most finds find the bit set; not writing leaves the cache line clean.
  if (load<u8>(node, LRU_REFERENCED) == 0) store<u8>(node, 1, LRU_REFERENCED);
}

/** A new element. One that takes the place of another counts as referenced. */
export function lruAdd(map: u32, element: u32, referenced: bool): void {
  const node = element - LRU_NODE;
  store<u8>(node, referenced ? 1 : 0, LRU_REFERENCED);
  insert(map, node, 0);
}

export function lruRemove(map: u32, element: u32): void {
  detach(map, element - LRU_NODE);
}

function insert(map: u32, node: u32, active: u32): void {
  const head = map + (active != 0 ? ACTIVE_HEAD : INACTIVE_HEAD);
  const count = map + (active != 0 ? ACTIVE_COUNT : INACTIVE_COUNT);
  const first = load<u32>(head, LRU_NEXT);
  store<u8>(node, u8(active), LRU_ACTIVE);
  store<u32>(node, head, LRU_PREVIOUS);
  store<u32>(node, first, LRU_NEXT);
  store<u32>(first, node, LRU_PREVIOUS);
  store<u32>(head, node, LRU_NEXT);
  store<u32>(count, load<u32>(count) + 1);
}

function detach(map: u32, node: u32): void {
  const count = map + (load<u8>(node, LRU_ACTIVE) != 0 ? ACTIVE_COUNT : INACTIVE_COUNT);
  const previous = load<u32>(node, LRU_PREVIOUS);
  const next = load<u32>(node, LRU_NEXT);
  store<u32>(previous, next, LRU_NEXT);
  store<u32>(next, previous, LRU_PREVIOUS);
  store<u32>(count, load<u32>(count) - 1);
}

/** Moves a node to the head of a list; true if it was referenced, which it is no more. */
function move(map: u32, node: u32, active: u32): void {
  detach(map, node);
  store<u8>(node, 0, LRU_REFERENCED);
  insert(map, node, active);
}

/** The element that shall go; it is still in its list. The map is not empty. */
export function lruVictim(map: u32): u32 {
  const active = map + ACTIVE_HEAD;
  const inactive = map + INACTIVE_HEAD;
  for (let scans = SCANS; scans > 0; scans--) {
    if (load<u32>(map, INACTIVE_COUNT) >= load<u32>(map, ACTIVE_COUNT)) break;
    const node = load<u32>(active, LRU_PREVIOUS);
    move(map, node, load<u8>(node, LRU_REFERENCED));
  }
  for (let scans = SCANS; scans > 0; scans--) {
    const node = load<u32>(inactive, LRU_PREVIOUS);
    if (node == inactive) break;
    if (load<u8>(node, LRU_REFERENCED) == 0) return node + LRU_NODE;
    move(map, node, 1);
  }
  const last = load<u32>(inactive, LRU_PREVIOUS);
  return (last != inactive ? last : load<u32>(active, LRU_PREVIOUS)) + LRU_NODE;
}
