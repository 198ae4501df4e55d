import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { VerifierError } from "../../src/errors.ts";
import {
  KernelMachine,
  LoadedProgram,
  type TypedMap,
  loadProgram,
  possibleCpus,
} from "../../src/kernel/index.ts";
import type { BpfMap, Program } from "../../src/machine/index.ts";
import { type LinkedProgram, type ObjectSpec, parseObject } from "../../src/object/index.ts";
import { FIXTURE_CASES, FIXTURE_PACKETS } from "../fixtures/cases.ts";
import { ROOT } from "../helpers.ts";
import { insn, noKernel, openDescriptors, returning, withKernel } from "./setup.ts";

const specs = new Map<string, ObjectSpec>();

/** An object of the repository, parsed once. */
function object(path: string): ObjectSpec {
  let spec = specs.get(path);
  if (spec === undefined) {
    spec = parseObject(readFileSync(join(ROOT, path)), { name: path });
    specs.set(path, spec);
  }
  return spec;
}

// What skep loads itself although libbpf, whose verdict the table records, does not: definitions of old loaders.
const LOADED_HERE = /legacy/;

const CASES = FIXTURE_CASES.filter(
  ({ notInKernel, object: file }) => notInKernel === undefined || LOADED_HERE.test(file),
);

describe.skipIf(noKernel !== undefined)(withKernel("objects in the kernel"), () => {
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it.each(CASES)(
    "$object $program returns $returns",
    async ({ object: file, program, type, packet: name, returns, needs, networkLayer }) => {
      // Kernel configuration values are an object reader's to fill in.
      if (needs === "externs" && program === "kconfig") return;
      using machine = await KernelMachine.create();
      const spec = object(`test/fixtures/${file}`);
      const { programs, warnings } = machine.load(
        spec,
        // Unlike a machine, the kernel's loads only what is named: program arrays stay empty otherwise.
        needs === "tail calls" || file === "nesting.bpf.o" ? {} : { programs: [program] },
      );
      // A test run takes the link header off for socket filters: one more stands in front where the case counts on it.
      const frame = FIXTURE_PACKETS[name];
      const packet =
        type === "socket" && networkLayer !== true ? Buffer.concat([frame.subarray(0, 14), frame]) : frame;
      const result = programs[program]!.run({ packet: new Uint8Array(packet) });
      expect(result.returnValue >>> 0).toBe(returns >>> 0);
      expect(result.verified).toBe(true);
      if (spec.btf !== undefined && needs !== "arena") expect(warnings).toEqual(spec.warnings);
    },
  );

  it("gives maps the same face as a machine", async () => {
    // The compiler is the judge: what works with one works with the other.
    type Face = "name" | "type" | "keySize" | "valueSize" | "maxEntries" | "flags" | "perCpu" | "size";
    type Calls =
      | "lookup"
      | "lookupPerCpu"
      | "update"
      | "delete"
      | "nextKey"
      | "keys"
      | "entries"
      | "get"
      | "set";
    const same = (map: TypedMap): Pick<BpfMap, Face | Calls | "keyType" | "valueType"> => map;
    using machine = await KernelMachine.create();
    const { maps, programs } = machine.load(object("examples/firewall/firewall.bpf.o"));
    const face: Pick<Program, "name" | "type" | "run"> = programs["firewall"]!;
    expect(face.type).toBe("xdp");
    const blocked = same(maps["blocked4"]!);
    blocked.set({ prefixlen: 32, addr: [10, 0, 0, 1] }, 3);
    expect([...blocked.entries()]).toEqual([[{ prefixlen: 32, addr: [10, 0, 0, 1] }, 3]]);
    expect(blocked.get({ prefixlen: 32, addr: [10, 0, 0, 1] })).toBe(3);
    expect(blocked.size).toBe(1);
    expect(face.run({ packet: FIXTURE_PACKETS.tcp }).returnName).toBe("XDP_DROP");
    const hits = same(maps["rule_hits"]!);
    const counted = [...hits.entries()].filter(
      ([, value]) => Number((value as { packets: bigint }).packets) > 0,
    );
    expect(counted.map(([rule]) => rule)).toEqual([3]);
    const counter = same(maps["rule_hits"]!);
    expect(counter.perCpu).toBe(false);
    expect(blocked.delete(Uint8Array.of(32, 0, 0, 0, 10, 0, 0, 1))).toBe(true);
    expect(face.run({ packet: FIXTURE_PACKETS.tcp }).returnName).toBe("XDP_PASS");
  });

  it("shares maps between loads", async () => {
    using machine = await KernelMachine.create();
    const spec = object("examples/firewall/firewall.bpf.o");
    const first = machine.load(spec);
    first.maps["blocked4"]!.set({ prefixlen: 0, addr: [0, 0, 0, 0] }, 1);
    const second = machine.load(spec, { maps: { blocked4: first.maps["blocked4"]! } });
    expect(second.programs["firewall"]!.run({ packet: FIXTURE_PACKETS.tcp }).returnName).toBe("XDP_DROP");
  });

  it("counts per CPU as a machine does", async () => {
    using machine = await KernelMachine.create();
    const { maps } = machine.load(object("test/fixtures/maps.bpf.o"), { programs: ["percpu_array_map"] });
    const map = Object.values(maps).find(({ perCpu }) => perCpu)!;
    expect(map.type).toBe("percpu_array");
    const values = Array.from({ length: possibleCpus() }, (_, cpu) =>
      new Uint8Array(map.valueSize).fill(cpu + 1),
    );
    map.update(new Uint8Array(4), values);
    expect(map.lookupPerCpu(new Uint8Array(4))).toEqual(values);
    expect(map.lookup(new Uint8Array(4))).toEqual(values[0]);
    map.update(new Uint8Array(4), values[0]!);
    expect(map.lookupPerCpu(new Uint8Array(4))).toEqual(values.map(() => values[0]));
    expect(map.get(0)).toHaveLength(possibleCpus());
  });

  it("tells metadata from the packet", async () => {
    using machine = await KernelMachine.create();
    // bpf_xdp_adjust_meta(ctx, -8); return XDP_PASS.
    const instructions = [insn(0xb7, 2, 0, 0, -8), insn(0x85, 0, 0, 0, 54), ...returning(2)];
    const raw = loadProgram(machine.kernel, { type: "xdp", name: "meta", instructions });
    const program = new LoadedProgram(raw, { name: "meta" } as LinkedProgram);
    const { packet, metadata, context, returnName } = program.run({ packet: FIXTURE_PACKETS.tcp });
    expect(returnName).toBe("XDP_PASS");
    expect(packet).toEqual(FIXTURE_PACKETS.tcp);
    expect(metadata).toEqual(new Uint8Array(8));
    expect(context["data"]).toBe(8);
  });

  it("gives a socket filter's packet back whole", async () => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(object("test/fixtures/socket.bpf.o"));
    for (const program of Object.values(programs)) {
      expect(program.run({ packet: FIXTURE_PACKETS.tcp }).packet).toEqual(FIXTURE_PACKETS.tcp);
    }
  });

  it("passes context fields in and out", async () => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(object("test/fixtures/tc.bpf.o"), {
      programs: ["length_and_protocol"],
    });
    const { context } = programs["length_and_protocol"]!.run({
      packet: FIXTURE_PACKETS.tcp,
      context: { mark: 7, priority: 3 },
    });
    expect(context["priority"]).toBe(3);
    expect(() =>
      programs["length_and_protocol"]!.run({ packet: FIXTURE_PACKETS.tcp, context: { len: 3 } }),
    ).toThrow(/__sk_buff\.len/);
  });

  it("says why the verifier rejects a program, and leaves nothing behind", async () => {
    using machine = await KernelMachine.create();
    const before = openDescriptors();
    const spec = object("test/fixtures/bad-programs.bpf.o");
    for (const name of Object.keys(spec.programs)) {
      const { accepted, log, error } = machine.verify(spec, name);
      if (accepted) continue;
      expect(error?.message).toMatch(new RegExp(`^program '${name}' \\(\\w+\\): the kernel`));
      if (error instanceof VerifierError) expect(log).toBe(error.log);
    }
    expect(machine.verify(spec, "unknown_helper")).toMatchObject({
      accepted: false,
      error: { errno: "EINVAL", code: "verifier" },
    });
    expect(openDescriptors()).toEqual(before);
  });

  it("gives the log of an accepted program with source lines", async () => {
    using machine = await KernelMachine.create();
    const verdict = machine.verify(object("examples/firewall/firewall.bpf.o"), "firewall", { logLevel: 2 });
    expect(verdict.accepted).toBe(true);
    expect(verdict.log).toMatch(/; .* @ firewall\.bpf\.c:\d+/);
    expect(verdict.log).toMatch(/processed \d+ insns/);
  });

  it("rewrites constants before the load", async () => {
    using machine = await KernelMachine.create();
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/globals.bpf.o")));
    const constants = Object.values(spec.variables).filter(({ constant, size }) => constant && size === 4);
    expect(constants.length).toBeGreaterThan(0);
    const [variable] = constants;
    variable!.set(Uint8Array.of(1, 2, 3, 4));
    const { maps } = machine.load(spec);
    const value = maps[variable!.map]!.lookup(new Uint8Array(4))!;
    expect([...value.subarray(variable!.offset, variable!.offset + 4)]).toEqual([1, 2, 3, 4]);
    // Frozen: from here nobody writes.
    expect(() => maps[variable!.map]!.update(new Uint8Array(4), value)).toThrow(/EPERM/);
  });

  it("names the program that there is not, and a big-endian object", async () => {
    using machine = await KernelMachine.create();
    const spec = object("examples/firewall/firewall.bpf.o");
    expect(() => machine.load(spec, { programs: ["none"] })).toThrow(/no program 'none'; it has firewall/);
    expect(() => machine.load(object("test/fixtures/calls.eb.bpf.o"))).toThrow(
      /big-endian object cannot be loaded/,
    );
  });
});
