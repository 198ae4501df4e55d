/** Random and edge values for inputs of programs, seeded. */
import { eth } from "../../src/packet/index.ts";

export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
  word(): number {
    return this.pick([0, 1, 0x7fffffff, 0xffffffff, this.below(2 ** 32)]);
  }
  wide(): bigint {
    return (BigInt(this.word()) << 32n) | BigInt(this.word());
  }
}

export function randomPacket(random: Random): Uint8Array {
  const payload = random.below(300);
  const whole = random.pick([
    () => random.bytes(14 + random.below(80)),
    () => eth().arp().bytes(),
    () => eth().ipv4({ src: "1.2.3.4", dst: "5.6.7.8" }).udp({ dport: 53 }).payload(payload).bytes(),
    () => eth().ipv6({ src: "fd00::5" }).tcp({ dport: 443 }).payload(payload).bytes(),
    () =>
      eth()
        .vlan({ vid: random.below(4096) })
        .ipv4()
        .tcp()
        .payload(payload)
        .bytes(),
    () =>
      eth()
        .ipv4()
        .tcp({ flags: "syn" })
        .payload(5 * payload)
        .bytes(),
  ])();
  return random.below(4) === 0 ? whole.subarray(0, 14 + random.below(whole.length - 13)) : whole;
}
