import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { beforeAll, describe, expect, it } from "vitest";
import { type Standalone, compileStandalone } from "../../src/aot/index.ts";
import { type BpfMap, type Loaded, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { toWat } from "../../src/wat/index.ts";
import { fillRing } from "../../examples/load-balancer/ring.ts";
import { open, packetsOf } from "../../examples/standalone/host.mjs";
import { ROOT, hasTool } from "../helpers.ts";

const packets = packetsOf(readFileSync(join(ROOT, "examples/captures/web.pcap")));

/** Where most IPv4 TCP packets go: address, protocol, port in network byte order. */
function busiest(): Uint8Array {
  const hits = new Map<string, number>();
  for (const packet of packets) {
    if (packet.readUInt16BE(12) !== 0x0800 || packet[14] !== 0x45 || packet[23] !== 6) continue;
    const key = packet.subarray(30, 34).toString("hex") + packet.subarray(36, 38).toString("hex");
    hits.set(key, (hits.get(key) ?? 0) + 1);
  }
  const [[key] = [""]] = [...hits].sort((a, b) => b[1] - a[1]);
  return Buffer.from(key, "hex");
}

const EXAMPLES: readonly {
  name: string;
  program: string;
  verdicts: number[];
  fill?: (maps: Loaded["maps"]) => void;
}[] = [
  {
    name: "firewall",
    program: "firewall",
    verdicts: [1, 2],
    fill: (maps) => maps["blocked4"]?.set({ prefixlen: 8, addr: [10, 0, 0, 0] }, 9),
  },
  { name: "packet-counter", program: "count", verdicts: [2] },
  { name: "packet-counter", program: "keep_tcp", verdicts: [0] },
  {
    name: "load-balancer",
    program: "balance",
    verdicts: [2, 3],
    fill: (maps) => {
      const servers = ["10.0.1.1", "10.0.1.2", "10.0.1.3"];
      fillRing(servers).forEach((number, entry) => maps["rings"]?.set(entry, number));
      servers.forEach((text, number) =>
        maps["servers"]?.set(number, { address: Uint8Array.from(text.split("."), Number) }),
      );
      const target = busiest();
      maps["vips"]?.set(
        {
          address: target.subarray(0, 4),
          port: (target[4] ?? 0) | ((target[5] ?? 0) << 8),
          protocol: 6,
          pad: 0,
        },
        { id: 0, encapsulation: "IPIP" },
      );
    },
  },
  { name: "rate-limiter", program: "limit", verdicts: [0, 2] },
];

const specOf = (name: string) =>
  parseObject(readFileSync(join(ROOT, `examples/${name}/${name}.bpf.o`)), { name });

/** A millisecond passes between two looks. */
const ticking = () => {
  let now = 3_600_000_000_000n;
  return { now: () => (now += 1_000_000n) };
};

const valueIn = (map: BpfMap, key: Uint8Array): Uint8Array | undefined =>
  map.perCpu ? map.lookupPerCpu(key)?.[0] : map.lookup(key);

const hex = (bytes: Uint8Array | undefined): string => Buffer.from(bytes ?? []).toString("hex");

/** All elements, in the order of their keys. */
const dump = (entries: Iterable<readonly [Uint8Array, Uint8Array | undefined]>): string[] =>
  [...entries].map(([key, value]) => `${hex(key)} ${hex(value)}`).sort();

function dumpOf(map: BpfMap): string[] {
  return dump([...map.keys()].map((key) => [key, valueIn(map, key)] as const));
}

describe.each(EXAMPLES)("$name as a module: $program", ({ name, program, verdicts, fill }) => {
  let standalone: Standalone;
  beforeAll(async () => {
    standalone = await compileStandalone(specOf(name));
  });

  async function both() {
    const machine = await Machine.create({ clock: ticking() });
    const loaded = await machine.load(specOf(name));
    fill?.(loaded.maps);
    const clock = ticking();
    const host = open(standalone.bytes, { ktime_get_ns: clock.now });
    host.maps.forEach((row, index) => {
      const map = loaded.maps[row.name] as BpfMap;
      if (fill === undefined || row.name === ".rodata") return;
      for (const key of map.keys()) put(host, index, key, valueIn(map, key) as Uint8Array);
    });
    const number = host.programs.findIndex((row) => row.name === program);
    return { loaded, host, number };
  }

  function put(host: ReturnType<typeof open>, map: number, key: Uint8Array, value: Uint8Array): void {
    const [at, to] = [host.skep.alloc(key.length) >>> 0, host.skep.alloc(value.length + 8) >>> 0];
    const memory = new Uint8Array(host.skep.memory.buffer);
    memory.set(key, at);
    memory.set(value, to);
    expect(host.skep.map_update(map, at, to, 0n)).toBe(0);
    for (const address of [at, to]) host.skep.free(address);
  }

  function expectSameMaps({ loaded, host }: Awaited<ReturnType<typeof both>>): void {
    host.maps.forEach((row, index) => {
      expect([row.name, ...dump(host.entries(index))]).toEqual([
        row.name,
        ...dumpOf(loaded.maps[row.name] as BpfMap),
      ]);
    });
  }

  it("gives the machine's verdicts, packets and maps, one packet at a time", async () => {
    const sides = await both();
    const { loaded, host, number } = sides;
    const differences: unknown[] = [];
    const seen = new Set<number>();
    packets.forEach((packet, index) => {
      const expected = loaded.programs[program]?.run({ packet });
      const verdict = host.run(packet, number);
      seen.add(verdict);
      const view = new DataView(host.skep.memory.buffer);
      const result = host.skep.result() >>> 0;
      const [at, length] = [view.getUint32(result + 12, true), view.getUint32(result + 16, true)];
      const after = Buffer.from(host.skep.memory.buffer, at, length);
      if (verdict !== Number(expected?.r0) || !after.equals(expected?.packet ?? after)) {
        differences.push([index, verdict, expected?.returnValue, hex(after), hex(expected?.packet)]);
      }
    });
    expect(differences).toEqual([]);
    expect([...seen].sort((a, b) => a - b)).toEqual(verdicts);
    expectSameMaps(sides);
  });

  it("gives them in one batch", async () => {
    const sides = await both();
    const { loaded, host, number } = sides;
    const data = Buffer.concat(packets);
    let sum = 0;
    const offset = packets.map((packet) => (sum += packet.length) - packet.length);
    const capturedLength = packets.map((packet) => packet.length);
    const expected = loaded.programs[program]?.runPackets({
      data,
      offset,
      capturedLength,
      count: packets.length,
    });
    const base = host.skep.alloc(data.length) >>> 0;
    const records = host.skep.alloc(40 * packets.length) >>> 0;
    new Uint8Array(host.skep.memory.buffer).set(data, base);
    const words = () => new Uint32Array(host.skep.memory.buffer, records, 10 * packets.length);
    packets.forEach((packet, index) =>
      words().set([base + (offset[index] as number), packet.length], 10 * index),
    );
    expect(host.skep.run_batch(number, records, packets.length)).toBe(packets.length);
    expect(host.skep.batch_done(number)).toBe(packets.length);
    expect(packets.map((_, index) => words()[10 * index + 2])).toEqual([...(expected?.results ?? [])]);
    expectSameMaps(sides);
  });
});

/** Tail calls, callbacks, subprograms, globals: every program that takes packets, in turn, over the same state. */
describe.each(["tail-calls", "callbacks", "calls", "globals", "atomics", "tc", "may-goto"])(
  "the fixture %s as a module",
  (name) => {
    it("does what it does in a machine", async () => {
      const spec = parseObject(readFileSync(join(ROOT, `test/fixtures/${name}.bpf.o`)), { name });
      const { bytes } = await compileStandalone(spec, { fuel: 100_000 });
      const machine = await Machine.create({ clock: ticking(), fuel: 100_000 });
      const { programs, maps } = await machine.load(spec);
      const host = open(bytes, {});
      let ran = 0;
      host.programs.forEach((row, number) => {
        if (!row.packets) return;
        for (const packet of packets.slice(0, 4)) {
          const outcome = (run: () => number): number | string => {
            try {
              return run() >>> 0;
            } catch {
              return "stopped";
            }
          };
          const expected = outcome(() => Number(programs[row.name]?.run({ packet }).r0));
          expect([row.name, outcome(() => host.run(packet, number))]).toEqual([row.name, expected]);
          ran++;
        }
      });
      expect(ran).toBeGreaterThan(0);
      host.maps.forEach(({ name, type }, index) => {
        // Their values are addresses of programs.
        if (type === "prog_array") return;
        expect([name, ...dump(host.entries(index))]).toEqual([name, ...dumpOf(maps[name] as BpfMap)]);
      });
    });
  },
);

describe("modules", () => {
  it("run programs of other types by a call", async () => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/objects.bpf.o")), { name: "objects" });
    const { bytes } = await compileStandalone(spec, { programs: ["probed", "returned"] });
    const { skep, programs, maps, run, entries } = open(bytes, {});
    const variables = maps.findIndex(({ name }) => name === ".bss");
    // struct pt_regs of x86-64: the second argument in rsi, the result in rax. The first variable takes it.
    for (const [name, offset, value] of [
      ["probed", 104, 0x1234_5678_9abcn],
      ["returned", 80, 42n],
    ] as const) {
      const number = programs.findIndex((row) => row.name === name);
      const context = skep.context(number) >>> 0;
      new DataView(skep.memory.buffer).setBigUint64(context + offset, value, true);
      expect(skep.call(number, context, 0)).toBe(0n);
      const [[, contents] = []] = [...entries(variables)];
      expect(hex(contents)).toContain(hex(new Uint8Array(BigUint64Array.of(value).buffer)));
      expect(() => run(new Uint8Array(60), number)).toThrow(WebAssembly.RuntimeError);
    }
  });

  it("hand out what programs put into ring buffers", async () => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/threads.bpf.o")), { name: "threads" });
    const [name] = Object.keys(spec.programs);
    const { bytes } = await compileStandalone(spec, { programs: [name as string], unverified: "trusted" });
    const { skep, maps, run } = open(bytes, {});
    const ring = maps.findIndex(({ type }) => type === "ringbuf");
    expect(skep.ring_peek(ring)).toBe(0);
    run(packets[0] as Uint8Array, 0);
    let records = 0;
    for (let at = skep.ring_peek(ring) >>> 0; at !== 0; at = skep.ring_peek(ring) >>> 0) {
      const view = new DataView(skep.memory.buffer);
      expect(view.getUint32(at - 8, true)).toBe(16);
      expect(view.getBigUint64(at + 8, true)).toBe(BigInt.asUintN(64, ~view.getBigUint64(at, true)));
      skep.ring_consume(ring);
      records++;
    }
    expect(records).toBeGreaterThan(0);
    expect(skep.ring_consume(ring)).toBeUndefined();
    const other = maps.findIndex(({ type }) => type !== "ringbuf");
    expect(() => skep.ring_peek(other)).toThrow(WebAssembly.RuntimeError);
  });

  it("are the same each time, valid, and small", async () => {
    const [first, second] = [
      await compileStandalone(specOf("firewall")),
      await compileStandalone(specOf("firewall")),
    ];
    expect(Buffer.compare(first.bytes, second.bytes)).toBe(0);
    expect(WebAssembly.validate(first.bytes as BufferSource)).toBe(true);
    expect(first.bytes.length).toBeLessThan(80_000);
    const imports = WebAssembly.Module.imports(new WebAssembly.Module(first.bytes as BufferSource));
    expect(imports).toEqual([{ module: "host", name: "ktime_get_ns", kind: "function" }]);
    expect(first.manifest.imports).toEqual([{ name: "ktime_get_ns", params: [], results: ["i64"] }]);
  });

  it.skipIf(!hasTool("wasm-validate"))("are valid for wabt, and their text is", async () => {
    const scratch = mkdtempSync(join(tmpdir(), "skep-aot-"));
    try {
      const { bytes } = await compileStandalone(specOf("rate-limiter"));
      writeFileSync(join(scratch, "module.wasm"), bytes);
      writeFileSync(join(scratch, "module.wat"), toWat(bytes));
      for (const [tool, file] of [
        ["wasm-validate", "module.wasm"],
        ["wat2wasm", "module.wat"],
      ] as const) {
        const { status, stderr } = spawnSync(tool, [
          join(scratch, file),
          ...(tool === "wat2wasm" ? ["-o", join(scratch, "again.wasm")] : []),
        ]);
        expect([tool, status, String(stderr)]).toEqual([tool, 0, ""]);
      }
    } finally {
      rmSync(scratch, { recursive: true });
    }
  });

  it("also tell their description in memory", async () => {
    const { bytes, manifest } = await compileStandalone(specOf("packet-counter"));
    const { skep } = open(bytes, {});
    const text = Buffer.from(skep.memory.buffer, skep.manifest() >>> 0, skep.manifest_size());
    expect(JSON.parse(String(text))).toEqual(manifest);
  });

  it("check every access of sandboxed programs", async () => {
    const { bytes } = await compileStandalone(specOf("firewall"), { unverified: "sandbox" });
    const plain = open((await compileStandalone(specOf("firewall"))).bytes);
    const checked = open(bytes);
    for (const packet of packets.slice(0, 200)) expect(checked.run(packet)).toBe(plain.run(packet));
  });

  it("take programs of theirs into entries of device maps, by id, and leave the host's bytes alone", async () => {
    const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/targets.bpf.o")), { name: "targets" });
    const { bytes } = await compileStandalone(spec);
    const { skep, maps, programs, entries } = open(bytes);
    const at = skep.alloc(16) >>> 0;
    const view = new DataView(skep.memory.buffer);
    view.setUint32(at, 0, true);
    view.setUint32(at + 4, 1, true);
    for (const name of ["devices", "hashed"]) {
      const map = maps.findIndex((row) => row.name === name);
      const taken = Array.from({ length: programs.length + 3 }, (_, index) => index - 1).filter((id) => {
        view.setInt32(at + 8, id, true);
        const status = skep.map_update(map, at, at + 4, 0n);
        expect(view.getInt32(at + 8, true)).toBe(id);
        expect([0, -22]).toContain(status);
        const [[, value] = []] = [...entries(map)];
        if (status === 0) expect(value?.slice(4)).toEqual(Uint8Array.of(Math.max(id, 0), 0, 0, 0));
        return status === 0;
      });
      // None, and the two programs of the right attach type without frags.
      expect(taken.length).toBe(4);
      expect(taken.slice(0, 2)).toEqual([-1, 0]);
    }
  });

  it("trap for programs and maps that they do not have", async () => {
    const { bytes } = await compileStandalone(specOf("firewall"));
    const { skep } = open(bytes);
    skep.packet_buffer(64);
    expect(() => skep.run(1, 64)).toThrow(WebAssembly.RuntimeError);
    expect(() => skep.run(0, 65)).toThrow(WebAssembly.RuntimeError);
    expect(() => skep.map_lookup(99, 0, 0)).toThrow(WebAssembly.RuntimeError);
  });
});
