/**
 * Random and edge inputs for the types that packets go through, here and in the kernel: a program that reads every scalar field, writes every one
 * that it may, and looks at the packet must leave the same result, packet and map. SKEP_INPUTS=500 sets the number for each type.
 */
import { afterAll, describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import { type ContextValues, type Hook, hookOf } from "../../src/hooks/index.ts";
import { Kernel, createMap, loadProgram } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { eth } from "../../src/packet/index.ts";
import type { ProgramType } from "../../src/uapi/index.ts";
import { noKernel, openDescriptors, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_INPUTS"] ?? 40);
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
const VALUE_SIZE = 1024;
/** Where the words lie that the program returns and writes. */
const SEED = 960;
const WIDTH = { 1: "u8", 2: "u16", 4: "u32", 8: "u64" } as const;
/** The kernel sets them as it likes (queue of the device, id of its poll), or keeps less of them than is written. */
const OWN: readonly string[] = ["napi_id"];
const NARROW: readonly string[] = ["tc_index", "tc_classid", "queue_mapping"];

/** The program's text, and which field each word of the map's value holds. */
function programFor({ context, packetAccess, type }: Hook): { text: string; fields: string[] } {
  const text = [
    "r6 = r1\nw1 = 0\n*(u32 *)(r10 - 4) = w1\nr2 = r10\nr2 += -4\nr1 = 0 ll\ncall 1",
    "if r0 == 0 goto done\nr7 = r0",
  ];
  const fields: string[] = [];
  const save = (name: string, load: string): void => {
    text.push(load, `*(u64 *)(r7 + ${8 * fields.length}) = r1`);
    fields.push(name);
  };
  for (const { name, offset, size, count = 1, read, kind = "scalar" } of context.fields) {
    if (read === undefined || read.only !== undefined || kind !== "scalar" || OWN.includes(name)) continue;
    const width = WIDTH[size];
    const register = size === 8 ? "r1" : "w1";
    for (let index = 0; index < count; index++)
      save(`${name}[${index}]`, `${register} = *(${width} *)(r6 + ${offset + index * size})`);
  }
  for (const { name, offset, size, count = 1, write } of context.fields) {
    if (write === undefined || write.only !== undefined) continue;
    const narrow = NARROW.includes(name);
    for (let index = 0; index < count; index++) {
      const at = offset + index * size;
      text.push(`r1 = *(u64 *)(r7 + ${SEED + 8 * (1 + (index % 4))})`);
      if (narrow) text.push("r1 &= 0x7fff");
      text.push(`*(${WIDTH[size]} *)(r6 + ${at}) = ${size === 8 ? "r1" : "w1"}`);
      save(`${name}[${index}] written`, `${size === 8 ? "r1" : "w1"} = *(${WIDTH[size]} *)(r6 + ${at})`);
    }
  }
  const at = (name: string): number => context.fields.find((row) => row.name === name)?.offset ?? 0;
  if (packetAccess !== undefined) {
    text.push(`w2 = *(u32 *)(r6 + ${at("data")})\nw3 = *(u32 *)(r6 + ${at("data_end")})`);
    save("length", "r1 = r3\nr1 -= r2");
    text.push("r4 = r2\nr4 += 8\nif r4 > r3 goto short");
    save("first bytes", "r1 = *(u64 *)(r2 + 0)");
    if (packetAccess === "write" && type !== "cgroup_skb") text.push("w1 ^= 0x55\n*(u8 *)(r2 + 3) = w1");
    text.push("short:");
  }
  const mask = type === "cgroup_skb" ? 1 : 3;
  text.push(`r0 = *(u64 *)(r7 + ${SEED})\nw0 &= ${mask}\nexit\ndone:\nw0 = 0\nexit`);
  return { text: text.join("\n"), fields };
}

class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  below(limit: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 2 ** 32) * limit);
  }
  pick<T>(values: readonly T[]): T {
    return values[this.below(values.length)] as T;
  }
  bytes(length: number): Uint8Array {
    return Uint8Array.from({ length }, () => this.below(256));
  }
  word(): number {
    return this.pick([0, 1, 0x7fffffff, 0xffffffff, this.below(2 ** 32)]);
  }
}

function randomPacket(random: Random): Uint8Array {
  const payload = random.below(300);
  const whole = random.pick([
    () => random.bytes(14 + random.below(80)),
    () => eth().arp().bytes(),
    () => eth().ipv4({ src: "1.2.3.4", dst: "5.6.7.8" }).udp({ dport: 53 }).payload(payload).bytes(),
    () => eth().ipv6({ src: "fd00::5" }).tcp({ dport: 443 }).payload(payload).bytes(),
    () =>
      eth()
        .vlan({ vid: random.below(4096) })
        .ipv4()
        .tcp()
        .payload(payload)
        .bytes(),
    () =>
      eth()
        .ipv4()
        .tcp({ flags: "syn" })
        .payload(5 * payload)
        .bytes(),
  ])();
  return random.below(4) === 0 ? whole.subarray(0, 14 + random.below(whole.length - 13)) : whole;
}

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

function contextBytes({ context }: Hook, values: ContextValues, packet: Uint8Array): Uint8Array {
  const view = new DataView(new ArrayBuffer(context.size));
  for (const { name, offset, size } of context.fields) {
    [values[name] ?? []].flat().forEach((value, index) => {
      if (size === 8) view.setBigUint64(offset + 8 * index, BigInt(value), true);
      else view.setUint32(offset + 4 * index, Number(value), true);
    });
    if (name === "data_end" && context.struct === "xdp_md") view.setUint32(offset, packet.length, true);
  }
  return new Uint8Array(view.buffer);
}

describe.skipIf(noKernel !== undefined)(withKernel("inputs of packets as in the kernel"), () => {
  afterAll(() => expect(openDescriptors()).toEqual([]));

  it.each(TYPES)("%s", async (type) => {
    const hook = hookOf(type) as Hook;
    const attach = type === "cgroup_skb" ? ("cgroup_inet_egress" as const) : undefined;
    const { text, fields } = programFor(hook);
    const { instructions } = assemble(text);
    const slot = instructions.findIndex(({ opcode }) => opcode === 0x18);

    using kernel = await Kernel.open();
    const definition = { type: "array", keySize: 4, valueSize: VALUE_SIZE, maxEntries: 1 } as const;
    const theirMap = createMap(kernel, definition);
    const theirs = loadProgram(kernel, {
      type,
      license: "GPL",
      instructions: instructions.map((one, index) =>
        index === slot ? { ...one, src: 1, imm: theirMap.fd } : one,
      ),
      ...(attach === undefined ? {} : { expectedAttachType: attach }),
    });
    const ours = await Promise.all(
      ENGINES.map(async (engine) => {
        const machine = await Machine.create({ engine });
        const map = machine.createMap({ ...definition, name: "m", flags: 0 });
        const program = machine.loadInstructions(instructions, {
          type,
          maps: { m: map },
          references: new Map([[slot, { kind: "map" as const, map: "m" }]]),
          ...(attach === undefined ? {} : { attachType: attach }),
        });
        return { map, program };
      }),
    );

    const random = new Random(TYPES.indexOf(type) + 1);
    const key = new Uint8Array(4);
    let compared = 0;
    for (let round = 0; round < COUNT; round++) {
      const packet = randomPacket(random);
      const context = randomContext(random, hook);
      const seed = new Uint8Array(VALUE_SIZE);
      seed.set(random.bytes(40), SEED);
      theirMap.update(key, seed);
      let result: ReturnType<typeof theirs.testRun>;
      try {
        const bytes = context === undefined ? undefined : contextBytes(hook, context, packet);
        result = theirs.testRun({ data: packet, ...(bytes === undefined ? {} : { context: bytes }) });
      } catch (error) {
        // Packets that are shorter than the header that they announce, segments without a size.
        if (error instanceof BpfError && error.errno === "EINVAL") continue;
        throw error;
      }
      compared++;
      const words = (value: Uint8Array | undefined): Record<string, bigint> => {
        const view = new DataView((value as Uint8Array).slice().buffer);
        return Object.fromEntries(fields.map((name, index) => [name, view.getBigUint64(8 * index, true)]));
      };
      const expected = words(theirMap.lookup(key));
      // The kernel gives the link header back as zeros where the program begins behind it.
      const skipped = hook.packet?.kind === hookOf("lwt_in")?.packet?.kind ? 14 : 0;
      for (const { map, program } of ours) {
        map.update(key, seed);
        const run = program.run({ packet, ...(context === undefined ? {} : { context }) });
        expect({ ...words(map.lookup(key)), returned: run.returnValue >>> 0 }).toEqual({
          ...expected,
          returned: result.returnValue >>> 0,
        });
        expect(Buffer.from(run.packet.subarray(skipped)).equals(result.data.subarray(skipped))).toBe(true);
      }
    }
    expect(compared).toBeGreaterThan(COUNT / 3);
  });
});
