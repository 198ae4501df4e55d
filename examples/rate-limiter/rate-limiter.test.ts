import { readFileSync } from "node:fs";
import { eth, testObject } from "skep/testing";
import "skep/testing/vitest";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("rate-limiter.bpf.o", import.meta.url));
const SECOND = 1_000_000_000n;

describe("rate limiter", () => {
  let bpf: Awaited<ReturnType<typeof testObject>>;
  /** How many of `count` packets from a source pass. */
  const passed = (count: number, src = "192.0.2.1") => {
    const packet = eth().ipv4({ src }).udp().bytes();
    return Array.from({ length: count }, () => bpf.programs["limit"]!.run({ packet }).returnName).filter(
      (name) => name === "TC_ACT_OK",
    ).length;
  };

  beforeEach(async () => {
    // The clock stands still until a test moves it.
    bpf = await testObject(object, { variables: { packets_per_second: 10, burst: 5 } });
  });

  it("lets a burst through and no more", () => {
    expect(passed(100)).toBe(5);
    expect(bpf.maps["buckets"]).toHaveEntry(0x010200c0, { dropped: 95 });
  });

  it("lets through as many as time has earned", () => {
    passed(100);
    bpf.clock.advance(SECOND / 10n);
    expect(passed(100)).toBe(1);
    bpf.clock.advance(SECOND / 4n);
    // Two and a half: the half counts when the other half is there.
    expect(passed(100)).toBe(2);
    bpf.clock.advance(SECOND / 20n);
    expect(passed(100)).toBe(1);
  });

  it("never saves up more than a burst", () => {
    passed(100);
    bpf.clock.advance(3600n * SECOND);
    expect(passed(100)).toBe(5);
  });

  it("gives each source a bucket of its own, and leaves other protocols alone", () => {
    expect(passed(10)).toBe(5);
    expect(passed(10, "192.0.2.2")).toBe(5);
    const arp = eth().arp().bytes();
    for (let index = 0; index < 10; index++)
      expect(bpf.programs["limit"]!.run({ packet: arp })).toReturnValue("TC_ACT_OK");
  });
});
