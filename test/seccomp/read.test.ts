import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { type CbpfInstruction, assembleCbpf } from "../../src/cbpf/index.ts";
import {
  SECCOMP_ARCHES,
  auditSeccomp,
  compileProfile,
  disassembleSeccomp,
  emulateSeccomp,
  explainSeccomp,
  formatExplanation,
  syscallName,
} from "../../src/seccomp/index.ts";
import { hasTool, needs } from "../helpers.ts";
import { DOCKER_LIKE } from "./profile.ts";

/** Allows read and write, and a socket that is not of domain 40; forgets the architecture. */
const NAIVE = assembleCbpf(`
        ld [0]
        jeq #0, good
        jeq #1, good
        jneq #41, bad
        ld [16]
        jeq #40, bad, good
  good: ret #0x7fff0000
  bad:  ret #0x50001`);
const CAREFUL: CbpfInstruction[] = assembleCbpf(`
        ld [4]
        jneq #0xc000003e, kill
        ld [0]
        jge #0x40000000, kill
        jeq #41, socket
        jeq #0, good
        ja bad
socket: ld [20]
        jneq #0, bad
        ld [16]
        and #0xff
        jset #0x10, bad
        jeq #2, good
  bad:  ret #0x50001
  good: ret #0x7fff0000
  kill: ret #0x80000000`);

describe("emulation", () => {
  it.each([
    [{ syscall: "read" }, "ALLOW", 6],
    [{ syscall: "write" }, "ERRNO(EPERM)", 8],
    [{ syscall: "socket", args: [2] }, "ALLOW", 11],
    [{ syscall: "socket", args: [0x100000002n] }, "ERRNO(EPERM)", 8],
    [{ syscall: 0x40000000 }, "KILL_PROCESS", 5],
    [{ syscall: "read", arch: "i386" }, "KILL_PROCESS", 3],
  ])("%o: %s in %i steps", (query, text, steps) => {
    const result = emulateSeccomp(CAREFUL, query);
    expect(result.text).toBe(text);
    expect(result.path).toHaveLength(result.steps);
    expect(Math.abs(result.steps - steps)).toBeLessThanOrEqual(1);
  });

  it("says what does not exist", () => {
    expect(() => emulateSeccomp(CAREFUL, { syscall: "raed" })).toThrow(
      'system call "raed" does not exist on x86_64',
    );
    expect(() => emulateSeccomp(assembleCbpf("ldh [0]\nret a"), { syscall: 0 })).toThrow(
      "can't use this form of ldh",
    );
  });
});

describe("disassembly", () => {
  it("names words, calls, arguments and actions", () => {
    const lines = disassembleSeccomp(CAREFUL).split("\n");
    const comments = lines.map((line) => line.split("; ")[1]);
    expect(comments).toEqual([
      "arch",
      "arch == AUDIT_ARCH_X86_64",
      "nr",
      "nr >= read",
      "nr == socket",
      "nr == read",
      undefined,
      "socket domain, upper half",
      "socket domain, upper half == 0",
      "socket domain, lower half",
      undefined,
      "socket domain, lower half & 0x10",
      "socket domain, lower half == 2",
      "ERRNO(EPERM)",
      "ALLOW",
      "KILL_PROCESS",
    ]);
  });
});

describe("explanation", () => {
  it("groups calls by what becomes of them, and says when", () => {
    const { arches, otherArches } = explainSeccomp(CAREFUL);
    expect(otherArches).toBe("KILL_PROCESS");
    expect(arches.map(({ arch }) => arch.name)).toEqual(["x86_64"]);
    const allow = arches[0]!.actions.find(({ text }) => text === "ALLOW")!;
    expect(allow.calls).toEqual([
      { name: "read", number: 0, when: [] },
      {
        name: "socket",
        number: 41,
        when: [
          [
            "domain (upper half) == 0",
            "(domain & 0x10) (lower half) == 0",
            "(domain & 0xff) (lower half) == 2",
          ],
        ],
      },
    ]);
  });

  it("agrees with emulation for every call of a compiled profile", () => {
    const { cbpf } = compileProfile(DOCKER_LIKE);
    const explanation = explainSeccomp(cbpf);
    expect(explanation.arches.map(({ arch }) => arch.name)).toEqual(["x86_64", "i386", "x32"]);
    expect(explanation.otherArches).toBe("KILL_THREAD");
    for (const { arch, actions } of explanation.arches) {
      for (const { text, calls } of actions) {
        for (const { number, when } of calls) {
          if (when.length === 0)
            expect(emulateSeccomp(cbpf, { arch: arch.name, syscall: number }).text).toBe(text);
        }
      }
    }
    const text = formatExplanation(explanation);
    expect(text).toContain("personality if persona == 0x20008");
    expect(text).toContain("clone if (flags & 0x7e020000) (lower half) == 0");
  });
});

describe("audit", () => {
  const ids = (program: readonly CbpfInstruction[], arch?: string): string[] =>
    auditSeccomp(program, arch).map(({ id }) => id);

  it("finds what is missing", () => {
    expect(ids(NAIVE)).toEqual(["arch-unchecked", "lower-half-only"]);
    expect(auditSeccomp(NAIVE)[0]!.message).toContain("never reads arch");
    expect(ids(CAREFUL)).toEqual([]);
  });

  it("finds the way around by x32", () => {
    const denies = assembleCbpf(`
      ld [4]
      jneq #0xc000003e, kill
      ld [0]
      jeq #101, kill
      ret #0x7fff0000
kill: ret #0x80000000`);
    const findings = auditSeccomp(denies);
    expect(findings.find(({ id }) => id === "x32-hole")?.calls).toEqual(["ptrace"]);
    expect(findings.filter(({ id }) => id === "powerful-call").map(({ calls }) => calls![0])).not.toContain(
      "ptrace",
    );
  });

  it("finds calls in memory, dead code and values that are no action", () => {
    const sockets = assembleCbpf(
      "ld [4]\njneq #0x40000003, no\nld [0]\njeq #359, no\nret #0x7fff0000\nno: ret #0x50001",
    );
    expect(auditSeccomp(sockets, "i386").find(({ id }) => id === "way-around")?.calls).toEqual([
      "socketcall",
    ]);
    expect(ids(assembleCbpf("ja end\nret #0x7fff0000\nend: ret #0x12340000"))).toEqual([
      "unknown-action",
      "unreachable",
    ]);
  });
});

const NAMES = `
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
int main(void) {
  unsigned arch, nr;
  while (scanf("%u %u", &arch, &nr) == 2) {
    char *name = seccomp_syscall_resolve_num_arch(arch, nr);
    printf("%s\\n", name ? name : "-");
    free(name);
  }
}`;

const hasCompiler = hasTool("cc");
describe.skipIf(!hasCompiler)(needs("tables", hasCompiler, "C compiler"), () => {
  it("hold what libseccomp knows", (context) => {
    const folder = mkdtempSync(join(tmpdir(), "skep-"));
    try {
      writeFileSync(join(folder, "names.c"), NAMES);
      const built = spawnSync("cc", [join(folder, "names.c"), "-lseccomp", "-o", join(folder, "names")]);
      if (built.status !== 0) context.skip("no libseccomp-dev");
      // libseccomp tells x32 from x86-64 by a machine number of its own.
      const token = (name: string, audit: number): number => (name === "x32" ? 0x4000003e : audit);
      const queries = SECCOMP_ARCHES.flatMap(({ name, audit, base }) =>
        Array.from({ length: 600 }, (_, number) => ({
          name,
          audit: token(name, audit),
          number: number + base,
        })),
      );
      const { stdout } = spawnSync(join(folder, "names"), {
        input: queries.map(({ audit, number }) => `${audit} ${number}`).join("\n"),
        encoding: "utf8",
      });
      const names = stdout.split("\n");
      queries.forEach(({ name, number }, index) => {
        // What is newer than this libseccomp, it does not know.
        if (names[index] !== "-")
          expect(`${name} ${number} ${syscallName(name, number)}`).toBe(`${name} ${number} ${names[index]}`);
      });
      expect(names.filter((name) => name !== "-").length).toBeGreaterThan(2500);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
