import { describe, expect, it } from "vitest";
import { assemble } from "../../src/asm/index.ts";
import { ENGINES, Machine } from "../../src/machine/index.ts";
import { fillFormat } from "../../src/machine/helpers/printf.ts";

const NO_MEMORY = {
  string: (address: bigint) => new TextEncoder().encode(`<${address}>`),
  bytes: (_address: bigint, length: number) => Uint8Array.from({ length }, (_, index) => 10 + index),
};
const format = (text: string, ...args: bigint[]): string | number => {
  const filled = fillFormat(text, 1024, { arguments: args, ...NO_MEMORY });
  return typeof filled === "number" ? filled : String.fromCharCode(...filled.bytes);
};

/** By bpf_bprintf_prepare of kernel/bpf/helpers.c and Documentation/core-api/printk-formats.rst. */
describe("the format language of bpf_trace_printk", () => {
  it.each([
    ["plain\n", [], "plain\n"],
    ["100%%", [], "100%"],
    ["%d %u %x %X", [-1n, 0xffffffffn, 255n], -22],
    ["bytes of UTF-8, \u00c3\u00a4", [], "bytes of UTF-8, \u00c3\u00a4"],
    ["%d %u %x", [-1n, 0xffffffffffn, 0x1ffn], "-1 4294967295 1ff"],
    ["%ld %lu %lx", [-1n, 0xffffffffffffffffn, 255n], "-1 18446744073709551615 ff"],
    ["%lld|%llX", [5n, 0xabcn], "5|ABC"],
    ["[%5d|%-5d|%05d]", [42n, 42n, -42n], "[   42|42   |-0042]"],
    ["%+d % d", [1n, 2n], "+1  2"],
    ["%s!", [7n], "<7>!"],
    ["%6s|", [7n], "   <7>|"],
    ["%pks %pus", [1n, 2n], "<1> <2>"],
    ["%c%c", [72n, 105n], "Hi"],
    ["%p", [0x1234n], "0000000000001234"],
    ["%px,", [0x1234n], "0000000000001234,"],
    ["%pI4", [1n], "10.11.12.13"],
    ["%pi4", [1n], "010.011.012.013"],
    ["%pI6", [1n], "0a0b:0c0d:0e0f:1011:1213:1415:1617:1819"],
    ["%pi6", [1n], "0a0b0c0d0e0f10111213141516171819"],
  ] as const)("%j", (text, args, expected) => {
    expect(format(text, ...args)).toBe(expected);
  });

  it.each([
    ["an unknown conversion", "%f", [1n]],
    ["a conversion without an argument", "%d", []],
    ["nothing after the percent sign", "%", [1n]],
    ["three times long", "%llld", [1n]],
    ["a pointer of an unknown kind", "%pQ", [1n]],
    ["letters right behind a string", "%sx", [1n]],
    ["a control character", "\u0001", []],
    ["what is not ASCII behind a percent sign", "%ä", [1n]],
  ] as const)("%s is -EINVAL", (_what, text, args) => {
    expect(format(text, ...args)).toBe(-22);
  });
});

describe.each(ENGINES)("bpf_trace_printk in the %s", (engine) => {
  const run = async (words: string[], size: number): Promise<[bigint, string[]]> => {
    const lines: string[] = [];
    const machine = await Machine.create({ engine, onTrace: (line) => lines.push(line) });
    const stores = words
      .map((word, index) => `r1 = ${word} ll\n*(u64 *)(r10 - ${8 * (words.length - index)}) = r1`)
      .join("\n");
    const text = `${stores}\nr1 = r10\nr1 += -${8 * words.length}\nr2 = ${size}\nr3 = 42\nr4 = 0\nr5 = 0\ncall 6\nexit`;
    return [machine.loadInstructions(assemble(text).instructions).call(), lines];
  };
  // "pid %d\n\0" as one little-endian word.
  const PID = "0x000a642520646970";

  it("prints a line and returns its length", async () => {
    expect(await run([PID], 8)).toEqual([7n, ["pid 42"]]);
  });

  it("answers -EINVAL for a format that does not end", async () => {
    expect(await run([PID], 7)).toEqual([BigInt.asUintN(64, -22n), []]);
  });
});
