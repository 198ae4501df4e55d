/**
 * Programs of processes with fewer capabilities. Rows with CAP_BPF have been confirmed by the running kernel, which is asked again where there
 * is one; a user without any cannot be asked unless kernel.unprivileged_bpf_disabled is 0.
 */
import { closeSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { Kernel, attemptLoad } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { type Capability, reasonOf, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { loadCapabilities } from "../verify-diff/capabilities.ts";

interface Row {
  readonly name: string;
  readonly text: string;
  readonly with: readonly Capability[];
  readonly says: string;
  readonly type?: ProgramType;
}

const RANDOM = "call 7\n";

const ROWS: readonly Row[] = [
  {
    name: "returns an address",
    text: "r0 = r1\nexit",
    with: ["bpf"],
    says: "EACCES R0 leaks addr as return value",
  },
  {
    name: "compares an address",
    text: "r0 = 0\nif r1 > 5 goto +0\nexit",
    with: ["bpf"],
    says: "EACCES R1 pointer comparison prohibited",
  },
  {
    name: "takes half of an address",
    text: "w2 = w1\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R1 partial copy of pointer",
  },
  {
    name: "extends a part of an address",
    text: "r2 = (s16)r1\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R1 sign-extension part of pointer",
  },
  {
    name: "negates an address",
    text: "r1 = -r1\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R1 pointer arithmetic prohibited",
  },
  {
    name: "subtracts addresses",
    text: "r2 = r10\nr2 -= r1\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R2 pointer -= pointer prohibited",
  },
  {
    name: "stores an address in the context",
    text: "*(u64*)(r1 + 48) = r1\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R1 leaks addr into ctx",
  },
  {
    name: "reads stack that nobody wrote",
    text: "r0 = *(u64*)(r10 - 8)\nexit",
    with: ["bpf"],
    says: "EACCES invalid read from stack R10 off=-8 size=8",
  },
  {
    name: "writes over a part of a spilled pointer",
    text: "*(u64*)(r10 - 8) = r1\nr0 = 0\n*(u32*)(r10 - 8) = r0\nexit",
    with: ["bpf"],
    says: "EACCES attempt to corrupt spilled pointer on stack",
  },
  {
    name: "adds a spilled pointer to memory",
    text: "*(u64*)(r10 - 8) = r1\nr0 = 1\nlock *(u64*)(r10 - 8) += r0\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES leaking pointer from stack off -8",
  },
  {
    name: "moves a stack pointer by a number",
    text: `*(u64*)(r10 - 8) = 0\n${RANDOM}r0 &= 7\nr2 = r10\nr2 += -8\nr2 += r0\nr0 = 0\nexit`,
    with: ["bpf"],
    says: "EACCES R2 variable stack access prohibited for !root, var_off=(0x0; 0x7) off=-8",
  },
  {
    name: "moves a stack pointer out of the stack",
    text: "r2 = r10\nr2 += 8\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R2 stack pointer arithmetic goes out of range, prohibited for !root; off=8",
  },
  {
    name: "adds a number of unknown sign",
    text: `${RANDOM}r0 &= 7\nr3 = 5\nr3 -= r0\nr2 = r10\nr2 += r3\nr0 = 0\nexit`,
    with: ["bpf"],
    says: "EACCES R3 has unknown scalar with mixed signed bounds, pointer arithmetic with it prohibited for !root",
  },
  {
    name: "adds a register to a context pointer",
    text: "r2 = 4\nr1 += r2\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EACCES R1 has pointer with unsupported alu operation, pointer arithmetic with it prohibited for !root",
  },
  {
    name: "adds to a pointer and to a number with the same instruction",
    text: `r6 = r1\n${RANDOM}r2 = r10\nr3 = -8\nif r0 == 0 goto +1\nr2 = 1\nr2 += r3\nr0 = 0\nexit`,
    with: ["bpf"],
    says: "EACCES R2 tried to add from different maps, paths or scalars, pointer arithmetic with it prohibited for !root",
  },
  {
    name: "may do on a way that nobody goes what is forbidden on others",
    text: "r0 = 0\nif r0 == 0 goto +1\nr0 = *(u64*)(r0 + 0)\nexit",
    with: ["bpf"],
    says: "accepted",
  },
  {
    name: "calls a helper that shows what others do",
    text: "call 35\nr0 = 0\nexit",
    with: ["bpf"],
    says: "EINVAL program of this type cannot use helper bpf_get_current_task#35",
  },
  { name: "needs CAP_NET_ADMIN", text: "r0 = 2\nexit", with: ["bpf"], type: "xdp", says: "EPERM" },
  { name: "needs CAP_PERFMON", text: "r0 = 0\nexit", with: ["bpf"], type: "tracepoint", says: "EPERM" },
  { name: "needs no capability", text: "r0 = 0\nexit", with: [], says: "accepted" },
  { name: "needs CAP_BPF", text: "r0 = 0\nexit", with: [], type: "sk_reuseport", says: "EPERM" },
  {
    name: "loops",
    text: "r0 = 0\nr0 += 1\nif r0 < 5 goto -2\nexit",
    with: [],
    says: "EINVAL back-edge from insn 2 to 1",
  },
  {
    name: "loops with CAP_BPF, where a wrong guess may go on for ever",
    text: "r0 = 0\nr0 += 1\nif r0 < 5 goto -2\nexit",
    with: ["bpf"],
    says: "EINVAL infinite loop detected at insn 2",
  },
  {
    name: "loops with CAP_BPF and CAP_PERFMON",
    text: "r0 = 0\nr0 += 1\nif r0 < 5 goto -2\nexit",
    with: ["bpf", "perfmon"],
    says: "accepted",
  },
  {
    name: "has functions",
    text: "call pc+1\nexit\nr0 = 0\nexit",
    with: [],
    says: "EPERM loading/calling other bpf or kernel functions are allowed for CAP_BPF and CAP_SYS_ADMIN",
  },
  {
    name: "calls a helper for CAP_BPF",
    text: "call 118\nr0 = 0\nexit",
    with: [],
    says: "EINVAL program of this type cannot use helper bpf_jiffies64#118",
  },
  { name: "is long", text: `${"r0 = 0\n".repeat(4096)}exit`, with: [], says: "E2BIG" },
  { name: "is long with CAP_BPF", text: `${"r0 = 0\n".repeat(4096)}exit`, with: ["bpf"], says: "accepted" },
];

function judge({ text, with: capabilities, type = "socket_filter" }: Row): string {
  const { instructions } = assemble(text);
  const { accepted, errno, log } = verify(
    { name: "row", type, instructions, maps: new Map(), license: "GPL" },
    { logLevel: 2, capabilities },
  );
  return accepted ? "accepted" : `${errno} ${reasonOf(log)}`;
}

describe("a program that", () => {
  test.each(ROWS)("$name", (row) => {
    const said = judge(row);
    // Why a program is not even looked at, the kernel does not say; we do.
    if (row.says === "EPERM" || row.says === "E2BIG") expect(said.split(" ")[0]).toBe(row.says);
    else expect(said).toBe(row.says);
  });

  test("is not even looked at is told what it lacks", () => {
    const row = { name: "", text: "r0 = 2\nexit", says: "" };
    expect(judge({ ...row, with: ["bpf"], type: "xdp" })).toBe("EPERM xdp programs need CAP_NET_ADMIN");
    expect(judge({ ...row, with: [], type: "kprobe" })).toBe(
      "EPERM kprobe programs need CAP_BPF and CAP_PERFMON",
    );
  });
});

test("the way that nobody goes is in the log", () => {
  const { instructions } = assemble("r0 = 0\nif r0 == 0 goto +1\nr0 = *(u64*)(r0 + 0)\nexit");
  const program = {
    name: "row",
    type: "socket_filter",
    instructions,
    maps: new Map(),
    license: "GPL",
  } as const;
  const { log } = verify(program, { logLevel: 2, capabilities: ["bpf"] });
  expect(log).toContain("from 1 to 2 (speculative execution): R0=scalar()");
  expect(log).toContain("R0 invalid mem access 'scalar'");
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel says the same of a program that"), () => {
  test.each(ROWS.filter(({ with: kept }) => kept.includes("bpf")))("$name", async (row) => {
    using kernel = await Kernel.open();
    const as = await loadCapabilities();
    const { text, type = "socket_filter" } = row;
    const { instructions } = assemble(text);
    const { result, log } = as(row.with, () => attemptLoad(kernel, { type, instructions }, 2));
    if (result >= 0) closeSync(result);
    expect(result >= 0 ? "accepted" : `${nameOfErrno(result)} ${reasonOf(log)}`.trim()).toBe(row.says);
  });
});
