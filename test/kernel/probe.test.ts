import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type Feature, type KernelProbe, probeKernel } from "../../src/kernel/index.ts";
import { importKoffi } from "../../src/kernel/libc.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

const feature = (probe: KernelProbe, group: string, name: string): Feature | undefined =>
  probe.groups.find((one) => one.name === group)?.features.find((one) => one.name === name);

describe.skipIf(noKernel !== undefined)(withKernel("the probe"), () => {
  it("tells what this kernel has", async () => {
    const probe = await probeKernel();
    expect(probe.available).toBe(true);
    expect(probe.system.release).toMatch(/^\d+\.\d+/);
    for (const type of ["xdp", "sched_cls", "socket_filter"]) {
      expect(feature(probe, "program_types", type)).toEqual({
        name: type,
        title: type,
        supported: true,
        testRun: true,
      });
    }
    expect(feature(probe, "program_types", "sk_msg")?.testRun).toBe(false);
    expect(feature(probe, "map_types", "hash")?.supported).toBe(true);
    expect(feature(probe, "instructions", "bounded_loops")?.supported).toBe(true);
    expect(feature(probe, "btf", "btf_func")?.supported).toBe(true);
    for (const { features } of probe.groups) {
      for (const { supported, reason } of features) expect(reason !== undefined).toBe(!supported);
    }
    await expectNothingLeft();
  });

  it("names the configuration option that a missing type needs", async () => {
    const probe = await probeKernel();
    const lirc = feature(probe, "program_types", "lirc_mode2");
    if (probe.system.config === undefined || lirc?.supported === true) return;
    expect(lirc?.reason).toBe("EINVAL: CONFIG_BPF_LIRC_MODE2 is not set");
  });

  it("asks for the helpers of a type", async () => {
    const probe = await probeKernel({ helpers: ["xdp"] });
    expect(feature(probe, "helpers", "xdp_adjust_head")?.supported).toBe(true);
    expect(feature(probe, "helpers", "get_prandom_u32")?.supported).toBe(true);
    expect(feature(probe, "helpers", "skb_store_bytes")).toMatchObject({
      supported: false,
      reason: expect.stringMatching(/cannot use helper/),
    });
  });

  it.skipIf(process.seteuid === undefined)(
    "says in one sentence what an unprivileged process lacks",
    async () => {
      process.seteuid?.(65534);
      let probe: KernelProbe;
      try {
        probe = await probeKernel();
      } finally {
        process.seteuid?.(0);
      }
      expect(probe.available).toBe(false);
      expect(probe.groups).toEqual([]);
      expect(probe.reason).toMatch(
        /^kernel: this process may not load programs without CAP_NET_ADMIN, CAP_SYS_ADMIN, CAP_PERFMON, CAP_BPF: EPERM/,
      );
    },
  );
});

describe("koffi", () => {
  const failing = async (error: Error): Promise<unknown> =>
    importKoffi(() => Promise.reject(error)).catch((caught: unknown) => caught);

  it("is asked for by name when it is missing", async () => {
    const error = await failing(
      Object.assign(new Error("Cannot find package"), { code: "ERR_MODULE_NOT_FOUND" }),
    );
    expect(error).toBeInstanceOf(BpfError);
    expect(error).toMatchObject({
      code: "unsupported",
      message: "kernel: the Linux back end needs the optional package koffi: npm install koffi",
    });
  });

  it("is named when its binary does not load", async () => {
    expect(await failing(new Error("no binary for this platform"))).toMatchObject({
      code: "unsupported",
      message: "kernel: the optional package koffi cannot be loaded: no binary for this platform",
    });
  });
});
