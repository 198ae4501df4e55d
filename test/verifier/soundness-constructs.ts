/**
 * The same as `soundness.ts` for what the sandbox does not run: programs of test/verify-diff/constructs that the verifier accepts run in
 * a model (`model/`) which keeps account of all that they hold. No access outside of what is theirs, nothing kept or given back twice,
 * no region left open, registers within the verifier's states, in callbacks as well.
 */
import { existsSync, readFileSync } from "node:fs";
import { type Btf, parseBtf } from "../../src/btf/index.ts";
import { type ObjectSpec, linkProgram } from "../../src/object/index.ts";
import { type VerifierProgram, verifierProgram, verify } from "../../src/verifier/index.ts";
import { constructs, generateConstructs } from "../verify-diff/constructs/generate.ts";
import { Random } from "../random/prng.ts";
import { CALLS } from "./model/calls.ts";
import { Unsound } from "./model/memory.ts";
import { ModelRun } from "./model/run.ts";
import type { SoundnessChecker, SoundnessOutcome } from "./soundness.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const RUNS = 4;
/** Of one verification: what takes longer is left alone. */
const MOST_PROCESSED = 40_000;

/** The kernel's types, which its functions need; undefined where there are none. */
export function kernelTypes(): Btf | undefined {
  return existsSync(VMLINUX) ? parseBtf(readFileSync(VMLINUX), { name: "vmlinux" }) : undefined;
}

export class ConstructsBench implements SoundnessChecker {
  readonly #carrier: ObjectSpec = constructs();
  readonly #kernelBtf: Btf;

  constructor(kernelBtf: Btf) {
    this.#kernelBtf = kernelBtf;
  }

  check(seed: number): SoundnessOutcome {
    const spec = generateConstructs(this.#carrier, seed);
    const name = Object.keys(spec.programs)[0] as string;
    const linked = linkProgram(spec, name, { externs: "keep" });
    const type = linked.program?.type as VerifierProgram["type"];
    const program = verifierProgram(linked, { type, license: "GPL", kernelBtf: this.#kernelBtf });
    let processed = 0;
    const { accepted, errno, cancelled, states } = verify(program, {
      logLevel: 0,
      recordStates: true,
      cpus: 1,
      sound: true,
      progress: (now) => {
        processed = now;
      },
      cancelled: () => processed > MOST_PROCESSED,
    });
    if (errno === "EOPNOTSUPP" || cancelled) return { kind: "unknown" };
    if (!accepted) return { kind: "rejected" };
    const random = new Random(seed ^ 0x50d);
    let steps = 0;
    try {
      for (let run = 0; run < RUNS; run++) steps += new ModelRun(linked, states, random, CALLS).run();
    } catch (error) {
      if (error instanceof Unsound) return { kind: "unsound", what: error.message };
      throw error;
    }
    return { kind: "sound", steps, states: states.size > 0 };
  }
}
