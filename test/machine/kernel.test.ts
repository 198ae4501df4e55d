import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { readPacketsSync } from "../../src/capture/index.ts";
import { type BpfMap, ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { needs, ROOT } from "../helpers.ts";
import { hasKernelBpf, kernelBpfLacks, kernelRuns } from "../kernel-oracle.ts";

/** Every packet of the capture through each example, here and in the kernel's TEST_RUN. */
const EXAMPLES = [
  { object: "firewall", program: "firewall", kind: "xdp", maps: ["rule_hits", "verdicts"] },
  { object: "packet-counter", program: "count", kind: "xdp", maps: ["protocols", "ports"] },
  { object: "packet-counter", program: "keep_tcp", kind: "socket", maps: [] },
  { object: "rewrite", program: "encapsulate", kind: "xdp", maps: ["encapsulated"] },
  { object: "rewrite", program: "reflect", kind: "xdp", maps: [] },
  { object: "rewrite", program: "classify", kind: "tc", maps: [] },
] as const;

const capture = (name: string): Uint8Array[] =>
  [...readPacketsSync(readFileSync(join(ROOT, "examples/captures", name)))].map(({ data }) => data);

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** All elements as hex: of per-CPU maps the first CPU's values, since the kernel's runs are kept on one CPU. */
function contents(map: BpfMap): Record<string, string> {
  return Object.fromEntries(
    [...map.keys()].map((key) => [hex(key), hex(map.lookup(key) ?? new Uint8Array(0))]),
  );
}

describe.skipIf(!hasKernelBpf)(needs("examples against the kernel", hasKernelBpf, kernelBpfLacks), () => {
  describe.each(EXAMPLES)("$object $program", ({ object, program, kind, maps: dump }) => {
    const path = join(ROOT, `examples/${object}/${object}.bpf.o`);
    const packets = capture("web.pcap");

    test.each(ENGINES)("%s: verdicts, packets and maps are the kernel's", async (engine) => {
      const kernel = kernelRuns(path, program, packets, { kind, dump: [...dump] });
      const machine = await Machine.create({ engine });
      const { programs, maps } = await machine.load(parseObject(readFileSync(path), { name: path }), {
        programs: [program],
      });
      const differences: string[] = [];
      let compared = 0;
      packets.forEach((packet, index) => {
        const theirs = kernel.runs[index];
        // TEST_RUN refuses some short packets; then the maps must not count them either.
        if (theirs === undefined) return;
        compared++;
        const ours = programs[program]!.run({ packet, ...(kind === "socket" ? { layer: "link" } : {}) });
        if (ours.returnValue >>> 0 !== theirs.returnValue >>> 0) {
          differences.push(`${index}: returns ${ours.returnValue}, kernel ${theirs.returnValue}`);
        } else if (kind !== "socket" && hex(ours.packet) !== hex(theirs.packet)) {
          differences.push(`${index}: packet ${hex(ours.packet)}, kernel ${hex(theirs.packet)}`);
        }
      });
      expect(compared).toBeGreaterThan(3000);
      expect(differences).toEqual([]);
      for (const name of dump) {
        const theirs = Object.fromEntries(
          (kernel.maps[name] ?? []).map(({ key, values }) => [
            hex(key),
            values.map(hex).find((value) => !/^0*$/.test(value)) ?? hex(values[0] as Uint8Array),
          ]),
        );
        const times = (value: string): string => (name === "rule_hits" ? value.slice(0, 32) : value);
        const masked = (all: Record<string, string>): Record<string, string> =>
          Object.fromEntries(Object.entries(all).map(([key, value]) => [key, times(value)]));
        expect(masked(contents(maps[name]!))).toEqual(masked(theirs));
      }
    });
  });
});
