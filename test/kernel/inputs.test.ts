/**
 * Random and edge inputs for the types that packets go through, here and in the kernel: a program that reads every scalar field, writes every one
 * that it may, and looks at the packet must leave the same result, packet and map. SKEP_INPUTS=500 sets the number for each type, SKEP_SEED others.
 */
import { afterAll, describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import { type ContextValues, type Hook, decodeContext, hookOf } from "../../src/hooks/index.ts";
import { assemble } from "../../src/asm/index.ts";
import { Kernel, loadProgram } from "../../src/kernel/index.ts";
import { ENGINES, Machine, withMetadata } from "../../src/machine/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { type FieldOptions, fieldProgram } from "./field-program.ts";
import { inKernel, inMachines, seedValue } from "./field-sides.ts";
import { Random, randomPacket } from "./random-input.ts";
import { noKernel, openDescriptors, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_INPUTS"] ?? 40);
const FIRST = Number(process.env["SKEP_SEED"] ?? 0);
const TYPES: readonly ProgramType[] = [
  "xdp",
  "sched_cls",
  "sched_act",
  "socket_filter",
  "cgroup_skb",
  "lwt_in",
  "lwt_out",
  "lwt_xmit",
];
/** The kernel sets it as it likes (id of the device's poll). */
const OWN: readonly string[] = ["napi_id"];

/** Of __sk_buff what the kernel lets a test run set; of xdp_md the device and its queue. */
function randomContext(random: Random, { context: { struct } }: Hook): ContextValues | undefined {
  if (random.below(4) === 0) return undefined;
  const all: ContextValues =
    struct === "xdp_md"
      ? { ingress_ifindex: 1, rx_queue_index: 0 }
      : {
          mark: random.word(),
          priority: random.word(),
          cb: [random.word(), random.word(), random.word(), random.word(), random.word()],
          tstamp: BigInt(random.word()) << BigInt(random.below(30)),
          wire_len: random.below(70000),
          gso_segs: random.below(65536),
          gso_size: random.below(65536),
          hwtstamp: BigInt(random.word()),
          ifindex: random.below(2),
          ingress_ifindex: random.below(2),
        };
  return Object.fromEntries(Object.entries(all).filter(() => random.below(2) === 0));
}

function contextBytes(
  { context }: Hook,
  values: ContextValues,
  packet: Uint8Array,
  { metadata, linear }: { readonly metadata: Uint8Array | undefined; readonly linear: number | undefined },
): Uint8Array {
  const view = new DataView(new ArrayBuffer(context.size));
  for (const { name, offset, size } of context.fields) {
    [values[name] ?? []].flat().forEach((value, index) => {
      if (size === 8) view.setBigUint64(offset + 8 * index, BigInt(value), true);
      else view.setUint32(offset + 4 * index, Number(value), true);
    });
    if (context.struct !== "xdp_md") continue;
    const meta = metadata?.length ?? 0;
    if (name === "data") view.setUint32(offset, meta, true);
    if (name === "data_end") view.setUint32(offset, meta + (linear ?? packet.length), true);
  }
  return new Uint8Array(view.buffer);
}

/** What the kernel gives back of a context, if one was given (net/bpf/test_run.c: convert_skb_to___skb). */
const GIVEN_BACK = [
  "mark",
  "priority",
  "ingress_ifindex",
  "ifindex",
  "tstamp",
  "cb",
  "wire_len",
  "gso_segs",
  "hwtstamp",
] as const;

// Offsets of struct bpf_sock: what any socket shows, and what a whole one does.
const COMMON = [0, 4, 24, 28, 32, 36, 40, 44, 52, 56, 60, 64, 68, 72, 76];
const WHOLE = [8, 12, 16, 20];
const FULL: readonly ProgramType[] = ["sched_cls", "sched_act", "cgroup_skb"];
const SK_FULLSOCK = 95;

/** Reads the socket of a packet. */
const socketOf =
  (type: ProgramType): NonNullable<FieldOptions["more"]> =>
  (save, line) => {
    line("r8 = *(u64 *)(r6 + 168)\nif r8 == 0 goto nosocket");
    save("socket", "r1 = 1");
    for (const at of COMMON) save(`socket at ${at}`, `w1 = *(u32 *)(r8 + ${at})`);
    save("socket's dst_port", "w1 = *(u16 *)(r8 + 48)");
    if (FULL.includes(type)) {
      line(`r1 = r8\ncall ${SK_FULLSOCK}\nif r0 == 0 goto nosocket\nr8 = r0`);
      for (const at of WHOLE) save(`whole socket at ${at}`, `w1 = *(u32 *)(r8 + ${at})`);
    }
    line("nosocket:");
  };

describe.skipIf(noKernel !== undefined)(withKernel("inputs of packets as in the kernel"), () => {
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it.each(TYPES)("%s", { timeout: 120_000 }, async (type) => {
    const hook = hookOf(type);
    const attachType = type === "cgroup_skb" ? ("cgroup_inet_egress" as const) : undefined;
    const program = fieldProgram(hook, attachType, {
      ...(hook.context.struct === "__sk_buff" ? { more: socketOf(type) } : {}),
      without: OWN,
      mask: type === "cgroup_skb" ? 1 : 3,
    });
    using kernel = await Kernel.open();
    const theirs = inKernel(kernel, program, { type, attachType });
    const ours = await inMachines(program, { type, attachType });

    const random = new Random(FIRST + TYPES.indexOf(type) + 1);
    const xdp = type === "xdp";
    let compared = 0;
    for (let round = 0; round < COUNT; round++) {
      const packet =
        xdp && random.below(4) === 0 ? random.bytes(14 + random.below(9000)) : randomPacket(random);
      const context = randomContext(random, hook);
      const metadata = xdp && random.below(2) === 0 ? random.bytes(4 * random.below(54)) : undefined;
      const linear = xdp && random.below(3) === 0 ? 1 + random.below(packet.length) : undefined;
      const seed = seedValue(random);
      let result: ReturnType<typeof theirs.run>;
      try {
        const bytes =
          context === undefined && metadata === undefined && linear === undefined
            ? undefined
            : contextBytes(hook, context ?? {}, packet, { metadata, linear });
        const data = metadata === undefined ? packet : withMetadata(metadata, packet);
        result = theirs.run(seed, { data, ...(bytes === undefined ? {} : { context: bytes }) });
      } catch (error) {
        // Packets that are shorter than the header that they announce, segments without a size.
        if (error instanceof BpfError && error.errno === "EINVAL") continue;
        throw error;
      }
      compared++;
      // The kernel gives the link header back as zeros where the program begins behind it.
      const skipped = hook.packet?.kind === hookOf("lwt_in").packet?.kind ? 14 : 0;
      const data = result.data.subarray(skipped);
      const back = result.context.length === 0 || xdp ? [] : GIVEN_BACK;
      const left = decodeContext(
        hook,
        result.context.length === 0 ? new Uint8Array(hook.context.size) : result.context,
      );
      for (const one of ours) {
        const { run, words } = one.run(seed, {
          packet,
          ...(context === undefined ? {} : { context }),
          ...(metadata === undefined ? {} : { metadata }),
          ...(linear === undefined ? {} : { linear }),
        });
        expect({
          ...words,
          returned: run.returnValue >>> 0,
          context: back.map((name) => [name, run.context[name]]),
        }).toEqual({
          ...result.words,
          returned: result.returnValue,
          context: back.map((name) => [name, left[name]]),
        });
        const whole = xdp ? withMetadata(run.metadata, run.packet) : run.packet.subarray(skipped);
        expect(Buffer.from(whole).equals(data)).toBe(true);
      }
    }
    expect(compared).toBeGreaterThan(COUNT / 3);
  });

  const QUEUES: readonly (readonly [what: string, store: string])[] = [
    ["a constant", "*(u32 *)(r1 + 12) = 65534"],
    ["a constant that is none", "*(u32 *)(r1 + 12) = 65535"],
    ["a large constant", "*(u32 *)(r1 + 12) = 70000"],
    ["a constant below zero", "*(u32 *)(r1 + 12) = -1"],
    ["a register", "r2 = 65534\n*(u32 *)(r1 + 12) = r2"],
    ["a register that is none", "r2 = 65535\n*(u32 *)(r1 + 12) = r2"],
    ["a register of 33 bits", "r2 = 0x100000005 ll\n*(u32 *)(r1 + 12) = r2"],
    ["a register below zero", "w2 = -1\n*(u32 *)(r1 + 12) = r2"],
    [
      "a loop of registers, entered at the store",
      "r2 = 65530\n*(u32 *)(r1 + 12) = r2\nr2 += 2\nif r2 < 65540 goto -3",
    ],
  ];
  it.each(QUEUES)("queue_mapping: %s", async (_what, store) => {
    const { instructions } = assemble(`*(u32 *)(r1 + 12) = 7\n${store}\nr0 = *(u32 *)(r1 + 12)\nexit`);
    const packet = new Uint8Array(64);
    using kernel = await Kernel.open();
    const theirs = loadProgram(kernel, { name: "queue", type: "sched_cls", license: "GPL", instructions });
    const { returnValue } = theirs.testRun({ data: packet });
    const machine = await Machine.create();
    const ours = machine.loadInstructions(instructions, { type: "sched_cls" });
    for (const engine of ENGINES) expect(ours.run({ packet, engine }).r0, engine).toBe(BigInt(returnValue));
  });
});
