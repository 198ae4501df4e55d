/**
 * Elements of hashes and tries: a pool of equal blocks that hands out and takes back.
 *
 * A preallocated map reserves all its blocks in one piece at creation, without touching them; others get pieces
 * that double in size as the map grows.
 *
 * When a block that came back is used again is visible to a program that keeps a pointer to a deleted value. As seen
 * in Linux 6.18: hashes hand it out with the next insertion (last in, first out); tries do not before the run ends, since
 * the kernel waits for an RCU grace period.
 */
import { MAP_CPU_STRIDE, MAP_KEY_SIZE, MAP_TYPE, MAP_VALUE_SIZE, REGION_MAP_VALUE } from "../../layout";
import { alloc, free } from "../allocator";
import { region_add, setCopies, setKey, setStride } from "../sandbox/regions";
import { cpus, exec, periodOf } from "../state";
import {
  MAP_TYPE_HASH,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_HASH,
} from "../uapi";
import { isLru, isPerCpu, rightsOf } from "./descriptor";
import { isStorage } from "./storage";
import {
  ELEMENT_KEY,
  HASH_VALUE,
  LRU_NODE,
  POOL_END,
  POOL_FREE,
  POOL_FRESH,
  POOL_LAST_WAITING,
  POOL_LEFT,
  POOL_NEXT_PIECE,
  POOL_PIECES,
  POOL_STRIDE,
  POOL_WAITING,
  POOL_WAITING_RUN,
  TRIE_VALUE,
} from "./fields";

const PIECE_HEADER: u32 = 8;
// Not the first word: that of an element of a hash is the next of its chain, which an iteration may still need.
const LINK = 4;
const FIRST_PIECE: u64 = 16;
const LARGEST_PIECE: u64 = 0x100000;

/** False when a preallocated pool does not fit in the memory. `behind` are bytes that its one piece has after the blocks. */
export function poolCreate(map: u32, stride: u32, blocks: u32, preallocate: bool, behind: u32 = 0): bool {
  store<u32>(map, stride, POOL_STRIDE);
  store<u32>(map, blocks, POOL_LEFT);
  store<u32>(map, preallocate ? blocks : u32(FIRST_PIECE), POOL_NEXT_PIECE);
  return !preallocate || addPiece(map, behind);
}

function addPiece(map: u32, behind: u32): bool {
  const stride = load<u32>(map, POOL_STRIDE);
  const left = load<u32>(map, POOL_LEFT);
  let blocks = min(load<u32>(map, POOL_NEXT_PIECE), left);
  if (blocks == 0) return false;
  let size = u64(blocks) * stride + PIECE_HEADER;
  const whole = size + behind;
  if (whole > u64(u32.MAX_VALUE)) return false;
  let piece = alloc(u32(whole), 8);
  if (piece == 0 && behind == 0 && blocks > 1) {
    blocks = 1;
    size = u64(stride) + PIECE_HEADER;
    piece = alloc(u32(size), 8);
  }
  if (piece == 0) return false;
  registerPiece(map, piece + PIECE_HEADER, u32(size) - PIECE_HEADER, stride);
  store<u32>(piece, load<u32>(map, POOL_PIECES));
  store<u32>(map, piece, POOL_PIECES);
  store<u32>(map, piece + PIECE_HEADER, POOL_FRESH);
  store<u32>(map, piece + u32(size), POOL_END);
  store<u32>(map, left - blocks, POOL_LEFT);
  if (u64(blocks) * stride < LARGEST_PIECE) store<u32>(map, blocks * 2, POOL_NEXT_PIECE);
  return true;
}

/** What hashes of maps, sockets and devices hold, and stack traces, is not for programs to touch. */
function hasPlainValues(type: i32): bool {
  return (
    type == MAP_TYPE_HASH ||
    type == MAP_TYPE_PERCPU_HASH ||
    type == MAP_TYPE_LRU_HASH ||
    type == MAP_TYPE_LRU_PERCPU_HASH ||
    type == MAP_TYPE_LPM_TRIE ||
    isStorage(type)
  );
}

/** Of each block programs may touch the values, and read the key. */
function registerPiece(map: u32, first: u32, size: u32, stride: u32): void {
  if (!hasPlainValues(load<i32>(map, MAP_TYPE))) return;
  const rights = rightsOf(map);
  const region = region_add(first, size, REGION_MAP_VALUE, rights, map);
  const valueSize = load<u32>(map, MAP_VALUE_SIZE);
  if (load<i32>(map, MAP_TYPE) == MAP_TYPE_LPM_TRIE) {
    setStride(region, stride, load<u32>(map, TRIE_VALUE), valueSize);
    return;
  }
  const start: u32 = isLru(map) ? LRU_NODE : 0;
  const value = start + load<u32>(map, HASH_VALUE);
  const distance = load<u32>(map, MAP_CPU_STRIDE);
  const behind = value >= stride;
  setStride(region, stride, behind ? 0 : value, behind ? 0 : valueSize);
  setKey(region, start + ELEMENT_KEY, load<u32>(map, MAP_KEY_SIZE));
  if (!isPerCpu(map)) return;
  if (!behind) return setCopies(region, distance, cpus);
  for (let cpu: u32 = 0; cpu < cpus; cpu++) {
    const copies = region_add(first + value + cpu * distance, size, REGION_MAP_VALUE, rights, map);
    setStride(copies, stride, 0, valueSize);
  }
}

/** A block, or 0 when all are in use or the memory is used up. What it held before is still in it. */
export function poolTake(map: u32): u32 {
  if (load<u32>(map, POOL_WAITING) != 0 && load<u32>(map, POOL_WAITING_RUN) != periodOf(exec)) release(map);
  const block = load<u32>(map, POOL_FREE);
  if (block != 0) {
    store<u32>(map, load<u32>(block, LINK), POOL_FREE);
    return block;
  }
  let fresh = load<u32>(map, POOL_FRESH);
  if (fresh == load<u32>(map, POOL_END)) {
    if (!addPiece(map, 0)) return 0;
    fresh = load<u32>(map, POOL_FRESH);
  }
  store<u32>(map, fresh + load<u32>(map, POOL_STRIDE), POOL_FRESH);
  return fresh;
}

/** Takes a block back; its second word becomes the link of the list. */
export function poolGive(map: u32, block: u32): void {
  store<u32>(block, load<u32>(map, POOL_FREE), LINK);
  store<u32>(map, block, POOL_FREE);
}

/** The same, but nobody gets it before the run is over. */
export function poolGiveLater(map: u32, block: u32): void {
  if (load<u32>(map, POOL_WAITING_RUN) != periodOf(exec)) {
    if (load<u32>(map, POOL_WAITING) != 0) release(map);
    store<u32>(map, periodOf(exec), POOL_WAITING_RUN);
  }
  const first = load<u32>(map, POOL_WAITING);
  if (first == 0) store<u32>(map, block, POOL_LAST_WAITING);
  store<u32>(block, first, LINK);
  store<u32>(map, block, POOL_WAITING);
}

function release(map: u32): void {
  store<u32>(load<u32>(map, POOL_LAST_WAITING), load<u32>(map, POOL_FREE), LINK);
  store<u32>(map, load<u32>(map, POOL_WAITING), POOL_FREE);
  store<u32>(map, 0, POOL_WAITING);
}

export function poolFree(map: u32): void {
  let piece = load<u32>(map, POOL_PIECES);
  while (piece != 0) {
    const next = load<u32>(piece);
    free(piece);
    piece = next;
  }
}
