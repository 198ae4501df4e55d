/** `npm run verify-diff -- --objects N --seed S`: programs of `generate-kernel.ts`, judged by both verifiers. */
import { readFileSync } from "node:fs";
import { parseBtf } from "../../src/btf/index.ts";
import { Handle, Kernel, attemptLoad, createMap } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import { type VerifierMap, reasonOf, verify } from "../../src/verifier/index.ts";
import { generateKernelProgram } from "./generate-kernel.ts";
import { RANDOM_LIMIT, type RandomDifference, type RandomOutcome } from "./random.ts";

const VMLINUX = "/sys/kernel/btf/vmlinux";
const RING = { name: "ring", type: "ringbuf", keySize: 0, valueSize: 0, maxEntries: 4096 } as const;

/** Judges `count` programs from a seed on: verdict, errno and reason, and the number of processed instructions. */
export async function compareKernelObjects(
  count: number,
  seed: number,
  limit = RANDOM_LIMIT,
): Promise<RandomOutcome> {
  const btf = parseBtf(readFileSync(VMLINUX), { name: "vmlinux" });
  using kernel = await Kernel.open();
  using ring = createMap(kernel, RING);
  const attachBtfId = btf.find("btf_trace_sched_switch", "typedef")[0]?.id ?? 0;
  const map: VerifierMap = { ...RING, flags: 0 };
  const differences: RandomDifference[] = [];
  let accepted = 0;
  const unknown: { seed: number; ours: string }[] = [];
  for (let at = seed; at < seed + count; at++) {
    const { type, attachType, attachTo, instructions, rings } = generateKernelProgram(at, btf);
    const slots = new Set(rings);
    const { result, log } = attemptLoad(
      kernel,
      {
        type,
        instructions: instructions.map((row, slot) => (slots.has(slot) ? { ...row, imm: ring.fd } : row)),
        ...(attachType === undefined ? {} : { expectedAttachType: attachType, attachBtfId }),
      },
      1,
    );
    if (result >= 0) {
      new Handle(kernel, result).close();
      accepted++;
    }
    const begin = performance.now();
    const own = verify(
      {
        name: "random",
        type,
        attachType,
        attachTo,
        instructions,
        maps: new Map(rings.map((slot) => [slot, map])),
        license: "GPL",
        kernelBtf: btf,
      },
      { logLevel: 1, cancelled: () => performance.now() - begin > limit },
    );
    if (own.cancelled || own.errno === "EOPNOTSUPP") {
      unknown.push({ seed: at, ours: own.cancelled ? "too slow" : reasonOf(own.log) });
      continue;
    }
    const processed = Number(/^processed (\d+)/m.exec(log)?.[1] ?? 0);
    const say = (good: boolean, errno: string, text: string, steps: number): string =>
      `${good ? "accepted" : `${errno} ${reasonOf(text)}`} after ${steps}`;
    const theirs = say(result >= 0, result < 0 ? nameOfErrno(result) : "", log, processed);
    const ours = say(own.accepted, own.errno ?? "", own.log, own.statistics.processedInstructions);
    if (ours !== theirs) {
      differences.push({ seed: at, ours, kernel: theirs, falseAccept: own.accepted && result < 0 });
    }
  }
  return { programs: count, accepted, unknown, differences };
}
