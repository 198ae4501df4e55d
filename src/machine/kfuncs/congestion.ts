/** What congestion control is made of (net/ipv4/tcp_cong.c): slow start, careful growth, and Reno on top of them. */
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import { type Structure, structureAt } from "./structures.ts";
import type { HostKfunc } from "./types.ts";

/** A member of 32 bits without a sign. */
const u32 = (value: number): number => value >>> 0;

export const tcpAt = (name: string, world: HelperWorld, args: HelperArguments): Structure =>
  structureAt(name, world, "tcp_sock", args.u32(1));

export const inSlowStart = (tp: Structure): boolean => tp.get("snd_cwnd") < tp.get("snd_ssthresh");

/** Whether the window, and not the program that sends, is what holds data back (tcp_is_cwnd_limited). */
function isLimited(tp: Structure): boolean {
  if (tp.get("is_cwnd_limited") !== 0) return true;
  return inSlowStart(tp) && tp.get("snd_cwnd") < 2 * tp.get("max_packets_out");
}

/** What the types do not have does not bound. */
const clamp = (tp: Structure): number =>
  tp.placeOf("snd_cwnd_clamp") === undefined ? 0xffffffff : tp.get("snd_cwnd_clamp");

/** Grows the window by what was acknowledged, up to the threshold; what is left of it. */
export function slowStart(tp: Structure, acked: number): number {
  const before = tp.get("snd_cwnd");
  const window = Math.min(u32(before + acked), tp.get("snd_ssthresh"));
  tp.set("snd_cwnd", Math.min(window, clamp(tp)));
  return u32(acked - (window - before));
}

/** One packet more for each `credit` that were acknowledged. */
export function growCarefully(tp: Structure, credit: number, acked: number): void {
  let window = tp.get("snd_cwnd");
  let count = tp.get("snd_cwnd_cnt");
  if (count >= credit) {
    count = 0;
    window = u32(window + 1);
  }
  count = u32(count + acked);
  // Dividing by zero gives zero in a program; the kernel has no program here, and would stop.
  if (count >= credit && credit !== 0) {
    const more = Math.floor(count / credit);
    count -= more * credit;
    window = u32(window + more);
  }
  tp.set("snd_cwnd_cnt", count);
  tp.set("snd_cwnd", Math.min(window, clamp(tp)));
}

/** What Reno and CUBIC do alike: how many acknowledgements are left for the growth beyond the threshold, 0 for none. */
export function leftAfterSlowStart(tp: Structure, acked: number): number {
  if (!isLimited(tp)) return 0;
  return inSlowStart(tp) ? slowStart(tp, acked) : acked;
}

export const CONGESTION: readonly HostKfunc[] = [
  {
    name: "tcp_slow_start",
    call: (world, args) => BigInt(slowStart(tcpAt("tcp_slow_start", world, args), args.u32(2))),
  },
  {
    name: "tcp_cong_avoid_ai",
    call: (world, args) => growCarefully(tcpAt("tcp_cong_avoid_ai", world, args), args.u32(2), args.u32(3)),
  },
  {
    name: "tcp_reno_cong_avoid",
    call(world, args) {
      const tp = tcpAt("tcp_reno_cong_avoid", world, args);
      const limited = isLimited(tp);
      const acked = leftAfterSlowStart(tp, args.u32(3));
      if (limited && acked !== 0) growCarefully(tp, tp.get("snd_cwnd"), acked);
    },
  },
  {
    name: "tcp_reno_ssthresh",
    call: (world, args) => BigInt(Math.max(tcpAt("tcp_reno_ssthresh", world, args).get("snd_cwnd") >>> 1, 2)),
  },
  {
    name: "tcp_reno_undo_cwnd",
    call(world, args) {
      const tp = tcpAt("tcp_reno_undo_cwnd", world, args);
      return BigInt(Math.max(tp.get("snd_cwnd"), tp.get("prior_cwnd")));
    },
  },
];
