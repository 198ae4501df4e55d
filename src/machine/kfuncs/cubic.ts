/**
 * CUBIC (RFC 9438) as net/ipv4/tcp_cubic.c does it, with the module's default parameters. Its state lies in `icsk_ca_priv` of the
 * socket, as struct bictcp has it, so programs that share it see what they expect.
 */
import { jiffies } from "../helpers/time.ts";
import type { HelperArguments, HelperWorld } from "../helpers/types.ts";
import { growCarefully, inSlowStart, leftAfterSlowStart, tcpAt } from "./congestion.ts";
import { type Structure, structureAt } from "./structures.ts";
import type { HostKfunc } from "./types.ts";

/** struct bictcp: words but for `sampleCount` and `found`. */
const STATE = {
  count: 0,
  lastMax: 4,
  lastWindow: 8,
  lastTime: 12,
  origin: 16,
  k: 20,
  delayMin: 24,
  epochStart: 28,
  acks: 32,
  tcpWindow: 36,
  /** Up to here a reset clears. */
  unused: 40,
  sampleCount: 42,
  found: 43,
  roundStart: 44,
  endSequence: 48,
  lastAck: 52,
  currentRtt: 56,
} as const;

const SCALE = 1024;
const BETA = 717;
const BIC_SCALE = 41n;
/** Time is counted in 1/1024 seconds. */
const TIME_SHIFT = 10n;
const RTT_SCALE = BIC_SCALE * 10n;
const FACTOR = (1n << (10n + 3n * TIME_SHIFT)) / RTT_SCALE;
const BETA_SCALE = Math.floor(Math.floor((8 * (SCALE + BETA)) / 3) / (SCALE - BETA));
/** A window grows by one for so many packets at least while little is known. */
const FIRST_COUNT = 20;

const LOW_WINDOW = 16;
const ACK_DELTA_US = 2000;
const MIN_SAMPLES = 8;
const DELAY_MIN_US = 4000;
const DELAY_MAX_US = 16000;

/** enum tcp_ca_state, enum tcp_ca_event. */
const CA_LOSS = 4;
const TX_START = 0;

const u32 = (value: number): number => value >>> 0;
const i32 = (value: number): number => value | 0;

/** Starting points of the cube root: 64 * cbrt(x) less 10, by x from 0 to 63, as the module has them. */
const ROOTS: readonly number[] = [
  0, 54, 54, 54, 118, 118, 118, 118, 123, 129, 134, 138, 143, 147, 151, 156, 157, 161, 164, 168, 170, 173,
  176, 179, 181, 185, 187, 190, 192, 194, 197, 199, 200, 202, 204, 206, 209, 211, 213, 215, 217, 219, 221,
  222, 224, 225, 227, 229, 231, 232, 234, 236, 237, 239, 240, 242, 244, 245, 246, 248, 250, 251, 252, 254,
];

/** An estimate and one step of Newton's method: the kernel's error of 0.2% included. */
export function cubeRoot(value: bigint): number {
  const bits = value.toString(2).length;
  if (value < 64n) return ((ROOTS[Number(value)] as number) + 35) >>> 6;
  const third = ((bits * 84) >>> 8) - 1;
  const start = ROOTS[Number(value >> BigInt(third * 3))] as number;
  const x = u32((start + 10) << third) >>> 6;
  const next = u32(2 * x + Number(BigInt.asUintN(32, value / (BigInt(x) * BigInt(x - 1)))));
  return Number(BigInt.asUintN(32, BigInt(next) * 341n) >> 10n);
}

/** The state in a socket. */
class Cubic {
  readonly tp: Structure;
  readonly #at: number;
  readonly #world: HelperWorld;

  constructor(world: HelperWorld, tp: Structure) {
    this.tp = tp;
    this.#world = world;
    this.#at = tp.placeOf("icsk_ca_priv") ?? 0;
  }

  get(field: keyof typeof STATE): number {
    const { memory } = this.#world;
    const at = this.#at + STATE[field];
    return field === "sampleCount" || field === "found" ? (memory.u8[at] as number) : memory.u32(at);
  }

  set(field: keyof typeof STATE, value: number): void {
    const { memory } = this.#world;
    const at = this.#at + STATE[field];
    if (field === "sampleCount" || field === "found") memory.u8[at] = value;
    else memory.setU32(at, u32(value));
  }

  get jiffies(): number {
    return Number(BigInt.asUintN(32, jiffies(this.#world)));
  }

  get hz(): number {
    return this.#world.world.hz;
  }

  get #clockUs(): number {
    return u32(this.tp.get("tcp_mstamp"));
  }

  reset(): void {
    this.#world.memory.u8.fill(0, this.#at, this.#at + STATE.unused);
    this.set("found", 0);
  }

  beginRound(): void {
    this.set("roundStart", this.#clockUs);
    this.set("lastAck", this.#clockUs);
    this.set("endSequence", this.tp.get("snd_nxt"));
    this.set("currentRtt", 0xffffffff);
    this.set("sampleCount", 0);
  }

  /** How many packets a packet more costs: the window follows the cube of the time since it was last cut. */
  update(window: number, acked: number): void {
    const now = this.jiffies;
    this.set("acks", this.get("acks") + acked);
    if (this.get("lastWindow") === window && i32(now - this.get("lastTime")) <= Math.floor(this.hz / 32))
      return;
    if (this.get("epochStart") === 0 || now !== this.get("lastTime")) this.#followCube(window, acked, now);
    this.#followReno(window);
    this.set("count", Math.max(this.get("count"), 2));
  }

  #followCube(window: number, acked: number, now: number): void {
    this.set("lastWindow", window);
    this.set("lastTime", now);
    if (this.get("epochStart") === 0) {
      this.set("epochStart", now);
      this.set("acks", acked);
      this.set("tcpWindow", window);
      const above = this.get("lastMax") - window;
      this.set("k", above <= 0 ? 0 : cubeRoot(FACTOR * BigInt(above)));
      this.set("origin", above <= 0 ? window : this.get("lastMax"));
    }
    const ticks = BigInt(i32(now - this.get("epochStart"))) + this.#ticksOf(this.get("delayMin"));
    const time = BigInt.asUintN(64, ticks << TIME_SHIFT) / BigInt(this.hz);
    const k = BigInt(this.get("k"));
    const distance = time < k ? k - time : time - k;
    const cube = BigInt.asUintN(64, RTT_SCALE * distance * distance * distance);
    const delta = Number(BigInt.asUintN(32, cube >> (10n + 3n * TIME_SHIFT)));
    const target = u32(time < k ? this.get("origin") - delta : this.get("origin") + delta);
    this.set("count", target > window ? Math.floor(window / (target - window)) : 100 * window);
    if (this.get("lastMax") === 0 && this.get("count") > FIRST_COUNT) this.set("count", FIRST_COUNT);
  }

  /** Microseconds as ticks, rounded up (usecs_to_jiffies). */
  #ticksOf(us: number): bigint {
    return (BigInt(us) * BigInt(this.hz) + 999_999n) / 1_000_000n;
  }

  /** Never slower than Reno would be. */
  #followReno(window: number): void {
    const each = u32(Math.imul(window, BETA_SCALE)) >>> 3;
    let acks = this.get("acks");
    if (each === 0) return;
    if (acks > each) {
      const rounds = Math.ceil((acks - each) / each);
      acks -= rounds * each;
      this.set("acks", acks);
      this.set("tcpWindow", this.get("tcpWindow") + rounds);
    }
    const ahead = this.get("tcpWindow") - window;
    if (ahead > 0) this.set("count", Math.min(this.get("count"), Math.floor(window / ahead)));
  }

  /** Hybrid slow start: when acknowledgements come in trains or the delay grows, the window is wide enough. */
  watch(delay: number): void {
    const { tp } = this;
    if (i32(tp.get("snd_una") - this.get("endSequence")) > 0) this.beginRound();
    if (tp.get("snd_cwnd") < LOW_WINDOW) return;
    const now = this.#clockUs;
    if (i32(now - this.get("lastAck")) <= ACK_DELTA_US) {
      this.set("lastAck", now);
      let threshold = this.get("delayMin") + this.#ackDelay();
      if (tp.get("sk_pacing_status") === 0) threshold = u32(threshold) >>> 1;
      if (i32(now - this.get("roundStart")) > threshold) this.#leaveSlowStart();
    }
    if (this.get("currentRtt") > delay) this.set("currentRtt", delay);
    if (this.get("sampleCount") < MIN_SAMPLES) {
      this.set("sampleCount", this.get("sampleCount") + 1);
      return;
    }
    const slack = Math.min(Math.max(this.get("delayMin") >>> 3, DELAY_MIN_US), DELAY_MAX_US);
    if (this.get("currentRtt") > this.get("delayMin") + slack) this.#leaveSlowStart();
  }

  #leaveSlowStart(): void {
    this.set("found", 1);
    this.tp.set("snd_ssthresh", this.tp.get("snd_cwnd"));
  }

  /** What is sent in one piece is late by so much, a millisecond at most. */
  #ackDelay(): number {
    const rate = this.tp.get("sk_pacing_rate");
    if (rate === 0) return 0;
    return Math.min(1000, Math.floor((this.tp.get("sk_gso_max_size") * 4 * 1_000_000) / rate));
  }
}

const cubicOf = (name: string, world: HelperWorld, args: HelperArguments): Cubic =>
  new Cubic(world, tcpAt(name, world, args));

export const CUBIC: readonly HostKfunc[] = [
  {
    name: "cubictcp_init",
    call(world, args) {
      const cubic = cubicOf("cubictcp_init", world, args);
      cubic.reset();
      cubic.beginRound();
    },
  },
  {
    name: "cubictcp_recalc_ssthresh",
    call(world, args) {
      const cubic = cubicOf("cubictcp_recalc_ssthresh", world, args);
      const window = cubic.tp.get("snd_cwnd");
      cubic.set("epochStart", 0);
      const faster = window < cubic.get("lastMax");
      cubic.set("lastMax", faster ? Math.floor((window * (SCALE + BETA)) / (2 * SCALE)) : window);
      return BigInt(Math.max(Math.floor(u32(Math.imul(window, BETA)) / SCALE), 2));
    },
  },
  {
    name: "cubictcp_cong_avoid",
    call(world, args) {
      const cubic = cubicOf("cubictcp_cong_avoid", world, args);
      const acked = leftAfterSlowStart(cubic.tp, args.u32(3));
      if (acked === 0) return;
      cubic.update(cubic.tp.get("snd_cwnd"), acked);
      growCarefully(cubic.tp, cubic.get("count"), acked);
    },
  },
  {
    name: "cubictcp_state",
    call(world, args) {
      if ((args.u32(2) & 255) !== CA_LOSS) return;
      const cubic = cubicOf("cubictcp_state", world, args);
      cubic.reset();
      cubic.beginRound();
    },
  },
  {
    // A sender that was idle goes on where it was on the curve.
    name: "cubictcp_cwnd_event",
    call(world, args) {
      if (args.u32(2) !== TX_START) return;
      const cubic = cubicOf("cubictcp_cwnd_event", world, args);
      const now = cubic.jiffies;
      const idle = i32(now - cubic.tp.get("lsndtime"));
      if (cubic.get("epochStart") === 0 || idle <= 0) return;
      const moved = u32(cubic.get("epochStart") + idle);
      cubic.set("epochStart", i32(moved - now) > 0 ? now : moved);
    },
  },
  {
    name: "cubictcp_acked",
    call(world, args) {
      const cubic = cubicOf("cubictcp_acked", world, args);
      const rtt = i32(structureAt("cubictcp_acked", world, "ack_sample", args.u32(2)).get("rtt_us"));
      if (rtt < 0) return;
      const epoch = cubic.get("epochStart");
      if (epoch !== 0 && i32(cubic.jiffies - epoch) < cubic.hz) return;
      const delay = Math.max(rtt, 1);
      if (cubic.get("delayMin") === 0 || cubic.get("delayMin") > delay) cubic.set("delayMin", delay);
      if (cubic.get("found") === 0 && inSlowStart(cubic.tp)) cubic.watch(delay);
    },
  },
];
