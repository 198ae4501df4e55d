import { milliseconds } from "../elapsed.ts";
import { BpfError } from "../errors.ts";

/** What programs read through bpf_ktime_get_ns: nanoseconds since boot. */
export interface Clock {
  now(): bigint;
}

/**
 * The machine booted an hour ago: programs subtract time windows from the clock, and just after boot these would
 * underflow, which no program sees in the field.
 */
const UPTIME_NS = 3_600_000_000_000n;

/** Follows the host's monotonic clock. */
export class RealClock implements Clock {
  readonly #start: number = milliseconds();

  now(): bigint {
    return UPTIME_NS + BigInt(Math.round((milliseconds() - this.#start) * 1e6));
  }
}

/**
 * Stands still until it is told to move, so that runs can be repeated exactly.
 *
 * @example
 * const clock = new VirtualClock();
 * const machine = await Machine.create({ clock });
 * clock.advance(1_000_000_000n); // one second
 */
export class VirtualClock implements Clock {
  #now: bigint = UPTIME_NS;

  now(): bigint {
    return this.#now;
  }

  /**
   * Moves forward by nanoseconds.
   *
   * @throws BpfError code "usage" for what is no whole number, or is below zero.
   */
  advance(ns: bigint | number): void {
    if (typeof ns === "number" && !Number.isSafeInteger(ns))
      throw new BpfError("usage", `clock: ${ns} is no whole number of nanoseconds`);
    const distance = BigInt(ns);
    if (distance < 0n) throw new BpfError("usage", `clock: cannot go back by ${-distance} ns`);
    this.#now += distance;
  }
}
