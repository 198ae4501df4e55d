import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type CbpfInstruction, runCbpf, toEbpf } from "../../src/cbpf/index.ts";
import { Kernel, loadProgram } from "../../src/kernel/index.ts";
import { Machine } from "../../src/machine/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { randomNumbers, randomPacket, randomProgram } from "./programs.ts";

const op = (code: number, k = 0, jt = 0, jf = 0): CbpfInstruction => ({ code, jt, jf, k });

/** Ancillary loads whose answer the machine decides, not we. */
const OWN_VALUES = [0xfffff000, 0xfffff00c, 0xfffff010, 0xfffff01c, 0xfffff024, 0xfffff034, 0xfffff038];

/** A program without the loads whose answers differ between machines. */
function portable(random: (bound: number) => number, except: readonly number[]): CbpfInstruction[] {
  const program = randomProgram(random).filter(({ k }) => !except.includes(k));
  // Taking instructions out has moved the targets.
  return program.map((instruction, index) => {
    const furthest = Math.max(0, program.length - index - 2);
    return {
      ...instruction,
      jt: Math.min(instruction.jt, furthest),
      jf: Math.min(instruction.jf, furthest),
      k: instruction.code === 0x05 ? Math.min(instruction.k, furthest) : instruction.k,
    };
  });
}

describe("translated to eBPF", () => {
  it.each(["interpreter", "jit"] as const)("random programs run the same: %s", async (engine) => {
    const machine = await Machine.create();
    const random = randomNumbers(31);
    for (let round = 0; round < 250; round++) {
      const program = portable(random, OWN_VALUES);
      const loaded = machine.loadInstructions(toEbpf(program), { type: "socket_filter" });
      for (let packets = 0; packets < 6; packets++) {
        const packet = Uint8Array.from([...new Uint8Array(14), ...randomPacket(random)]);
        const expected = runCbpf(program, packet, {
          ancillary: { ifidx: 3, mark: 77, vlan_tci: 5, vlan_avail: 1 },
        });
        const { returnValue } = loaded.run({
          packet,
          layer: "link",
          engine,
          context: { ifindex: 3, mark: 77, vlan_tci: 5, vlan_present: 1 },
        });
        if (returnValue !== expected) {
          expect.fail(`${JSON.stringify(program)} over ${packet}: ${returnValue}, not ${expected}`);
        }
      }
    }
  });

  it("loads the EtherType, the CPU and a random number", async () => {
    const machine = await Machine.create();
    const packet = new Uint8Array(60);
    packet.set([0x86, 0xdd], 12);
    const run = (k: number): number =>
      machine
        .loadInstructions(toEbpf([op(0x20, k), op(0x16)]), { type: "socket_filter" })
        .run({ packet, layer: "link" }).returnValue;
    expect(run(0xfffff000)).toBe(0x86dd);
    expect(run(0xfffff024)).toBe(0);
    expect(run(0xfffff038)).not.toBe(run(0xfffff038));
  });

  it.each([
    [[op(0x20, 0xfffff034), op(0x16)], "unsupported", "can't load poff"],
    [[op(0x15, 0, 9), op(0x16)], "program", "leaves the program"],
    [[], "program", "empty"],
  ] as const)("refuses %j", (program, code, message) => {
    try {
      toEbpf(program);
      expect.fail("it was taken");
    } catch (error) {
      expect((error as BpfError).code).toBe(code);
      expect((error as BpfError).message).toContain(message);
    }
  });

  it("begins cells with 0 where a path reads them first", () => {
    expect(toEbpf([op(0x60, 2), op(0x16)])[3]).toEqual({
      opcode: 0x63,
      dst: 10,
      src: 0,
      offset: -12,
      imm: 0,
    });
    expect(toEbpf([op(0x02, 2), op(0x60, 2), op(0x16)])).toHaveLength(6);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("translated programs in the kernel"), () => {
  it("pass its verifier and answer as ours", async () => {
    using kernel = await Kernel.open();
    const random = randomNumbers(41);
    // As sched_cls, for there BPF_PROG_TEST_RUN begins at the link header.
    for (let round = 0; round < 60; round++) {
      const program = portable(random, [...OWN_VALUES, 0xfffff004]);
      const loaded = loadProgram(kernel, { type: "sched_cls", name: "cbpf", instructions: toEbpf(program) });
      for (let packets = 0; packets < 5; packets++) {
        const packet = Uint8Array.from([...new Uint8Array(14), ...randomPacket(random)]);
        const { returnValue } = loaded.testRun({ data: packet });
        const expected = runCbpf(program, packet, { ancillary: { ifidx: 1 } });
        if (returnValue >>> 0 !== expected) {
          expect.fail(`${JSON.stringify(program)} over ${packet}: ${returnValue}, not ${expected}`);
        }
      }
    }
  });
});
