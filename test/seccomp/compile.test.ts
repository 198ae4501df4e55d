import { describe, expect, it } from "vitest";
import { type CbpfInstruction, checkCbpf } from "../../src/cbpf/index.ts";
import { BpfError } from "../../src/errors.ts";
import {
  type ResolvedProfile,
  SECCOMP_ARCHES,
  type SeccompArch,
  compileProfile,
  conditionHolds,
  emulateSeccomp,
  rulesFor,
  seccompEmulator,
  syscallName,
} from "../../src/seccomp/index.ts";
import { randomNumbers } from "../cbpf/programs.ts";
import { DOCKER_LIKE } from "./profile.ts";

const KILL_THREAD = 0;
const U64 = 0xffffffffffffffffn;

/** The rules' own answer. */
function expected(
  profile: ResolvedProfile,
  arch: SeccompArch,
  number: number,
  args: readonly bigint[],
): number {
  const listed = profile.arches.some(({ name }) => name === arch.name);
  if (!listed) return KILL_THREAD;
  const name = syscallName(arch.name, number);
  if (name === undefined) return profile.defaultValue;
  const rule = rulesFor(profile.rules, name).find(({ conditions }) =>
    conditions.every((one) => conditionHolds(one, args[one.index] ?? 0n)),
  );
  return rule?.value ?? profile.defaultValue;
}

/** Values around each constant of the rules for a call: all that can decide something. */
function edges(profile: ResolvedProfile, name: string | undefined): bigint[] {
  const values = new Set([0n, 1n, U64, 0xffffffffn, 0x100000000n]);
  for (const { conditions } of name === undefined ? [] : rulesFor(profile.rules, name)) {
    for (const { value, valueTwo } of conditions) {
      for (const edge of [value, valueTwo]) {
        for (const near of [edge - 1n, edge, edge + 1n, edge ^ 0x100000000n, edge | 0x80000000n, ~edge]) {
          values.add(BigInt.asUintN(64, near));
        }
      }
    }
  }
  return [...values];
}

/** Compares every number of every architecture, with every edge of each argument; the longest way in steps. */
function compare(cbpf: readonly CbpfInstruction[], profile: ResolvedProfile, highest = 600): number {
  let steps = 0;
  const emulate = seccompEmulator(cbpf);
  for (const arch of SECCOMP_ARCHES) {
    const special = arch.name === "arm" ? [0xf0001, 0xf0002, 0xf0005] : [];
    for (const number of [
      ...Array.from({ length: highest + 1 }, (_, index) => index + arch.base),
      ...special,
      0x3ffffff + arch.base,
    ]) {
      const name = syscallName(arch.name, number);
      const conditions =
        name === undefined ? [] : rulesFor(profile.rules, name).flatMap((rule) => rule.conditions);
      const indices = [...new Set(conditions.map(({ index }) => index))];
      const ways = edges(profile, name).flatMap((value) =>
        (indices.length === 0 ? [0] : indices).map((index) => [0n, 0n, 0n, 0n, 0n, 0n].with(index, value)),
      );
      for (const args of indices.length === 0 ? ways.slice(0, 1) : ways) {
        const answer = emulate({ arch: arch.name, syscall: number, args });
        const value = expected(profile, arch, number, args);
        if (answer.value !== value) {
          expect.fail(`${arch.name} ${name ?? number}(${args}): ${answer.text}, not 0x${value.toString(16)}`);
        }
        steps = Math.max(steps, answer.steps);
      }
    }
  }
  return steps;
}

describe("a profile like Docker's", () => {
  describe.each(["x86_64", "i386", "aarch64", "riscv64", "s390x"])("on %s", (arch) => {
    it.each([
      ["without capabilities", []],
      ["with CAP_SYS_ADMIN", ["CAP_SYS_ADMIN"]],
    ])("answers as its rules do, in 24 steps at most: %s", (_, capabilities) => {
      const { cbpf, profile } = compileProfile(DOCKER_LIKE, { arch, capabilities, kernel: "6.18" });
      checkCbpf(cbpf, { variant: "seccomp" });
      const steps = compare(cbpf, profile);
      expect(steps).toBeLessThanOrEqual(24);
      expect(cbpf.length).toBeLessThan(1500);
    });
  });

  it("goes by the kernel's version", () => {
    const text = (kernel: string): string =>
      emulateSeccomp(compileProfile(DOCKER_LIKE, { kernel }).cbpf, { syscall: "ptrace" }).text;
    expect([text("4.7"), text("4.8"), text("6.18.3-amd64")]).toEqual(["ERRNO(EPERM)", "ALLOW", "ALLOW"]);
  });
});

describe("random profiles", () => {
  it("are compiled to what their rules say", () => {
    const random = randomNumbers(77);
    const ops = ["NE", "LT", "LE", "EQ", "GE", "GT", "MASKED_EQ"].map((op) => `SCMP_CMP_${op}`);
    const actions = [
      "SCMP_ACT_ALLOW",
      "SCMP_ACT_ERRNO",
      "SCMP_ACT_KILL_PROCESS",
      "SCMP_ACT_TRAP",
      "SCMP_ACT_LOG",
    ];
    const constants = [
      "0",
      "1",
      "5",
      "40",
      "4294967295",
      "4294967296",
      "18446744073709551615",
      "0x7e020000",
      "0x80000000ffffffff",
    ];
    for (let round = 0; round < 25; round++) {
      const syscalls = Array.from({ length: 1 + random(8) }, () => ({
        names: Array.from(
          { length: 1 + random(3) },
          () => ["read", "clone", "socket", "mmap", "personality"][random(5)]!,
        ),
        action: actions[random(actions.length)],
        errnoRet: random(200),
        args: Array.from({ length: random(4) }, () => ({
          index: random(3),
          op: ops[random(ops.length)],
          value: constants[random(constants.length)],
          valueTwo: constants[random(3)],
        })),
      }));
      const json = {
        defaultAction: actions[random(actions.length)],
        architectures: ["SCMP_ARCH_X86", "SCMP_ARCH_S390X"],
        syscalls,
      };
      const { cbpf, profile } = compileProfile(JSON.stringify(json));
      compare(cbpf, profile, 400);
    }
  });
});

describe("profiles that are none", () => {
  it.each([
    ["{", "it is no JSON"],
    ["[]", "the profile: it is no object"],
    ["{}", "defaultAction: undefined is no action"],
    ['{"defaultAction":"SCMP_ACT_FOO"}', '"SCMP_ACT_FOO" is no action; these are: SCMP_ACT_KILL_PROCESS'],
    ['{"defaultAction":"SCMP_ACT_ALLOW","syscalls":{}}', "syscalls: it is no list"],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"action":"SCMP_ACT_ALLOW"}]}',
      "syscalls[0]: it names no system call",
    ],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":[1],"action":"SCMP_ACT_ALLOW"}]}',
      "1 is no string",
    ],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":6,"op":"SCMP_CMP_EQ"}]}]}',
      "syscalls[0].args[0].index: 6 is no number from 0 to 5",
    ],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","args":[{"index":0,"op":"EQ"}]}]}',
      '"EQ" is no comparison',
    ],
    [
      '{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ALLOW","includes":{"minKernel":"new"}}]}',
      '"new" is no kernel version',
    ],
  ])("%s", (profile, message) => {
    expect(() => compileProfile(profile)).toThrow(message);
    expect(() => compileProfile(profile)).toThrow(BpfError);
  });

  it("names what it does not know", () => {
    const { warnings } = compileProfile({
      defaultAction: "SCMP_ACT_ALLOW",
      architectures: ["SCMP_ARCH_PARISC"],
      syscalls: [{ names: ["raed"], action: "SCMP_ACT_ERRNO" }],
    });
    expect(warnings.join("\n")).toContain('no architecture here has a system call "raed"');
    expect(warnings.join("\n")).toContain("architecture SCMP_ARCH_PARISC is left out");
    expect(() => compileProfile({ defaultAction: "SCMP_ACT_ALLOW" }, { arch: "vax" })).toThrow(
      'architecture "vax" is not known',
    );
  });

  it("refuses what can't fit 4,096 instructions", () => {
    const syscalls = Array.from({ length: 5000 }, (_, value) => ({
      names: ["read"],
      action: "SCMP_ACT_ERRNO",
      args: [{ index: 0, value: value * 3, op: "SCMP_CMP_EQ" }],
    }));
    expect(() => compileProfile({ defaultAction: "SCMP_ACT_ALLOW", syscalls })).toThrow("don't fit a filter");
  });
});
