/**
 * Kernel functions of congestion control, struct_ops that write to sockets, and lists of the kernel's own. Expectations are worked out
 * by hand from net/ipv4/tcp_cong.c and tcp_cubic.c (RFC 5681, RFC 9438, RFC 9406), mm/slab_common.c and net/core/filter.c.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { ENGINES, type KernelObject, Machine } from "../../src/machine/index.ts";
import { cubeRoot } from "../../src/machine/kfuncs/cubic.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/congestion.bpf.o")), {
  name: "congestion.bpf.o",
});
const MODES = ENGINES.flatMap((engine) => [[engine, "trusted"] as const, [engine, "sandbox"] as const]);

describe.each(MODES)("%s, %s", (engine, unverified) => {
  const load = async (names: readonly string[]) => {
    const machine = await Machine.create({ engine, unverified, clock: "virtual", fuel: 100_000 });
    const { programs } = await machine.load(spec, { programs: names });
    const run = (name: string, ...args: readonly (KernelObject | number)[]) =>
      programs[name]!.run({ args: [...args] }).returnValue;
    return { machine, run };
  };

  test.each([
    // [method, arguments, before, after, result]
    ["cwnd_event", [5], { snd_cwnd: 10, snd_ssthresh: 20 }, { snd_cwnd: 15 }, 0],
    ["cwnd_event", [15], { snd_cwnd: 10, snd_ssthresh: 20 }, { snd_cwnd: 20 }, 5],
    ["cwnd_event", [15], { snd_cwnd: 10, snd_ssthresh: 20, snd_cwnd_clamp: 18 }, { snd_cwnd: 18 }, 5],
    ["in_ack_event", [10, 3], { snd_cwnd: 10, snd_cwnd_cnt: 5 }, { snd_cwnd: 10, snd_cwnd_cnt: 8 }, 0],
    ["in_ack_event", [10, 7], { snd_cwnd: 10, snd_cwnd_cnt: 5 }, { snd_cwnd: 11, snd_cwnd_cnt: 2 }, 0],
    // Credit of a wider window counts once.
    ["in_ack_event", [4, 1], { snd_cwnd: 10, snd_cwnd_cnt: 9 }, { snd_cwnd: 11, snd_cwnd_cnt: 1 }, 0],
    ["cong_avoid", [0, 4], { snd_cwnd: 10, snd_ssthresh: 8, is_cwnd_limited: 1 }, { snd_cwnd_cnt: 4 }, 0],
    ["cong_avoid", [0, 4], { snd_cwnd: 10, snd_ssthresh: 8 }, { snd_cwnd: 10, snd_cwnd_cnt: 0 }, 0],
    // In slow start a window that is half used grows.
    ["cong_avoid", [0, 4], { snd_cwnd: 10, snd_ssthresh: 90, max_packets_out: 6 }, { snd_cwnd: 14 }, 0],
    ["cong_avoid", [0, 4], { snd_cwnd: 10, snd_ssthresh: 90, max_packets_out: 5 }, { snd_cwnd: 10 }, 0],
    ["undo_cwnd", [], { snd_cwnd: 10, prior_cwnd: 14 }, {}, 14_005],
    ["undo_cwnd", [], { snd_cwnd: 3, prior_cwnd: 2 }, {}, 3_002],
  ] as const)("%s %j of %j", async (name, args, before, after, result) => {
    const { machine, run } = await load([name]);
    const sk = machine.alloc("tcp_sock", { snd_cwnd_clamp: 0xffffffff, ...before });
    expect(run(name, sk, ...args)).toBe(result);
    expect(sk.get()).toMatchObject(after);
  });

  test("a method writes the members of its socket that are for it", async () => {
    const { machine, run } = await load(["init", "ssthresh"]);
    const sk = machine.alloc("tcp_sock");
    expect(run("init", sk)).toBe(0);
    expect(sk.get()).toMatchObject({ snd_cwnd: 10, snd_ssthresh: 100 });
    expect(sk.member("inet.icsk_ca_priv")).toEqual([0n, 7n, ...Array.from({ length: 11 }, () => 0n)]);
    if (unverified === "sandbox") {
      expect(() => run("ssthresh", sk)).toThrow(
        /program 'ssthresh': instruction \d+ \(.*congestion\.bpf\.c:\d+\): write of 4 bytes at .*, in tcp_sock .*, which is not for that/,
      );
    } else expect(run("ssthresh", sk)).toBe(0);
  });

  test("CUBIC begins a round", async () => {
    const { machine, run } = await load(["cubic_init"]);
    const sk = machine.alloc("tcp_sock", { snd_nxt: 77, tcp_mstamp: 5 });
    expect(run("cubic_init", sk)).toBe(0);
    const state = new Uint32Array(sk.bytes().slice(sk.offsetOf("inet") ?? 0).buffer);
    // snd_nxt itself, and the end of the round that begins.
    expect([...state].filter((word) => word === 77)).toEqual([77, 77]);
  });

  test("CUBIC cuts to 0.7, and comes back to where it was along a cube", async () => {
    const { machine, run } = await load(["cubic_init", "cubic_ssthresh", "cubic_cong_avoid", "cubic_acked"]);
    const sk = machine.alloc("tcp_sock", {
      snd_cwnd: 1000,
      snd_ssthresh: 500,
      snd_cwnd_clamp: 0xffffffff,
      is_cwnd_limited: 1,
    });
    run("cubic_init", sk);
    run("cubic_acked", sk, machine.alloc("ack_sample", { rtt_us: 100_000 }));
    // 717/1024.
    expect(run("cubic_ssthresh", sk)).toBe(700);
    sk.set({ snd_cwnd: 700, snd_ssthresh: 700 });
    const windows: number[] = [];
    for (let second = 0; second < 12; second++) {
      for (let round = 0; round < 10; round++) {
        machine.advance(100_000_000);
        run("cubic_cong_avoid", sk, Number(sk.member("snd_cwnd")));
      }
      windows.push(Number(sk.member("snd_cwnd")));
    }
    // K = cbrt(300 / 0.4) = 9.1 s: steep, flat around the old window, steep again.
    expect(windows).toEqual([...windows].sort((a, b) => a - b));
    expect(windows[8]).toBeGreaterThan(980);
    expect(windows[8]).toBeLessThan(1010);
    const steps = windows.map((window, at) => window - (windows[at - 1] ?? 700));
    expect(steps[1]).toBeGreaterThan(4 * (steps[8] as number));
    expect(steps[11]).toBeGreaterThan(steps[9] as number);
  });

  test("a loss and an idle time", async () => {
    const { machine, run } = await load(["cubic_init", "cubic_ssthresh", "cubic_state", "cubic_event"]);
    const sk = machine.alloc("tcp_sock", { snd_cwnd: 100 });
    const word = (at: number) =>
      Number((sk.member("inet.icsk_ca_priv") as bigint[])[at >> 1]! >> BigInt(32 * (at & 1))) >>> 0;
    run("cubic_ssthresh", sk);
    expect(word(1)).toBe(100);
    // Fast convergence: below the last maximum it gives room to others.
    sk.set({ snd_cwnd: 80 });
    run("cubic_ssthresh", sk);
    expect(word(1)).toBe(Math.floor((80 * (1024 + 717)) / 2048));
    run("cubic_state", sk, 3);
    expect(word(1)).not.toBe(0);
    run("cubic_state", sk, 4);
    expect(word(1)).toBe(0);
  });
});

test.each([
  [0n, 0],
  [1n, 1],
  [8n, 2],
  [1000n, 10],
  [1_000_000n, 100],
  [10n ** 15n, 100_000],
])("the cube root of %d is about %d", (value, root) => {
  expect(Math.abs(cubeRoot(value) - root)).toBeLessThanOrEqual(Math.ceil(root * 0.01));
});

test("what is not there says why", async () => {
  const { listKfuncs } = await import("../../src/machine/index.ts");
  const missing = listKfuncs().filter(({ status }) => status === "missing");
  expect(missing.every(({ why }) => why !== undefined)).toBe(true);
});
