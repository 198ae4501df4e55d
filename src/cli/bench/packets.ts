/** Suite `packets`: programs over packets against the kernel's JIT, and what a run costs beside the program. */
import { Machine, type Program } from "../../machine/index.ts";
import { benchObject } from "./files.ts";
import { KernelSide, type ProgramTimings, type Setup, loadInKernel, measureProgram } from "./kernel-side.ts";
import { type Timing, geometricMean, inProcess, measureSides } from "./measure.ts";
import { type Section, type Suite, type SuiteContext, ns, ratio } from "./suite.ts";

const PROGRAMS = ["header_parse", "checksum", "flow_counter", "lpm_firewall", "load_balancer"] as const;
const OBJECT = "packets/packets.bpf.o";
const FLOWS = 1000;
const PREFIXES = 1000;
const BACKENDS = 64;
const BATCH = 4096;

/** Ethernet, IPv4, TCP to port 80, of 128 bytes. */
/** A TCP packet of 128 bytes. */
export function packet(): Uint8Array {
  const bytes = new Uint8Array(128);
  const view = new DataView(bytes.buffer);
  bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
  bytes.set([0x45, 0, 0, 114, 0, 1, 0, 0, 64, 6, 0, 0, 10, 1, 2, 3, 192, 0, 2, 80], 14);
  let sum = 0;
  for (let at = 14; at < 34; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(24, ~sum & 0xffff);
  view.setUint16(34, 40_000);
  view.setUint16(36, 80);
  for (let at = 38; at < bytes.length; at++) bytes[at] = at;
  return bytes;
}

const setup = (): Setup => ({
  object: benchObject(OBJECT),
  fill(maps) {
    const flow = new Uint8Array(16);
    const view = new DataView(flow.buffer);
    for (let index = 0; index < FLOWS; index++) {
      view.setUint32(0, 0x0a000000 + index * 77);
      view.setUint32(4, 0xc0000250);
      view.setUint16(8, 1024 + index);
      view.setUint32(12, 6, true);
      maps["flows"]?.update(flow, new Uint8Array(16));
    }
    for (let index = 0; index < PREFIXES; index++) {
      const length = 16 + (index % 9);
      const key = new Uint8Array(8);
      new DataView(key.buffer).setUint32(0, length, true);
      key.set([index % 224, (index * 7) & 255, length > 16 ? (index << 3) & 0xff : 0, 0], 4);
      const value = new Uint8Array(4);
      value[0] = 1 + (index % 255);
      maps["blocked"]?.update(key, value);
    }
    for (let index = 0; index < BACKENDS; index++) {
      const key = Uint8Array.of(index, 0, 0, 0);
      maps["backends"]?.update(key, Uint8Array.of(10, 9, 8, index, 2, 1, 1, 1, 1, index, 1, 0));
    }
  },
});

interface PacketsReport {
  readonly skipped?: string;
  readonly rows: readonly (ProgramTimings & { readonly program: string })[];
  readonly jitVersusKernel?: { readonly geomean: number; readonly worst: number };
  /** Nanoseconds that a run costs beside the program. */
  readonly calls: {
    readonly repeat: Timing;
    readonly single: Timing;
    readonly batch: Timing;
    readonly kernel?: Timing;
  };
}

export const packetsSuite: Suite = {
  name: "packets",
  summary: "programs over packets against the kernel's JIT, and the cost of a run",
  async run(context) {
    const json = await measure(context);
    return { json, sections: [programsSection(json), callsSection(json)] };
  },
};

async function measure({ progress, ...rounds }: SuiteContext): Promise<PacketsReport> {
  const kernel = await loadInKernel(setup());
  const inKernel = kernel instanceof KernelSide ? kernel : undefined;
  try {
    const rows: PacketsReport["rows"][number][] = [];
    for (const [index, program] of PROGRAMS.entries()) {
      progress(index, PROGRAMS.length + 1, program);
      const times = await measureProgram(setup(), { program, packet: packet() }, inKernel, rounds);
      rows.push({ program, ...times });
    }
    progress(PROGRAMS.length, PROGRAMS.length + 1, "calls");
    const ratios = rows.map((row) => row.jitVersusKernel).filter((value) => value !== undefined);
    return {
      ...("skipped" in kernel ? { skipped: kernel.skipped } : {}),
      rows,
      ...(ratios.length === 0
        ? {}
        : { jitVersusKernel: { geomean: geometricMean(ratios), worst: Math.max(...ratios) } }),
      calls: await measureCalls(inKernel, rounds),
    };
  } finally {
    inKernel?.[Symbol.dispose]();
  }
}

/** A program that does nothing, in all ways to run it. */
async function measureCalls(
  kernel: KernelSide | undefined,
  rounds: Omit<SuiteContext, "progress">,
): Promise<PacketsReport["calls"]> {
  const machine = await Machine.create({ fuel: Infinity });
  const { programs } = await machine.load(benchObject(OBJECT), { programs: ["pass"] });
  const pass = programs["pass"] as Program;
  const bytes = packet();
  const prepared = pass.preparePacket({ packet: bytes });
  const data = new Uint8Array(BATCH * bytes.length);
  const offset = new Uint32Array(BATCH);
  for (let index = 0; index < BATCH; index++) {
    data.set(bytes, index * bytes.length);
    offset[index] = index * bytes.length;
  }
  const batch = { data, offset, capturedLength: new Uint32Array(BATCH).fill(bytes.length), count: BATCH };
  const { batch: batches, ...times } = measureSides(
    {
      repeat: inProcess((runs) => prepared.repeat(runs)),
      single: inProcess((runs) => {
        for (let run = 0; run < runs; run++) prepared.run();
      }),
      batch: inProcess((runs) => {
        for (let run = 0; run < runs; run++) pass.runPackets(batch);
      }),
      ...(kernel === undefined ? {} : { kernel: kernel.side({ program: "pass", packet: bytes }) }),
    },
    rounds,
  );
  const perPacket = (value: number): number => value / BATCH;
  return {
    ...times,
    batch: {
      median: perPacket(batches.median),
      lowest: perPacket(batches.lowest),
      samples: batches.samples.map(perPacket),
    },
  };
}

function programsSection({ rows, jitVersusKernel, skipped }: PacketsReport): Section {
  return {
    title: "Packet programs, CPU time a packet",
    head: ["program", "JIT", "JIT, bounded", "sandboxed", "interpreter", "kernel's JIT", "JIT/kernel"],
    rows: rows.map(({ program, jit, bounded, sandboxed, interpreter, kernel, jitVersusKernel: versus }) => [
      program,
      ns(jit.median),
      ns(bounded.median),
      ns(sandboxed.median),
      ns(interpreter.median),
      ns(kernel?.median),
      ratio(versus),
    ]),
    notes: [
      jitVersusKernel === undefined
        ? (skipped ?? "")
        : `Geometric mean against the kernel's JIT: ${ratio(jitVersusKernel.geomean)} (worst ${ratio(jitVersusKernel.worst)}).`,
    ],
  };
}

function callsSection({ calls }: PacketsReport): Section {
  return {
    title: "The cost of a run: a program that only returns",
    head: ["way", "a run"],
    rows: [
      ["many runs over one packet (repeat)", ns(calls.repeat.median)],
      ["one run a call from JavaScript", ns(calls.single.median)],
      ["runPackets: packets of 128 bytes, copied in and reset", ns(calls.batch.median)],
      ["the kernel's test run (repeat)", ns(calls.kernel?.median)],
    ],
    notes: [],
  };
}
