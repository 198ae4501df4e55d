import { spawnSync } from "node:child_process";
import { describe, expect, it } from "vitest";
import { countCpus, joinPerCpu, splitPerCpu } from "../../src/kernel/cpus.ts";
import { infoLayout } from "../../src/kernel/info.ts";
import { commandLayout } from "../../src/kernel/kernel.ts";
import { layoutOf, readName, readNumber, writeField } from "../../src/kernel/struct.ts";
import { COMMANDS, type Command, INFOS, type InfoKind } from "../../src/kernel/tables.ts";
import { hasTool, needs } from "../helpers.ts";

describe("struct", () => {
  it("aligns fields to their size", () => {
    const { size, fields } = layoutOf({ a: "u32", b: "u64", c: "name", d: "u32", e: "ptr" });
    expect(Object.values(fields).map(({ offset }) => offset)).toEqual([0, 8, 16, 32, 40]);
    expect(size).toBe(48);
  });

  it("writes and reads names and signed numbers", () => {
    const { size, fields } = layoutOf({ a: "s32", name: "name" });
    const view = new DataView(new ArrayBuffer(size));
    writeField(view, fields.a, -2, () => 0n);
    writeField(view, fields.name, "a_name_that_is_longer", () => 0n);
    expect(readNumber(view, fields.a)).toBe(-2);
    expect(readName(view, fields.name)).toBe("a_name_that_is_l");
  });

  it.each([
    ["0", 1],
    ["0-3\n", 4],
    ["0-1,4,6-7", 5],
  ])("counts CPUs in %j", (list, count) => {
    expect(countCpus(list)).toBe(count);
  });

  it("splits per-CPU values at multiples of 8", () => {
    const value = joinPerCpu([Uint8Array.of(1, 2, 3), Uint8Array.of(4, 5, 6)], 3);
    expect([...value]).toEqual([1, 2, 3, 0, 0, 0, 0, 0, 4, 5, 6, 0, 0, 0, 0, 0]);
    expect(splitPerCpu(value, 3).map((part) => [...part])).toEqual([
      [1, 2, 3],
      [4, 5, 6],
    ]);
  });
});

// The kernel's own BTF holds its declarations; a C compiler is asked for each offset in them.
const vmlinux = hasTool("bpftool", "version") ? dumpVmlinux() : "";

function dumpVmlinux(): string {
  const { stdout, status } = spawnSync(
    "bpftool",
    ["btf", "dump", "file", "/sys/kernel/btf/vmlinux", "format", "c"],
    { encoding: "utf8", maxBuffer: 1 << 28 },
  );
  return status === 0 ? stdout : "";
}

const ready = vmlinux !== "" && hasTool("clang-19");

describe.skipIf(!ready)(
  needs("layouts against the kernel's declarations", ready, "bpftool, clang-19 or BTF"),
  () => {
    it("has every offset and size as the compiler does", () => {
      const checks: string[] = [];
      const check = (type: string, member: string, offset: number, size: number): void => {
        checks.push(
          `_Static_assert(__builtin_offsetof(${type}, ${member}) == ${offset}, "${type}.${member} is not at ${offset}");`,
          `_Static_assert(sizeof(((${type} *)0)->${member}) == ${size}, "${type}.${member} has not ${size} bytes");`,
        );
      };
      for (const [name, { member }] of Object.entries(COMMANDS)) {
        for (const [field, { offset, size }] of Object.entries(commandLayout(name as Command).fields)) {
          check("union bpf_attr", member === "" ? field : `${member}.${field}`, offset, size);
        }
        checks.push(
          `_Static_assert(BPF_${name.toUpperCase()} == ${COMMANDS[name as Command].id}, "${name}");`,
        );
      }
      for (const kind of Object.keys(INFOS) as InfoKind[]) {
        for (const [field, { offset, size }] of Object.entries(infoLayout(kind).fields)) {
          if (field !== "gpl_compatible") check(`struct ${INFOS[kind].struct}`, field, offset, size);
        }
      }
      expect(checks.length).toBeGreaterThan(400);
      // The BPF target is a plain 64-bit one without the host's vector types.
      const { stderr, status } = spawnSync(
        "clang-19",
        ["-target", "bpf", "-fsyntax-only", "-Wno-everything", "-ferror-limit=0", "-xc", "-"],
        { input: `${vmlinux}\n${checks.join("\n")}`, encoding: "utf8" },
      );
      expect(stderr).toBe("");
      expect(status).toBe(0);
    });
  },
);
