/**
 * queue and stack (kernel/bpf/queue_stack_maps.c): a ring of max_entries + 1 values, one of which stays free.
 */
import { MAP_COUNT, MAP_LOCK, MAP_MAX_ENTRIES, MAP_TYPE, MAP_VALUE_SIZE, MAP_VALUES } from "../../layout";
import { alloc } from "../allocator";
import { copyBytes, zeroBytes } from "../bytes";
import { lock, unlock } from "../lock";
import { BPF_EXIST, BPF_NOEXIST, E2BIG, EINVAL, ENOENT, ENOMEM, MAP_TYPE_STACK } from "../uapi";
import { QUEUE_HEAD } from "./fields";

export function queueCreate(map: u32): i32 {
  const size = (u64(load<u32>(map, MAP_MAX_ENTRIES)) + 1) * load<u32>(map, MAP_VALUE_SIZE);
  if (size > u64(u32.MAX_VALUE)) return -ENOMEM;
  const values = alloc(u32(size), 8);
  if (values == 0) return -ENOMEM;
  store<u32>(map, values, MAP_VALUES);
  return 0;
}

/** The n-th value from the oldest on. */
function valueAt(map: u32, n: u32): u32 {
  const slots = u64(load<u32>(map, MAP_MAX_ENTRIES)) + 1;
  const index = u32((u64(load<u32>(map, QUEUE_HEAD)) + n) % slots);
  return load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_VALUE_SIZE);
}

/** With BPF_EXIST the oldest value makes room. */
export function queuePush(map: u32, value: u32, flags: u64): i32 {
  if ((flags & BPF_NOEXIST) != 0 || flags > u64(BPF_EXIST)) return -EINVAL;
  lock(map + MAP_LOCK);
  let status = 0;
  const count = load<u32>(map, MAP_COUNT);
  if (count == load<u32>(map, MAP_MAX_ENTRIES)) {
    if ((flags & BPF_EXIST) != 0) dropOldest(map);
    else status = -E2BIG;
  }
  if (status == 0) {
    const present = load<u32>(map, MAP_COUNT);
    copyBytes(valueAt(map, present), value, load<u32>(map, MAP_VALUE_SIZE));
    store<u32>(map, present + 1, MAP_COUNT);
  }
  unlock(map + MAP_LOCK);
  return status;
}

function dropOldest(map: u32): void {
  const head = load<u32>(map, QUEUE_HEAD);
  store<u32>(map, head == load<u32>(map, MAP_MAX_ENTRIES) ? 0 : head + 1, QUEUE_HEAD);
  store<u32>(map, load<u32>(map, MAP_COUNT) - 1, MAP_COUNT);
}

/** The oldest value of a queue, the newest of a stack, taken out or left; zeros where there is none. */
export function queueRead(map: u32, out: u32, take: bool): i32 {
  const size = load<u32>(map, MAP_VALUE_SIZE);
  lock(map + MAP_LOCK);
  const count = load<u32>(map, MAP_COUNT);
  let status = 0;
  if (count == 0) {
    zeroBytes(out, size);
    status = -ENOENT;
  } else if (load<i32>(map, MAP_TYPE) == MAP_TYPE_STACK) {
    copyBytes(out, valueAt(map, count - 1), size);
    if (take) store<u32>(map, count - 1, MAP_COUNT);
  } else {
    copyBytes(out, valueAt(map, 0), size);
    if (take) dropOldest(map);
  }
  unlock(map + MAP_LOCK);
  return status;
}
