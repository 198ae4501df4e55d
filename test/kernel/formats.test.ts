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
import type { Instruction } from "../../src/isa/index.ts";
import { ERRNO, helperId, parseFormat } from "../../src/uapi/index.ts";
import { ROOT } from "../helpers.ts";
import { type Observation, inEngine, inKernel } from "../random/differential.ts";
import type { GeneratedMap, GeneratedProgram, GeneratedReference } from "../random/model.ts";
import { Random } from "../random/prng.ts";
import { type FormatValue, latin1, randomFormat, randomValues } from "./formats.ts";
import { expectNothingLeft, insn, noKernel, withKernel } from "./setup.ts";

const COUNT = Number(process.env["SKEP_FORMATS"] ?? 700);
const SEED = Number(process.env["SKEP_SEED"] ?? 17);
const spec = parseObject(readFileSync(join(ROOT, "test/fixtures/formats.bpf.o")), { name: "formats.bpf.o" });
const PACKET = new Uint8Array(64);

/** Offsets in struct print. */
const PRINT = {
  format: 0,
  formatSize: 128,
  dataSize: 132,
  values: 136,
  inText: 232,
  text: 328,
  result: 392,
  bytes: 400,
};
const VALUES = 12;
/** How many texts a program makes. */
const TOGETHER = 50;
/** BPF_F_RDONLY_PROG. */
const READ_ONLY = 0x80;

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

/** A call of bpf_snprintf: a constant format that the verifier takes, and how much room the text has. */
interface Text {
  readonly format: string;
  readonly values: readonly FormatValue[];
  readonly size: number;
}

const SLOT = 768;
const FORMAT_BYTES = 128;

/** Formats that are right; addresses only where the kernel does not hide them. */
function randomText(random: Random): Text {
  for (;;) {
    const format = randomFormat(random, 0.02).slice(0, FORMAT_BYTES - 1);
    const { parts, valid } = parseFormat(format, VALUES);
    const specifiers = parts.filter((part) => typeof part !== "string");
    if (!valid || /%[0+\- ]*[0-9]*p(?![a-zBISx])/.test(format)) continue;
    const count = Math.min(VALUES, specifiers.length + random.below(2));
    // A text that has no room stays among the arguments: what comes behind it then reads bytes that nobody has set.
    const stays = specifiers
      .slice(0, -1)
      .some(({ conversion }) => /^([ku]s|[iI][46]|caller)$/.test(conversion));
    if (stays && /[0-9]{3}/.test(format)) continue;
    const size = random.chance(0.7) && !stays ? random.between(0, 100) : SLOT - 8;
    return { format, values: randomValues(random, format, count), size };
  }
}

/** A program that makes all of the texts: result and text of each in a slot of its own. */
function textProgram(texts: readonly Text[], random: Random): GeneratedProgram {
  const instructions: Instruction[] = [];
  const references = new Map<number, GeneratedReference>();
  const place = (register: number, map: string, offset: number): void => {
    references.set(instructions.length, { kind: "map_value", map, offset });
    instructions.push(insn(0x18, register, 2), insn(0, 0, 0, 0, offset));
  };
  const formats = new Uint8Array(texts.length * FORMAT_BYTES);
  const args = new Uint8Array(texts.length * 8 * VALUES);
  const view = new DataView(args.buffer);
  texts.forEach(({ format, values, size }, at) => {
    const own = at * 8 * VALUES;
    formats.set(latin1(format), at * FORMAT_BYTES);
    values.forEach(({ value, inText }, index) => {
      view.setBigUint64(own + 8 * index, value, true);
      if (!inText) return;
      place(1, "text", Number(value));
      place(2, "args", own + 8 * index);
      instructions.push(insn(0x7b, 2, 1));
    });
    place(1, "out", at * SLOT + 8);
    instructions.push(insn(0xb7, 2, 0, 0, size));
    place(3, "formats", at * FORMAT_BYTES);
    place(4, "args", own);
    instructions.push(insn(0xb7, 5, 0, 0, 8 * values.length), insn(0x85, 0, 0, 0, helperId("snprintf") ?? 0));
    place(1, "out", at * SLOT);
    instructions.push(insn(0x7b, 1, 0));
  });
  instructions.push(insn(0xb7), insn(0x95));
  const array = (name: string, value: Uint8Array, flags = 0, frozen = false): GeneratedMap => ({
    name,
    type: "array",
    keySize: 4,
    valueSize: value.length,
    maxEntries: 1,
    flags,
    entries: [[KEY, value]],
    frozen,
  });
  return {
    seed: SEED,
    name: "texts",
    type: "sched_cls",
    instructions,
    references,
    functions: [{ name: "texts", start: 0, end: instructions.length }],
    maps: [
      array("formats", formats, READ_ONLY, true),
      array("args", args),
      // An address of 16 bytes may begin at its end.
      array(
        "text",
        random.bytes(80).map((byte, at) => (byte < 40 || at >= 63 ? 0 : byte)),
      ),
      array("out", new Uint8Array(texts.length * SLOT).fill(0xee)),
    ],
    packet: PACKET,
  };
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
      const wanted = answer(
        theirs.maps[".bss"]!.raw,
        bytes,
        () => theirs.programs[name]!.raw.testRun({ data: PACKET }).returnValue,
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
        if (valid === refused)
          found.push(`${at}: ${show(print)}: ${valid ? "valid" : "invalid"}, the kernel ${wanted}`);
      }
    }
    expect(found).toEqual([]);
    expect(wrong).toBeGreaterThan(COUNT / 20);
    expect(wrong).toBeLessThan(COUNT * 0.95);
  });

  it("what bpf_snprintf writes", { timeout: 300_000 }, async () => {
    const machine = await Machine.create({});
    const random = new Random(SEED);
    for (let done = 0; done < COUNT; done += TOGETHER) {
      const texts = Array.from({ length: TOGETHER }, () => randomText(random));
      const program = textProgram(texts, random);
      const slots = ({ error, maps }: Observation): string[] => {
        expect(error).toBeUndefined();
        const [out] = Object.values(maps?.["out"] ?? {});
        return texts.map((text, at) => {
          const bytes = Buffer.from((out ?? "").slice(2 * SLOT * at, 2 * SLOT * (at + 1)), "hex");
          return `${JSON.stringify(text.format)} ${text.size}: ${bytes.readBigInt64LE()} ${JSON.stringify(bytes.toString("latin1", 8).replace(/\u00ee+$/, ""))}`;
        });
      };
      const theirs = await inKernel(program);
      for (const [engine, unverified] of [
        ["jit", "trusted"],
        ["interpreter", "sandbox"],
      ] as const)
        expect(slots(await inEngine(machine, engine, program, 0, unverified))).toEqual(slots(theirs ?? {}));
    }
  });
});
