/**
 * Arrays that hold objects: maps, perf buffers, cgroups, network devices, CPUs, sockets. A slot has 8 bytes: the object's
 * address, or what a device or CPU map notes instead of one (interface or queue size, then the program's id); 0 is nobody.
 * (Program arrays are alike but have rules of their own: programs.ts.)
 *
 * How each type answers to wrong arguments is its own: kernel/bpf/arraymap.c (fd_array), devmap.c, cpumap.c,
 * reuseport_array.c, net/xdp/xskmap.c, net/core/sock_map.c.
 */
import {
  MAP_COUNT,
  MAP_LOCK,
  MAP_MAX_ENTRIES,
  MAP_STRIDE,
  MAP_TYPE,
  MAP_VALUE_SIZE,
  MAP_VALUES,
} from "../../layout";
import { lock, unlock } from "../lock";
import {
  BPF_EXIST,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EINVAL,
  ENODEV,
  ENOENT,
  ENOMEM,
  ENOTSUPP,
  EOPNOTSUPP,
  EOVERFLOW,
  MAP_TYPE_ARRAY_OF_MAPS,
  MAP_TYPE_CGROUP_ARRAY,
  MAP_TYPE_CPUMAP,
  MAP_TYPE_DEVMAP,
  MAP_TYPE_PERF_EVENT_ARRAY,
  MAP_TYPE_REUSEPORT_SOCKARRAY,
  MAP_TYPE_SOCKMAP,
  MAP_TYPE_XSKMAP,
} from "../uapi";
import { cpus } from "../state";
import { entryProgram } from "./programs";

// kernel/bpf/cpumap.c: the most packets of a queue.
const MAX_QUEUE: u32 = 16384;

export function isSlots(type: i32): bool {
  switch (type) {
    case MAP_TYPE_PERF_EVENT_ARRAY:
    case MAP_TYPE_CGROUP_ARRAY:
    case MAP_TYPE_ARRAY_OF_MAPS:
    case MAP_TYPE_DEVMAP:
    case MAP_TYPE_CPUMAP:
    case MAP_TYPE_XSKMAP:
    case MAP_TYPE_SOCKMAP:
    case MAP_TYPE_REUSEPORT_SOCKARRAY:
      return true;
    default:
      return false;
  }
}

/** Address of the slot if the index is one and somebody is there, else 0. */
export function slotLookup(map: u32, index: u32): u32 {
  if (index >= load<u32>(map, MAP_MAX_ENTRIES)) return 0;
  const slot = load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_STRIDE);
  return load<u32>(slot) == 0 ? 0 : slot;
}

/** What is at the index: the object's address, an interface, a queue size; or 0. */
export function slotObject(map: u32, index: u32): u32 {
  const slot = slotLookup(map, index);
  return slot == 0 ? 0 : load<u32>(slot);
}

/** `value` holds the slot's new content, as many bytes as the map's values have. */
export function slotUpdate(map: u32, key: u32, value: u32, flags: u64): i32 {
  const type = load<i32>(map, MAP_TYPE);
  const index = load<u32>(key);
  const object = load<u32>(value);
  let other = load<u32>(map, MAP_VALUE_SIZE) == 8 ? load<u32>(value, 4) : 0;
  const many = index >= load<u32>(map, MAP_MAX_ENTRIES);
  switch (type) {
    case MAP_TYPE_PERF_EVENT_ARRAY:
    case MAP_TYPE_CGROUP_ARRAY:
    case MAP_TYPE_ARRAY_OF_MAPS:
      if (flags != 0) return -EINVAL;
      if (many) return -E2BIG;
      break;
    case MAP_TYPE_DEVMAP:
    case MAP_TYPE_CPUMAP:
      if (flags > u64(BPF_EXIST)) return -EINVAL;
      if (many) return -E2BIG;
      if (flags == BPF_NOEXIST) return -EEXIST;
      if (type == MAP_TYPE_CPUMAP) {
        if (object > MAX_QUEUE) return -EOVERFLOW;
        if (index >= cpus) return -ENODEV;
        if (object == 0) break;
      } else if (object == 0 && other != 0) return -EINVAL;
      other = entryProgram(map, other);
      if (other == u32(-1)) return type == MAP_TYPE_CPUMAP ? -ENOMEM : -EINVAL;
      break;
    default: {
      if (flags > u64(BPF_EXIST)) return -EINVAL;
      if (many) return -E2BIG;
    }
  }
  const slot = load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_STRIDE);
  lock(map + MAP_LOCK);
  const present = load<u32>(slot) != 0;
  let status = 0;
  if (present && flags == BPF_NOEXIST) status = -EEXIST;
  else if (!present && flags == BPF_EXIST && isSockets(type)) status = -ENOENT;
  else {
    countChange(map, present, object != 0);
    store<u32>(slot, object == 0 ? 0 : other, 4);
    store<u32>(slot, object);
  }
  unlock(map + MAP_LOCK);
  return status;
}

function isSockets(type: i32): bool {
  return type == MAP_TYPE_SOCKMAP || type == MAP_TYPE_REUSEPORT_SOCKARRAY || type == MAP_TYPE_XSKMAP;
}

function countChange(map: u32, before: bool, after: bool): void {
  store<u32>(map, load<u32>(map, MAP_COUNT) + (after ? 1 : 0) - (before ? 1 : 0), MAP_COUNT);
}

export function slotDelete(map: u32, key: u32): i32 {
  const type = load<i32>(map, MAP_TYPE);
  const index = load<u32>(key);
  const sloppy = type == MAP_TYPE_DEVMAP || type == MAP_TYPE_CPUMAP || type == MAP_TYPE_XSKMAP;
  if (index >= load<u32>(map, MAP_MAX_ENTRIES)) return sloppy || type == MAP_TYPE_SOCKMAP ? -EINVAL : -E2BIG;
  const slot = load<u32>(map, MAP_VALUES) + index * load<u32>(map, MAP_STRIDE);
  lock(map + MAP_LOCK);
  const present = load<u32>(slot) != 0;
  if (present) {
    countChange(map, true, false);
    store<u64>(slot, 0);
  }
  unlock(map + MAP_LOCK);
  if (present || sloppy) return 0;
  return type == MAP_TYPE_SOCKMAP ? -EINVAL : -ENOENT;
}

/** Whether bpf(2) can look into maps of this type: 0, or the error. What it then gives (an id, a cookie) the host knows. */
export function slotReadable(type: i32): i32 {
  if (type == MAP_TYPE_PERF_EVENT_ARRAY || type == MAP_TYPE_CGROUP_ARRAY) return -ENOTSUPP;
  return type == MAP_TYPE_XSKMAP ? -EOPNOTSUPP : 0;
}
