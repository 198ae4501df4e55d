/** Programs that get a stack of their own for each large function (Linux 6.13): then 512 bytes are the limit of one function, not of the chain. */
import { closeSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { parseBtf } from "../../src/btf/index.ts";
import { Kernel, attemptLoad } from "../../src/kernel/index.ts";
import { nameOfErrno } from "../../src/kernel/errno.ts";
import type { AttachType, ProgramType } from "../../src/uapi/index.ts";
import { reasonOf, verify } from "../../src/verifier/index.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";

/** A chain of two functions of so many bytes each. */
function chain(first: number, second: number): string {
  return `*(u8*)(r10 - ${first}) = 0\ncall pc+2\nr0 = 0\nexit\n*(u8*)(r10 - ${second}) = 0\nr0 = 0\nexit`;
}

interface Row {
  readonly name: string;
  readonly type: ProgramType;
  readonly attachType?: AttachType;
  readonly text: string;
  readonly says: string;
}

const TOO_LARGE = "EACCES combined stack size of 2 calls is 640. Too large";

const ROWS: readonly Row[] = [
  { name: "xdp", type: "xdp", text: chain(320, 320), says: TOO_LARGE },
  { name: "tracepoint", type: "tracepoint", text: chain(320, 320), says: "" },
  { name: "raw_tracepoint", type: "raw_tracepoint", text: chain(320, 320), says: "" },
  { name: "perf_event", type: "perf_event", text: chain(320, 320), says: "" },
  { name: "tp_btf", type: "tracing", attachType: "trace_raw_tp", text: chain(320, 320), says: "" },
  {
    name: "small functions, which share one",
    type: "tracepoint",
    text: chain(512, 48),
    says: "",
  },
];

const btf =
  noKernel === undefined ? parseBtf(readFileSync("/sys/kernel/btf/vmlinux"), { name: "vmlinux" }) : undefined;

describe("functions of", () => {
  test.each(ROWS)("$name", ({ type, attachType, text, says }) => {
    const { accepted, errno, log } = verify({
      name: "row",
      type,
      attachType,
      ...(attachType === undefined ? {} : { attachTo: "sched_switch", kernelBtf: btf }),
      instructions: assemble(text).instructions,
      maps: new Map(),
      license: "GPL",
    });
    expect(accepted ? "" : `${errno} ${reasonOf(log)}`).toBe(says);
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("and so says the kernel, of"), () => {
  test.each(ROWS)("$name", async ({ type, attachType, text, says }) => {
    using kernel = await Kernel.open();
    const { result, log } = attemptLoad(
      kernel,
      {
        type,
        instructions: assemble(text).instructions,
        license: "GPL",
        ...(attachType === undefined
          ? {}
          : {
              expectedAttachType: attachType,
              attachBtfId: btf?.find("btf_trace_sched_switch", "typedef")[0]?.id ?? 0,
            }),
      },
      1,
    );
    if (result >= 0) closeSync(result);
    expect(result >= 0 ? "" : `${nameOfErrno(result)} ${reasonOf(log)}`).toBe(says);
  });
});
