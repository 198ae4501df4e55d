/**
 * Kernel functions of arenas, dynptrs, connections, ciphers, files and streams. Expectations: kernel/bpf/arena.c, crypto.c, stream.c,
 * kernel/trace/bpf_trace.c, net/netfilter/nf_conntrack_bpf.c, fs/bpf_fs_kfuncs.c; the ciphers are those of node:crypto.
 */
import { createCipheriv, createDecipheriv } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { type Cipher, ENGINES, Machine, type WorldOptions } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ROOT } from "../helpers.ts";
import { noKernel, withKernel } from "../kernel/setup.ts";
import { FIXTURE_PACKETS } from "../fixtures/cases.ts";

const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/kernel-functions.bpf.o")), {
  name: "kernel-functions",
});
const packet = FIXTURE_PACKETS.zeros;

/** A cipher of the kernel's names out of node:crypto's. */
function cipherOf(mode: "ecb" | "cbc", ivSize: number): Cipher {
  const name = (key: Uint8Array): string => `aes-${key.length * 8}-${mode}`;
  const run =
    (make: typeof createCipheriv | typeof createDecipheriv): Cipher["encrypt"] =>
    (key, data, iv) => {
      if (data.length % 16 !== 0) return undefined;
      const cipher = make(name(key), key, ivSize === 0 ? null : iv);
      cipher.setAutoPadding(false);
      return Uint8Array.of(...cipher.update(data), ...cipher.final());
    };
  return { keySizes: [16, 24, 32], ivSize, encrypt: run(createCipheriv), decrypt: run(createDecipheriv) };
}

const MODES = ENGINES.flatMap((engine) => [[engine, "trusted"] as const, [engine, "sandbox"] as const]);

describe.each(MODES)("%s, %s", (engine, unverified) => {
  const load = async (name: string, world: WorldOptions = {}) => {
    // Without the kernel's types the verifier cannot judge them.
    const machine = await Machine.create({ engine, world, verify: false, unverified });
    const loaded = await machine.load(spec, { programs: [name] });
    return { machine, ...loaded, program: loaded.programs[name]! };
  };

  test("pages of an arena", async () => {
    const { program } = await load("arena");
    expect(program.run({}).returnValue).toBe(0);
  });

  test("memory read into dynptrs", async () => {
    const { program } = await load("reads");
    expect(program.run({ packet }).returnValue).toBe(0);
  });

  test("tracked connections: found by either direction, changed, made", async () => {
    const known = { protocol: "tcp", source: "10.0.0.1:4000", destination: "10.0.0.2:80", mark: 7 } as const;
    const { machine, program } = await load("connections", { connections: [known] });
    expect(program.run({ packet }).returnValue).toBe(0);
    const [, made] = machine.world.connections.all;
    expect(made).toMatchObject({ mark: 9, timeout: 5000, status: 12, ends: { destination: { port: 4000 } } });
  });

  const params = (type: string, algo: string, keyLength = 16): Record<string, unknown> => ({
    type: [...Buffer.from(type.padEnd(14, "\0"))],
    reserved: [0, 0],
    algo: [...Buffer.from(algo.padEnd(128, "\0"))],
    key: Array.from({ length: 256 }, (_, at) => at & 255),
    key_len: keyLength,
    authsize: 0,
  });
  const ciphers = { "ecb(aes)": cipherOf("ecb", 0), "cbc(aes)": cipherOf("cbc", 16) };

  test.each<[string, Record<string, unknown>, number, number]>([
    ["a cipher without an initialisation vector", params("skcipher", "ecb(aes)"), 0, 0],
    ["one with it, and a longer key", params("skcipher", "cbc(aes)", 32), 16, 0],
    ["no such type", params("hash", "ecb(aes)"), 0, -2],
    ["no such cipher", params("skcipher", "xts(aes)"), 0, -95],
    ["a key that it cannot have", params("skcipher", "ecb(aes)", 17), 0, -22],
    ["no key", params("skcipher", "ecb(aes)", 0), 0, -22],
  ])("%s", async (_, values, ivSize, status) => {
    const { maps, program } = await load("cipher", { ciphers });
    const plain = Array.from({ length: 32 }, (_value, at) => at * 3);
    const bss = maps[".bss"]!;
    const before = bss.get(0) as Record<string, unknown>;
    bss.set(0, { ...before, params: values, plain, iv: plain.slice(0, 16), iv_size: ivSize });
    expect(program.run({}).returnValue | 0).toBe(status);
    if (status !== 0) return;
    const after = bss.get(0) as { secret: number[]; again: number[] };
    const key = Uint8Array.from({ length: ivSize === 0 ? 16 : 32 }, (_value, at) => at);
    const cipher = ivSize === 0 ? ciphers["ecb(aes)"] : ciphers["cbc(aes)"];
    expect([...after.again]).toEqual(plain);
    expect([...after.secret]).toEqual([
      ...cipher.encrypt(key, Uint8Array.from(plain), Uint8Array.from(plain.slice(0, 16)))!,
    ]);
  });

  test("attributes of files", async () => {
    const { program, machine } = await load("attributes");
    const file = machine.memory.lend(64, "file", "object");
    machine.world.xattrs.set(file, new Map([["user.name", Uint8Array.from(Buffer.from("abc"))]]));
    const other = machine.memory.lend(64, "file", "object");
    const argument = (address: number) => new Uint8Array(BigUint64Array.of(BigInt(address)).buffer);
    expect(program.run({ argument: argument(file) }).returnValue).toBe(0);
    expect(() => program.run({ argument: argument(other) })).toThrow(
      /kernel function bpf_get_file_xattr: nothing is known of the attributes .* machine.registerKfunc\("bpf_get_file_xattr"/,
    );
  });

  test("what programs print to streams", async () => {
    const { machine, program } = await load("streams");
    expect(program.run({ packet }).returnValue).toBe(0);
    expect(machine.world.takeStream("stdout")).toBe("42 hello, dynptr\n");
    expect(machine.world.takeStream("stderr")).toBe("oh\n");
    expect(machine.world.takeStream("stderr")).toBe("");
  });
});

describe.skipIf(noKernel !== undefined)(withKernel("the kernel confirms"), () => {
  test("reads", async () => {
    using machine = await KernelMachine.create();
    const { programs } = machine.load(spec, { programs: ["reads"] });
    expect(programs["reads"]?.run({ packet }).returnValue).toBe(0);
  });
});
