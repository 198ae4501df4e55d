/**
 * Formats of bpf_trace_printk, bpf_trace_vprintk and bpf_snprintf against the kernel, in both engines: which are right, how long they
 * become, and what they say. `SKEP_FORMATS` and `SKEP_SEED` make it longer and other.
 */
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { KernelMachine } from "../../src/kernel/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { parseObject } from "../../src/object/index.ts";
import { ERRNO, parseFormat } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { Random } from "../random/prng.ts";
import { type FormatValue, latin1, randomFormat, randomValues } from "./formats.ts";
import { expectNothingLeft, noKernel, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_FORMATS"] ?? 1500);
const SEED = Number(process.env["SKEP_SEED"] ?? 17);
const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/formats.bpf.o")), { name: "formats.bpf.o" });
const PACKET = new Uint8Array(64);

/** Offsets in struct print. */
const PRINT = { format: 0, formatSize: 128, dataSize: 132, values: 136, inText: 232, text: 328, result: 392, bytes: 400 };
const VALUES = 12;

interface Print {
  readonly format: string;
  readonly formatSize: number;
  readonly dataSize: number;
  readonly values: readonly FormatValue[];
  readonly text: Uint8Array;
}

function randomPrint(random: Random): Print {
  const format = randomFormat(random).slice(0, 126);
  const text = random.bytes(64).map((byte) => (byte < 40 ? 0 : byte));
  return {
    format,
    // With the NUL, without it, and with what lies behind it.
    formatSize: random.chance(0.9) ? format.length + 1 : random.between(1, 127),
    dataSize: random.chance(0.8) ? 96 : random.pick([0, 8, 16, 24, 40, 88, 12, 95, 4]),
    values: randomValues(random, format, VALUES),
    text,
  };
}

const show = ({ format, formatSize, dataSize, values }: Print): string =>
  `${JSON.stringify(format)} (${formatSize} of ${format.length + 1}) of ${dataSize} bytes ${values
    .map(({ value, inText }) => (inText ? `text+${value}` : `0x${value.toString(16)}`))
    .join(" ")}`;

function bytesOf({ format, formatSize, dataSize, values, text }: Print): Uint8Array {
  const bytes = new Uint8Array(PRINT.bytes);
  const view = new DataView(bytes.buffer);
  bytes.set(latin1(format), PRINT.format);
  view.setUint32(PRINT.formatSize, formatSize, true);
  view.setUint32(PRINT.dataSize, dataSize, true);
  values.forEach(({ value, inText }, at) => {
    view.setBigUint64(PRINT.values + 8 * at, value, true);
    view.setBigUint64(PRINT.inText + 8 * at, inText ? 1n : 0n, true);
  });
  bytes.set(text, PRINT.text);
  return bytes;
}

interface Store {
  update(key: Uint8Array, value: Uint8Array): void;
  lookup(key: Uint8Array): Uint8Array | undefined;
}

const KEY = new Uint8Array(4);

function answer(bss: Store, print: Uint8Array, run: () => number): string {
  bss.update(KEY, print);
  const status = run();
  const after = bss.lookup(KEY)!;
  return `${status} ${new DataView(after.buffer, after.byteOffset).getBigInt64(PRINT.result, true)}`;
}

describe.skipIf(noKernel !== undefined)(withKernel("formats"), () => {
  afterAll(expectNothingLeft);

  it.each(["vector", "registers", "nothing"])("results of '%s'", { timeout: 300_000 }, async (name) => {
    using kernel = await KernelMachine.create();
    const theirs = kernel.load(spec, { programs: [name] });
    const ours = await Promise.all(
      ENGINES.map(async (engine) => (await Machine.create({ engine })).load(spec, { programs: [name] })),
    );
    const random = new Random(SEED);
    const found: string[] = [];
    let wrong = 0;
    for (let at = 0; at < COUNT && found.length < 6; at++) {
      const print = randomPrint(random);
      const bytes = bytesOf(print);
      const wanted = answer(theirs.maps[".bss"]!.raw, bytes, () =>
        theirs.programs[name]!.raw.testRun({ data: PACKET }).returnValue,
      );
      const refused = wanted === `0 ${-ERRNO.EINVAL}`;
      if (refused) wrong++;
      for (const { programs, maps } of ours) {
        const got = answer(maps[".bss"]!, bytes, () => programs[name]!.run({ packet: PACKET }).returnValue);
        if (got !== wanted) found.push(`${at}: ${show(print)}: ${got}, the kernel ${wanted}`);
      }
      // What the verifier says of a constant format is what the call says of any.
      if (name === "vector" && print.formatSize === print.format.length + 1 && print.dataSize % 8 === 0) {
        const { valid } = parseFormat(print.format, print.dataSize / 8);
        if (valid === refused) found.push(`${at}: ${show(print)}: ${valid ? "valid" : "invalid"}, the kernel ${wanted}`);
      }
    }
    expect(found).toEqual([]);
    expect(wrong).toBeGreaterThan(COUNT / 20);
    expect(wrong).toBeLessThan(COUNT * 0.95);
  });
});
