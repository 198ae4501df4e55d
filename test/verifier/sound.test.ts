/** What Linux 6.18 gets wrong: its verdict by default, the right one where a proof is wanted. */
import { existsSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { constructs } from "../verify-diff/constructs/generate.ts";
import { assemble } from "../../src/asm/index.ts";
import { parseBtf } from "../../src/btf/index.ts";
import type { Instruction } from "../../src/isa/index.ts";
import { verify } from "../../src/verifier/index.ts";

const FILL = `
  call 7
  w0 = w0
  *(u64 *)(r10 - 8) = r0
  r7 = *(s32 *)(r10 - 8)
  r8 = *(u64 *)(r10 - 8)
  if r7 s>= 0 goto end
  r8 s>>= 63
end:
  r0 = 0
  exit
`;

describe("a fill that extends the sign", () => {
  const { instructions } = assemble(FILL);
  const logOf = (sound: boolean): string =>
    verify(
      { name: "fill", type: "socket_filter", instructions, maps: new Map(), license: "GPL" },
      { logLevel: 2, sound },
    ).log;

  it("stays linked in Linux, so that a number below 2^32 is taken for a negative one", () => {
    expect(logOf(false)).toMatch(/s>>= 63 +; R8=-1$/m);
  });

  it("is another number where soundness is asked for", () => {
    expect(logOf(true)).toMatch(/s>>= 63 +; R8=0$/m);
  });
});

const ATOMIC = `
  r6 = 0
  *(u32 *)(r10 - 4) = r6
  r2 = r10
  r2 += -4
  ld_pseudo r1, 1, 1
  call 1
  if r0 == 0 goto end
  r7 = r0
  call 7
  r1 = 1000
  if r0 == 7 goto join
  r1 = 8
join:
  *(u64 *)(r10 - 16) = r1
  r1 = 0
  if r0 == 9 goto next
next:
  r2 = 0
  r2 = atomic_fetch_add((u64 *)(r10 - 16), r2)
  r7 += r2
  r0 = *(u8 *)(r7 + 0)
end:
  r0 = 0
  exit
`;

/** CVE-2026-43009: fixed in 6.18.50 and 7.0, not in 6.18.44. */
describe("a number that an atomic instruction found on the stack", () => {
  const map = { name: "map", type: "array", keySize: 4, valueSize: 16, maxEntries: 1, flags: 0 } as const;
  const { instructions } = assemble(ATOMIC);
  const slot = instructions.findIndex(({ opcode, src }) => opcode === 0x18 && src === 1);
  const judge = (sound: boolean) =>
    verify(
      { name: "atomic", type: "xdp", instructions, maps: new Map([[slot, map]]), license: "GPL" },
      { sound, testStateFrequency: true },
    );

  it("is not followed back to the stack by Linux, which then takes one path for another", () => {
    expect(judge(false).accepted).toBe(true);
  });

  it("is followed where soundness is asked for", () => {
    expect(judge(true).complaint).toMatch(/value is outside of the allowed|invalid access to map value/);
  });
});

describe("NULL for an argument that must not be", () => {
  const { btf } = constructs();
  const { instructions } = assemble("r1 = 0\ncall pc+2\nr0 = 0\nexit\nr0 = *(u32 *)(r1 + 8)\nexit");
  const types = (["tc_main", "of_nonnull"] as const).map((name) => btf?.find(name, "func")[0]?.id ?? 0);
  const judge = (sound: boolean): readonly [boolean, string] => {
    const { accepted, log } = verify(
      {
        name: "null",
        type: "sched_cls",
        instructions,
        maps: new Map(),
        license: "GPL",
        btf,
        functionInfo: types.map((type, index) => ({ slot: index * 4, type })),
      },
      { sound },
    );
    return [accepted, log];
  };

  it("is let through by Linux where it is a constant", () => {
    expect(judge(false)).toEqual([true, expect.anything()]);
  });

  it("is refused where soundness is asked for", () => {
    expect(judge(true)).toEqual([false, expect.stringContaining("arg#0 is expected to be non-NULL")]);
  });
});

const VMLINUX = "/sys/kernel/btf/vmlinux";

describe.skipIf(!existsSync(VMLINUX))("kernel functions (needs /sys/kernel/btf/vmlinux)", () => {
  const kernelBtf = existsSync(VMLINUX) ? parseBtf(readFileSync(VMLINUX), { name: "vmlinux" }) : undefined;
  const { btf } = constructs();

  /** Text, and calls of kernel functions by name. */
  function program(lines: readonly string[]): Instruction[] {
    return lines.flatMap((line) => {
      const name = /^kfunc (\w+)$/.exec(line)?.[1];
      if (name === undefined) return [...assemble(line).instructions];
      const imm = kernelBtf?.find(name, "func")[0]?.id ?? 0;
      return [{ opcode: 0x85, dst: 0, src: 2, offset: 0, imm }];
    });
  }

  function judge(
    lines: readonly string[],
    functions: readonly (readonly [number, string])[],
    sound: boolean,
  ): string {
    const { accepted, log } = verify(
      {
        name: "faults",
        type: "sched_cls",
        instructions: program(lines),
        maps: new Map(),
        license: "GPL",
        btf,
        functionInfo: functions.map(([slot, name]) => ({ slot, type: btf?.find(name, "func")[0]?.id ?? 0 })),
        kernelBtf,
      },
      { sound },
    );
    return accepted ? "accepted" : log;
  }

  const MAKE = ["r1 = r10; r1 += -8; r2 = 0; r3 = 3", "kfunc bpf_iter_num_new"];
  const NEXT = ["r1 = r10", "kfunc bpf_iter_num_next"];
  const END = ["r1 = r10; r1 += -8", "kfunc bpf_iter_num_destroy", "r0 = 0; exit"];

  it("an iterator below the frame pointer is not one at it, as Linux takes it to be", () => {
    const lines = [...MAKE, ...NEXT, ...END];
    expect(judge(lines, [[0, "tc_main"]], false)).toBe("accepted");
    expect(judge(lines, [[0, "tc_main"]], true)).toContain("cannot pass in iter at an offset=0");
  });

  it("an exception in a global function ends the caller's regions too, which Linux forgets", () => {
    const lines = [
      "kfunc bpf_rcu_read_lock",
      "r1 = 0; r2 = 0; call pc+3",
      "kfunc bpf_rcu_read_unlock",
      "r0 = 0; exit",
      "r1 = 0",
      "kfunc bpf_throw",
      "r0 = 0; exit",
    ];
    const functions = [
      [0, "tc_main"],
      [7, "of_numbers"],
    ] as const;
    expect(judge(lines, functions, false)).toBe("accepted");
    expect(judge(lines, functions, true)).toContain(
      "bpf_throw in of_numbers() cannot be used inside bpf_rcu_read_lock-ed region",
    );
  });
});

const LOW_SLOTS = `
  r1 = r10
  r1 += -8
  r7 = r1
  r8 = 0
  *(u64 *)(r10 - 8) = r8
  *(u64 *)(r10 - 264) = r7
  *(u64 *)(r10 - 272) = r7
  call 7
  r6 = r10
  r6 += -264
  if r0 == 1 goto other
  r0 = 0
  goto join
other:
  r6 += -8
  call 7
  if r0 == 1 goto number
  r0 = 0
  goto join
number:
  r8 = 1000
  *(u64 *)(r10 - 264) = r8
  r8 = 0
  r0 = 0
join:
  *(u64 *)(r6 + 0) = r7
  r2 = *(u64 *)(r10 - 264)
  r0 = *(u64 *)(r2 + 0)
  r0 = 0
  exit
`;

/** 6.18.44 accepts it: loaded there, and not run. */
describe("a store that writes another slot below fp-256 on each path", () => {
  const { instructions } = assemble(
    LOW_SLOTS.replaceAll("  goto join", "  r1 = 0\n  goto join").replace(
      "r0 = 0\njoin",
      "r0 = 0\n  r1 = 0\njoin",
    ),
  );
  const judge = (sound: boolean) =>
    verify(
      { name: "slots", type: "socket_filter", instructions, maps: new Map(), license: "GPL" },
      { sound, testStateFrequency: true },
    );

  it("is taken by Linux to write the first path's, so that what lies there does not matter", () => {
    expect(judge(false).accepted).toBe(true);
  });

  it("writes none for sure where soundness is asked for", () => {
    const { errno, log } = judge(true);
    expect(errno).toBe("EACCES");
    expect(log).toContain("R2 invalid mem access 'scalar'");
  });
});
