/**
 * lpm_trie: a binary trie over the bits of the key's data, without chains of nodes that have one child. A node that
 * no key was stored in (an intermediate one) has two children.
 *
 * Keys are a prefix length in host order and data in network order (uapi/linux/bpf.h struct bpf_lpm_trie_key_u8). As in
 * the kernel, the data of a key is kept as it was given, bits beyond the prefix included, and an update puts a new
 * node in the place of the old one, so that pointers to the old value go on showing it.
 */
import { MAP_COUNT, MAP_KEY_SIZE, MAP_LOCK, MAP_MAX_ENTRIES, MAP_VALUE_SIZE } from "../../layout";
import { free } from "../allocator";
import { copyBytes } from "../bytes";
import { lock, unlock } from "../lock";
import { BPF_EXIST, BPF_NOEXIST, EEXIST, EINVAL, ENOENT, ENOMEM, ENOSPC } from "../uapi";
import { roundUp8 } from "./descriptor";
import { poolCreate, poolFree, poolGive, poolGiveLater, poolTake } from "./elements";
import { TRIE_CHANGES, TRIE_DATA_SIZE, TRIE_MEMORY, TRIE_ROOT, TRIE_VALUE } from "./fields";
import { bitAt, lane, matchLength } from "./prefix";
import {
  ENTRY_FOUND,
  ENTRY_NODE,
  NODE_CHILDREN,
  NODE_DATA,
  NODE_LENGTH,
  NODE_STORED,
  changeShortcuts,
  mendShortcuts,
  shortcutEntry,
  shortcuts,
} from "./shortcut";

const KEY_DATA = 4;

/** Storage for a map whose attributes have been checked. 0 or -errno. */
export function trieCreate(map: u32): i32 {
  const dataSize = load<u32>(map, MAP_KEY_SIZE) - KEY_DATA;
  const value = NODE_DATA + u32(roundUp8(dataSize));
  const stride = value + u32(roundUp8(load<u32>(map, MAP_VALUE_SIZE)));
  store<u32>(map, dataSize, TRIE_DATA_SIZE);
  store<u32>(map, value, TRIE_VALUE);
  // MAP_COUNT is what limits a trie; nodes that wait for the end of a run come on top.
  poolCreate(map, stride, u32.MAX_VALUE, false);
  return 0;
}

export function trieFree(map: u32): void {
  poolFree(map);
  free(load<u32>(map, TRIE_MEMORY));
}

function maxLength(map: u32): u32 {
  return load<u32>(map, TRIE_DATA_SIZE) << 3;
}

function childSlot(node: u32, bit: u32): u32 {
  return node + NODE_CHILDREN + (bit << 2);
}

/** How many leading bits the node's prefix and the key have in common. */
function match(map: u32, node: u32, key: u32): u32 {
  const limit = min(load<u32>(node, NODE_LENGTH), load<u32>(key));
  return matchLength(node + NODE_DATA, key + KEY_DATA, load<u32>(map, TRIE_DATA_SIZE), limit);
}

/** The value of the longest stored prefix of the key, or 0. */
export function trieLookup(map: u32, key: u32): u32 {
  return load<u32>(map, TRIE_DATA_SIZE) == 4 ? trie_lookup_8(map, key) : trie_lookup_long(map, key);
}

/**
 * Lookups by programs, by the size of the keys, called like hash_lookup_4. A reader holds no lock: what it saw of a trie that
 * changed meanwhile counts for nothing.
 */
export function trie_lookup_8(map: u32, key: u32): u32 {
  if (!ASC_FEATURE_THREADS) return valueIn(map, findShort(map, key));
  let found: u32;
  for (;;) {
    const seen = atomic.load<u32>(map + TRIE_CHANGES);
    found = findShort(map, key);
    if ((seen & 1) == 0 && atomic.load<u32>(map + TRIE_CHANGES) == seen) break;
  }
  return valueIn(map, found);
}

export function trie_lookup_long(map: u32, key: u32): u32 {
  if (!ASC_FEATURE_THREADS) return valueIn(map, findLong(map, key));
  let found: u32;
  for (;;) {
    const seen = atomic.load<u32>(map + TRIE_CHANGES);
    found = findLong(map, key);
    if ((seen & 1) == 0 && atomic.load<u32>(map + TRIE_CHANGES) == seen) break;
  }
  return valueIn(map, found);
}

function valueIn(map: u32, node: u32): u32 {
  return node == 0 ? 0 : node + load<u32>(map, TRIE_VALUE);
}

/**
 * For 4 bytes of data, as in IPv4 tables: all of the key is in one register.
 * @inline
 */
function findShort(map: u32, key: u32): u32 {
  const length = load<u32>(key);
  if (length > 32) return 0;
  const bits = bswap<u32>(load<u32>(key, KEY_DATA));
  let found: u32 = 0;
  let node = load<u32>(map, TRIE_ROOT);
  const table = shortcuts(map);
  const entry = table == 0 ? 0 : shortcutEntry(map, table, u64(bits) << 32, length);
  if (entry != 0) {
    found = load<u32>(entry, ENTRY_FOUND);
    node = load<u32>(entry, ENTRY_NODE);
  }
  while (node != 0) {
    const nodeLength = load<u32>(node, NODE_LENGTH);
    const common = u32(clz(bits ^ bswap<u32>(load<u32>(node, NODE_DATA))));
    if (nodeLength > length || common < nodeLength) break;
    if (load<u32>(node, NODE_STORED) != 0) found = node;
    if (nodeLength == 32) break;
    node = load<u32>(childSlot(node, (bits >> (31 - nodeLength)) & 1));
  }
  return found;
}

/**
 * What the parent's prefix covers is known to match: each node is compared from that 64-bit lane on.
 * @inline
 */
function findLong(map: u32, key: u32): u32 {
  const length = load<u32>(key);
  const size = load<u32>(map, TRIE_DATA_SIZE);
  if (length > size << 3) return 0;
  const data = key + KEY_DATA;
  let found: u32 = 0;
  let at: u32 = 0;
  let bits = lane(data, size);
  let node = load<u32>(map, TRIE_ROOT);
  const table = shortcuts(map);
  const entry = table == 0 ? 0 : shortcutEntry(map, table, bits, length);
  if (entry != 0) {
    found = load<u32>(entry, ENTRY_FOUND);
    node = load<u32>(entry, ENTRY_NODE);
  }
  while (node != 0) {
    const nodeLength = load<u32>(node, NODE_LENGTH);
    if (nodeLength > length) break;
    let common = u32(clz(bits ^ bswap<u64>(load<u64>(node + at, NODE_DATA))));
    while (common == 64 && (at << 3) + 64 < nodeLength) {
      at += 8;
      bits = lane(data + at, size - at);
      common = u32(clz(bits ^ bswap<u64>(load<u64>(node + at, NODE_DATA))));
    }
    if ((at << 3) + common < nodeLength) break;
    if (load<u32>(node, NODE_STORED) != 0) found = node;
    if (nodeLength == size << 3) break;
    if (nodeLength == (at << 3) + 64) {
      at += 8;
      bits = lane(data + at, size - at);
    }
    node = load<u32>(childSlot(node, u32(bits >> (63 - (nodeLength - (at << 3)))) & 1));
  }
  return found;
}

/** Counts a new key. 0 or -errno. */
function countNew(map: u32, flags: u64): i32 {
  const count = load<u32>(map, MAP_COUNT);
  if (flags == BPF_EXIST) return -ENOENT;
  if (count == load<u32>(map, MAP_MAX_ENTRIES)) return -ENOSPC;
  store<u32>(map, count + 1, MAP_COUNT);
  return 0;
}

function newNode(map: u32, key: u32, value: u32): u32 {
  const node = poolTake(map);
  if (node == 0) return 0;
  store<u64>(node, 0, NODE_CHILDREN);
  store<u32>(node, load<u32>(key), NODE_LENGTH);
  store<u32>(node, 1, NODE_STORED);
  setData(map, node, key + KEY_DATA);
  copyBytes(node + load<u32>(map, TRIE_VALUE), value, load<u32>(map, MAP_VALUE_SIZE));
  return node;
}

/** The last lane is filled up with zero, so that whole lanes can be compared. */
function setData(map: u32, node: u32, data: u32): void {
  const size = load<u32>(map, TRIE_DATA_SIZE);
  store<u64>(node + ((size - 1) & ~7), 0, NODE_DATA);
  copyBytes(node + NODE_DATA, data, size);
}

export function trieUpdate(map: u32, key: u32, value: u32, flags: u64): i32 {
  const length = load<u32>(key);
  if (flags > u64(BPF_EXIST) || length > maxLength(map)) return -EINVAL;
  lock(map + MAP_LOCK);
  const created = newNode(map, key, value);
  let status = -ENOMEM;
  if (created != 0) {
    changeShortcuts(map);
    status = place(map, key, created, flags);
    if (status != 0) poolGive(map, created);
    else mendShortcuts(map, key + KEY_DATA, length);
    changeShortcuts(map);
  }
  unlock(map + MAP_LOCK);
  return status;
}

function place(map: u32, key: u32, created: u32, flags: u64): i32 {
  const length = load<u32>(key);
  let slot = map + TRIE_ROOT;
  let node = load<u32>(slot);
  let common: u32 = 0;
  while (node != 0) {
    common = match(map, node, key);
    const nodeLength = load<u32>(node, NODE_LENGTH);
    if (common != nodeLength || nodeLength == length) break;
    slot = childSlot(node, bitAt(key + KEY_DATA, nodeLength));
    node = load<u32>(slot);
  }
  if (node != 0 && common == load<u32>(node, NODE_LENGTH)) return replace(map, slot, node, created, flags);
  const status = countNew(map, flags);
  if (status != 0) return status;
  if (node != 0) {
    if (common == length) {
      store<u32>(childSlot(created, bitAt(node + NODE_DATA, length)), node);
    } else {
      const fork = poolTake(map);
      if (fork == 0) {
        store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
        return -ENOMEM;
      }
      store<u32>(fork, common, NODE_LENGTH);
      store<u32>(fork, 0, NODE_STORED);
      setData(map, fork, node + NODE_DATA);
      const bit = bitAt(key + KEY_DATA, common);
      store<u32>(childSlot(fork, bit), created);
      store<u32>(childSlot(fork, bit ^ 1), node);
      created = fork;
    }
  }
  store<u32>(slot, created);
  return 0;
}

/** The node has exactly the key's prefix. */
function replace(map: u32, slot: u32, node: u32, created: u32, flags: u64): i32 {
  if (load<u32>(node, NODE_STORED) != 0) {
    if (flags == BPF_NOEXIST) return -EEXIST;
  } else {
    const status = countNew(map, flags);
    if (status != 0) return status;
  }
  store<u64>(created, load<u64>(node, NODE_CHILDREN), NODE_CHILDREN);
  store<u32>(slot, created);
  poolGiveLater(map, node);
  return 0;
}

export function trieDelete(map: u32, key: u32): i32 {
  const length = load<u32>(key);
  if (length > maxLength(map)) return -EINVAL;
  lock(map + MAP_LOCK);
  changeShortcuts(map);
  const status = takeOut(map, key, length);
  if (status == 0) mendShortcuts(map, key + KEY_DATA, length);
  changeShortcuts(map);
  unlock(map + MAP_LOCK);
  return status;
}

function takeOut(map: u32, key: u32, length: u32): i32 {
  let slot = map + TRIE_ROOT;
  let parentSlot: u32 = 0;
  let node = load<u32>(slot);
  while (node != 0) {
    const nodeLength = load<u32>(node, NODE_LENGTH);
    if (match(map, node, key) != nodeLength) return -ENOENT;
    if (nodeLength == length) break;
    parentSlot = slot;
    slot = childSlot(node, bitAt(key + KEY_DATA, nodeLength));
    node = load<u32>(slot);
  }
  if (node == 0 || load<u32>(node, NODE_STORED) == 0) return -ENOENT;
  store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
  const left = load<u32>(node, NODE_CHILDREN);
  const right = load<u32>(node, NODE_CHILDREN + 4);
  if (left != 0 && right != 0) {
    store<u32>(node, 0, NODE_STORED);
    return 0;
  }
  const parent = parentSlot == 0 ? 0 : load<u32>(parentSlot);
  if (parent != 0 && left == 0 && right == 0 && load<u32>(parent, NODE_STORED) == 0) {
    // An intermediate parent with one child is one too many: the sibling takes its place.
    const sibling = slot == childSlot(parent, 0) ? childSlot(parent, 1) : childSlot(parent, 0);
    store<u32>(parentSlot, load<u32>(sibling));
    poolGiveLater(map, parent);
  } else {
    store<u32>(slot, left != 0 ? left : right);
  }
  poolGiveLater(map, node);
  return 0;
}

/** More specific keys before less specific ones (postorder); a key that is not there starts over. */
export function trieNextKey(map: u32, key: u32, next: u32): i32 {
  lock(map + MAP_LOCK);
  const status = nextKey(map, key, next);
  unlock(map + MAP_LOCK);
  return status;
}

function nextKey(map: u32, key: u32, next: u32): i32 {
  const root = load<u32>(map, TRIE_ROOT);
  if (root == 0) return -ENOENT;
  if (key == 0 || load<u32>(key) > maxLength(map)) return copyKey(map, firstBelow(root), next);
  // What comes after the key, seen from the nodes on the way down to it; the last such view counts.
  let after: u32 = 0;
  let node = root;
  while (node != 0) {
    const nodeLength = load<u32>(node, NODE_LENGTH);
    if (match(map, node, key) != nodeLength) {
      node = 0;
      break;
    }
    if (nodeLength == load<u32>(key)) break;
    const bit = bitAt(key + KEY_DATA, nodeLength);
    const right = load<u32>(childSlot(node, 1));
    if (bit == 0 && right != 0) after = firstBelow(right);
    else if (load<u32>(node, NODE_STORED) != 0) after = node;
    node = load<u32>(childSlot(node, bit));
  }
  if (node == 0 || load<u32>(node, NODE_STORED) == 0) return copyKey(map, firstBelow(root), next);
  return after == 0 ? -ENOENT : copyKey(map, after, next);
}

/** The first stored node below (or at) this one in postorder. */
function firstBelow(node: u32): u32 {
  let child = node;
  while (child != 0) {
    node = child;
    const left = load<u32>(childSlot(node, 0));
    child = left != 0 ? left : load<u32>(childSlot(node, 1));
  }
  return node;
}

function copyKey(map: u32, node: u32, next: u32): i32 {
  store<u32>(next, load<u32>(node, NODE_LENGTH));
  copyBytes(next + KEY_DATA, node + NODE_DATA, load<u32>(map, TRIE_DATA_SIZE));
  return 0;
}
