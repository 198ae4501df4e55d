/**
 * What values and objects own through the kernel's fields in them (kernel/bpf/syscall.c, bpf_obj_free_fields): objects in pointers, lists and
 * trees go with the value, a timer's number is cleared, so that it is nobody's any more.
 *
 * What an object that goes owns is put into a line, linked through the headers, and freed by turns: chains of objects may be long.
 */
import {
  CACHE_RECORD,
  EXEC_LOCK,
  FIELD_ENTRY,
  FIELD_KIND,
  FIELD_KPTR,
  FIELD_KPTR_UNTRUSTED,
  FIELD_LIST_HEAD,
  FIELD_OFFSET,
  FIELD_PERCPU_KPTR,
  FIELD_RB_ROOT,
  FIELD_SIZE,
  FIELD_TASK_WORK,
  FIELD_TIMER,
  FIELD_UPTR,
  FIELD_WQ,
  HEAP_CACHE,
  HEAP_HEADER,
  HEAP_NEXT,
  LIST_NEXT,
  MAP_RECORD,
  MAP_SPIN_LOCK,
  NO_SPIN_LOCK,
  TREE_LEFT,
  TREE_NODE_SIZE,
  TREE_PARENT,
  TREE_RIGHT,
} from "../layout";
import { spinLock, spinUnlock } from "./lock";
import { dropReference, giveBack, object_of } from "./objects";
import { exec } from "./state";

/** One reference less; 1 if it was the last, and the object is gone with all that it owned. */
export function object_release(object: u32): i32 {
  if (!dropReference(object)) return 0;
  link(object, 0);
  freeLine(object);
  return 1;
}

/** What a map's value owns goes, because the value does or because another one is written over it. */
export function freeOwned(map: u32, value: u32): void {
  const record = load<u32>(map, MAP_RECORD);
  if (record == 0) return;
  const offset = load<u32>(map, MAP_SPIN_LOCK);
  freeLine(take(record, value, offset == u32(NO_SPIN_LOCK) ? 0 : value + offset, 0));
}

function link(object: u32, next: u32): void {
  store<u32>(object - HEAP_HEADER, next, HEAP_HEADER + HEAP_NEXT);
}

function freeLine(first: u32): void {
  while (first != 0) {
    const object = first;
    first = load<u32>(object - HEAP_HEADER, HEAP_HEADER + HEAP_NEXT);
    const cache = load<u32>(object - HEAP_HEADER, HEAP_HEADER + HEAP_CACHE);
    const record = load<u32>(cache, CACHE_RECORD);
    if (record != 0) first = take(record, object, 0, first);
    giveBack(object);
  }
}

/** Drops what the fields at an address hold; what that was the last reference to stands before `line`. */
function take(record: u32, at: u32, lock: u32, line: u32): u32 {
  let field = record + 4;
  for (let left = load<u32>(record); left != 0; left--) {
    const place = at + load<u32>(field, FIELD_OFFSET);
    switch (load<i32>(field, FIELD_KIND)) {
      case FIELD_KPTR:
      case FIELD_PERCPU_KPTR:
        line = drop(takeWord(place), line);
        break;
      case FIELD_TIMER:
      case FIELD_WQ:
      case FIELD_TASK_WORK:
      case FIELD_KPTR_UNTRUSTED:
      case FIELD_UPTR:
        store<u64>(place, 0);
        break;
      case FIELD_LIST_HEAD:
        line = dropList(detach(place, load<u32>(field, FIELD_SIZE), lock), line);
        break;
      case FIELD_RB_ROOT:
        line = dropTree(detach(place, load<u32>(field, FIELD_SIZE), lock), line);
    }
    field += FIELD_ENTRY;
  }
  return line;
}

function takeWord(place: u32): u32 {
  const before = ASC_FEATURE_THREADS ? atomic.xchg<u32>(place, 0) : load<u32>(place);
  store<u64>(place, 0);
  return before;
}

/** The first word of a list or tree, which is empty afterwards. Programs change it under the lock beside it. */
function detach(place: u32, size: u32, lock: u32): u32 {
  // A program that nobody has verified may come here with a lock, and two of them would wait for each other.
  const locks = lock != 0 && load<u32>(exec, EXEC_LOCK) == 0;
  if (locks) spinLock(lock);
  const first = load<u32>(place);
  memory.fill(place, 0, size);
  if (locks) spinUnlock(lock);
  return first;
}

function drop(address: u32, line: u32): u32 {
  const object = address == 0 ? 0 : object_of(address);
  if (object == 0 || !dropReference(object)) return line;
  link(object, line);
  return object;
}

function dropList(node: u32, line: u32): u32 {
  while (node != 0) {
    const next = load<u32>(node, LIST_NEXT);
    line = drop(node, line);
    node = next;
  }
  return line;
}

/** Children before their parents. A node that lives on may be put into another tree. */
function dropTree(top: u32, line: u32): u32 {
  let node = deepest(top);
  while (node != 0) {
    const parent = load<u32>(node, TREE_PARENT);
    const other = parent != 0 && load<u32>(parent, TREE_LEFT) == node ? load<u32>(parent, TREE_RIGHT) : 0;
    memory.fill(node, 0, TREE_NODE_SIZE);
    line = drop(node, line);
    node = other != 0 ? deepest(other) : parent;
  }
  return line;
}

function deepest(node: u32): u32 {
  while (node != 0) {
    const left = load<u32>(node, TREE_LEFT);
    const child = left != 0 ? left : load<u32>(node, TREE_RIGHT);
    if (child == 0) break;
    node = child;
  }
  return node;
}
