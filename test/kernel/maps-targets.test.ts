/**
 * Programs in the entries of device and CPU maps: random updates and deletions, what they answer and what is read, against the kernel.
 * Nothing is sent there.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { PROG_ID } from "../../src/core/layout.ts";
import { BpfError } from "../../src/errors.ts";
import { KernelMachine, possibleCpus } from "../../src/kernel/index.ts";
import { Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { Random } from "../random/prng.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/targets.bpf.o")), { name: "targets.bpf.o" });
const NAMES = Object.keys(spec.programs);
const MAPS = ["devices", "hashed", "used", "used_hashed", "processors"] as const;
const FLAGS = { any: 0, noexist: 1, exist: 2 } as const;
const SEED = Number(process.env["SKEP_SEED"] ?? 11);
const COUNT = Number(process.env["SKEP_MAP_OPERATIONS"] ?? 200);
/** What is given as a descriptor and is none. */
const NONE = [0, -1, 0x7ffffff0];

interface Side {
  /** By number, then NONE. */
  readonly programs: readonly number[];
  readonly ids: readonly number[];
  update(key: Uint8Array, value: Uint8Array, flag: keyof typeof FLAGS): string;
  delete(key: Uint8Array): string;
  lookup(key: Uint8Array): Uint8Array | undefined;
}

function failing(work: () => unknown): string {
  try {
    return String(work());
  } catch (error) {
    if (!(error instanceof BpfError) || error.errno === undefined) throw error;
    return error.errno;
  }
}

async function ours(map: string): Promise<Side> {
  const machine = await Machine.create({ cpus: possibleCpus() });
  const { programs, maps } = await machine.load(spec);
  const subject = maps[map]!;
  const ids = NAMES.map((name) => machine.memory.u32(programs[name]!.descriptor + PROG_ID));
  return {
    programs: ids,
    ids,
    update: (key, value, flag) => failing(() => subject.update(key, value, flag)),
    delete: (key) => failing(() => subject.delete(key)),
    lookup: (key) => subject.lookup(key),
  };
}

function theirs(machine: KernelMachine, map: string): Side {
  const { programs, maps } = machine.load(spec);
  const subject = maps[map]!.raw;
  return {
    programs: NAMES.map((name) => programs[name]!.raw.fd),
    ids: NAMES.map((name) => programs[name]!.raw.info().id),
    update: (key, value, flag) => failing(() => subject.update(key, value, flag)),
    delete: (key) => failing(() => subject.delete(key)),
    lookup: (key) => subject.lookup(key),
  };
}

const u32 = (...words: number[]): Uint8Array => new Uint8Array(Int32Array.from(words).buffer);

/** What has become of an operation, with programs as their places in NAMES. */
function lines(side: Side, map: string): string[] {
  const random = new Random(SEED);
  return Array.from({ length: COUNT }, () => {
    const index = random.pick([0, 0, 1, 1, 2, 3]);
    const key = u32(index);
    if (random.chance(0.2)) return `delete ${index}: ${side.delete(key)}`;
    const chosen = random.below(NAMES.length + 4);
    const program = side.programs[chosen] ?? NONE[chosen % NONE.length] ?? 0;
    const target = map === "processors" ? random.pick([0, 192, 192, 16385]) : random.pick([0, 1, 1, 1]);
    const flag = random.pick(["any", "any", "any", "exist", "noexist"] as const);
    const done = side.update(key, u32(target, program | 0), flag);
    const shown = side.lookup(key);
    const words = shown === undefined ? [] : [...new Uint32Array(shown.slice().buffer)];
    const there =
      words.length === 0
        ? "nothing"
        : `${words[0]} ${words[1] === 0 ? "none" : NAMES[side.ids.indexOf(words[1] as number)]}`;
    return `update ${index} ${target} ${NAMES[chosen] ?? "no program"} ${flag}: ${done}, ${there}`;
  });
}

describe.skipIf(noKernel !== undefined)(withKernel("programs in entries"), () => {
  afterAll(expectNothingLeft);

  it.each(MAPS)("%s", { timeout: 300_000 }, async (map) => {
    using kernel = await KernelMachine.create();
    expect(lines(await ours(map), map)).toEqual(lines(theirs(kernel, map), map));
  });
});

describe("targets by name", () => {
  it("stand there with their ids, and what does not fit is refused", async () => {
    const machine = await Machine.create();
    const { programs, maps } = await machine.load(spec);
    const key = new Uint8Array(4);
    maps["devices"]!.setTarget(key, 2, programs["at_device"]);
    const id = machine.memory.u32(programs["at_device"]!.descriptor + PROG_ID);
    expect(maps["devices"]!.get(0)).toEqual({ ifindex: 2, bpf_prog: { fd: id, id } });
    expect(failing(() => maps["devices"]!.setTarget(key, 2, programs["at_processor"]))).toBe("EINVAL");
    expect(failing(() => maps["devices"]!.setTarget(key, 2, programs["at_device_frags"]))).toBe("EINVAL");
    expect(failing(() => maps["processors"]!.setTarget(key, 192, programs["plain"]))).toBe("ENOMEM");
    maps["devices"]!.setTarget(key, 3);
    expect(maps["devices"]!.get(0)).toEqual({ ifindex: 3, bpf_prog: { fd: 0, id: 0 } });
    expect(failing(() => maps["used"]!.setTarget(key, 2, programs["at_device"]))).toBe("EINVAL");
    maps["used"]!.setTarget(key, 2, programs["at_device_frags"]);
    maps["used_hashed"]!.setTarget(key, 2, programs["at_device"]);
    expect(failing(() => maps["devices"]!.update(key, u32(2, 0x7fffffff)))).toBe("EINVAL");
    expect(failing(() => maps["devices"]!.update(key, [u32(2, 0x7fffffff)]))).toBe("EINVAL");
    expect(() => maps["devices"]!.setTarget(key, -1)).toThrow(/whole number/);
    const other = (await (await Machine.create()).load(spec)).programs["at_device"];
    expect(() => maps["devices"]!.setTarget(key, 2, other)).toThrow(/another machine/);
  });
});
