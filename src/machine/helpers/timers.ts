/**
 * Timers and work queues: callbacks of programs that run later, between runs, when the machine's clock has come that far.
 *
 * A struct bpf_timer or bpf_wq in a map's value holds the number of its timer. When the value is deleted or overwritten the core
 * clears the number (core/assembly/owned.ts), and the timer is gone with it.
 */
import { EXEC_PROG } from "../../core/layout.ts";
import { ERRNO } from "../../uapi/index.ts";
import type { HostKfunc } from "../kfuncs/types.ts";
import type { BpfMap } from "../map.ts";
import type { LinearMemory } from "../memory.ts";
import type { HelperArguments, HelperWorld, HostHelper } from "./types.ts";

interface Timer {
  readonly address: number;
  readonly map: BpfMap;
  /** Address of the callback's descriptor, and of its program's; 0 if there is none yet. */
  callback: number;
  program: number;
  /** Nanoseconds on the machine's clock; undefined if it does not run. */
  expires: bigint | undefined;
}

/** What is to be called, with what. */
export interface DueCallback {
  readonly callback: number;
  readonly args: readonly [map: number, key: number, value: number];
  /** Bytes of the key. */
  readonly keySize: number;
}

const CLOCKS: readonly bigint[] = [0n, 1n, 7n];
const START_FLAGS = 3n;
const ABSOLUTE = 1n;
const FEW = 64;

export class Timers {
  readonly #memory: () => LinearMemory;
  readonly #timers = new Map<number, Timer>();
  #next = 1;
  #enough = FEW;

  constructor(memory: () => LinearMemory) {
    this.#memory = memory;
  }

  /** The timer in a map's value, if it has been set up. */
  at(address: number): Timer | undefined {
    const timer = this.#timers.get(this.#memory().u32(address));
    return timer?.address === address ? timer : undefined;
  }

  create(address: number, map: BpfMap): void {
    this.#forget();
    const number = this.#next++;
    this.#memory().setU64(address, BigInt(number));
    this.#timers.set(number, { address, map, callback: 0, program: 0, expires: undefined });
  }

  /** When the next one is due; undefined if none runs. */
  get nextDue(): bigint | undefined {
    let due: bigint | undefined;
    for (const [number, { address, expires }] of this.#timers) {
      if (expires === undefined || this.#memory().u32(address) !== number) continue;
      if (due === undefined || expires < due) due = expires;
    }
    return due;
  }

  /** Those whose values are gone are forgotten, whenever there are twice as many as were left the last time. */
  #forget(): void {
    if (this.#timers.size < this.#enough) return;
    for (const [number, { address }] of this.#timers) {
      if (this.#memory().u32(address) !== number) this.#timers.delete(number);
    }
    this.#enough = Math.max(2 * this.#timers.size, FEW);
  }

  /** Takes the earliest timer that is due; undefined if there is none (any more). */
  takeDue(now: bigint): DueCallback | undefined {
    let first: [number, Timer] | undefined;
    for (const entry of this.#timers) {
      const { expires } = entry[1];
      if (expires === undefined || expires > now) continue;
      if (first === undefined || expires < (first[1].expires as bigint)) first = entry;
    }
    if (first === undefined) return undefined;
    const [number, timer] = first;
    timer.expires = undefined;
    const value =
      this.#memory().u32(timer.address) === number ? timer.map.valueAround(timer.address) : undefined;
    if (value === undefined) {
      this.#timers.delete(number);
      return this.takeDue(now);
    }
    const { callback, map } = timer;
    return { callback, args: [map.address, value.key, value.value], keySize: map.keySize };
  }
}

function init({ timers, mapAt }: HelperWorld, args: HelperArguments, valid: boolean): number {
  const address = args.u32(1);
  const map = mapAt(args.u32(2));
  if (!valid || map === undefined) return -ERRNO.EINVAL;
  if (timers.at(address) !== undefined) return -ERRNO.EBUSY;
  timers.create(address, map);
  return 0;
}

function setCallback({ timers, memory }: HelperWorld, args: HelperArguments): number {
  const timer = timers.at(args.u32(1));
  if (timer === undefined) return -ERRNO.EINVAL;
  timer.callback = args.u32(2);
  timer.program = memory.u32(args.exec + EXEC_PROG);
  return 0;
}

function start(world: HelperWorld, address: number, delay: bigint, absolute: boolean): number {
  const timer = world.timers.at(address);
  if (timer === undefined || timer.callback === 0) return -ERRNO.EINVAL;
  timer.expires = absolute ? delay : world.now() + delay;
  return 0;
}

export const TIMERS: readonly HostHelper[] = [
  { name: "timer_init", args: 3, call: (world, args) => init(world, args, CLOCKS.includes(args.u64(3))) },
  { name: "timer_set_callback", args: 2, call: setCallback },
  {
    name: "timer_start",
    args: 3,
    call(world, args) {
      const flags = args.u64(3);
      if ((flags & ~START_FLAGS) !== 0n) return -ERRNO.EINVAL;
      return start(world, args.u32(1), args.u64(2), (flags & ABSOLUTE) !== 0n);
    },
  },
  {
    name: "timer_cancel",
    args: 1,
    call({ timers }, args) {
      const timer = timers.at(args.u32(1));
      if (timer === undefined) return -ERRNO.EINVAL;
      const ran = timer.expires !== undefined;
      timer.expires = undefined;
      // It keeps the program no longer, so it cannot start again before it gets a callback.
      timer.callback = timer.program = 0;
      return ran ? 1 : 0;
    },
  },
];

export const WORK_QUEUES: readonly HostKfunc[] = [
  { name: "bpf_wq_init", call: (world, args) => init(world, args, args.u32(3) === 0) },
  {
    name: "bpf_wq_set_callback_impl",
    call: (world, args) => (args.u32(3) === 0 ? setCallback(world, args) : -ERRNO.EINVAL),
  },
  {
    name: "bpf_wq_start",
    call: (world, args) => (args.u32(2) === 0 ? start(world, args.u32(1), 0n, false) : -ERRNO.EINVAL),
  },
];
