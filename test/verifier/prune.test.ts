/** Which states end a path: those that allow all that it does, and nothing that they do not. */
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { Kernel, attemptLoad } from "../../src/kernel/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

interface Row {
  readonly what: string;
  readonly type: ProgramType;
  readonly text: string;
  /** The last complaint. */
  readonly says: string;
}

const ROWS: readonly Row[] = [
  {
    what: "a packet pointer beyond the end does not cover one with bytes behind it",
    type: "xdp",
    // The first path to `join` is the one beyond the end, where the comparison there goes one way only.
    text: `
      r2 = *(u32 *)(r1 + 4)
      r3 = *(u32 *)(r1 + 0)
      r4 = r3
      r4 += 8
      if r4 <= r2 goto there
      r1 = 0
      goto join
    there:
      r1 = 0
      goto join
    join:
      r0 = 0
      if r4 > r2 goto end
      r0 = *(u8 *)(r3 + 8)
      r0 = 0
    end:
      exit`,
    says: "R3 offset is outside of the packet",
  },
  {
    what: "a number at a distance from one number does not cover one at the same distance from another",
    type: "socket_filter",
    text: `
      r1 = 0
      *(u64 *)(r10 - 8) = r1
      call 7
      if r0 == 1 goto other
      call 7
      r2 = r0
      r2 &= 31
      r3 = r2
      r3 += 3
      r5 = 0
      r0 = 0
      goto join
    other:
      call 7
      r2 = r0
      r2 &= 31
      r5 = r0
      r5 &= 31
      r3 = r5
      r3 += 3
      r5 = 0
      r0 = 0
    join:
      if r2 > 4 goto end
      r3 -= 3
      r1 = r10
      r1 += -8
      r1 += r3
      *(u8 *)(r1 + 0) = r0
    end:
      r0 = 0
      exit`,
    says: "invalid variable-offset write to stack R1 var_off=(0x0; 0x1f) off=-8 size=1",
  },
];

const TEST_STATE_FREQ = 8;

describe("paths that may not be left out", () => {
  it.each(ROWS)("$what", ({ type, text, says }) => {
    const { instructions } = assemble(text);
    const { accepted, log } = verify(
      { name: "p", type, instructions, maps: new Map(), license: "GPL" },
      { testStateFrequency: true },
    );
    expect(accepted).toBe(false);
    expect(log).toContain(says);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("refuses them too"), () => {
  let kernel: Kernel | undefined;
  beforeAll(async () => {
    kernel = await Kernel.open();
  });
  afterAll(() => kernel?.close());

  it.each(ROWS)("$what", ({ type, text, says }) => {
    const { instructions } = assemble(text);
    const definition = { name: "p", type, license: "GPL", flags: TEST_STATE_FREQ, instructions };
    const { result, log } = attemptLoad(kernel as Kernel, definition, 1);
    expect(result).toBeLessThan(0);
    expect(log).toContain(says);
  });
});
