/**
 * Values of maps as wholes. A value may have fields that are the kernel's (locks, timers, kernel pointers): copies
 * step over them, new values begin with zero there, and readers outside see zero (linux/bpf.h, bpf_obj_memcpy).
 */
import {
  FIELD_ENTRY,
  FIELD_SIZE,
  MAP_RECORD,
  MAP_SPIN_LOCK,
  MAP_VALUE_SIZE,
  NO_SPIN_LOCK,
} from "../../layout";
import { copyBytes } from "../bytes";
import { spinLock, spinUnlock } from "../lock";

/** Copies a value but for the kernel's fields. */
export function copyValue(map: u32, to: u32, from: u32): void {
  const record = load<u32>(map, MAP_RECORD);
  const size = load<u32>(map, MAP_VALUE_SIZE);
  if (record == 0) {
    copyBytes(to, from, size);
    return;
  }
  let at: u32 = 0;
  let field = record + 4;
  for (let left = load<u32>(record); left != 0; left--) {
    const offset = load<u32>(field);
    copyBytes(to + at, from + at, offset - at);
    at = offset + load<u32>(field, FIELD_SIZE);
    field += FIELD_ENTRY;
  }
  copyBytes(to + at, from + at, size - at);
}

/** Of per-CPU values bpf(2) takes and gives the bytes up to the next multiple of 8 as well. */
export function copyLong(map: u32, to: u32, from: u32): void {
  if (load<u32>(map, MAP_RECORD) == 0) copyBytes(to, from, (load<u32>(map, MAP_VALUE_SIZE) + 7) & ~7);
  else copyValue(map, to, from);
}

/** Zeroes the kernel's fields of a value. */
export function clearFields(map: u32, value: u32): void {
  const record = load<u32>(map, MAP_RECORD);
  if (record == 0) return;
  let field = record + 4;
  for (let left = load<u32>(record); left != 0; left--) {
    memory.fill(value + load<u32>(field), 0, load<u32>(field, FIELD_SIZE));
    field += FIELD_ENTRY;
  }
}

export function hasSpinLock(map: u32): bool {
  return load<u32>(map, MAP_SPIN_LOCK) != u32(NO_SPIN_LOCK);
}

/** The same as copyValue while the lock in the map's value, which lies at `locked`, is held. */
export function copyLocked(map: u32, to: u32, from: u32, locked: u32): void {
  const word = locked + load<u32>(map, MAP_SPIN_LOCK);
  spinLock(word);
  copyValue(map, to, from);
  spinUnlock(word);
}
