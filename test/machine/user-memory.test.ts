/** Whose memory helpers read: what is known to be a process's own is not the kernel's, and the other way. */
import { describe, expect, it } from "vitest";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { code } from "./code.ts";
import { kernelTypes } from "./kernel-types.ts";

const ERANGE = -34;
const EFAULT = -14;

/** Copies 4 bytes from the address in r1 to the stack; the result, or the bytes plus 1000 if there were any. */
const reading = (helper: string, from = "r3 = *(u64 *)(r1 + 112)"): string => `
  ${from}
  r1 = r10
  r1 += -8
  r2 = 4
  call bpf_${helper}
  if r0 s< 0 goto +2
  r0 = *(u8 *)(r10 - 8)
  r0 += 1000
  exit`;

describe.each(ENGINES)("memory of processes in the %s", (engine) => {
  it.each(["trusted", "sandbox"] as const)("%s: helpers tell it from the kernel's", async (unverified) => {
    const machine = await Machine.create({
      engine,
      ...(kernelTypes === undefined ? {} : { btf: kernelTypes }),
    });
    const run = (helper: string, address: number | bigint, from?: string): number =>
      machine
        .loadInstructions(code(reading(helper, from)), { type: "kprobe", unverified })
        .run({ registers: { di: address } }).returnValue | 0;
    const user = machine.user.write("abc");
    for (const helper of ["probe_read_user", "probe_read_user_str", "probe_read", "probe_read_str"])
      expect([helper, run(helper, user)]).toEqual([helper, 1097]);
    expect(run("probe_read_kernel", user)).toBe(ERANGE);
    expect(run("probe_read_kernel_str", user)).toBe(ERANGE);
    // The stack and the context are the kernel's.
    for (const from of ["r3 = r10\nr3 += -16\nr4 = 7\n*(u64 *)(r3 + 0) = r4", "r3 = r1\nr3 += 8"]) {
      expect(run("probe_read_user", 0, from)).toBe(EFAULT);
      expect(run("probe_read_user_str", 0, from)).toBe(EFAULT);
      expect(run("probe_read_kernel", 0, from)).toBeGreaterThanOrEqual(1000);
    }
    if (kernelTypes === undefined) return;
    const task = machine.alloc("list_head", { next: 5n });
    expect(run("probe_read_kernel", task.address)).toBe(1005);
    expect(run("probe_read_user", task.address)).toBe(EFAULT);
    const list = machine.user.alloc("list_head", { next: 6n });
    expect(run("probe_read_user", list.address)).toBe(1006);
    expect(run("probe_read_kernel", list.address)).toBe(ERANGE);
    expect(machine.user.read(list.address, 1)).toEqual(Uint8Array.of(6));
  });

  it("what an input lays out may be either", async () => {
    const machine = await Machine.create({ engine });
    for (const helper of ["probe_read_user", "probe_read_kernel"]) {
      const program = machine.loadInstructions(code(reading(helper)), { type: "kprobe" });
      expect(program.run({ args: ["xyz"] }).returnValue).toBe(1120);
    }
  });
});
