/**
 * Which maps a sandboxed program holds: those that its instructions name, and inner maps that it has looked up. Only they
 * may be given to helpers, and only their values may be touched.
 */
import { GRANTS_CAPACITY, GRANTS_COUNT, GRANTS_LIST, PROG_GRANTS } from "../../layout";
import { alloc, free } from "../allocator";
import { lockRegions, unlockRegions } from "./regions";

const FIRST_CAPACITY: u32 = 8;

/** With the table of regions locked, which guards the lists too. */
export function isGranted(prog: u32, map: u32): bool {
  const grants = load<u32>(prog, PROG_GRANTS);
  if (grants == 0) return false;
  const end = grants + (load<u32>(grants, GRANTS_COUNT) << 2);
  for (let at = grants; at < end; at += 4) {
    if (load<u32>(at, GRANTS_LIST) == map) return true;
  }
  return false;
}

/** The same for who has not locked it. */
export function holds(prog: u32, map: u32): bool {
  lockRegions();
  const held = isGranted(prog, map);
  unlockRegions();
  return held;
}

/** Lets a program use a map from now on. */
export function grant(prog: u32, map: u32): void {
  lockRegions();
  if (!isGranted(prog, map)) add(prog, map);
  unlockRegions();
}

function add(prog: u32, map: u32): void {
  let grants = load<u32>(prog, PROG_GRANTS);
  const count: u32 = grants == 0 ? 0 : load<u32>(grants, GRANTS_COUNT);
  const capacity: u32 = grants == 0 ? 0 : load<u32>(grants, GRANTS_CAPACITY);
  if (count == capacity) {
    const wanted = capacity == 0 ? FIRST_CAPACITY : capacity * 2;
    const larger = alloc(GRANTS_LIST + (wanted << 2), 8);
    // Without memory the program is refused what it could have had.
    if (larger == 0) return;
    if (grants != 0) memory.copy(larger, grants, GRANTS_LIST + (count << 2));
    free(grants);
    grants = larger;
    store<u32>(grants, wanted, GRANTS_CAPACITY);
    store<u32>(prog, grants, PROG_GRANTS);
  }
  store<u32>(grants + (count << 2), map, GRANTS_LIST);
  store<u32>(grants, count + 1, GRANTS_COUNT);
}
