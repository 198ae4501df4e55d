/** Clocks. */
import { notInWorld, type HelperWorld, type HostHelper } from "./types.ts";

const NS_PER_S = 1_000_000_000n;

/**
 * linux/jiffies.h: the count starts five minutes before the 32-bit counter wraps, and bpf_jiffies64 shows it from there: -300 *
 * HZ as 32 bits.
 */
export function jiffies({ world, now }: HelperWorld): bigint {
  const initial = BigInt.asUintN(32, -300n * BigInt(world.hz));
  return initial + (now() * BigInt(world.hz)) / NS_PER_S;
}

export const TIME: readonly HostHelper[] = [
  { name: "ktime_get_ns", args: 0, call: (world) => world.now() },
  // No suspend happens here, so the boot clock is the monotonic one.
  { name: "ktime_get_boot_ns", args: 0, call: (world) => world.now() },
  {
    // What the last tick saw.
    name: "ktime_get_coarse_ns",
    args: 0,
    call({ world, now }) {
      const tick = NS_PER_S / BigInt(world.hz);
      return (now() / tick) * tick;
    },
  },
  {
    name: "ktime_get_tai_ns",
    args: 0,
    call({ world, now }) {
      if (world.bootTime === undefined) {
        throw notInWorld(
          "ktime_get_tai_ns",
          "the machine does not know what time it is",
          "give the time at which it booted: world: { bootTime: 1700000000000000000n }",
        );
      }
      return world.bootTime + now() + BigInt(world.taiOffset) * NS_PER_S;
    },
  },
  { name: "jiffies64", args: 0, call: jiffies },
];
