/**
 * Every scalar value that a verification meets is kept once and named by a small integer. So comparing two values is
 * comparing two integers, and copying a register never copies a range. Values are found again through hash chains; the
 * table only grows, until `reset`.
 */
import { violation } from "./bounds";
import { FIELDS, Scalar, copy, setConstant, setUnknown } from "./record";

/** Buckets of the hash table, and where they lie: right above the first page. */
const BUCKETS: u32 = 1 << 18;
const BUCKET_BASE: usize = 0x10000;
const TABLE: usize = BUCKET_BASE + ((BUCKETS as usize) << 2);
/** Fields, next of the chain, violation. */
const SIZE: usize = FIELDS + 8;

/** Scratch records. */
export const first = changetype<Scalar>(1024);
export const second = changetype<Scalar>(1024 + FIELDS);

let count: u32 = 0;

export function at(id: i32): Scalar {
  return changetype<Scalar>(TABLE + (id as usize) * SIZE);
}

/** 0 if the ranges of a value do not contradict each other; see `violation`. */
export function violationOf(id: i32): i32 {
  return load<i32>(TABLE + (id as usize) * SIZE, FIELDS + 4);
}

function hashOf(r: Scalar): u32 {
  let h: u64 = r.value * 0x9e3779b97f4a7c15 + r.mask;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9 + r.umin;
  h = (h ^ (h >> 29)) * 0x94d049bb133111eb + r.umax;
  h = (h ^ (h >> 29)) * 0x9e3779b97f4a7c15 + ((r.smin ^ r.smax) as u64);
  h = (h ^ (h >> 32)) * 0xbf58476d1ce4e5b9 + (((r.s32max as u32 as u64) << 32) | (r.u32max as u64));
  return (h >> 40) as u32;
}

function same(a: usize, b: usize): bool {
  for (let offset: usize = 0; offset < FIELDS; offset += 8) {
    if (load<u64>(a + offset) != load<u64>(b + offset)) return false;
  }
  return true;
}

/** The name of the value in a scratch record. */
export function intern(r: Scalar): i32 {
  const bucket = BUCKET_BASE + (((hashOf(r) & (BUCKETS - 1)) as usize) << 2);
  for (let id = load<u32>(bucket); id != 0; id = load<u32>(TABLE + (id as usize) * SIZE, FIELDS)) {
    if (same(TABLE + (id as usize) * SIZE, changetype<usize>(r))) return id as i32;
  }
  const id = ++count;
  const address = TABLE + (id as usize) * SIZE;
  const end = address + SIZE;
  const pages = memory.size();
  if (end > (pages as usize) << 16) {
    // Doubling until 16 MiB, then in steps of 16 MiB.
    memory.grow(min(pages, 256));
  }
  copy(changetype<Scalar>(address), r);
  store<u32>(address, load<u32>(bucket), FIELDS);
  store<i32>(address, violation(r), FIELDS + 4);
  store<u32>(bucket, id);
  return id as i32;
}

/**
 * Up to here the chains of the values are emptied one by one. Most programs have some hundred values, and what is not written to is not
 * there: filling the whole megabyte made the first verification of a process 6 ms longer.
 */
const FEW: u32 = 4096;

/** Forgets all values but the two with fixed names: 1 is unknown, 2 is zero. */
export function reset(): void {
  if (count > FEW) memory.fill(BUCKET_BASE, 0, (BUCKETS as usize) << 2);
  else {
    for (let id: u32 = 1; id <= count; id++) {
      store<u32>(BUCKET_BASE + (((hashOf(at(id as i32)) & (BUCKETS - 1)) as usize) << 2), 0);
    }
  }
  count = 0;
  setUnknown(first);
  intern(first);
  setConstant(first, 0);
  intern(first);
}

export function size(): i32 {
  return count as i32;
}

/** Address of a value's fields, for reading them from outside. */
export function addressOf(id: i32): usize {
  return TABLE + (id as usize) * SIZE;
}
