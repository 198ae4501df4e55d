/** What Linux 6.18 gets wrong: its verdict by default, the right one where a proof is wanted. */
import { describe, expect, it } from "vitest";
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
