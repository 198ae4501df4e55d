/** Runs over many packets: each is what a run of its own is, whatever the one before it has done. */
import { describe, expect, it } from "vitest";
import { BpfError } from "../../src/errors.ts";
import {
  ENGINES,
  type Engine,
  Machine,
  type MachineOptions,
  type PacketsOptions,
  type Program,
} from "../../src/machine/index.ts";
import { contents, fill } from "../random/differential.ts";
import { generate } from "../random/generate.ts";
import { toObject } from "../random/object.ts";
import { Random } from "../random/prng.ts";
import { code } from "./code.ts";

/** Everything that is seen of one packet's run. */
type Seen = readonly [result: number, error: string | undefined, packet: string | undefined, meta: number];

interface Batch {
  readonly data: Uint8Array;
  readonly offset: ArrayLike<number>;
  readonly capturedLength: ArrayLike<number>;
  readonly count: number;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");

/** Packets with gaps between them, and bytes before the first and behind the last that belong to none. */
function batchOf(packets: readonly Uint8Array[], random?: Random): Batch {
  const gap = (): number => (random === undefined ? 0 : random.pick([0, 0, 0, 1, 7]));
  let end = gap();
  const offset = packets.map(({ length }) => {
    const at = end;
    end += length + gap();
    return at;
  });
  const data = new Uint8Array(end).fill(0xee);
  packets.forEach((packet, index) => data.set(packet, offset[index]));
  const lengths = packets.map(({ length }) => length);
  const typed = random?.chance(0.5) ?? true;
  return {
    data,
    offset: typed ? Uint32Array.from(offset) : offset,
    capturedLength: typed ? Uint32Array.from(lengths) : lengths,
    count: packets.length,
  };
}

function inBatch(program: Program, batch: Batch, options: PacketsOptions): Seen[] {
  const errors = new Map<number, string>();
  const kept = new Map<number, [string, number]>();
  const { results } = program.runPackets(batch, {
    ...options,
    onFault: (index, { message }) => errors.set(index, message),
    onPacket: ({ index, bytes, metaLength }) => kept.set(index, [hex(bytes), metaLength]),
  });
  return Array.from(results, (result, index) => {
    const [packet, meta = 0] = kept.get(index) ?? [];
    return [result, errors.get(index), packet, meta];
  });
}

function oneByOne(
  program: Program,
  { data, offset, capturedLength, count }: Batch,
  { keepAll, ...input }: PacketsOptions,
): Seen[] {
  return Array.from({ length: count }, (_, index): Seen => {
    const at = offset[index] as number;
    const frame = data.slice(at, at + (capturedLength[index] as number));
    try {
      const { r0, packet, metadata } = program.run({ ...input, packet: frame });
      const result = Number(r0);
      const passes =
        keepAll === true || ((program.packetHook.packet.passMask >>> Math.min(result, 31)) & 1) === 1;
      return passes
        ? [result, undefined, hex(metadata) + hex(packet), metadata.length]
        : [result, undefined, undefined, 0];
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      return [0, error.message, undefined, 0];
    }
  });
}

/** As addresses differ from machine to machine, they are left out of what a fault says. */
const withoutAddresses = (seen: readonly Seen[]): unknown[] =>
  seen.map(([result, error, ...rest]) => [result, error?.replace(/0x[0-9a-f]+/g, "0x..."), ...rest]);

const WAYS: readonly (readonly [name: string, engine: Engine, options: MachineOptions])[] = [
  ["verified", "jit", {}],
  ["verified", "interpreter", {}],
  ["trusted", "jit", { unverified: "trusted", fuel: Infinity }],
  ["sandboxed", "jit", { unverified: "sandbox", fuel: 20_000 }],
  ["sandboxed", "interpreter", { unverified: "sandbox", fuel: 20_000 }],
];

// Around what one page takes beside headroom and the reserve at its end, and in fragments or pages behind it.
const LENGTHS = [0, 1, 13, 14, 15, 20, 33, 34, 60, 64, 64, 64, 128, 200, 513, 1500, 3519, 3520, 3521, 9000];

describe.each(WAYS)(
  "%s, %s: a batch of generated programs is its packets run one by one",
  (_, engine, options) => {
    it("results, packets and maps", async () => {
      const machines = [
        await Machine.create({ engine, ...options }),
        await Machine.create({ engine, ...options }),
      ];
      for (let seed = 0; seed < 40; seed++) {
        const random = new Random(seed ^ 0xba7c);
        const generated = generate(seed, { size: random.between(5, 40) });
        const packets = Array.from({ length: random.between(1, 40) }, () => {
          const length = random.pick(LENGTHS);
          const bytes = random.chance(0.5) ? random.bytes(length) : new Uint8Array(length);
          if (random.chance(0.7)) bytes.set(generated.packet.subarray(0, length));
          return bytes;
        });
        const batch = batchOf(packets, random);
        const given: PacketsOptions = {
          keepAll: random.chance(0.7),
          ...(random.chance(0.3)
            ? { context: { [generated.type === "xdp" ? "rx_queue_index" : "mark"]: 7 } }
            : {}),
          ...(generated.type === "socket_filter" && random.chance(0.5) ? { layer: "link" } : {}),
        };
        const both = await Promise.all(
          [inBatch, oneByOne].map(async (way, index) => {
            const { programs, maps } = await (machines[index] as Machine).load(toObject(generated));
            fill(maps, generated);
            const seen = withoutAddresses(way(programs[generated.name] as Program, batch, given));
            return [seen, Object.values(maps).map((map) => [map.name, contents(map)])];
          }),
        );
        expect(both[0], `seed ${seed}`).toEqual(both[1]);
      }
    });
  },
);

const XDP_LENGTH = "r0 = *(u32 *)(r1 + 4)\nr2 = *(u32 *)(r1 + 0)\nr0 -= r2\nexit";
const END = "\nr0 = r7\nexit";

/** Programs that leave something behind which the next packet must not find. Each begins with the context in r6. */
const LEAVERS: readonly (readonly [
  what: string,
  type: "xdp" | "sched_cls" | "socket_filter",
  text: string,
])[] = [
  [
    "writes before the packet after moving its head",
    "xdp",
    `r1 = r6\nr2 = -64\ncall bpf_xdp_adjust_head\nr1 = *(u32 *)(r6 + 0)\nr7 = *(u32 *)(r1 + 60)
     r2 = 0x01010101\n*(u32 *)(r1 + 60) = r2\n*(u32 *)(r1 + 0) = r2${END}`,
  ],
  [
    "moves its head forward, in packets that are long enough",
    "xdp",
    `r1 = r6\nr2 = 8\ncall bpf_xdp_adjust_head\nr7 = *(u32 *)(r6 + 4)\nr1 = *(u32 *)(r6 + 0)\nr7 -= r1${END}`,
  ],
  [
    "writes metadata",
    "xdp",
    `r1 = r6\nr2 = -8\ncall bpf_xdp_adjust_meta\nr1 = *(u32 *)(r6 + 8)\nr7 = *(u32 *)(r1 + 0)
     r2 = 0x01020304\n*(u32 *)(r1 + 0) = r2${END}`,
  ],
  [
    "grows and shrinks its tail",
    "xdp",
    `r1 = r6\nr2 = 16\ncall bpf_xdp_adjust_tail\nr7 = r0\nr1 = r6\nr2 = -5\ncall bpf_xdp_adjust_tail\nr7 += r0${END}`,
  ],
  [
    "takes bytes out of fragments",
    "xdp",
    `r1 = r6\nr2 = 3600\ncall bpf_xdp_adjust_tail\nr7 = *(u32 *)(r6 + 4)\nr1 = *(u32 *)(r6 + 0)\nr7 -= r1${END}`,
  ],
  [
    "writes to the context",
    "sched_cls",
    `r7 = *(u32 *)(r6 + 8)\nr2 = *(u32 *)(r6 + 48)\nr7 += r2\nr2 = *(u32 *)(r6 + 32)\nr7 += r2\nr2 = 77
     *(u32 *)(r6 + 8) = r2\n*(u32 *)(r6 + 48) = r2\n*(u32 *)(r6 + 64) = r2\n*(u32 *)(r6 + 32) = r2${END}`,
  ],
  [
    "makes room before the packet",
    "sched_cls",
    `r1 = r6\nr2 = 40\nr3 = 0\ncall bpf_skb_change_head\nr7 = r0\nr1 = r6\nr2 = 0\nr3 = 1\nr4 = 0\ncall bpf_skb_pull_data
     r2 = *(u32 *)(r6 + 0)\nr7 += r2${END}`,
  ],
  [
    "makes more room than its buffer has",
    "sched_cls",
    `r1 = r6\nr2 = 3000\nr3 = 0\ncall bpf_skb_change_tail\nr7 = r0\nr1 = r6\nr2 = 1200\nr3 = 0\ncall bpf_skb_change_head
     r7 += r0\nr2 = *(u32 *)(r6 + 0)\nr7 += r2${END}`,
  ],
  [
    "pushes a VLAN tag and sets its hash",
    "sched_cls",
    `r7 = *(u32 *)(r6 + 20)\nr2 = *(u32 *)(r6 + 68)\nr7 += r2\nr1 = r6\nr2 = 0x0081\nr3 = 5\ncall bpf_skb_vlan_push
     r1 = r6\nr2 = 99\ncall bpf_set_hash\nr2 = *(u32 *)(r6 + 24)\nr7 += r2${END}`,
  ],
  [
    "looks at the packet type and protocol",
    "socket_filter",
    `r7 = *(u32 *)(r6 + 4)\nr2 = *(u32 *)(r6 + 16)\nr7 += r2\nr2 = *(u32 *)(r6 + 0)\nr7 += r2${END}`,
  ],
  [
    "redirects some packets",
    "xdp",
    `r2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr3 -= r2\nr7 = 2\nif r3 < 64 goto out\nr1 = 7\nr2 = 0\ncall bpf_redirect\nr7 = r0\nout:${END}`,
  ],
  [
    "does not end, for one packet in some",
    "xdp",
    `r2 = *(u32 *)(r6 + 0)\nr3 = *(u32 *)(r6 + 4)\nr4 = r2\nr4 += 14\nr7 = 1\nif r4 > r3 goto out\nr7 = *(u8 *)(r2 + 0)\nagain: if r7 == 3 goto again\nout:${END}`,
  ],
];

describe.each([
  ["trusted", "jit"],
  ["trusted", "interpreter"],
  ["sandbox", "jit"],
  ["sandbox", "interpreter"],
] as const)("%s, %s: a batch of a program that", (unverified, engine) => {
  it.each(LEAVERS)("%s", async (_, type, text) => {
    const random = new Random(text.length);
    for (let round = 0; round < 4; round++) {
      const packets = Array.from({ length: 60 }, () => {
        const bytes = random.bytes(
          random.pick(type === "xdp" ? LENGTHS : LENGTHS.filter((length) => length > 13)),
        );
        bytes[0] = random.pick([0, 1, 2, 3, 0xff]);
        return bytes;
      });
      const batch = batchOf(packets, random);
      const both = await Promise.all(
        [inBatch, oneByOne].map(async (way) => {
          const machine = await Machine.create({ engine, fuel: 5000 });
          const program = machine.loadInstructions(code(`r6 = r1\n${text}`), { type, unverified });
          return withoutAddresses(way(program, batch, { keepAll: round % 2 === 0 }));
        }),
      );
      expect(both[0]).toEqual(both[1]);
    }
  });
});

describe.each(ENGINES)("a batch in the %s", (engine) => {
  const load = async (text: string): Promise<{ machine: Machine; program: Program }> => {
    const machine = await Machine.create({ engine, fuel: 5000 });
    return { machine, program: machine.loadInstructions(code(text), { type: "xdp" }) };
  };
  const packets = LENGTHS.map((length) => new Uint8Array(length).map((_, index) => (index + length) & 0xff));
  const batch = batchOf(packets);
  const expected = LENGTHS.map((length) => Math.min(length, 3520));

  it("of none, of one, and of more than are listed at once", async () => {
    const { program } = await load(XDP_LENGTH);
    expect(program.runPackets(batchOf([])).results).toEqual(new Uint32Array(0));
    expect(program.runPackets(batchOf([new Uint8Array(77)])).results).toEqual(Uint32Array.of(77));
    const count = 100_000;
    const lengths = Uint32Array.from({ length: count }, (_, index) => (index * 7) % 131);
    const offset = new Uint32Array(count);
    for (let index = 1; index < count; index++)
      offset[index] = (offset[index - 1] as number) + (lengths[index - 1] as number);
    const data = new Uint8Array((offset[count - 1] as number) + (lengths[count - 1] as number));
    const seen = new Uint32Array(count);
    const { results } = program.runPackets(
      { data, offset, capturedLength: lengths, count },
      { keepAll: true, onPacket: ({ index, bytes }) => (seen[index] = bytes.length) },
    );
    expect(hex(new Uint8Array(results.buffer))).toBe(hex(new Uint8Array(lengths.buffer)));
    expect(hex(new Uint8Array(seen.buffer))).toBe(hex(new Uint8Array(lengths.buffer)));
  });

  it("of the same bytes many times", async () => {
    // Counts the first byte up and returns it.
    const { program } = await load(
      "r2 = *(u32 *)(r1 + 0)\nr0 = *(u8 *)(r2 + 0)\nr0 += 1\n*(u8 *)(r2 + 0) = r0\nexit",
    );
    const count = 50;
    const { results } = program.runPackets({
      data: new Uint8Array(100).fill(4),
      offset: new Uint32Array(count),
      capturedLength: new Uint32Array(count).fill(100),
      count,
    });
    expect(new Set(results)).toEqual(new Set([5]));
  });

  it("whose memory grows while packets are handed out", async () => {
    const { machine, program } = await load(XDP_LENGTH);
    const seen: [number, number][] = [];
    const { results } = program.runPackets(batch, {
      keepAll: true,
      onPacket: ({ index, bytes }) => {
        expect(hex(bytes)).toBe(hex(packets[index] as Uint8Array));
        seen.push([index, bytes.length]);
        const map = {
          name: `m${index}`,
          type: "array",
          keySize: 4,
          valueSize: 4096,
          maxEntries: 500,
          flags: 0,
        } as const;
        machine.createMap(map);
      },
    });
    expect([...results]).toEqual(expected);
    expect(seen).toEqual(LENGTHS.map((length, index) => [index, length]));
  });

  it("whose callbacks run the same program and others", async () => {
    const { machine, program } = await load(
      "r6 = r1\nr2 = *(u32 *)(r1 + 0)\nr3 = *(u32 *)(r1 + 4)\nr0 = r3\nr0 -= r2\nagain: if r0 == 60 goto again\nexit",
    );
    const other = machine.loadInstructions(code("r0 = *(u32 *)(r1 + 8)\nexit"), { type: "sched_cls" });
    const bytes = new Uint8Array(5000).fill(9);
    const inner: unknown[] = [];
    const faults: number[] = [];
    const look = (): void => {
      const { returnValue, packet } = program.run({ packet: bytes });
      const { returnValue: mark, packet: same } = other.run({ packet: bytes, context: { mark: 5 } });
      const many = program.runPackets(batchOf([bytes.subarray(0, 61), bytes]), {
        keepAll: true,
        onPacket() {},
      });
      inner.push([returnValue, packet.length, mark, same.length, ...many.results]);
    };
    const seen: string[] = [];
    const { results } = program.runPackets(batch, {
      keepAll: true,
      onPacket: ({ index, bytes: own }) => {
        look();
        seen[index] = hex(own);
      },
      onFault: (index) => {
        look();
        faults.push(index);
      },
    });
    const stopped = LENGTHS.indexOf(60);
    expect([...results]).toEqual(expected.map((length) => (length === 60 ? 0 : length)));
    expect(faults).toEqual([stopped]);
    expect(seen.filter((_, index) => index !== stopped)).toEqual(
      packets.filter((_, index) => index !== stopped).map(hex),
    );
    expect(inner.length).toBe(LENGTHS.length);
    expect(new Set(inner.map(String))).toEqual(new Set(["3520,5000,5,5000,61,3520"]));
  });

  it("whose callback throws leaves the machine as it should be", async () => {
    const { program } = await load(XDP_LENGTH);
    const onPacket = (): never => {
      throw new Error("enough");
    };
    expect(() => program.runPackets(batch, { keepAll: true, onPacket })).toThrow("enough");
    expect([...program.runPackets(batch).results]).toEqual(expected);
    expect(program.run({ packet: new Uint8Array(99) }).returnValue).toBe(99);
  });

  it.each([
    ["beyond the last one's end", [0, 10], [50, 20], [0]],
    ["before the first one's start", [20, 0, 21], [1, 1, 30], [1]],
    ["of more bytes than there are", [0, 10], [2 ** 32 - 1, 20], [0]],
    ["behind all data", [0, 90, 95], [10, 11, 9], [1, 2]],
  ])("with a packet %s", async (_, offset, capturedLength, outside) => {
    const { program } = await load(XDP_LENGTH);
    const wrong = { data: new Uint8Array(100), offset, capturedLength, count: offset.length };
    expect(() => program.runPackets(wrong)).toThrow(/program 'main': the packet does not lie between/);
    const faults: number[] = [];
    const { results } = program.runPackets(wrong, { onFault: (index) => faults.push(index) });
    expect(faults).toEqual(outside);
    expect([...results]).toEqual(
      capturedLength.map((length, index) => (outside.includes(index) ? 0 : length)),
    );
  });
});
