/** What helpers and kernel functions do in a modelled run: as much as a verifier can know of it, the rest by chance. */
import { Unsound, readBytes, writeBytes } from "./memory.ts";
import type { Region } from "./memory.ts";
import { addToTree, borrow, drop, graph, insert, objectAt, release, remove } from "./objects.ts";
import {
  type ModelArguments,
  type ModelCalls,
  type ModelDynptr,
  type ModelMap,
  type ModelRun,
  Throw,
} from "./run.ts";

type Args = ModelArguments;
type Call = (run: ModelRun, args: Args) => bigint | number | undefined;

const EFAULT = -14;
const EINVAL = -22;
/** The kernel does up to 2^23 rounds; a callback may end a loop at any time, so fewer say as much. */
const MOST_ROUNDS = 20;

/** Bytes that a helper reads. */
function take(run: ModelRun, address: bigint, size: number, what: string): Uint8Array {
  if (size === 0) return new Uint8Array(0);
  const { region, offset } = run.memory.at(address, size, what);
  return region.bytes.subarray(offset, offset + size);
}

function give(run: ModelRun, address: bigint, bytes: Uint8Array, what: string): void {
  if (bytes.length === 0) return;
  const { region, offset } = run.memory.at(address, bytes.length, what);
  if (!region.writable) throw new Unsound(`${what}: writes ${region.label}, which is read only`);
  region.bytes.set(bytes, offset);
}

function element(run: ModelRun, map: ModelMap, key: bigint): Region | undefined {
  return map.values.get(Number(readBytes(take(run, key, 4, "key"), 0, 4)));
}

function record(run: ModelRun, size: number): Region | undefined {
  if (run.random.chance(0.3)) return undefined;
  const made = run.memory.add("record", "ring buffer record", run.random.bytes(size));
  made.held = 1;
  return made;
}

function endRecord(run: ModelRun, address: bigint): void {
  const region = run.memory.find(address);
  if (region?.kind !== "record" || !region.alive || address !== region.base)
    throw new Unsound("a ring buffer record is ended that is none");
  region.held = 0;
  region.alive = false;
}

function lock(run: ModelRun, address: bigint): void {
  if (run.locks.size > 0) throw new Unsound("a second lock is taken");
  run.locks.set(address, run.memory.at(address, 4, "lock").region);
}

function unlock(run: ModelRun, address: bigint): void {
  if (!run.locks.delete(address)) throw new Unsound("a lock is given back that is not held");
}

function dynptr(run: ModelRun, address: bigint): ModelDynptr {
  const found = run.dynptrs.get(address);
  if (found === undefined) throw new Unsound("no dynptr at this place");
  return found;
}

const size = (value: bigint): number => Number(BigInt.asUintN(32, value));
const signed = (value: bigint): number => Number(BigInt.asIntN(32, value));

function fits({ region, size: all }: ModelDynptr, offset: number, length: number): boolean {
  return region !== undefined && offset + length <= all;
}

function timerAt(run: ModelRun, field: bigint, kind: string): { map: ModelMap; value: Region } {
  const { region } = run.memory.at(field, 16, kind);
  const map = run.maps.find(({ name }) => name === region.label);
  if (region.kind !== "map_value" || map === undefined) throw new Unsound(`a ${kind} outside of a map`);
  return { map, value: region };
}

function setCallback(run: ModelRun, field: bigint, callback: bigint, kind: string): number {
  if (run.random.chance(0.2)) return EINVAL;
  run.timers.set(field, { ...timerAt(run, field, kind), callback, due: false });
  return 0;
}

function start(run: ModelRun, field: bigint): number {
  const timer = run.timers.get(field);
  if (timer === undefined) return EINVAL;
  timer.due = true;
  return 0;
}

/** Rounds of a loop: each calls back, then the next, until one says 1. */
function rounds(
  run: ModelRun,
  callback: bigint,
  count: number,
  argsOf: (round: number) => readonly bigint[],
): void {
  const next = (round: number): void => {
    if (round >= count) {
      run.registers[0] = BigInt(round);
      return;
    }
    run.callBack(callback, argsOf(round), (r0) => {
      if (r0 > 1n) throw new Unsound(`a callback returns ${r0}`);
      if (r0 === 1n) run.registers[0] = BigInt(round + 1);
      else next(round + 1);
    });
  };
  next(0);
}

const HELPERS: Readonly<Record<number, Call>> = {
  1: (run, [map, key]) => element(run, run.mapAt(map), key)?.base ?? 0n,
  5: (run) => run.random.u64(),
  7: (run) => BigInt(run.random.u32()),
  93: (run, [address]) => lock(run, address) ?? 0,
  94: (run, [address]) => unlock(run, address) ?? 0,
  130(run, [map, data, length]) {
    run.mapAt(map);
    take(run, data, Number(length), "bpf_ringbuf_output");
    return 0;
  },
  131: (run, [, length]) => record(run, Number(length))?.base ?? 0n,
  132: (run, [address]) => endRecord(run, address) ?? 0,
  133: (run, [address]) => endRecord(run, address) ?? 0,
  164(run, [map, callback, context]) {
    const { values } = run.mapAt(map);
    const all = [...values];
    rounds(run, callback, all.length, (round) => {
      const [key, value] = all[round] as [number, Region];
      const bytes = new Uint8Array(4);
      writeBytes(bytes, 0, 4, BigInt(key));
      return [map, run.memory.add("map_key", "key", bytes, false).base, value.base, context];
    });
    return undefined;
  },
  169: (run, [field, map]) => (run.mapAt(map) === timerAt(run, field, "timer").map ? 0 : EINVAL),
  170: (run, [field, callback]) => setCallback(run, field, callback, "timer"),
  171: (run, [field]) => start(run, field),
  172(run, [field]) {
    const timer = run.timers.get(field);
    if (timer !== undefined) timer.due = false;
    return 0;
  },
  181(run, [count, callback, context]) {
    const asked = size(count);
    if (asked > 1 << 23) return -7;
    rounds(run, callback, Math.min(asked, MOST_ROUNDS), (round) => [BigInt(round), context]);
    return undefined;
  },
  194(run, [field, object]) {
    const { region, offset } = run.memory.at(field, 8, "bpf_kptr_xchg");
    const old = readBytes(region.bytes, offset, 8);
    if (object !== 0n) release(run.memory.find(object), "bpf_kptr_xchg").stored = true;
    writeBytes(region.bytes, offset, 8, object);
    const given = run.memory.find(old);
    if (given !== undefined) {
      given.stored = false;
      given.held++;
    }
    return old;
  },
  197(run, [data, length, , at]) {
    const { region, offset } = run.memory.at(data, Number(length), "bpf_dynptr_from_mem");
    run.dynptrs.set(at, { region, offset, size: Number(length), writable: true, kind: "memory" });
    return 0;
  },
  198(run, [, length, , at]) {
    const region = record(run, Number(length));
    run.dynptrs.set(at, { region, offset: 0, size: Number(length), writable: true, kind: "record" });
    return region === undefined ? EINVAL : 0;
  },
  199: (run, [at]) => endDynptr(run, at) ?? 0,
  200: (run, [at]) => endDynptr(run, at) ?? 0,
  201(run, [to, length, at, offset]) {
    const from = dynptr(run, at);
    if (!fits(from, size(offset), size(length))) return EINVAL;
    const begin = from.offset + size(offset);
    give(run, to, (from.region as Region).bytes.slice(begin, begin + size(length)), "bpf_dynptr_read");
    return 0;
  },
  202(run, [at, offset, from, length]) {
    const to = dynptr(run, at);
    const bytes = take(run, from, size(length), "bpf_dynptr_write");
    if (!to.writable || !fits(to, size(offset), size(length))) return EINVAL;
    (to.region as Region).bytes.set(bytes, to.offset + size(offset));
    // Only a packet that is no XDP frame may move.
    if (to.kind === "packet") movePacket(run);
    return 0;
  },
  203(run, [at, offset, length]) {
    const from = dynptr(run, at);
    if (from.kind === "packet" || !from.writable || !fits(from, size(offset), size(length))) return 0n;
    return (from.region as Region).base + BigInt(from.offset + size(offset));
  },
};

function movePacket(run: ModelRun): void {
  const old = run.packet;
  run.movePacket();
  for (const [at, one] of run.dynptrs)
    if (one.region === old) run.dynptrs.set(at, { ...one, region: run.packet });
}

function endDynptr(run: ModelRun, at: bigint): void {
  const { region, kind } = dynptr(run, at);
  if (kind !== "record") throw new Unsound("a dynptr is submitted that is no record");
  if (region !== undefined) endRecord(run, region.base);
  for (const [place, one] of run.dynptrs)
    if (place === at || (region !== undefined && one.region === region)) run.dynptrs.delete(place);
}

function slice(run: ModelRun, [at, offset, buffer, length]: Args, writes: boolean): bigint {
  const from = dynptr(run, at);
  if (!fits(from, size(offset), size(length)) || (writes && !from.writable)) return 0n;
  const region = from.region as Region;
  const begin = from.offset + size(offset);
  // A packet in several pieces is copied.
  if (from.kind === "packet" && run.random.chance(0.4)) {
    if (buffer === 0n) return 0n;
    give(run, buffer, region.bytes.slice(begin, begin + size(length)), "bpf_dynptr_slice");
    return buffer;
  }
  return region.base + BigInt(begin);
}

function packetDynptr(run: ModelRun, at: bigint, kind: "packet" | "memory"): number {
  const region = run.packet;
  run.dynptrs.set(at, { region, offset: 0, size: region.bytes.length, writable: true, kind });
  return 0;
}

function iterate(run: ModelRun, at: bigint, values: Iterator<number>): number {
  if (run.iterators.has(at)) throw new Unsound("an iterator is made where one is");
  run.iterators.set(at, {
    values,
    number: run.memory.add("number", "number of an iterator", new Uint8Array(4)),
  });
  return 0;
}

function next(run: ModelRun, at: bigint): bigint {
  const iterator = run.iterators.get(at);
  if (iterator === undefined) throw new Unsound("no iterator at this place");
  const { done, value } = iterator.values.next();
  if (done === true) return 0n;
  writeBytes(iterator.number.bytes, 0, 4, BigInt.asUintN(32, BigInt(value)));
  return iterator.number.base;
}

function destroy(run: ModelRun, at: bigint): undefined {
  const iterator = run.iterators.get(at);
  if (iterator === undefined) throw new Unsound("no iterator at this place");
  iterator.number.alive = false;
  run.iterators.delete(at);
  return undefined;
}

function* between(first: number, end: number): Iterator<number> {
  for (let number = first; number < end; number++) yield number;
}

function* setBits(bytes: Uint8Array): Iterator<number> {
  for (let bit = 0; bit < bytes.length * 8; bit++)
    if (((bytes[bit >> 3] as number) >> (bit & 7)) & 1) yield bit;
}

const enter =
  (field: "rcu" | "preempt" | "irq", by: 1 | -1): Call =>
  (run) => {
    run[field] += by;
    if (run[field] < 0) throw new Unsound(`${field}: a region is left that was not entered`);
    return undefined;
  };

const KFUNCS: Readonly<Record<string, Call>> = {
  bpf_obj_new_impl(run) {
    if (run.random.chance(0.2)) return 0n;
    // As large as the largest: which type it is the verifier knows.
    const made = run.memory.add("object", "object", new Uint8Array(72));
    made.held = 1;
    return made.base;
  },
  bpf_obj_drop_impl(run, [address]) {
    const region = objectAt(run, address);
    if (address !== region.base) throw new Unsound("an object is given back by a pointer into it");
    drop(release(region, "bpf_obj_drop"));
    return undefined;
  },
  bpf_refcount_acquire_impl(run, [address]) {
    const region = objectAt(run, address);
    const borrowed = region.root !== undefined && [...run.locks.values()].includes(region.root);
    if (region.held === 0 && !borrowed) throw new Unsound("bpf_refcount_acquire of what is not held");
    region.held++;
    return region.base;
  },
  bpf_list_push_front_impl: (run, [root, node]) =>
    insert(run, root, node, (list, object) => list.unshift(object)),
  bpf_list_push_back_impl: (run, [root, node]) =>
    insert(run, root, node, (list, object) => list.push(object)),
  bpf_list_pop_front: (run, [root]) => remove(run, root, graph(run, root)[0]),
  bpf_list_pop_back: (run, [root]) => remove(run, root, graph(run, root).at(-1)),
  bpf_list_front: (run, [root]) => borrow(run, root, (list) => list[0]),
  bpf_rbtree_add_impl: (run, [root, node, less]) => addToTree(run, root, node, less),
  bpf_rbtree_first: (run, [root]) => borrow(run, root, (list) => list[0]),
  bpf_rbtree_root: (run, [root]) => borrow(run, root, (list) => list[list.length >> 1]),
  bpf_rbtree_left(run, [root, node]) {
    const of = objectAt(run, node);
    return borrow(run, root, (list) => list[list.indexOf(of) - 1]);
  },
  bpf_rbtree_remove(run, [root, node]) {
    const object = objectAt(run, node);
    return graph(run, root).includes(object) ? remove(run, root, object) : 0n;
  },
  bpf_task_from_pid(run) {
    if (run.random.chance(0.3)) return 0n;
    const task = run.memory.add("kernel", "task", new Uint8Array(16_384), false);
    task.held = 1;
    return task.base;
  },
  bpf_task_acquire(run, [address]) {
    const region = run.memory.find(address);
    if (region?.kind !== "kernel") throw new Unsound("bpf_task_acquire of no task");
    if (run.random.chance(0.2)) return 0n;
    region.held++;
    return region.base;
  },
  bpf_task_release(run, [address]) {
    release(run.memory.find(address), "bpf_task_release");
    return undefined;
  },
  bpf_rcu_read_lock: enter("rcu", 1),
  bpf_rcu_read_unlock: enter("rcu", -1),
  bpf_preempt_disable: enter("preempt", 1),
  bpf_preempt_enable: enter("preempt", -1),
  bpf_local_irq_save: enter("irq", 1),
  bpf_local_irq_restore: enter("irq", -1),
  bpf_res_spin_lock(run, [address]) {
    if (run.random.chance(0.2)) return -110;
    run.locks.set(address, run.memory.at(address, 4, "lock").region);
    return 0;
  },
  bpf_res_spin_unlock(run, [address]) {
    unlock(run, address);
    return undefined;
  },
  bpf_iter_num_new: (run, [at, first, end]) =>
    iterate(run, at, between(signed(first), Math.min(signed(end), signed(first) + 50))),
  bpf_iter_num_next: (run, [at]) => next(run, at),
  bpf_iter_num_destroy: (run, [at]) => destroy(run, at),
  bpf_iter_bits_new(run, [at, words, count]) {
    // The address may be anything: what cannot be read is an error (`unsafe_ptr__ign`).
    const found = run.memory.locate(words, 8 * size(count));
    if (found?.region.alive !== true) {
      iterate(run, at, [].values());
      return EFAULT;
    }
    const { region, offset } = found;
    return iterate(run, at, setBits(region.bytes.slice(offset, offset + 8 * size(count))));
  },
  bpf_iter_bits_next: (run, [at]) => next(run, at),
  bpf_iter_bits_destroy: (run, [at]) => destroy(run, at),
  bpf_wq_init: (run, [field, map]) => (run.mapAt(map) === timerAt(run, field, "work queue").map ? 0 : EINVAL),
  bpf_wq_set_callback_impl: (run, [field, callback]) => setCallback(run, field, callback, "work queue"),
  bpf_wq_start: (run, [field]) => start(run, field),
  bpf_throw(_run, [cookie]) {
    throw new Throw(cookie);
  },
  bpf_dynptr_from_skb: (run, [, , at]) => packetDynptr(run, at, "packet"),
  // Writes leave an XDP frame where it is.
  bpf_dynptr_from_xdp: (run, [, , at]) => packetDynptr(run, at, "memory"),
  bpf_dynptr_clone(run, [from, to]) {
    run.dynptrs.set(to, dynptr(run, from));
    return 0;
  },
  bpf_dynptr_adjust(run, [at, first, end]) {
    const one = dynptr(run, at);
    const [begin, stop] = [size(first), size(end)];
    if (one.region === undefined || begin > stop || stop > one.size) return EINVAL;
    run.dynptrs.set(at, { ...one, offset: one.offset + begin, size: stop - begin });
    return 0;
  },
  bpf_dynptr_size: (run, [at]) => dynptr(run, at).size,
  bpf_dynptr_is_null: (run, [at]) => (dynptr(run, at).region === undefined ? 1 : 0),
  bpf_dynptr_slice: (run, args) => slice(run, args, false),
  bpf_dynptr_slice_rdwr: (run, args) => slice(run, args, true),
};

/** What may be called while a spin lock is held. */
const UNDER_LOCK = /^bpf_(list|rbtree|refcount|obj_drop|res_spin|iter_num)/;

function finish(run: ModelRun, result: bigint | number | undefined): void {
  if (result !== undefined) run.registers[0] = BigInt.asUintN(64, BigInt(result));
}

function callHelper(run: ModelRun, id: number, args: Args): void {
  const call = HELPERS[id];
  if (call === undefined) throw new Unsound(`no model of helper ${id}`);
  if (run.locks.size > 0 && ![93, 94].includes(id) && !resilient(run))
    throw new Unsound(`helper ${id} is called under a lock`);
  finish(run, call(run, args));
}

function callKfunc(run: ModelRun, name: string, args: Args): void {
  const call = KFUNCS[name];
  if (call === undefined) throw new Unsound(`no model of ${name}`);
  if (run.locks.size > 0 && !UNDER_LOCK.test(name) && !resilient(run))
    throw new Unsound(`${name} is called under a lock`);
  finish(run, call(run, args));
}

/** Resilient locks allow more. */
function resilient(run: ModelRun): boolean {
  return [...run.locks.values()].every(({ label }) => label === "resilients");
}

export const CALLS: ModelCalls = { helper: callHelper, kfunc: callKfunc };
