/** stack_trace (kernel/bpf/stackmap.c): traces by the hash of their addresses. */
import { MAP_COUNT, MAP_FLAGS, MAP_LOCK, MAP_MAX_ENTRIES, MAP_VALUE_SIZE } from "../../layout";
import { alloc, free } from "../allocator";
import { copyBytes, equalBytes, zeroBytes } from "../bytes";
import { lock, unlock } from "../lock";
import { BPF_F_STACK_BUILD_ID, E2BIG, EEXIST, EFAULT, ENOENT, ENOMEM } from "../uapi";
import { poolCreate, poolFree, poolGive, poolTake } from "./elements";
import { STACKS_MASK, STACKS_TABLE } from "./fields";
import { jhashWords } from "./jhash";

// struct bpf_stack_build_id: a status, 20 bytes of build id, the address. No files lie behind addresses here.
const BUILD_ID_SIZE: u32 = 32;
const BUILD_ID_IP = 2;
const BUILD_ID_ADDRESS = 24;

// A trace: its hash (the second word is the pool's when it is free), number of addresses, the addresses.
const TRACE_HASH = 0;
const TRACE_COUNT = 4;
const TRACE_DATA: u32 = 8;

const SKIP_MASK: u64 = 0xff;
const FAST_COMPARE: u64 = 1 << 9;
const REUSE_ID: u64 = 1 << 10;

export function stacksCreate(map: u32): i32 {
  const entries = load<u32>(map, MAP_MAX_ENTRIES);
  const buckets = entries == 1 ? 1 : u32(1) << (32 - clz(entries - 1));
  const stride = TRACE_DATA + load<u32>(map, MAP_VALUE_SIZE);
  const size = u64(buckets) << 2;
  const table = size > u64(u32.MAX_VALUE) ? 0 : alloc(u32(size), 8);
  if (table == 0) return -ENOMEM;
  store<u32>(map, table, STACKS_TABLE);
  store<u32>(map, buckets - 1, STACKS_MASK);
  if (poolCreate(map, stride, entries, true)) return 0;
  free(table);
  return -ENOMEM;
}

export function stacksFree(map: u32): void {
  poolFree(map);
  free(load<u32>(map, STACKS_TABLE));
}

function bucketOf(map: u32, id: u32): u32 {
  return id > load<u32>(map, STACKS_MASK) ? 0 : load<u32>(map, STACKS_TABLE) + (id << 2);
}

/** What bpf_get_stackid does with the addresses of a stack, innermost first: the id or -errno. */
export function stack_map_put(map: u32, addresses: u32, count: u32, flags: u64): i32 {
  const skip = u32(flags & SKIP_MASK);
  if (count <= skip) return -EFAULT;
  const most = load<u32>(map, MAP_VALUE_SIZE) / elementSize(map);
  const number = min(count - skip, most);
  const from = addresses + (skip << 3);
  const size = number << 3;
  const hash = jhashWords(from, size >> 2, 0);
  const id = hash & load<u32>(map, STACKS_MASK);
  lock(map + MAP_LOCK);
  const status = place(map, bucketOf(map, id), from, number, hash, flags);
  unlock(map + MAP_LOCK);
  return status < 0 ? status : i32(id);
}

function place(map: u32, bucket: u32, from: u32, number: u32, hash: u32, flags: u64): i32 {
  const old = load<u32>(bucket);
  if (old != 0) {
    if (load<u32>(old, TRACE_HASH) == hash) {
      if ((flags & FAST_COMPARE) != 0) return 0;
      const plain = elementSize(map) == 8 && load<u32>(old, TRACE_COUNT) == number;
      if (plain && equalBytes(old + TRACE_DATA, from, number << 3)) return 0;
    }
    if ((flags & REUSE_ID) == 0) return -EEXIST;
  }
  const created = poolTake(map);
  if (created == 0) return -ENOMEM;
  store<u32>(created, hash, TRACE_HASH);
  store<u32>(created, number, TRACE_COUNT);
  if (elementSize(map) == 8) copyBytes(created + TRACE_DATA, from, number << 3);
  else fillBuildIds(created + TRACE_DATA, from, number);
  store<u32>(bucket, created);
  if (old != 0) poolGive(map, old);
  else store<u32>(map, load<u32>(map, MAP_COUNT) + 1, MAP_COUNT);
  return 0;
}

function elementSize(map: u32): u32 {
  return (load<u32>(map, MAP_FLAGS) & BPF_F_STACK_BUILD_ID) != 0 ? BUILD_ID_SIZE : 8;
}

function fillBuildIds(to: u32, from: u32, number: u32): void {
  zeroBytes(to, number * BUILD_ID_SIZE);
  for (; number != 0; number--) {
    store<u32>(to, BUILD_ID_IP);
    store<u64>(to, load<u64>(from), BUILD_ID_ADDRESS);
    to += BUILD_ID_SIZE;
    from += 8;
  }
}

/** The trace, zeros behind it. */
export function stacksLookup(map: u32, key: u32, out: u32, take: bool): i32 {
  const bucket = bucketOf(map, load<u32>(key));
  if (bucket == 0) return -ENOENT;
  lock(map + MAP_LOCK);
  const trace = load<u32>(bucket);
  if (trace != 0) {
    const size = load<u32>(trace, TRACE_COUNT) * elementSize(map);
    copyBytes(out, trace + TRACE_DATA, size);
    zeroBytes(out + size, load<u32>(map, MAP_VALUE_SIZE) - size);
    if (take) drop(map, bucket, trace);
  }
  unlock(map + MAP_LOCK);
  return trace == 0 ? -ENOENT : 0;
}

function drop(map: u32, bucket: u32, trace: u32): void {
  store<u32>(bucket, 0);
  poolGive(map, trace);
  store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
}

export function stacksDelete(map: u32, key: u32): i32 {
  const bucket = bucketOf(map, load<u32>(key));
  if (bucket == 0) return -E2BIG;
  lock(map + MAP_LOCK);
  const trace = load<u32>(bucket);
  if (trace != 0) drop(map, bucket, trace);
  unlock(map + MAP_LOCK);
  return trace == 0 ? -ENOENT : 0;
}

export function stacksNextKey(map: u32, key: u32, next: u32): i32 {
  let id: u32 = 0;
  if (key != 0) {
    const current = load<u32>(key);
    const bucket = bucketOf(map, current);
    if (bucket != 0 && load<u32>(bucket) != 0) id = current + 1;
  }
  const mask = load<u32>(map, STACKS_MASK);
  for (; id <= mask && id < u32.MAX_VALUE; id++) {
    if (load<u32>(bucketOf(map, id)) == 0) continue;
    store<u32>(next, id);
    return 0;
  }
  return -ENOENT;
}
