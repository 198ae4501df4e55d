/** What Linux 6.18 gets wrong: its verdict by default, the right one where a proof is wanted. */
import { describe, expect, it } from "vitest";
import { constructs } from "../verify-diff/constructs/generate.ts";
import { assemble } from "../../src/asm/index.ts";
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
