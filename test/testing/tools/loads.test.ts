/** The running kernel loads the tools too, each program by itself; tests say what they do here. */
import { afterAll, describe, expect, it } from "vitest";
import { BpfError } from "../../../src/errors.ts";
import { KernelMachine } from "../../../src/kernel/index.ts";
import { noKernel, openDescriptors, withKernel } from "../../kernel/setup.ts";
import { tool } from "./setup.ts";

const PROGRAMS = ["process", "files", "network", "sched", "block", "policies", "balancers"].flatMap(
  (name) => {
    const spec = tool(name);
    return Object.values(spec.programs).map(
      (program) => [`${name}: ${program.name}`, spec, program] as const,
    );
  },
);

/** What kernels are built without: trampolines for functions (fentry, LSM), probes. Then they refuse the type. */
const OPTIONAL = new Set(["tracing", "lsm", "kprobe"]);

it("there are 70 of them", () => expect(PROGRAMS.length).toBeGreaterThanOrEqual(70));

describe.skipIf(noKernel !== undefined)(withKernel("tools in the kernel"), () => {
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it.each(PROGRAMS)("%s", async (_, spec, program) => {
    using machine = await KernelMachine.create();
    try {
      expect(machine.load(spec, { programs: [program.name] }).programs[program.name]).toBeDefined();
    } catch (error) {
      // A verdict of the verifier has a log; these have none.
      const refused = error instanceof BpfError && error.code === "kernel" && error.errno === "EPERM";
      if (!refused || !OPTIONAL.has(program.type ?? "")) throw error;
    }
  });
});
