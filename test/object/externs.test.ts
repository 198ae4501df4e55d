import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type LoadOptions, Machine } from "../../src/machine/index.ts";
import {
  linkProgram,
  type ObjectSpec,
  parseKconfig,
  parseObject,
  resolveExterns,
} from "../../src/object/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";

const ENGINES = ["jit", "interpreter"] as const;
const open = (name: string): ObjectSpec =>
  parseObject(readFileSync(join(CORPUS, "elf", `${name}.elf`)), { name });

const VALUES = {
  LINUX_KERNEL_VERSION: 0x61200,
  LINUX_HAS_SYSCALL_WRAPPER: true,
  CONFIG_HZ: 250,
  CONFIG_BPF_SYSCALL: "y",
  CONFIG_DEFAULT_HOSTNAME: '"(none)"',
};

async function run(name: string, program: string, options: LoadOptions): Promise<number> {
  const results = await Promise.all(
    ENGINES.map(async (engine) => {
      const machine = await Machine.create({ engine });
      const { programs } = await machine.load(open(name), { ...options, programs: [program] });
      return programs[program]?.run({ packet: new Uint8Array(64) }).returnValue;
    }),
  );
  expect(new Set(results).size).toBe(1);
  return Number(results[0]);
}

describe("parseKconfig", () => {
  it("reads lines, and what the title tells", () => {
    const text =
      '#\n# Linux/x86 6.18.44 Kernel Configuration\n#\nCONFIG_HZ=250\n# CONFIG_X is not set\nCONFIG_S="a=b"\n';
    expect({ ...parseKconfig(text) }).toEqual({
      CONFIG_HZ: "250",
      CONFIG_S: '"a=b"',
      LINUX_KERNEL_VERSION: 0x6122c,
      LINUX_HAS_BPF_COOKIE: "y",
      LINUX_HAS_SYSCALL_WRAPPER: "n",
    });
  });
});

describe.skipIf(!hasCorpus)(needs("externs", hasCorpus, "corpus"), () => {
  it("kconfig: a program sees what it was given", async () => {
    // The program reads the first character of a string of one: its terminator, unless that is all it has room for.
    expect(await run("kconfig-el", "kconfig", { kconfig: { ...VALUES, CONFIG_HZ: 0 } })).toBe(21 + 1);
    expect(await run("kconfig-el", "kconfig", { kconfig: { ...VALUES, CONFIG_BPF_SYSCALL: "n" } })).toBe(25);
  });

  it.each([
    ["CONFIG_HZ", "y", /wants a number of 32 bits, the value is y/],
    ["CONFIG_HZ", "99999999999", /wants a number of 32 bits/],
    ["LINUX_HAS_SYSCALL_WRAPPER", "m", /wants y or n \(bool\), the value is m/],
    ["CONFIG_BPF_SYSCALL", "7", /wants y, n or m \(tristate\)/],
    ["CONFIG_DEFAULT_HOSTNAME", "7", /wants a string/],
  ])("kconfig: %s cannot be %s", (name, value, message) => {
    expect(() => resolveExterns(open("kconfig-el"), { kconfig: { ...VALUES, [name]: value } })).toThrow(
      message,
    );
  });

  it("kconfig: both byte orders", () => {
    const [little, big] = ["el", "eb"].map((order) =>
      resolveExterns(open(`kconfig-${order}`), { kconfig: VALUES }),
    );
    const contents = (spec: ObjectSpec | undefined): DataView => {
      const bytes = spec?.maps[".kconfig"]?.contents ?? new Uint8Array();
      return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
    };
    for (let at = 0; at < 12; at += 4) {
      expect(contents(big).getUint32(at, false)).toBe(contents(little).getUint32(at, true));
    }
  });

  it("kconfig: what is not given is an error that says how", () => {
    const { CONFIG_HZ: _, ...rest } = VALUES;
    expect(() => linkProgram(resolveExterns(open("kconfig-el"), { kconfig: rest }), "kconfig")).toThrow(
      /uses the kernel configuration value 'CONFIG_HZ', which was not given: load it with \{ kconfig: \{ CONFIG_HZ: \.\.\. \} \}/,
    );
  });

  it("ksyms: addresses from the host, 0 for weak ones that are missing", async () => {
    expect(await run("ksym-el", "missing_weak_ksym_test", {})).toBe(0);
    expect(await run("ksym-el", "missing_weak_typed_ksym_test", {})).toBe(0);
    expect(await run("ksym-el", "missing_weak_ksym_test", { ksyms: { missing_weak_ksym: 5n } })).not.toBe(0);
    const machine = await Machine.create();
    const ksyms = { bpf_init: 0xffffffff81000000n, bpf_trace_run1: 0xffffffff81000010n };
    const { programs, maps } = await machine.load(open("ksym-el"), { programs: ["ksym_test"], ksyms });
    expect(programs["ksym_test"]?.run({ packet: new Uint8Array(64) }).returnValue).toBe(0);
    const bss = maps[".bss"]?.lookup(new Uint8Array(4)) ?? new Uint8Array();
    const view = new DataView(bss.buffer, bss.byteOffset, bss.length);
    const words = Array.from({ length: bss.length / 8 }, (_, index) => view.getBigUint64(8 * index, true));
    expect(words).toEqual(expect.arrayContaining([ksyms.bpf_init, ksyms.bpf_trace_run1]));
  });

  it.each([
    [
      "ksym-el",
      "missing_ksym_test",
      /the kernel symbol 'missing_ksym', which was not given: load it with \{ ksyms:/,
    ],
    ["ksym-el", "missing_typed_ksym_test", /the kernel variable 'missing_typed_ksym'/],
    [
      "kfunc-kmod-el",
      "call_kfunc",
      /the kernel function 'bpf_testmod_test_mod_kfunc', which is not there: .*machine\.registerKfunc/,
    ],
    ["invalid-kfunc-el", "call_kfunc", /the kernel function 'bpf_kfunc_call_test_mem_len_pass1'/],
  ])("%s %s is an error", async (name, program, message) => {
    const machine = await Machine.create();
    const failure = machine.load(open(name), { programs: [program] });
    await expect(failure).rejects.toThrow(message);
    await expect(failure).rejects.toBeInstanceOf(BpfError);
  });

  it("a kernel function that is there is linked", async () => {
    const machine = await Machine.create();
    const { programs } = await machine.load(open("kfunc-el"), { programs: ["call_kfunc"] });
    expect(Object.keys(programs)).toEqual(["call_kfunc"]);
  });

  it.each(["weak_kfunc_missing", "call_weak_kfunc"])("kfunc: %s asks before it calls", (program) => {
    const { poisoned } = linkProgram(open("kfunc-el"), program);
    expect(poisoned.size).toBeGreaterThan(0);
    expect([...poisoned.values()].join()).toMatch(/^kernel function '\w+': missing here/);
  });

  it("weak kernel functions that are missing are not called", async () => {
    const machine = await Machine.create();
    await machine.load(open("kfunc-el"), { programs: ["weak_kfunc_missing"] });
  });

  it.skipIf(!existsSync("/proc/config.gz"))("the running kernel's configuration", () => {
    const kconfig = gunzipSync(readFileSync("/proc/config.gz")).toString();
    const spec = resolveExterns(open("kconfig-el"), { kconfig });
    expect(Object.keys(spec.externs)).toEqual([]);
    expect(spec.maps[".kconfig"]?.valueSize).toBe(14);
  });
});
