/**
 * The elements of a map for bpf_for_each_map_elem, one after the other. The place is kept in a frame's record.
 *
 * As in the kernel the next element of a chain is looked up before the callback runs: a callback may delete the element
 * that it was given. Should it delete the next one as well, it sees that once more, for a block that came back keeps its
 * key, its value and its place in the chain until it is used again.
 */
import {
  FRAME_RECORD_BUCKET,
  FRAME_RECORD_ELEMENT,
  FRAME_RECORD_INDEX,
  FRAME_RECORD_KEY,
  FRAME_RECORD_MAP,
  FRAME_RECORD_ROUNDS,
  FRAME_RECORD_VALUE,
  MAP_MAX_ENTRIES,
  MAP_TYPE,
} from "../../layout";
import { exec_cpu } from "../state";
import {
  MAP_TYPE_ARRAY,
  MAP_TYPE_HASH,
  MAP_TYPE_LRU_HASH,
  MAP_TYPE_LRU_PERCPU_HASH,
  MAP_TYPE_PERCPU_ARRAY,
  MAP_TYPE_PERCPU_HASH,
} from "../uapi";
import { arrayLookup } from "./array";
import { ELEMENT_KEY, HASH_MASK } from "./fields";
import { bucketAt, hashValue } from "./hash";

/** Whether the kernel iterates maps of this type. */
export function isIterable(map: u32): bool {
  const type = load<i32>(map, MAP_TYPE);
  return (
    isArray(type) ||
    type == MAP_TYPE_HASH ||
    type == MAP_TYPE_PERCPU_HASH ||
    type == MAP_TYPE_LRU_HASH ||
    type == MAP_TYPE_LRU_PERCPU_HASH
  );
}

function isArray(type: i32): bool {
  return type == MAP_TYPE_ARRAY || type == MAP_TYPE_PERCPU_ARRAY;
}

/** Before the first round. */
export function eachStart(record: u32): void {
  store<u32>(record, 0, FRAME_RECORD_ELEMENT);
  store<u32>(record, 0, FRAME_RECORD_BUCKET);
}

/** Sets key and value of the next element, and counts the round. False after the last. */
export function eachNext(record: u32): bool {
  const map = load<u32>(record, FRAME_RECORD_MAP);
  const rounds = load<u32>(record, FRAME_RECORD_ROUNDS);
  if (isArray(load<i32>(map, MAP_TYPE))) {
    if (rounds >= load<u32>(map, MAP_MAX_ENTRIES)) return false;
    const index = record + FRAME_RECORD_INDEX;
    store<u32>(index, rounds);
    store<u32>(record, index, FRAME_RECORD_KEY);
    store<u32>(record, arrayLookup(map, index, exec_cpu()), FRAME_RECORD_VALUE);
  } else {
    const mask = load<u32>(map, HASH_MASK);
    let element = load<u32>(record, FRAME_RECORD_ELEMENT);
    let bucket = load<u32>(record, FRAME_RECORD_BUCKET);
    for (; element == 0; bucket++) {
      if (bucket > mask) return false;
      element = load<u32>(bucketAt(map, bucket));
    }
    store<u32>(record, load<u32>(element), FRAME_RECORD_ELEMENT);
    store<u32>(record, bucket, FRAME_RECORD_BUCKET);
    store<u32>(record, element + ELEMENT_KEY, FRAME_RECORD_KEY);
    store<u32>(record, hashValue(map, element, exec_cpu()), FRAME_RECORD_VALUE);
  }
  store<u32>(record, rounds + 1, FRAME_RECORD_ROUNDS);
  return true;
}
