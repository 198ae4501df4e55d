/** Fields of values and objects that are the kernel's: no program touches them but through helpers and kernel functions. */
import {
  CACHE_RECORD,
  FIELD_ENTRY,
  FIELD_KIND,
  FIELD_KPTR,
  FIELD_KPTR_UNTRUSTED,
  FIELD_OFFSET,
  FIELD_PERCPU_KPTR,
  FIELD_SIZE,
  FIELD_UPTR,
  HEAP_HEADER,
  HEAP_OWNER,
  HEAP_REFERENCES,
  MAP_RECORD,
  REGION_HEAP,
  REGION_KIND,
  REGION_MAP_VALUE,
  REGION_OWNER,
  RIGHT_READ,
  RIGHT_WRITE,
} from "../../layout";
import { lockedObject } from "../objects";
import { exec } from "../state";
import { isGranted } from "./grants";
import { lockRegions, regionAt, unlockRegions } from "./regions";
import { lockedValue } from "./window";

// A list in an object in a list, and so on: the owner at the end must be near.
const DEEPEST = 8;

/** The record of the kernel's fields in each block of a region, or 0. */
export function recordOf(region: u32): u32 {
  const kind = load<i32>(region, REGION_KIND);
  if (kind == REGION_MAP_VALUE) return load<u32>(load<u32>(region, REGION_OWNER), MAP_RECORD);
  return kind == REGION_HEAP ? load<u32>(load<u32>(region, REGION_OWNER), CACHE_RECORD) : 0;
}

/** What programs may do themselves with a field: pointers may be looked at. */
export function rightsOfField(kind: i32): i32 {
  if (kind == FIELD_KPTR_UNTRUSTED) return RIGHT_READ | RIGHT_WRITE;
  return kind == FIELD_KPTR || kind == FIELD_PERCPU_KPTR || kind == FIELD_UPTR ? RIGHT_READ : 0;
}

/** Whether an object is in use, and the run or the program may touch it. The table of regions is locked. */
export function mayReach(state: u32, prog: u32, object: u32): bool {
  let at = object;
  for (let depth = 0; depth < DEEPEST && at != 0; depth++) {
    const header = at - HEAP_HEADER;
    if (load<u32>(header, HEAP_HEADER + HEAP_REFERENCES) == 0) return false;
    const owner = load<u32>(header, HEAP_HEADER + HEAP_OWNER);
    if (owner == 0 || owner == state || isGranted(prog, owner)) return true;
    at = lockedObject(owner);
  }
  return false;
}

/** The entry of the field that begins at an address, in a value or object that the program under way may touch; 0 if none does. */
export function field_at(address: u32): u32 {
  lockRegions();
  const entry = lockedField(address);
  unlockRegions();
  return entry;
}

function lockedField(address: u32): u32 {
  const region = regionAt(address);
  if (region == 0) return 0;
  const record = recordOf(region);
  const value = record == 0 ? 0 : lockedValue(exec, address);
  if (value == 0) return 0;
  let entry = record + 4;
  for (let left = load<u32>(record); left != 0; left--, entry += FIELD_ENTRY)
    if (value + load<u32>(entry, FIELD_OFFSET) == address) return entry;
  return 0;
}

/** The field of a kind in the value or object that an address lies in: its address, or 0. */
export function field_beside(address: u32, kind: i32): u32 {
  lockRegions();
  const found = lockedBeside(address, kind);
  unlockRegions();
  return found;
}

function lockedBeside(address: u32, kind: i32): u32 {
  const region = regionAt(address);
  const record = region == 0 ? 0 : recordOf(region);
  const value = record == 0 ? 0 : lockedValue(exec, address);
  if (value == 0) return 0;
  let entry = record + 4;
  for (let left = load<u32>(record); left != 0; left--, entry += FIELD_ENTRY)
    if (load<i32>(entry, FIELD_KIND) == kind) return value + load<u32>(entry, FIELD_OFFSET);
  return 0;
}

/** Whose the value or object is that an address lies in: a map's descriptor, an object's address; 0 if it is neither. */
export function owner_of(address: u32): u32 {
  lockRegions();
  const region = regionAt(address);
  let owner: u32 = 0;
  if (region != 0)
    owner =
      load<i32>(region, REGION_KIND) == REGION_HEAP ? lockedObject(address) : load<u32>(region, REGION_OWNER);
  unlockRegions();
  return owner;
}

/** The bytes of a field, for who goes through a record. */
export function fieldEnd(entry: u32): u32 {
  return load<u32>(entry, FIELD_OFFSET) + load<u32>(entry, FIELD_SIZE);
}
