/** Map operations as programs call them, on the current CPU (uapi/linux/bpf.h, bpf_map_*_elem). */
import { MAP_TYPE } from "../../layout";
import { exec_cpu } from "../state";
import {
  EINVAL,
  EOPNOTSUPP,
  MAP_TYPE_ARRAY,
  MAP_TYPE_HASH,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
} from "../uapi";
import { arrayLookup, arrayUpdate } from "./array";
import { hashDelete, hashLookup, hashUpdate, lruLookup } from "./hash";
import { trieDelete, trieLookup, trieUpdate } from "./trie";

/** Address of the value, or 0. */
export function map_lookup_elem(map: u32, key: u32): u32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
      return hashLookup(map, key, 0);
    case MAP_TYPE_LPM_TRIE:
      return trieLookup(map, key);
    case MAP_TYPE_PERCPU_HASH:
      return hashLookup(map, key, exec_cpu());
    case MAP_TYPE_LRU_HASH:
      return lruLookup(map, key, 0);
    case MAP_TYPE_LRU_PERCPU_HASH:
      return lruLookup(map, key, exec_cpu());
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return arrayLookup(map, key, exec_cpu());
    default:
      return 0;
  }
}

export function map_update_elem(map: u32, key: u32, value: u32, flags: u64): i32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
      return hashUpdate(map, key, value, flags, exec_cpu(), false);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return arrayUpdate(map, key, value, flags, exec_cpu());
    case MAP_TYPE_LPM_TRIE:
      return trieUpdate(map, key, value, flags);
    default:
      return -EOPNOTSUPP;
  }
}

export function map_delete_elem(map: u32, key: u32): i32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
      return hashDelete(map, key);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return -EINVAL;
    case MAP_TYPE_LPM_TRIE:
      return trieDelete(map, key);
    default:
      return -EOPNOTSUPP;
  }
}
