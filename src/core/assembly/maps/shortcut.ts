/**
 * Shortcuts into a trie. Most of a lookup's time goes into the first hops from the root, a dependent load each, and they
 * depend on the leading bits of the key only. So a table says for each value of the bits that follow the root's prefix, about
 * as many bits as tell the keys apart, where the walk stands after them: the longest prefix found so far and the node to go
 * on with. A change of the trie mends the few entries that it touches; one that touches many (a short prefix, another
 * root) makes the table stale, and lookups make it anew when there have been enough of them to pay for it.
 */
import { MAP_COUNT, MAP_LOCK } from "../../layout";
import { alloc, free } from "../allocator";
import { lock, unlock } from "../lock";
import {
  TRIE_BITS,
  TRIE_CHANGES,
  TRIE_DATA_SIZE,
  TRIE_LEAD,
  TRIE_MEMORY,
  TRIE_MEMORY_BITS,
  TRIE_MISSES,
  TRIE_ROOT,
  TRIE_SHORTCUTS,
  TRIE_SKIP,
} from "./fields";
import { lane } from "./prefix";

// A node: its children, the length of its prefix, whether a key is stored in it; its data.
export const NODE_CHILDREN = 0;
export const NODE_LENGTH = 8;
export const NODE_STORED = 12;
export const NODE_DATA = 16;

// An entry: the longest prefix found so far, the node to go on with.
export const ENTRY_FOUND = 0;
export const ENTRY_NODE = 4;

// Small tries are faster without.
const MIN_COUNT: u32 = 16;
const MIN_BITS: u32 = 8;
const MAX_BITS: u32 = 18;
// A change that touches more entries than this leaves the table to be made anew.
const MOST_MENDED: u32 = 8;

/** The table, or 0 while there is none that is valid. */
export function shortcuts(map: u32): u32 {
  const table = load<u32>(map, TRIE_SHORTCUTS);
  return table != 0 ? table : missed(map);
}

/** The entry for a key of `length` bits, the first 64 of them given; 0 if the key is too short or not below the root's prefix. */
export function shortcutEntry(map: u32, table: u32, bits: u64, length: u32): u32 {
  const skip = load<u32>(map, TRIE_SKIP);
  const count = load<u32>(map, TRIE_BITS);
  if (length < skip + count) return 0;
  if (skip != 0 && (bits ^ load<u64>(map, TRIE_LEAD)) >> (64 - skip) != 0) return 0;
  return table + (u32((bits << skip) >> (64 - count)) << 3);
}

/** A lookup without a table; from time to time it makes one. */
function missed(map: u32): u32 {
  const count = load<u32>(map, MAP_COUNT);
  if (count < MIN_COUNT) return 0;
  const misses = load<u32>(map, TRIE_MISSES) + 1;
  store<u32>(map, misses, TRIE_MISSES);
  return misses > count / 2 ? makeTable(map) : 0;
}

function bitsFor(map: u32, skip: u32): u32 {
  const wanted = 33 - clz(load<u32>(map, MAP_COUNT));
  const left = min<u32>(load<u32>(map, TRIE_DATA_SIZE) << 3, 64) - skip;
  return min(min(max(wanted, MIN_BITS), MAX_BITS), left);
}

function makeTable(map: u32): u32 {
  lock(map + MAP_LOCK);
  let table = load<u32>(map, TRIE_SHORTCUTS);
  if (table == 0) {
    changeShortcuts(map);
    table = build(map);
    changeShortcuts(map);
  }
  unlock(map + MAP_LOCK);
  return table;
}

/** Before and after each change: readers in other threads look again when the number is odd or not what it was. */
export function changeShortcuts(map: u32): void {
  if (ASC_FEATURE_THREADS) atomic.add<u32>(map + TRIE_CHANGES, 1);
}

function build(map: u32): u32 {
  store<u32>(map, 0, TRIE_MISSES);
  const root = load<u32>(map, TRIE_ROOT);
  if (root == 0) return 0;
  const skip = load<u32>(root, NODE_LENGTH);
  // A root that covers most of the key leaves nothing to tell apart in the first 64 bits.
  if (skip > 48) return 0;
  const bits = bitsFor(map, skip);
  if (bits < 2) return 0;
  let table = load<u32>(map, TRIE_MEMORY);
  if (table == 0 || load<u32>(map, TRIE_MEMORY_BITS) < bits) {
    free(table);
    table = alloc(8 << bits, 8);
    store<u32>(map, table, TRIE_MEMORY);
    store<u32>(map, bits, TRIE_MEMORY_BITS);
    if (table == 0) return 0;
  }
  store<u32>(map, skip, TRIE_SKIP);
  store<u32>(map, bits, TRIE_BITS);
  store<u64>(map, leadOf(map, root), TRIE_LEAD);
  fill(map, table, root, 0, 0, 1 << bits);
  store<u32>(map, table, TRIE_SHORTCUTS);
  return table;
}

function leadOf(map: u32, node: u32): u64 {
  return lane(node + NODE_DATA, load<u32>(map, TRIE_DATA_SIZE));
}

/** Entries `first` to `end`, whose walk comes to `node` after it has found `found`. */
function fill(map: u32, table: u32, node: u32, found: u32, first: u32, end: u32): void {
  const skip = load<u32>(map, TRIE_SKIP);
  const bits = load<u32>(map, TRIE_BITS);
  const length: u32 = node == 0 ? 0 : load<u32>(node, NODE_LENGTH);
  if (node == 0 || length >= skip + bits) {
    for (let index = first; index < end; index++) setEntry(table, index, found, node);
    return;
  }
  const size = u32(1) << (skip + bits - length);
  const start = u32((leadOf(map, node) << skip) >> (64 - bits)) & ~(size - 1);
  for (let index = first; index < start; index++) setEntry(table, index, found, 0);
  for (let index = start + size; index < end; index++) setEntry(table, index, found, 0);
  if (load<u32>(node, NODE_STORED) != 0) found = node;
  const middle = start + (size >> 1);
  fill(map, table, load<u32>(node, NODE_CHILDREN), found, start, middle);
  fill(map, table, load<u32>(node, NODE_CHILDREN + 4), found, middle, start + size);
}

function setEntry(table: u32, index: u32, found: u32, node: u32): void {
  store<u64>(table + (index << 3), u64(found) | (u64(node) << 32));
}

/** After a change at a key: mends what it touches, or gives the table up. */
export function mendShortcuts(map: u32, data: u32, length: u32): void {
  const table = load<u32>(map, TRIE_SHORTCUTS);
  if (table == 0) return;
  const skip = load<u32>(map, TRIE_SKIP);
  const bits = load<u32>(map, TRIE_BITS);
  const root = load<u32>(map, TRIE_ROOT);
  const covered = skip + bits;
  const grown = bits < MAX_BITS && load<u32>(map, MAP_COUNT) >> bits > 1;
  if (grown || root == 0 || load<u32>(root, NODE_LENGTH) != skip || length < skip || covered > length + 3) {
    store<u32>(map, 0, TRIE_SHORTCUTS);
    return;
  }
  const lead = lane(data, load<u32>(map, TRIE_DATA_SIZE));
  if (skip != 0 && (lead ^ leadOf(map, root)) >> (64 - skip) != 0) {
    store<u32>(map, 0, TRIE_SHORTCUTS);
    return;
  }
  const size = length >= covered ? 1 : u32(1) << (covered - length);
  const start = u32((lead << skip) >> (64 - bits)) & ~(size - 1);
  for (let index = start; index < start + min(size, MOST_MENDED); index++) mendEntry(map, table, index);
}

function mendEntry(map: u32, table: u32, index: u32): void {
  const skip = load<u32>(map, TRIE_SKIP);
  const bits = load<u32>(map, TRIE_BITS);
  const covered = skip + bits;
  const rest = u64(index) << (64 - bits);
  const lead =
    skip == 0 ? rest : ((load<u64>(map, TRIE_LEAD) >> (64 - skip)) << (64 - skip)) | (rest >> skip);
  let found: u32 = 0;
  let node = load<u32>(map, TRIE_ROOT);
  while (node != 0) {
    const length = load<u32>(node, NODE_LENGTH);
    if (length >= covered) break;
    if (length != 0 && (lead ^ leadOf(map, node)) >> (64 - length) != 0) node = 0;
    else {
      if (load<u32>(node, NODE_STORED) != 0) found = node;
      node = load<u32>(node + NODE_CHILDREN + (u32((lead >> (63 - length)) & 1) << 2));
    }
  }
  setEntry(table, index, found, node);
}
