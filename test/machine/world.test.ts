/** The world of a machine and the helpers that ask it for processes and time. */
import { describe, expect, test } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { ENGINES, Machine, type WorldOptions } from "../../src/machine/index.ts";
import { code } from "./code.ts";

const TASK: WorldOptions = {
  cgroups: [{ path: "/a/b", id: 77 }],
  current: {
    pid: 43,
    tgid: 42,
    comm: "fifteen-letters",
    uid: 1000,
    gid: 1001,
    cgroup: "/a/b/c",
    object: 0x123450,
    namespaces: [{ dev: 4n, ino: 4026531836n, pid: 3, tgid: 2 }],
  },
};

const comm = (size: number, read: number): string => `
  *(u64 *)(r10 - 16) = -1
  *(u64 *)(r10 - 8) = -1
  r1 = r10
  r1 += -16
  r2 = ${size}
  call bpf_get_current_comm
  r0 = *(u64 *)(r10 - ${read})
  exit`;

const ns = (dev: number, size: number, read: string): string => `
  r1 = ${dev}
  r2 = 4026531836 ll
  r3 = r10
  r3 += -16
  r4 = ${size}
  call bpf_get_ns_current_pid_tgid
  ${read}
  exit`;

const letters = (text: string): bigint =>
  [...text].reduceRight((sum, char) => (sum << 8n) | BigInt(char.charCodeAt(0)), 0n);

describe.each(ENGINES)("%s", (engine) => {
  test.each<[string, string, bigint]>([
    ["pid and tgid", "call bpf_get_current_pid_tgid\nexit", (42n << 32n) | 43n],
    ["uid and gid", "call bpf_get_current_uid_gid\nexit", (1001n << 32n) | 1000n],
    ["task", "call bpf_get_current_task\nexit", 0x123450n],
    ["cgroup", "call bpf_get_current_cgroup_id\nexit", 78n],
    ["ancestor 0 is the root", "r1 = 0\ncall bpf_get_current_ancestor_cgroup_id\nexit", 1n],
    ["ancestor 2", "r1 = 2\ncall bpf_get_current_ancestor_cgroup_id\nexit", 77n],
    ["ancestor 3 is itself", "r1 = 3\ncall bpf_get_current_ancestor_cgroup_id\nexit", 78n],
    ["no ancestor 4", "r1 = 4\ncall bpf_get_current_ancestor_cgroup_id\nexit", 0n],
    ["ancestor -1", "r1 = -1\ncall bpf_get_current_ancestor_cgroup_id\nexit", 0n],
    ["comm, first half", comm(16, 16), letters("fifteen-")],
    ["comm, second half", comm(16, 8), letters("letters\0")],
    ["comm, cut off: the last byte is NUL", comm(12, 8), (0xffffffffn << 32n) | letters("let\0")],
    ["pid in a namespace", ns(4, 8, "r0 = *(u64 *)(r10 - 16)"), (2n << 32n) | 3n],
    ["in an unknown namespace", ns(5, 8, ""), BigInt.asUintN(64, -22n)],
    ["with a wrong size", ns(4, 4, ""), BigInt.asUintN(64, -22n)],
  ])("%s", async (_, text, result) => {
    const machine = await Machine.create({ engine, world: TASK });
    expect(machine.loadInstructions(code(text)).call()).toBe(result);
  });

  // Documentation of the helpers in uapi/linux/bpf.h; INITIAL_JIFFIES of linux/jiffies.h.
  test.each<[string, bigint]>([
    ["ktime_get_ns", 3_600_000_000_000n + 1_234_567n],
    ["ktime_get_boot_ns", 3_600_000_000_000n + 1_234_567n],
    ["ktime_get_coarse_ns", 3_600_000_000_000n],
    ["ktime_get_tai_ns", 10n ** 18n + 3_600_000_000_000n + 1_234_567n + 37n * 10n ** 9n],
    ["jiffies64", 2n ** 32n - 300n * 250n + 3600n * 250n],
    ["get_numa_node_id", 3n],
  ])("%s", async (name, result) => {
    const world = { hz: 250, bootTime: 10n ** 18n, numaNodes: [3] };
    const machine = await Machine.create({ engine, clock: "virtual", world });
    machine.advance(1_234_567n);
    expect(machine.loadInstructions(code(`call bpf_${name}\nexit`)).call()).toBe(result);
  });
});

test("what the world lacks is an error that says how to give it", async () => {
  const machine = await Machine.create();
  const run = (text: string) => () => machine.loadInstructions(code(text)).call();
  expect(run("call bpf_get_current_task\nexit")).toThrow(
    /the current process \(1000, 'skep'\) has no struct task_struct; give its address: world: .* machine\.mockHelper\("get_current_task"/,
  );
  expect(run("call bpf_ktime_get_tai_ns\nexit")).toThrow(/bootTime/);
  machine.world.setCurrent({ pid: 5, object: 0x20000 });
  expect(run("call bpf_get_current_task\nexit")()).toBe(0x20000n);
});

test.each<[WorldOptions, RegExp]>([
  [{ hosts: [] } as unknown as WorldOptions, /no option 'hosts'; there are interfaces, /],
  [{ hz: 0 }, /hz must be a whole number from 1/],
  [{ current: 7 }, /no task 7/],
  [{ current: { pid: 1, comm: "longer-than-fifteen" } }, /longer than 15 bytes/],
  [{ interfaces: [{ name: "eth0", mac: "02:00" }] }, /'02:00' is no MAC address/],
  [{ interfaces: [{ name: "lo" }] }, /interface 'lo': there is one of that name/],
  [{ interfaces: [{ name: "eth0", addresses: ["10.0.0.1/33"] }] }, /'10.0.0.1\/33' is no prefix/],
  [{ routes: [{ to: "10.0.0.0/8", dev: "eth7" }] }, /no interface eth7; there are lo \(1\)/],
  [{ routes: [{ to: "default", via: "10.9.0.1" }] }, /no 'dev', and no interface has the gateway's network/],
  [{ neighbours: [{ address: "::1::", dev: "lo", mac: "02:00:00:00:00:01" }] }, /'::1::' is no address/],
  [{ cgroups: [{ path: "/a", id: 1 }] }, /cgroup '\/a': the id 1 is taken/],
])("an option that makes no sense: %j", async (world, message) => {
  await expect(Machine.create({ world })).rejects.toThrow(message);
  await expect(Machine.create({ world })).rejects.toBeInstanceOf(BpfError);
});
