/**
 * Programs in maps. prog_array: addresses of program descriptors, 8 bytes apart, 0 where there is none. In device and CPU maps an
 * entry may name a program (slots.ts and hash.ts keep the entries).
 *
 * All programs of such a map and all that use it are of one kind (linux: __bpf_prog_map_compatible). The first of them decides which.
 */
import {
  EXEC_PROG,
  EXEC_STACK,
  EXEC_TAIL_CALLS,
  MAP_COUNT,
  MAP_MAX_ENTRIES,
  MAP_STRIDE,
  MAP_TYPE,
  MAP_VALUES,
  MAP_VALUE_SIZE,
  MAX_TAIL_CALLS,
  NO_PROGRAM,
  PROG_ATTACH,
  ATTACH_FRAGS,
  PROG_ID,
  PROG_TYPE,
  STACK_SIZE,
} from "../../layout";
import { handOverStack } from "../interpreter/frames";
import {
  BPF_F_LOCK,
  BPF_XDP_CPUMAP,
  BPF_XDP_DEVMAP,
  E2BIG,
  EINVAL,
  ENOENT,
  MAP_TYPE_CPUMAP,
  MAP_TYPE_DEVMAP,
  MAP_TYPE_DEVMAP_HASH,
  MAP_TYPE_PROG_ARRAY,
  PROG_TYPE_XDP,
} from "../uapi";
import { PROGRAMS_OWNER } from "./fields";

/** Address of the slot, or 0 when the index is too large. */
function slotOf(map: u32, index: u32): u32 {
  if (index >= load<u32>(map, MAP_MAX_ENTRIES)) return 0;
  return load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_STRIDE);
}

/** A program is put into the map or uses it: 0, or -EINVAL if it is not of the kind of the map's programs. */
export function claim_programs(map: u32, prog: u32): i32 {
  // One more than the type, for a map that is nobody's yet has 0.
  const kind = (load<u32>(prog, PROG_TYPE) + 1) | (load<u32>(prog, PROG_ATTACH) & ATTACH_FRAGS);
  const owner = load<u32>(map, PROGRAMS_OWNER);
  if (owner == 0) store<u32>(map, kind, PROGRAMS_OWNER);
  else if (owner != kind) return -EINVAL;
  return 0;
}

/** Whether entries of a map have room for a program: struct bpf_devmap_val and bpf_cpumap_val. */
export function hasEntryPrograms(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  if (type != MAP_TYPE_DEVMAP && type != MAP_TYPE_DEVMAP_HASH && type != MAP_TYPE_CPUMAP) return false;
  return load<u32>(map, MAP_VALUE_SIZE) == 8;
}

/**
 * The program in an entry of a device or CPU map, by its descriptor: the id that bpf(2) shows of it, 0 for none, or -1 if it may not stand
 * there (linux: __dev_map_alloc_node, __cpu_map_load_bpf_program).
 */
export function entryProgram(map: u32, prog: u32): i32 {
  if (prog == 0) return 0;
  if (prog == NO_PROGRAM || load<u32>(prog, PROG_TYPE) != PROG_TYPE_XDP) return -1;
  const wanted = load<i32>(map, MAP_TYPE) == MAP_TYPE_CPUMAP ? BPF_XDP_CPUMAP : BPF_XDP_DEVMAP;
  if ((load<u32>(prog, PROG_ATTACH) & ~ATTACH_FRAGS) != wanted) return -1;
  return claim_programs(map, prog) == 0 ? load<i32>(prog, PROG_ID) : -1;
}

/** `value` holds the address of a program descriptor. */
export function programsUpdate(map: u32, key: u32, value: u32, flags: u64): i32 {
  if ((flags & ~BPF_F_LOCK) != 0) return -EINVAL;
  const slot = slotOf(map, load<u32>(key));
  if (slot == 0) return -E2BIG;
  const prog = load<u32>(value);
  const status = claim_programs(map, prog);
  if (status != 0) return status;
  if (load<u32>(slot) == 0) store<u32>(map, load<u32>(map, MAP_COUNT) + 1, MAP_COUNT);
  store<u32>(slot, prog);
  return 0;
}

export function programsDelete(map: u32, key: u32): i32 {
  const slot = slotOf(map, load<u32>(key));
  if (slot == 0) return -E2BIG;
  if (load<u32>(slot) == 0) return -ENOENT;
  store<u32>(slot, 0);
  store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
  return 0;
}

/** Gives the program's id, as bpf(2) does. */
export function programsLookup(map: u32, key: u32, out: u32): i32 {
  const slot = slotOf(map, load<u32>(key));
  const prog: u32 = slot == 0 ? 0 : load<u32>(slot);
  if (prog == 0) return -ENOENT;
  store<u32>(out, load<u32>(prog, PROG_ID));
  return 0;
}

/**
 * bpf_tail_call: the descriptor of the program that takes the place of the function whose frame ends at `frame`, or 0 when
 * the call fails. Calls that fail don't count. All functions of the new program lie below that frame, MAX_FRAMES of them.
 */
export function tailTarget(state: u32, map: u32, index: u32, frame: u32): u32 {
  if (load<i32>(map, MAP_TYPE) != MAP_TYPE_PROG_ARRAY) return 0;
  const slot = slotOf(map, index);
  const calls = load<u32>(state, EXEC_TAIL_CALLS);
  if (slot == 0 || calls >= u32(MAX_TAIL_CALLS)) return 0;
  const prog = load<u32>(slot);
  if (prog == 0) return 0;
  store<u32>(state, calls + 1, EXEC_TAIL_CALLS);
  store<u32>(state, prog, EXEC_PROG);
  store<u32>(state, frame - STACK_SIZE, EXEC_STACK);
  handOverStack(state, prog, frame);
  return prog;
}
