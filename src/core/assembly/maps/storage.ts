/**
 * Local storage: a value for each socket, task, inode or cgroup that a program asks it for. A hash by the owner's address
 * in the machine's memory (or its number), without a limit; it is the world's to delete what belongs to an owner that goes away.
 */
import { MAP_TYPE, MAP_VALUE_SIZE, EXEC_CGROUP } from "../../layout";
import { alloc, free } from "../allocator";
import { exec, exec_cpu } from "../state";
import {
  BPF_NOEXIST,
  ENOENT,
  MAP_TYPE_CGROUP_STORAGE,
  MAP_TYPE_CGRP_STORAGE,
  MAP_TYPE_INODE_STORAGE,
  MAP_TYPE_PERCPU_CGROUP_STORAGE,
  MAP_TYPE_SK_STORAGE,
  MAP_TYPE_TASK_STORAGE,
} from "../uapi";
import { hashDelete, hashLookup, hashUpdate } from "./hash";
import { roundUp8 } from "./descriptor";
import { STORAGE_KEY, STORAGE_ZERO } from "./fields";
import { cpus } from "../state";

const CREATE: u64 = 1;

export function isStorage(type: i32): bool {
  switch (type) {
    case MAP_TYPE_SK_STORAGE:
    case MAP_TYPE_TASK_STORAGE:
    case MAP_TYPE_INODE_STORAGE:
    case MAP_TYPE_CGRP_STORAGE:
    case MAP_TYPE_CGROUP_STORAGE:
    case MAP_TYPE_PERCPU_CGROUP_STORAGE:
      return true;
    default:
      return false;
  }
}

/** Address of the owner's value, made with `initial` (0: zeros) if the flags ask for it; or 0. */
function storageGet(map: u32, owner: u32, initial: u32, flags: u64): u32 {
  if (owner == 0 || flags > CREATE) return 0;
  // The key lies on nobody's stack: two CPUs that ask at once each have their own.
  const key = load<u32>(map, STORAGE_KEY) + (exec_cpu() << 4);
  store<u64>(key, owner);
  store<u64>(key, 0, 8);
  const perCpu = load<i32>(map, MAP_TYPE) == MAP_TYPE_PERCPU_CGROUP_STORAGE;
  const cpu = perCpu ? exec_cpu() : 0;
  const found = hashLookup(map, key, cpu);
  if (found != 0 || (flags & CREATE) == 0) return found;
  const value = initial == 0 ? load<u32>(map, STORAGE_ZERO) : initial;
  // Somebody else may have made it meanwhile.
  hashUpdate(map, key, value, BPF_NOEXIST, cpu, perCpu);
  return hashLookup(map, key, cpu);
}

function storageDelete(map: u32, owner: u32): i32 {
  if (owner == 0) return -ENOENT;
  const key = load<u32>(map, STORAGE_KEY) + (exec_cpu() << 4);
  store<u64>(key, owner);
  store<u64>(key, 0, 8);
  return hashDelete(map, key);
}

/** What the functions above need beside the hash: a key for each CPU, a value of zeros. False when memory is used up. */
export function storageCreate(map: u32): bool {
  const keys = alloc(cpus << 4, 16);
  const zero = alloc(u32(roundUp8(load<u32>(map, MAP_VALUE_SIZE))) * cpus, 8);
  store<u32>(map, keys, STORAGE_KEY);
  store<u32>(map, zero, STORAGE_ZERO);
  return keys != 0 && zero != 0;
}

export function storageFree(map: u32): void {
  free(load<u32>(map, STORAGE_KEY));
  free(load<u32>(map, STORAGE_ZERO));
}

export function sk_storage_get(map: u32, owner: u32, value: u32, flags: u64): u32 {
  return storageGet(map, owner, value, flags);
}

export function sk_storage_delete(map: u32, owner: u32): i32 {
  return storageDelete(map, owner);
}

export function inode_storage_get(map: u32, owner: u32, value: u32, flags: u64): u32 {
  return storageGet(map, owner, value, flags);
}

export function inode_storage_delete(map: u32, owner: u32): i32 {
  return storageDelete(map, owner);
}

export function task_storage_get(map: u32, owner: u32, value: u32, flags: u64): u32 {
  return storageGet(map, owner, value, flags);
}

export function task_storage_delete(map: u32, owner: u32): i32 {
  return storageDelete(map, owner);
}

export function cgrp_storage_get(map: u32, owner: u32, value: u32, flags: u64): u32 {
  return storageGet(map, owner, value, flags);
}

export function cgrp_storage_delete(map: u32, owner: u32): i32 {
  return storageDelete(map, owner);
}

/** The storage of the cgroup that the program runs for; it is there from the start. */
export function get_local_storage(map: u32, flags: u64): u32 {
  const cgroup = load<u32>(exec, EXEC_CGROUP);
  return storageGet(map, cgroup == 0 ? 1 : cgroup, 0, CREATE);
}
