import { describe, expect, it } from "vitest";
import { existsSync, readFileSync } from "node:fs";
import { assemble } from "../../src/asm/index.ts";
import { type Btf, parseBtf } from "../../src/btf/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { Handle, Kernel, type ProgramDefinition, attemptLoad } from "../../src/kernel/index.ts";
import { KFUNCS, KFUNC_SETS, mayCallKfunc } from "../../src/uapi/index.ts";
import { type VerifierProgram, reasonOf, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { compareKernelObjects } from "../verify-diff/random-kernel.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";

/** Program types with what they attach to, for both sides. */
interface Surroundings {
  readonly ours: Partial<VerifierProgram>;
  readonly kernel: Partial<ProgramDefinition>;
}

function surroundings(btf: Btf): Readonly<Record<string, Surroundings>> {
  const id = (name: string, kind: "typedef" | "struct"): number => btf.find(name, kind)[0]?.id ?? 0;
  const dummy = id("bpf_dummy_ops", "struct");
  return {
    xdp: { ours: {}, kernel: {} },
    sched_cls: { ours: {}, kernel: {} },
    syscall: { ours: { sleepable: true }, kernel: { flags: 16 } },
    tracing: {
      ours: { attachType: "trace_raw_tp", attachTo: "sched_switch" },
      kernel: { expectedAttachType: "trace_raw_tp", attachBtfId: id("btf_trace_sched_switch", "typedef") },
    },
    struct_ops: {
      ours: { structOps: { struct: dummy, member: 0 } },
      kernel: { expectedAttachType: 0, attachBtfId: dummy },
    },
  };
}

const STACK = "r0 = 0; *(u64 *)(r10 - 8) = r0; *(u64 *)(r10 - 16) = r0";
/** What r1 to r5 hold at the call. */
const ARGUMENTS: Readonly<Record<string, string>> = {
  NULL: "r1 = 0; r2 = 0; r3 = 0; r4 = 0; r5 = 0",
  numbers: "r1 = 1; r2 = 2; r3 = 3; r4 = 4; r5 = 5",
  context: "r2 = 8; r3 = 8; r4 = 8; r5 = 8",
  stack: `${STACK}; r1 = r10; r1 += -16; r2 = r1; r3 = r1; r4 = 8; r5 = 8`,
  "stack and lengths": `${STACK}; r1 = r10; r1 += -16; r2 = 8; r3 = r1; r4 = 8; r5 = 0`,
  task: "r1 = *(u64 *)(r1 + 8); r2 = r1; r3 = 0; r4 = 0; r5 = 0",
};

/** Each nth function is asked about, with another n for each kind of arguments. */
const STEP = 7;

describe("kernel functions", () => {
  it("has flags for each function that may be called", () => {
    const named = new Set(KFUNCS.map(({ name }) => name));
    expect(KFUNC_SETS.flatMap(({ functions }) => functions).filter((name) => !named.has(name))).toEqual([]);
  });

  it.skipIf(noKernel !== undefined)(
    withKernel("judges calls with wrong arguments as the kernel does"),
    async () => {
      if (!existsSync(VMLINUX)) return;
      const btf = parseBtf(readFileSync(VMLINUX), { name: "vmlinux" });
      using kernel = await Kernel.open();
      const different: string[] = [];
      let asked = 0;
      for (const [type, { ours, kernel: theirs }] of Object.entries(surroundings(btf))) {
        for (const [place, { name }] of KFUNCS.entries()) {
          const [func] = btf.find(name, "func");
          const label = type as VerifierProgram["type"];
          if (func === undefined || !mayCallKfunc(name, label, ours.attachType)) continue;
          for (const [kind, [what, text]] of Object.entries(ARGUMENTS).entries()) {
            if ((place + kind) % STEP !== 0 || (what === "task" && type !== "tracing")) continue;
            const instructions: Instruction[] = [
              ...assemble(text).instructions,
              { opcode: 0x85, dst: 0, src: 2, offset: 0, imm: func.id },
              ...assemble("r0 = 0; exit").instructions,
            ];
            const { result, log } = attemptLoad(
              kernel,
              { type: label, instructions, license: "GPL", ...theirs },
              1,
            );
            if (result >= 0) new Handle(kernel, result).close();
            const own = verify(
              {
                name: "",
                type: label,
                instructions,
                maps: new Map(),
                license: "GPL",
                kernelBtf: btf,
                ...ours,
              },
              { logLevel: 1 },
            );
            asked++;
            const expected = result >= 0 ? "accepted" : reasonOf(log);
            const said = own.accepted ? "accepted" : reasonOf(own.log);
            if (said !== expected) different.push(`${type}: ${name}(${what}): ${said}; kernel: ${expected}`);
          }
        }
      }
      expect(asked).toBeGreaterThan(200);
      expect(different).toEqual([]);
    },
  );

  it.skipIf(noKernel !== undefined)(
    "judges random programs of iterators, dynptrs and objects as the kernel does",
    async () => {
      if (!existsSync(VMLINUX)) return;
      const { accepted, unknown, differences } = await compareKernelObjects(60, 4000);
      expect(differences).toEqual([]);
      expect(unknown).toEqual([]);
      expect(accepted).toBeGreaterThan(5);
    },
  );
});
