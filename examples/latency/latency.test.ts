import { readFileSync } from "node:fs";
import { testObject } from "skep/testing";
import "skep/testing/vitest";
import { describe, expect, it } from "vitest";

const object = readFileSync(new URL("latency.bpf.o", import.meta.url));
const READ = 0;
const WRITE = 1;

/** 24 buckets, of which these are not empty. */
const buckets = (filled: Record<number, number>) =>
  Array.from({ length: 24 }, (_, index) => filled[index] ?? 0);

describe("latency histogram", () => {
  it("counts each system call by how long it took", async () => {
    const { programs, maps, clock } = await testObject(object);
    const call = (id: number, us: bigint, ret = 1) => {
      programs["on_enter"]!.run({ fields: { id } });
      clock.advance(us * 1000n);
      programs["on_exit"]!.run({ fields: { id, ret } });
    };
    call(READ, 0n);
    call(READ, 1n);
    call(READ, 1000n);
    call(READ, 1023n, -11);
    call(WRITE, 1024n);
    expect(maps["latencies"]).toHaveEntries([
      [READ, { calls: 4n, failed: 1n, buckets: buckets({ 0: 2, 9: 2 }) }],
      [WRITE, { calls: 1n, failed: 0n, buckets: buckets({ 10: 1 }) }],
    ]);
    expect(maps["entered"]!.size).toBe(0);
  });

  it("keeps threads apart", async () => {
    const { programs, maps, clock, machine } = await testObject(object);
    machine.world.setCurrent({ pid: 1, tgid: 1 });
    programs["on_enter"]!.run({ fields: { id: READ } });
    clock.advance(64_000n);
    machine.world.setCurrent({ pid: 2, tgid: 1 });
    programs["on_exit"]!.run({ fields: { id: READ, ret: 0 } });
    expect(maps["latencies"]!.size).toBe(0);
    machine.world.setCurrent(1);
    programs["on_exit"]!.run({ fields: { id: READ, ret: 0 } });
    expect(maps["latencies"]).toHaveEntry(READ, { calls: 1n, buckets: buckets({ 6: 1 }) });
  });

  it("watches one process if it is told so", async () => {
    const world = { current: { pid: 8 } };
    const { programs, changes } = await testObject(object, { world, variables: { target_pid: 7 } });
    programs["on_enter"]!.run({ fields: { id: READ } });
    expect(changes()).toEqual([]);
  });
});
