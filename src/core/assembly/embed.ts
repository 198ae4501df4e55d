/**
 * What a self-contained module (aot/) offers its host. The host knows programs and maps by their index; whatever it gets
 * wrong traps.
 */
import {
  EMBED_BUFFER,
  EMBED_INPUT,
  EMBED_MANIFEST,
  EMBED_MANIFEST_SIZE,
  EMBED_MAPS,
  EMBED_MAP_LIST,
  EMBED_OUT,
  EMBED_PROGRAMS,
  EMBED_PROGRAM_LIST,
  EMBED_PROGRAM_SIZE,
  EMBED_RECORD,
  EXEC_FAULT,
  EXEC_RANDOM,
  KIND_NONE,
  NO_PROGRAM,
  MAP_TYPE,
  PROG_ID,
  RECORD_LENGTH,
  RECORD_ORIGIN,
  RECORD_RESULT,
  RECORD_SIZE,
  RUN_BUFFER,
  RUN_BUFFER_SIZE,
  RUN_COUNT,
  RUN_CTX,
  RUN_FUEL,
  RUN_HEADROOM,
  RUN_INPUT_SIZE,
  RUN_KEEP,
  RUN_KIND,
  RUN_LENGTHS,
  RUN_NEXT,
  RUN_OFFSETS,
  RUN_OUT,
  RUN_OUT_END,
  RUN_PROG,
  RUN_RECORDS,
  RUN_RESERVE,
  RUN_RESULTS,
  RUN_STRIDE,
  RUN_TEMPLATE,
  STATUS_DONE,
} from "../layout";
import { alloc, free } from "./allocator";
import { callCompiled } from "./batch/compiled";
import { run_batch } from "./batch/run";
import { LARGEST } from "./helpers/skb-buffer";
import { hasEntryPrograms } from "./maps/programs";
import { ringConsume, ringPeek } from "./maps/ring";
import { map_delete, map_get_next_key, map_lookup_copy, map_update_copy } from "./maps/syscall";
import { exec, exec_of, join, setFuel } from "./state";
import { MAP_TYPE_RINGBUF } from "./uapi";

/** A packet buffer is made of whole pages; see batch/packet.ts. */
const PAGE: u32 = 4096;

/** Address of the EMBED_ block. */
let block: u32 = 0;

/** The module's start function calls this; the memory is as the compiler left it. */
export function embed_start(address: u32): void {
  block = address;
  join(0);
}

function orderOf(program: u32): u32 {
  if (program >= load<u32>(block, EMBED_PROGRAMS)) unreachable();
  return load<u32>(block, EMBED_PROGRAM_LIST) + program * EMBED_PROGRAM_SIZE;
}

function mapOf(map: u32): u32 {
  if (map >= load<u32>(block, EMBED_MAPS)) unreachable();
  return load<u32>(load<u32>(block, EMBED_MAP_LIST) + 4 * map);
}

/** An area of the block, at least this large; what was in it is lost when it grows. */
function room(area: u32, size: u32): u32 {
  const field = block + area;
  const old = load<u32>(field);
  if (old != 0 && load<u32>(field, 4) >= size) return old;
  if (old != 0) free(old);
  const address = alloc(size, 64);
  store<u32>(field, address);
  store<u32>(field, address == 0 ? 0 : size, 4);
  return address;
}

/** Gives an order records, and a packet buffer that takes packets up to a length; the buffer's size. */
function takeRecords(order: u32, records: u32, count: u32, longest: u32): u32 {
  store<u32>(order, 0, RUN_NEXT);
  const overhead = load<u32>(order, RUN_HEADROOM) + load<u32>(order, RUN_RESERVE);
  const size = (overhead + longest + PAGE - 1) & ~(PAGE - 1);
  const buffer = size < longest ? 0 : room(EMBED_BUFFER, size);
  if (buffer == 0) unreachable();
  store<u32>(order, buffer, RUN_BUFFER);
  store<u32>(order, size, RUN_BUFFER_SIZE);
  store<u32>(order, records, RUN_RECORDS);
  store<u32>(order, records + RECORD_ORIGIN, RUN_OFFSETS);
  store<u32>(order, records + RECORD_LENGTH, RUN_LENGTHS);
  store<u32>(order, records + RECORD_RESULT, RUN_RESULTS);
  store<u32>(order, RECORD_SIZE, RUN_STRIDE);
  store<u32>(order, u32.MAX_VALUE, RUN_INPUT_SIZE);
  store<u32>(order, count, RUN_COUNT);
  return size;
}

export function embed_alloc(size: u32): u32 {
  return alloc(size, 8);
}

export function embed_packet_buffer(size: u32): u32 {
  return room(EMBED_INPUT, max<u32>(size, 64));
}

/** Runs over the first bytes of the packet buffer. */
export function embed_run(program: u32, length: u32): u32 {
  const order = orderOf(program);
  if (load<i32>(order, RUN_KIND) == KIND_NONE) unreachable();
  if (length > load<u32>(block, EMBED_INPUT + 4)) unreachable();
  const record = load<u32>(block, EMBED_RECORD);
  memory.fill(record, 0, RECORD_SIZE);
  store<u32>(record, load<u32>(block, EMBED_INPUT), RECORD_ORIGIN);
  store<u32>(record, length, RECORD_LENGTH);
  const size = max<u32>(takeRecords(order, record, 1, length), LARGEST);
  const out = room(EMBED_OUT, size);
  if (out == 0) unreachable();
  store<u32>(order, out, RUN_OUT);
  store<u32>(order, out + size, RUN_OUT_END);
  store<u32>(order, 0xffffffff, RUN_KEEP);
  if (run_batch(exec_of(0), order) != STATUS_DONE) unreachable();
  return load<u32>(record, RECORD_RESULT);
}

/** The record of the last single run. */
export function embed_result(): u32 {
  return load<u32>(block, EMBED_RECORD);
}

/** Runs over records; how many. */
export function embed_batch(program: u32, records: u32, count: u32): u32 {
  const order = orderOf(program);
  if (load<i32>(order, RUN_KIND) == KIND_NONE) unreachable();
  store<u32>(order, 0, RUN_KEEP);
  store<u32>(order, 0, RUN_OUT);
  store<u32>(order, 0, RUN_OUT_END);
  let longest: u32 = 0;
  for (let index: u32 = 0; index < count; index++)
    longest = max<u32>(longest, load<u32>(records + index * RECORD_SIZE, RECORD_LENGTH));
  takeRecords(order, records, count, longest);
  if (run_batch(exec_of(0), order) != STATUS_DONE) unreachable();
  return count;
}

/** How many records of a program's last batch are done: after a trap the index of the record at fault. */
export function embed_done(program: u32): u32 {
  return load<u32>(orderOf(program), RUN_NEXT);
}

/** Runs with two bare arguments. */
export function embed_call(program: u32, r1: u32, r2: u32): u64 {
  const order = orderOf(program);
  setFuel(load<i64>(order, RUN_FUEL));
  return callCompiled(exec_of(0), load<u32>(order, RUN_PROG), r1, r2);
}

/** What the host may fill in: the bytes that the context of each packet starts from; of other types the context itself. */
export function embed_context(program: u32): u32 {
  const order = orderOf(program);
  if (load<i32>(order, RUN_KIND) == KIND_NONE) return load<u32>(order, RUN_CTX);
  return load<u32>(order, RUN_TEMPLATE);
}

/** Why the last run trapped: a FAULT_ constant, 0 if the trap is none of the core's. */
export function embed_fault(): i32 {
  return load<i32>(exec, EXEC_FAULT);
}

export function embed_seed(seed: u64): void {
  store<u64>(exec_of(0), seed | 1, EXEC_RANDOM);
}

export function embed_manifest(): u32 {
  return load<u32>(block, EMBED_MANIFEST);
}

export function embed_manifest_size(): u32 {
  return load<u32>(block, EMBED_MANIFEST_SIZE);
}

export function embed_map_lookup(map: u32, key: u32, out: u32): i32 {
  return map_lookup_copy(mapOf(map), key, out, 0);
}

export function embed_map_update(map: u32, key: u32, value: u32, flags: u64): i32 {
  const descriptor = mapOf(map);
  if (!hasEntryPrograms(descriptor)) return map_update_copy(descriptor, key, value, flags);
  // The host's bytes stay as they are.
  const id = load<i32>(value, 4);
  store<u32>(value, programOf(id), 4);
  const status = map_update_copy(descriptor, key, value, flags);
  store<i32>(value, id, 4);
  return status;
}

/** The descriptor of the program with an id, NO_PROGRAM if there is none; ids below 1 are no program. */
function programOf(id: i32): u32 {
  if (id < 1) return 0;
  const count = load<u32>(block, EMBED_PROGRAMS);
  for (let index: u32 = 0; index < count; index++) {
    const prog = load<u32>(orderOf(index), RUN_PROG);
    if (load<i32>(prog, PROG_ID) == id) return prog;
  }
  return NO_PROGRAM;
}

export function embed_map_delete(map: u32, key: u32): i32 {
  return map_delete(mapOf(map), key);
}

export function embed_map_next_key(map: u32, key: u32, next: u32): i32 {
  return map_get_next_key(mapOf(map), key, next);
}

/** Address of the oldest record's bytes, whose length is in the word 8 bytes before them; 0 if there is none. */
export function embed_ring_peek(map: u32): u32 {
  return ringPeek(ringOf(map));
}

/** Gives that record's room back. */
export function embed_ring_consume(map: u32): void {
  ringConsume(ringOf(map));
}

function ringOf(map: u32): u32 {
  const descriptor = mapOf(map);
  if (load<i32>(descriptor, MAP_TYPE) != MAP_TYPE_RINGBUF) unreachable();
  return descriptor;
}
