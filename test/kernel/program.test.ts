import { mkdtempSync, rmdirSync, unlinkSync } from "node:fs";
import { spawnSync } from "node:child_process";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { BpfError, VerifierError } from "../../src/errors.ts";
import type { Instruction } from "../../src/isa/index.ts";
import {
  Kernel,
  createMap,
  loadProgram,
  objectIds,
  openProgram,
  pin,
  pinnedMap,
  pinnedProgram,
} from "../../src/kernel/index.ts";
import {
  expectNothingLeft,
  insn,
  loadMap,
  noKernel,
  openDescriptors,
  ownName,
  returning,
  withKernel,
} from "./setup.ts";

const caught = (action: () => unknown): unknown => {
  try {
    return action();
  } catch (error) {
    return error;
  }
};

describe.skipIf(noKernel !== undefined)(withKernel("programs in the kernel"), () => {
  afterAll(expectNothingLeft);

  it.each(["xdp", "sched_cls", "socket_filter", "cgroup_skb", "sk_skb", "lwt_in", "flow_dissector"] as const)(
    "%s: runs",
    async (type) => {
      using kernel = await Kernel.open();
      const program = loadProgram(kernel, { type, name: ownName(type), instructions: returning(1) });
      if (type === "sk_skb") {
        // A type that the kernel cannot test-run.
        expect(caught(() => program.testRun({ data: new Uint8Array(64) }))).toMatchObject({ code: "kernel" });
        return;
      }
      const { returnValue, durationNs } = program.testRun({ data: new Uint8Array(64).fill(8), repeat: 10 });
      expect(returnValue).toBe(1);
      expect(durationNs).toBeLessThan(1e6);
    },
  );

  it("gives the packet and the context back", async () => {
    using kernel = await Kernel.open();
    // *(u8 *)(data) = 0x77 behind a bounds check; r0 = ctx->rx_queue_index.
    const program = loadProgram(kernel, {
      type: "xdp",
      name: ownName("packet"),
      instructions: [
        insn(0x61, 2, 1, 0),
        insn(0x61, 3, 1, 4),
        insn(0xbf, 4, 2),
        insn(0x07, 4, 0, 0, 1),
        insn(0x2d, 4, 3, 1),
        insn(0x72, 2, 0, 0, 0x77),
        insn(0x61, 0, 1, 16),
        insn(0x95),
      ],
    });
    const data = Uint8Array.from({ length: 60 }, (_, index) => index);
    const context = new Uint8Array(24);
    new DataView(context.buffer).setUint32(4, data.length, true);
    const run = program.testRun({ data, context });
    expect(run.data).toHaveLength(60);
    expect([...run.data.subarray(0, 3)]).toEqual([0x77, 1, 2]);
    expect(data[0]).toBe(0);
    expect(new DataView(run.context.buffer).getUint32(4, true)).toBe(60);
  });

  it("gives back a packet that has grown far beyond its size", async () => {
    using kernel = await Kernel.open();
    // bpf_skb_change_tail(ctx, 16000, 0).
    const program = loadProgram(kernel, {
      type: "sched_cls",
      name: ownName("grow"),
      instructions: [insn(0xb7, 2, 0, 0, 16000), insn(0xb7, 3), insn(0x85, 0, 0, 0, 38), insn(0x95)],
    });
    const run = program.testRun({ data: new Uint8Array(64) });
    expect(run).toMatchObject({ returnValue: 0 });
    expect(run.data).toHaveLength(16000);
  });

  it("names program, errno and reason when the verifier rejects, with the whole log", async () => {
    using kernel = await Kernel.open();
    const error = caught(() =>
      loadProgram(kernel, { type: "xdp", name: "bad", instructions: [insn(0xbf, 0, 2), insn(0x95)] }),
    );
    expect(error).toBeInstanceOf(VerifierError);
    const { message, log, errno, code } = error as VerifierError;
    expect(message).toBe("program 'bad' (xdp): the kernel's verifier rejects it: EACCES: R2 !read_ok");
    expect({ errno, code }).toEqual({ errno: "EACCES", code: "verifier" });
    expect(log).toMatch(/0: \(bf\) r0 = r2\nR2 !read_ok\nprocessed 1 insns/);
  });

  it("grows the log until all of it fits", async () => {
    using kernel = await Kernel.open();
    // A loop of 1,500 rounds that the verifier walks through one by one.
    const instructions = [
      insn(0xb7, 1),
      insn(0xb7, 0),
      insn(0x07, 1, 0, 0, 1),
      insn(0x0f, 0, 1),
      insn(0xa5, 1, 0, -3, 1500),
      insn(0xb7, 0),
      insn(0x95),
    ];
    const { log } = loadProgram(kernel, { type: "xdp", name: ownName("log"), instructions, logLevel: 2 });
    expect(log.length).toBeGreaterThan(3_000_000);
    expect(log).toMatch(/^func#0 @0\n/);
    expect(log).toMatch(/R1=1500/);
    expect(log).toMatch(/processed 4504 insns \(limit 1000000\)/);
    // And for a rejected one, at the level that its error asks for.
    const rejected = caught(() =>
      loadProgram(kernel, {
        type: "xdp",
        name: "long",
        instructions: [...instructions.slice(0, -2), insn(0xbf, 0, 5), insn(0x95)],
        logLevel: 2,
      }),
    );
    expect((rejected as VerifierError).log.length).toBeGreaterThan(3_000_000);
    expect((rejected as VerifierError).message).toMatch(/EACCES: R5 !read_ok$/);
  });

  it("tells an instruction limit, an empty program and a missing licence apart", async () => {
    using kernel = await Kernel.open();
    const load = (instructions: Instruction[], license = "GPL"): unknown =>
      caught(() => loadProgram(kernel, { type: "xdp", name: "p", instructions, license }));
    expect(load([])).toMatchObject({ code: "kernel", errno: "E2BIG" });
    expect(load([insn(0xb7)])).toMatchObject({ code: "verifier" });
    // bpf_trace_printk is for GPL programs only.
    const printk = [insn(0x85, 0, 0, 0, 6), insn(0x95)];
    expect((load(printk, "Proprietary") as VerifierError).message).toMatch(/GPL/);
  });

  it("reads and writes a map that user space sees", async () => {
    using kernel = await Kernel.open();
    const map = createMap(kernel, {
      type: "array",
      keySize: 4,
      valueSize: 8,
      maxEntries: 1,
      name: ownName("counter"),
    });
    const program = loadProgram(kernel, {
      type: "xdp",
      name: ownName("count"),
      instructions: [
        insn(0x62, 10, 0, -4, 0),
        insn(0xbf, 2, 10),
        insn(0x07, 2, 0, 0, -4),
        ...loadMap(1, map.fd),
        insn(0x85, 0, 0, 0, 1),
        insn(0x15, 0, 0, 2, 0),
        insn(0xb7, 1, 0, 0, 1),
        insn(0xdb, 0, 1),
        insn(0xb7, 0, 0, 0, 2),
        insn(0x95),
      ],
    });
    program.testRun({ data: new Uint8Array(64), repeat: 1000 });
    const value = map.lookup(new Uint8Array(4)) as Uint8Array;
    expect(new DataView(value.buffer).getBigUint64(0, true)).toBe(1000n);
    const info = program.info();
    expect(info).toMatchObject({ name: ownName("count"), type: "xdp", gplCompatible: true });
    expect(info.mapIds).toEqual([map.info().id]);
    expect(info.tag).toMatch(/^[0-9a-f]{16}$/);
    expect(program.xlated()).toHaveLength(info.xlatedBytes / 8);
    expect(program.xlated().at(-1)).toEqual(insn(0x95));
    using same = openProgram(kernel, info.id);
    expect(same.info().tag).toBe(info.tag);
    expect(objectIds(kernel, "program")).toContain(info.id);
  });

  it("refuses input that a type does not take", async () => {
    using kernel = await Kernel.open();
    const program = loadProgram(kernel, { type: "xdp", name: ownName("short"), instructions: returning(2) });
    const error = caught(() => program.testRun({ data: new Uint8Array(3) }));
    expect(error).toBeInstanceOf(BpfError);
    expect((error as BpfError).message).toMatch(/^program 't.*short' \(xdp\): test run: EINVAL/);
  });

  it("closes what a failed block has opened", async () => {
    const before = openDescriptors();
    await expect(
      (async () => {
        using kernel = await Kernel.open();
        loadProgram(kernel, { type: "xdp", instructions: returning(0), name: ownName("fail") });
        throw new Error("later");
      })(),
    ).rejects.toThrow("later");
    expect(openDescriptors()).toEqual(before);
  });
});

const bpffs = mountBpffs();

function mountBpffs(): string | undefined {
  if (noKernel !== undefined) return undefined;
  const path = mkdtempSync(join(tmpdir(), "bpffs-"));
  if (spawnSync("mount", ["-t", "bpf", "bpf", path]).status === 0) return path;
  rmdirSync(path);
  return undefined;
}

describe.skipIf(bpffs === undefined)(
  bpffs === undefined ? "pins (skipped: no BPF file system can be mounted)" : "pins",
  () => {
    afterAll(() => {
      spawnSync("umount", [bpffs as string]);
      rmdirSync(bpffs as string);
    });

    it("pins, opens by path, tells kinds apart", async () => {
      using kernel = await Kernel.open();
      const mapPath = join(bpffs as string, "map");
      const programPath = join(bpffs as string, "program");
      pin(
        createMap(kernel, { type: "hash", keySize: 4, valueSize: 8, maxEntries: 5, name: ownName("pin") }),
        mapPath,
      );
      pin(
        loadProgram(kernel, { type: "xdp", instructions: returning(2), name: ownName("pin") }),
        programPath,
      );
      kernel.close();
      try {
        expect(pinnedMap(kernel, mapPath)).toMatchObject({
          type: "hash",
          keySize: 4,
          valueSize: 8,
          maxEntries: 5,
        });
        expect(pinnedProgram(kernel, programPath).testRun({ data: new Uint8Array(64) }).returnValue).toBe(2);
        expect(() => pinnedMap(kernel, programPath)).toThrow(/it holds no map but anon_inode:bpf-prog/);
        expect(() => pinnedMap(kernel, join(bpffs as string, "none"))).toThrow(/^pin '.*none': ENOENT/);
      } finally {
        unlinkSync(mapPath);
        unlinkSync(programPath);
      }
      kernel.close();
      await expectNothingLeft();
    });
  },
);
