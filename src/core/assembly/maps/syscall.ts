/**
 * Map operations as bpf(2) does them: per-CPU maps take and give the values of all CPUs, each rounded up to 8 bytes.
 * Where a map holds objects, a value is the object's address on the way in; what comes out is an id (maps, programs) or
 * the address again, of which the host makes what the kernel shows.
 */
import {
  FIELD_ENTRY,
  MAP_CPU_STRIDE,
  MAP_FLAGS,
  MAP_FROZEN,
  MAP_ID,
  MAP_INNER,
  MAP_KEY_SIZE,
  MAP_MAX_ENTRIES,
  MAP_RECORD,
  MAP_TYPE,
  MAP_VALUE_SIZE,
} from "../../layout";
import { copyBytes } from "../bytes";
import { freeOwned } from "../owned";
import { cpus, nextOperation } from "../state";
import {
  BPF_EXIST,
  BPF_F_INNER_MAP,
  BPF_F_LOCK,
  BPF_F_RDONLY,
  BPF_F_WRONLY,
  BPF_NOEXIST,
  E2BIG,
  EEXIST,
  EINVAL,
  ENOENT,
  ENOSPC,
  ENOTSUPP,
  EOPNOTSUPP,
  EPERM,
  MAP_TYPE_ARENA,
  MAP_TYPE_ARRAY,
  MAP_TYPE_ARRAY_OF_MAPS,
  MAP_TYPE_BLOOM_FILTER,
  MAP_TYPE_CGROUP_STORAGE,
  MAP_TYPE_DEVMAP_HASH,
  MAP_TYPE_HASH,
  MAP_TYPE_HASH_OF_MAPS,
  MAP_TYPE_LPM_TRIE,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_CGROUP_STORAGE,
  MAP_TYPE_PERCPU_HASH,
  MAP_TYPE_PROG_ARRAY,
  MAP_TYPE_QUEUE,
  MAP_TYPE_REUSEPORT_SOCKARRAY,
  MAP_TYPE_RINGBUF,
  MAP_TYPE_SOCKHASH,
  MAP_TYPE_SOCKMAP,
  MAP_TYPE_STACK,
  MAP_TYPE_STACK_TRACE,
  MAP_TYPE_STRUCT_OPS,
  MAP_TYPE_USER_RINGBUF,
} from "../uapi";
import { arrayCheckUpdate, arrayLookup, arrayNextKey, arrayUpdate } from "./array";
import { bloomPeek, bloomPush } from "./bloom";
import { isPerCpu, roundUp8 } from "./descriptor";
import {
  hashCopy,
  hashDelete,
  hashElement,
  hashLookup,
  hashLookupAndDelete,
  hashNextKey,
  hashUpdate,
} from "./hash";
import { deleteElement } from "./program";
import { entryProgram, hasEntryPrograms, programsDelete, programsLookup, programsUpdate } from "./programs";
import { queuePush, queueRead } from "./queue";
import { isSlots, slotDelete, slotLookup, slotReadable, slotUpdate } from "./slots";
import { stacksDelete, stacksLookup, stacksNextKey } from "./stacks";
import { isStorage } from "./storage";
import { trieLookup, trieNextKey, trieUpdate } from "./trie";
import { clearFields, copyLocked, copyLong, copyValue, hasSpinLock } from "./values";

function isHash(type: i32): bool {
  return (
    type == MAP_TYPE_HASH ||
    type == MAP_TYPE_PERCPU_HASH ||
    type == MAP_TYPE_LRU_HASH ||
    type == MAP_TYPE_LRU_PERCPU_HASH
  );
}

/** Storage whose keys are numbers of cgroups. */
function isCgroups(type: i32): bool {
  return type == MAP_TYPE_CGROUP_STORAGE || type == MAP_TYPE_PERCPU_CGROUP_STORAGE;
}

/** Reading is not for maps with BPF_F_WRONLY, writing not for those with BPF_F_RDONLY and frozen ones. */
function mayRead(map: u32): bool {
  return (load<u32>(map, MAP_FLAGS) & BPF_F_WRONLY) == 0;
}

function mayWrite(map: u32): bool {
  return (load<u32>(map, MAP_FLAGS) & BPF_F_RDONLY) == 0 && load<u32>(map, MAP_FROZEN) == 0;
}

/** Address of the value on one CPU, or 0. Of maps without CPUs it is the value for any of them. */
export function map_lookup_percpu(map: u32, key: u32, cpu: u32): u32 {
  if (cpu >= cpus) return 0;
  const type = load<i32>(map, MAP_TYPE);
  if (isHash(type) || isStorage(type)) return hashLookup(map, key, cpu);
  switch (type) {
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
      return arrayLookup(map, key, cpu);
    case MAP_TYPE_LPM_TRIE:
      return trieLookup(map, key);
    default:
      return 0;
  }
}

/** BPF_MAP_LOOKUP_ELEM: copies the value, or one for each CPU, to `out` (a bloom filter reads it from there). */
export function map_lookup_copy(map: u32, key: u32, out: u32, flags: u64): i32 {
  if ((flags & ~BPF_F_LOCK) != 0) return -EINVAL;
  if (!mayRead(map)) return -EPERM;
  if (flags != 0 && !hasSpinLock(map)) return -EINVAL;
  const type = load<i32>(map, MAP_TYPE);
  if (isSlots(type)) return copySlot(map, type, key, out);
  if (isHash(type) || isStorage(type)) return copyElement(map, hashElement(map, key), out, flags);
  switch (type) {
    case MAP_TYPE_PROG_ARRAY:
      return programsLookup(map, key, out);
    case MAP_TYPE_STACK_TRACE:
      return stacksLookup(map, key, out, false);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return queueRead(map, out, false);
    case MAP_TYPE_BLOOM_FILTER:
      return bloomPeek(map, out);
    case MAP_TYPE_HASH_OF_MAPS: {
      const inner = hashLookup(map, key, 0);
      if (inner == 0) return -ENOENT;
      store<u32>(out, load<u32>(load<u32>(inner), MAP_ID));
      return 0;
    }
    case MAP_TYPE_SOCKHASH: {
      if (load<u32>(map, MAP_VALUE_SIZE) != 8) return -ENOSPC;
      const socket = hashLookup(map, key, 0);
      if (socket == 0) return -ENOENT;
      store<u64>(out, load<u32>(socket));
      return 0;
    }
    case MAP_TYPE_DEVMAP_HASH:
      return copyElement(map, hashElement(map, key), out, flags);
    case MAP_TYPE_PERCPU_ARRAY: {
      const first = arrayLookup(map, key, 0);
      if (first == 0) return -ENOENT;
      const distance = load<u32>(map, MAP_CPU_STRIDE);
      const stride = u32(roundUp8(load<u32>(map, MAP_VALUE_SIZE)));
      for (let cpu: u32 = 0; cpu < cpus; cpu++) {
        copyLong(map, out + cpu * stride, first + cpu * distance);
        clearFields(map, out + cpu * stride);
      }
      return 0;
    }
    case MAP_TYPE_ARRAY: {
      const value = arrayLookup(map, key, 0);
      if (value == 0) return -ENOENT;
      if (flags != 0) copyLocked(map, out, value, value);
      else copyValue(map, out, value);
      clearFields(map, out);
      return 0;
    }
    case MAP_TYPE_LPM_TRIE: {
      const value = trieLookup(map, key);
      if (value == 0) return -ENOENT;
      copyBytes(out, value, load<u32>(map, MAP_VALUE_SIZE));
      return 0;
    }
    default:
      return noElements(type);
  }
}

/** Of types that have no elements for bpf(2): ring buffers and arenas say so in their own ways. */
function noElements(type: i32): i32 {
  return type == MAP_TYPE_RINGBUF || type == MAP_TYPE_USER_RINGBUF
    ? -ENOTSUPP
    : type == MAP_TYPE_ARENA
      ? -EINVAL
      : -EOPNOTSUPP;
}

function copyElement(map: u32, element: u32, out: u32, flags: u64): i32 {
  if (element == 0) return -ENOENT;
  hashCopy(map, element, out, flags);
  return 0;
}

function copySlot(map: u32, type: i32, key: u32, out: u32): i32 {
  const status = slotReadable(type);
  if (status != 0) return status;
  const size = load<u32>(map, MAP_VALUE_SIZE);
  if ((type == MAP_TYPE_SOCKMAP || type == MAP_TYPE_REUSEPORT_SOCKARRAY) && size != 8) return -ENOSPC;
  const slot = slotLookup(map, load<u32>(key));
  if (slot == 0) return -ENOENT;
  if (type == MAP_TYPE_ARRAY_OF_MAPS) store<u32>(out, load<u32>(load<u32>(slot), MAP_ID));
  else copyBytes(out, slot, size);
  return 0;
}

/** Whether a map may be put into a map of maps (linux: bpf_map_meta_equal and array_map_meta_equal). */
function fits(map: u32, inner: u32): bool {
  const template = load<u32>(map, MAP_INNER);
  const type = load<i32>(template, MAP_TYPE);
  if (
    load<i32>(inner, MAP_TYPE) != type ||
    load<u32>(inner, MAP_KEY_SIZE) != load<u32>(template, MAP_KEY_SIZE) ||
    load<u32>(inner, MAP_VALUE_SIZE) != load<u32>(template, MAP_VALUE_SIZE) ||
    load<u32>(inner, MAP_FLAGS) != load<u32>(template, MAP_FLAGS) ||
    !sameFields(load<u32>(inner, MAP_RECORD), load<u32>(template, MAP_RECORD))
  ) {
    return false;
  }
  if (type != MAP_TYPE_ARRAY || (load<u32>(template, MAP_FLAGS) & BPF_F_INNER_MAP) != 0) return true;
  return load<u32>(inner, MAP_MAX_ENTRIES) == load<u32>(template, MAP_MAX_ENTRIES);
}

function sameFields(a: u32, b: u32): bool {
  if (a == 0 || b == 0) return a == b;
  const count = load<u32>(a);
  return count == load<u32>(b) && memory.compare(a, b, 4 + count * FIELD_ENTRY) == 0;
}

/** BPF_MAP_UPDATE_ELEM. */
export function map_update_copy(map: u32, key: u32, value: u32, flags: u64): i32 {
  nextOperation();
  if (!mayWrite(map)) return -EPERM;
  // Here before all else, while programs get the errors of the map type first.
  if ((flags & BPF_F_LOCK) != 0 && !hasSpinLock(map)) return -EINVAL;
  const type = load<i32>(map, MAP_TYPE);
  if (isSlots(type)) {
    if (type == MAP_TYPE_ARRAY_OF_MAPS && flags == 0) {
      if (load<u32>(key) >= load<u32>(map, MAP_MAX_ENTRIES)) return -E2BIG;
      if (!fits(map, load<u32>(value))) return -EINVAL;
    }
    return slotUpdate(map, key, value, flags);
  }
  if (isHash(type) || isStorage(type)) {
    if (isCgroups(type)) {
      // Such a value comes with its cgroup; bpf(2) only changes it.
      if ((flags & ~(BPF_EXIST | (type == MAP_TYPE_CGROUP_STORAGE ? BPF_F_LOCK : 0))) != 0) return -EINVAL;
      flags |= BPF_EXIST;
    }
    return hashUpdate(map, key, value, flags, 0, isPerCpu(map));
  }
  switch (type) {
    case MAP_TYPE_ARENA:
      return -EOPNOTSUPP;
    case MAP_TYPE_ARRAY:
      return arrayUpdate(map, key, value, flags, 0);
    case MAP_TYPE_PERCPU_ARRAY: {
      const status = arrayCheckUpdate(map, key, flags);
      if (status != 0) return status;
      const first = arrayLookup(map, key, 0);
      const distance = load<u32>(map, MAP_CPU_STRIDE);
      const stride = u32(roundUp8(load<u32>(map, MAP_VALUE_SIZE)));
      for (let cpu: u32 = 0; cpu < cpus; cpu++) {
        copyLong(map, first + cpu * distance, value + cpu * stride);
        freeOwned(map, first + cpu * distance);
      }
      return 0;
    }
    case MAP_TYPE_LPM_TRIE:
      return trieUpdate(map, key, value, flags);
    case MAP_TYPE_PROG_ARRAY:
      return programsUpdate(map, key, value, flags);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return queuePush(map, value, flags);
    case MAP_TYPE_BLOOM_FILTER:
      return bloomPush(map, value, flags);
    case MAP_TYPE_HASH_OF_MAPS:
      return fits(map, load<u32>(value)) ? hashUpdate(map, key, value, flags, 0, false) : -EINVAL;
    case MAP_TYPE_SOCKHASH:
      return hashUpdate(map, key, value, flags, 0, false);
    case MAP_TYPE_DEVMAP_HASH: {
      if (flags > u64(BPF_EXIST) || load<u32>(value) == 0) return -EINVAL;
      // linux: __dev_map_hash_update_elem does not ask whether there is something to replace.
      if (flags == BPF_NOEXIST && hashLookup(map, key, 0) != 0) return -EEXIST;
      if (hasEntryPrograms(map)) {
        const program = entryProgram(map, load<u32>(value, 4));
        if (program < 0) return -EINVAL;
        store<u32>(value, program, 4);
      }
      return hashUpdate(map, key, value, 0, 0, false);
    }
    case MAP_TYPE_STACK_TRACE:
      return -EINVAL;
    default:
      return noElements(type);
  }
}

/** BPF_MAP_DELETE_ELEM. */
export function map_delete(map: u32, key: u32): i32 {
  nextOperation();
  if (!mayWrite(map)) return -EPERM;
  const type = load<i32>(map, MAP_TYPE);
  if (isSlots(type)) return slotDelete(map, key);
  if (isCgroups(type)) return -EINVAL;
  if (isStorage(type)) return hashDelete(map, key);
  switch (type) {
    case MAP_TYPE_PROG_ARRAY:
      return programsDelete(map, key);
    case MAP_TYPE_STACK_TRACE:
      return stacksDelete(map, key);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return -EINVAL;
    case MAP_TYPE_HASH_OF_MAPS:
    case MAP_TYPE_DEVMAP_HASH:
      return hashDelete(map, key);
    case MAP_TYPE_RINGBUF:
    case MAP_TYPE_USER_RINGBUF:
      return -ENOTSUPP;
    default:
      return deleteElement(map, key);
  }
}

/** BPF_MAP_LOOKUP_AND_DELETE_ELEM. */
export function map_lookup_and_delete(map: u32, key: u32, out: u32, flags: u64): i32 {
  nextOperation();
  if ((flags & ~BPF_F_LOCK) != 0) return -EINVAL;
  const type = load<i32>(map, MAP_TYPE);
  const queue = type == MAP_TYPE_QUEUE || type == MAP_TYPE_STACK;
  if (!mayRead(map) || !mayWrite(map)) return -EPERM;
  if (flags != 0 && (queue || !hasSpinLock(map))) return -EINVAL;
  if (queue) return queueRead(map, out, true);
  if (type == MAP_TYPE_STACK_TRACE) return stacksLookup(map, key, out, true);
  return isHash(type) ? hashLookupAndDelete(map, key, out, flags) : -ENOTSUPP;
}

/** BPF_MAP_GET_NEXT_KEY: `key` 0 asks for the first. -ENOENT after the last. */
export function map_get_next_key(map: u32, key: u32, next: u32): i32 {
  if (!mayRead(map)) return -EPERM;
  const type = load<i32>(map, MAP_TYPE);
  if (isStorage(type) && !isCgroups(type)) return -ENOTSUPP;
  if (isHash(type) || isStorage(type)) return hashNextKey(map, key, next);
  if (isSlots(type)) return arrayNextKey(map, key, next);
  switch (type) {
    case MAP_TYPE_HASH_OF_MAPS:
    case MAP_TYPE_SOCKHASH:
    case MAP_TYPE_DEVMAP_HASH:
      return hashNextKey(map, key, next);
    case MAP_TYPE_ARRAY:
    case MAP_TYPE_PERCPU_ARRAY:
    case MAP_TYPE_PROG_ARRAY:
      return arrayNextKey(map, key, next);
    case MAP_TYPE_LPM_TRIE:
      return trieNextKey(map, key, next);
    case MAP_TYPE_STACK_TRACE:
      return stacksNextKey(map, key, next);
    case MAP_TYPE_QUEUE:
    case MAP_TYPE_STACK:
      return -EINVAL;
    case MAP_TYPE_RINGBUF:
    case MAP_TYPE_USER_RINGBUF:
      return -ENOTSUPP;
    default:
      return -EOPNOTSUPP;
  }
}

/** BPF_MAP_FREEZE: from now on bpf(2) writes nothing; programs may. */
export function map_freeze(map: u32): i32 {
  if (load<i32>(map, MAP_TYPE) == MAP_TYPE_STRUCT_OPS || load<u32>(map, MAP_RECORD) != 0) return -ENOTSUPP;
  // A frozen map is one that the host may not write to, and so it may not freeze it either.
  if (!mayWrite(map)) return -EPERM;
  store<u32>(map, 1, MAP_FROZEN);
  return 0;
}
