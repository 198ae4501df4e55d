/** Map operations as programs call them, on the current CPU (uapi/linux/bpf.h, bpf_map_*_elem). */
import { EXEC_PROG, EXEC_REGS, MAP_FLAGS, MAP_TYPE } from "../../layout";
import { spinLock, spinUnlock } from "../lock";
import { grant } from "../sandbox/grants";
import { cpus, exec, exec_cpu, isSandboxed } from "../state";
import {
  BPF_EXIST,
  BPF_F_RDONLY_PROG,
  EACCES,
  EINVAL,
  EOPNOTSUPP,
  MAP_TYPE_ARRAY,
  MAP_TYPE_ARRAY_OF_MAPS,
  MAP_TYPE_BLOOM_FILTER,
  MAP_TYPE_CPUMAP,
  MAP_TYPE_DEVMAP,
  MAP_TYPE_DEVMAP_HASH,
  MAP_TYPE_HASH,
  MAP_TYPE_HASH_OF_MAPS,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
  MAP_TYPE_QUEUE,
  MAP_TYPE_REUSEPORT_SOCKARRAY,
  MAP_TYPE_SOCKHASH,
  MAP_TYPE_SOCKMAP,
  MAP_TYPE_STACK,
  MAP_TYPE_XSKMAP,
} from "../uapi";
import { arrayLookup, arrayUpdate } from "./array";
import { bloomPeek, bloomPush } from "./bloom";
import { hashDelete, hashLookup, hashUpdate, lruLookup } from "./hash";
import { queuePush, queueRead } from "./queue";
import { slotDelete, slotLookup, slotObject, slotUpdate } from "./slots";
import { trieDelete, trieLookup, trieUpdate } from "./trie";

// uapi/linux/bpf.h, struct bpf_sock and BPF_TCP_*.
const SOCK_PROTOCOL: u32 = 12;
const SOCK_STATE: u32 = 72;
const IPPROTO_TCP: u32 = 6;
const TCP_ESTABLISHED: u32 = 1;
const TCP_LISTEN: u32 = 10;

/** Address of the value, or of the object that a map of objects holds; or 0. */
export function map_lookup_elem(map: u32, key: u32): u32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_DEVMAP_HASH:
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
    case MAP_TYPE_HASH_OF_MAPS: {
      const value = hashLookup(map, key, 0);
      return value == 0 ? 0 : innerMap(load<u32>(value));
    }
    case MAP_TYPE_SOCKHASH: {
      const value = hashLookup(map, key, 0);
      return value == 0 ? 0 : load<u32>(value);
    }
    case MAP_TYPE_ARRAY_OF_MAPS:
      return innerMap(slotObject(map, load<u32>(key)));
    case MAP_TYPE_SOCKMAP:
    case MAP_TYPE_REUSEPORT_SOCKARRAY:
    case MAP_TYPE_XSKMAP:
      return slotObject(map, load<u32>(key));
    case MAP_TYPE_DEVMAP:
    case MAP_TYPE_CPUMAP:
      return slotLookup(map, load<u32>(key));
    default:
      return 0;
  }
}

/** From now on a sandboxed program holds it too. */
function innerMap(map: u32): u32 {
  if (map != 0 && isSandboxed(exec)) grant(load<u32>(exec, EXEC_PROG), map);
  return map;
}

/** The kernel's verifier refuses programs that write to such a map; of one that nothing has verified the write fails. */
function isReadOnly(map: u32): bool {
  return (load<u32>(map, MAP_FLAGS) & BPF_F_RDONLY_PROG) != 0;
}

export function map_update_elem(map: u32, key: u32, value: u32, flags: u64): i32 {
  if (isReadOnly(map)) return -EACCES;
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
    case MAP_TYPE_SOCKMAP:
    case MAP_TYPE_SOCKHASH:
      return socketUpdate(map, key, value, flags);
    default:
      return -EOPNOTSUPP;
  }
}

/** What the helper gets is no pointer to a value but the socket itself: a struct bpf_sock. */
function socketUpdate(map: u32, key: u32, socket: u32, flags: u64): i32 {
  const state = load<u32>(socket, SOCK_STATE);
  if (load<u32>(socket, SOCK_PROTOCOL) == IPPROTO_TCP && state != TCP_ESTABLISHED && state != TCP_LISTEN)
    return -EOPNOTSUPP;
  if (flags > u64(BPF_EXIST)) return -EINVAL;
  // The result's register is free until the call returns, and the value that is copied must lie somewhere.
  const value = exec + EXEC_REGS;
  store<u64>(value, socket);
  return load<i32>(map, MAP_TYPE) == MAP_TYPE_SOCKMAP
    ? slotUpdate(map, key, value, flags)
    : hashUpdate(map, key, value, flags, 0, false);
}

export function map_delete_elem(map: u32, key: u32): i32 {
  if (isReadOnly(map)) return -EACCES;
  return deleteElement(map, key);
}

/** The same for bpf(2), which other flags bind. */
export function deleteElement(map: u32, key: u32): i32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_HASH:
    case MAP_TYPE_PERCPU_HASH:
    case MAP_TYPE_LRU_PERCPU_HASH:
    case MAP_TYPE_LRU_HASH:
    case MAP_TYPE_SOCKHASH:
      return hashDelete(map, key);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return -EINVAL;
    case MAP_TYPE_LPM_TRIE:
      return trieDelete(map, key);
    case MAP_TYPE_SOCKMAP:
      return slotDelete(map, key);
    default:
      return -EOPNOTSUPP;
  }
}

export function map_push_elem(map: u32, value: u32, flags: u64): i32 {
  if (isReadOnly(map)) return -EACCES;
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return queuePush(map, value, flags);
    case MAP_TYPE_BLOOM_FILTER:
      return bloomPush(map, value, flags);
    default:
      return -EOPNOTSUPP;
  }
}

export function map_pop_elem(map: u32, value: u32): i32 {
  if (isReadOnly(map)) return -EACCES;
  const type = load<i32>(map, MAP_TYPE);
  return type == MAP_TYPE_QUEUE || type == MAP_TYPE_STACK ? queueRead(map, value, true) : -EOPNOTSUPP;
}

export function map_peek_elem(map: u32, value: u32): i32 {
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return queueRead(map, value, false);
    case MAP_TYPE_BLOOM_FILTER:
      return bloomPeek(map, value);
    default:
      return -EOPNOTSUPP;
  }
}

/** The value on another CPU, or 0; in an LRU map the element counts as used. */
export function map_lookup_percpu_elem(map: u32, key: u32, cpu: u32): u32 {
  if (cpu >= cpus) return 0;
  switch (load<i32>(map, MAP_TYPE)) {
    case MAP_TYPE_PERCPU_HASH:
      return hashLookup(map, key, cpu);
    case MAP_TYPE_LRU_PERCPU_HASH:
      return lruLookup(map, key, cpu);
    case MAP_TYPE_PERCPU_ARRAY:
      return arrayLookup(map, key, cpu);
    default:
      return 0;
  }
}

/** A struct bpf_spin_lock, by its address. */
export function spin_lock(word: u32): u32 {
  spinLock(word);
  return 0;
}

export function spin_unlock(word: u32): u32 {
  spinUnlock(word);
  return 0;
}
