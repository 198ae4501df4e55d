/** Map operations as bpf(2) does them: per-CPU maps take and give the values of all CPUs, each rounded up to 8 bytes. */
import { MAP_CPU_STRIDE, MAP_TYPE, MAP_VALUE_SIZE } from "../../layout";
import { copyBytes } from "../bytes";
import { cpus, nextRun } from "../state";
import {
  BPF_F_LOCK,
  EINVAL,
  ENOENT,
  EOPNOTSUPP,
  MAP_TYPE_ARRAY,
  MAP_TYPE_HASH,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
  MAP_TYPE_PROG_ARRAY,
} from "../uapi";
import { arrayCheckUpdate, arrayLookup, arrayNextKey, arrayUpdate } from "./array";
import { isPerCpu, roundUp8 } from "./descriptor";
import { hashLookup, hashNextKey, hashUpdate } from "./hash";
import { map_delete_elem } from "./program";
import { programsDelete, programsLookup, programsUpdate } from "./programs";
import { trieLookup, trieNextKey, trieUpdate } from "./trie";

/** Address of the value on one CPU, or 0. Of maps without CPUs it is the value for any of them. */
export function map_lookup_percpu(map: u32, key: u32, cpu: u32): u32 {
  if (cpu >= cpus) return 0;
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
      return hashLookup(map, key, cpu);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return arrayLookup(map, key, cpu);
    case MAP_TYPE_LPM_TRIE:
      return trieLookup(map, key);
    default:
      return 0;
  }
}

/** BPF_MAP_LOOKUP_ELEM: copies the value, or one for each CPU, to `out`. */
export function map_lookup_copy(map: u32, key: u32, out: u32, flags: u64): i32 {
  // BPF_F_LOCK is the only flag there is, and no map of ours has a lock yet.
  if (flags != 0) return -EINVAL;
  if (load<i32>(map, MAP_TYPE) == MAP_TYPE_PROG_ARRAY) return programsLookup(map, key, out);
  const size = load<u32>(map, MAP_VALUE_SIZE);
  const first = map_lookup_percpu(map, key, 0);
  if (first == 0) return -ENOENT;
  if (!isPerCpu(map)) {
    copyBytes(out, first, size);
    return 0;
  }
  const distance = load<u32>(map, MAP_CPU_STRIDE);
  const stride = u32(roundUp8(size));
  for (let cpu: u32 = 0; cpu < cpus; cpu++) copyBytes(out + cpu * stride, first + cpu * distance, stride);
  return 0;
}

/** BPF_MAP_UPDATE_ELEM. */
export function map_update_copy(map: u32, key: u32, value: u32, flags: u64): i32 {
  nextRun();
  // Here before all else, while programs get the errors of the map type first.
  if ((flags & BPF_F_LOCK) != 0) return -EINVAL;
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_LRU_HASH:
      return hashUpdate(map, key, value, flags, 0, false);
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
      return hashUpdate(map, key, value, flags, 0, true);
    case MAP_TYPE_ARRAY:
      return arrayUpdate(map, key, value, flags, 0);
    case MAP_TYPE_PERCPU_ARRAY: {
      const status = arrayCheckUpdate(map, key, flags);
      if (status != 0) return status;
      const first = arrayLookup(map, key, 0);
      const distance = load<u32>(map, MAP_CPU_STRIDE);
      const stride = u32(roundUp8(load<u32>(map, MAP_VALUE_SIZE)));
      for (let cpu: u32 = 0; cpu < cpus; cpu++)
        copyBytes(first + cpu * distance, value + cpu * stride, stride);
      return 0;
    }
    case MAP_TYPE_LPM_TRIE:
      return trieUpdate(map, key, value, flags);
    case MAP_TYPE_PROG_ARRAY:
      return programsUpdate(map, key, value, flags);
    default:
      return -EOPNOTSUPP;
  }
}

/** BPF_MAP_DELETE_ELEM. */
export function map_delete(map: u32, key: u32): i32 {
  nextRun();
  if (load<i32>(map, MAP_TYPE) == MAP_TYPE_PROG_ARRAY) return programsDelete(map, key);
  return map_delete_elem(map, key);
}

/** BPF_MAP_GET_NEXT_KEY: `key` 0 asks for the first. -ENOENT after the last. */
export function map_get_next_key(map: u32, key: u32, next: u32): i32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
      return hashNextKey(map, key, next);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
    case MAP_TYPE_PROG_ARRAY:
      return arrayNextKey(map, key, next);
    case MAP_TYPE_LPM_TRIE:
      return trieNextKey(map, key, next);
    default:
      return -EOPNOTSUPP;
  }
}
