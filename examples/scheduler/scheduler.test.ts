import { readFileSync } from "node:fs";
import { type TestObject, testObject } from "skep/testing";
import { beforeEach, describe, expect, it } from "vitest";

const object = readFileSync(new URL("scheduler.bpf.o", import.meta.url));
const SLICE = 20_000_000n;

describe("scheduler", () => {
  let bpf: TestObject;
  /** The shared queue, which the kernel would keep: addresses of processes by their virtual time. */
  let queue: { task: number; vtime: bigint }[];

  beforeEach(async () => {
    queue = [];
    bpf = await testObject(object, {
      // Schedulers write to the processes' structures, which the sandbox lets nobody do.
      unverified: "trusted",
      kfuncs: {
        scx_bpf_create_dsq: () => 0,
        scx_bpf_dsq_insert_vtime(call) {
          queue.push({ task: call.u32(1), vtime: call.args[3] as bigint });
          queue.sort((a, b) => Number(BigInt.asIntN(64, a.vtime - b.vtime)));
        },
        scx_bpf_dsq_move_to_local: () => (queue.shift() === undefined ? 0 : 1),
      },
    });
  });

  const task = (pid: number, weight = 100, dsq_vtime = 0n) =>
    bpf.machine.alloc("task_struct", { pid, scx: { weight, slice: 0, dsq_vtime } });
  const global = (name: string) => (bpf.maps[".bss"]!.get(0) as Record<string, bigint>)[name];

  it("makes its queue, and keeps processes where their caches are", () => {
    expect(bpf.programs["init"]!.run({}).returnValue).toBe(0);
    expect(bpf.programs["select_cpu"]!.run({ args: [task(1), 3] }).returnValue).toBe(3);
  });

  it("runs first who has used the least", () => {
    const [greedy, modest] = [task(1, 100, 900n), task(2, 100, 5n)];
    bpf.programs["enqueue"]!.run({ args: [greedy] });
    bpf.programs["enqueue"]!.run({ args: [modest] });
    expect(queue.map((entry) => entry.task)).toEqual([modest.address, greedy.address]);
    bpf.programs["dispatch"]!.run({ args: [0] });
    expect(queue.map((entry) => entry.task)).toEqual([greedy.address]);
    expect([global("queued"), global("dispatched")]).toEqual([2n, 1n]);
  });

  it("charges by weight", () => {
    const [light, heavy] = [task(1, 100), task(2, 400)];
    for (const p of [light, heavy]) bpf.programs["stopping"]!.run({ args: [p, true] });
    expect(light.member("scx.dsq_vtime")).toBe(SLICE);
    expect(heavy.member("scx.dsq_vtime")).toBe(SLICE / 4n);
  });

  it("lets nobody save up more than a slice by sleeping", () => {
    bpf.programs["running"]!.run({ args: [task(1, 100, 100n * SLICE)] });
    bpf.programs["enqueue"]!.run({ args: [task(2, 100, 3n)] });
    expect(queue.map(({ vtime }) => vtime)).toEqual([99n * SLICE]);
    // An earlier time does not turn the clock back.
    bpf.programs["running"]!.run({ args: [task(3)] });
    expect(global("now")).toBe(100n * SLICE);
  });
});
