import { execFileSync } from "node:child_process";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { assemble, disassemble } from "../../src/asm/index.ts";
import { INSTRUCTIONS, encodeInstructions } from "../../src/isa/index.ts";
import { ROOT, hasTool, needs } from "../helpers.ts";
import { arbitraryOf } from "./arbitrary.ts";
import {
  codeSections,
  hasLlvm,
  llvmAssemble,
  objdump,
  readHeaders,
  readRelocations,
  readSymbols,
} from "./oracle.ts";

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex").replaceAll(/.{16}/g, "$&\n");

/** Bytes of .text as llvm-mc makes them. */
function llvmText(text: string, options: { littleEndian?: boolean } = {}): string {
  return hex(codeSections(llvmAssemble(text, options))[0]?.bytes ?? new Uint8Array());
}

function ourText(text: string, options: { littleEndian?: boolean } = {}): string {
  return hex(encodeInstructions(assemble(text, options).instructions, options));
}

/** Rows of which LLVM 19 has no text of its own, or none that says all. */
const UNKNOWN_TO_LLVM = /^(load_acquire|store_release|call_local|call_kfunc|lddw_(?!imm))/;

describe.skipIf(!hasLlvm)(
  needs("what llvm-mc takes we take, with the same bytes", hasLlvm, "llvm-mc-19"),
  () => {
    const rows = INSTRUCTIONS.filter(({ name }) => !UNKNOWN_TO_LLVM.test(name));

    it.each(["generic", "v4", undefined] as const)("every row, as --mcpu=%s prints it", (cpu) => {
      for (const littleEndian of [true, false]) {
        const slots = rows.flatMap((row) => fc.sample(arbitraryOf(row), { seed: 21, numRuns: 30 }).flat());
        const options = { littleEndian };
        const lines = disassemble(slots, {
          ...options,
          slots: false,
          ...(cpu === undefined ? {} : { cpu, zeroes: true }),
        })
          .split("\n")
          // gotol takes 16 bits in LLVM 19; and r6 + 0x4 is our own.
          .filter((line) => !/^(gotol|may_goto|<unknown>|r0 = .*skb\[r\d+ )/.test(line));
        expect(lines.length).toBeGreaterThan(4500);
        const text = lines.join("\n");
        expect(ourText(text, options)).toBe(llvmText(text, options));
      }
    });

    it("spellings", () => {
      const text = `
R0 = 1
IF r1 == 0 goto +5
EXIT
Call 1
r0=1
r0 = 5 + 3 * 2 - (4 | 1) << 1
r0 = - 5
r0 = 'a'
r0 = '\\n'
r0 = 0b101
r0 = 017
r0 = 0xffffffff
r0 = 4294967295
r0 += 0xffffffff
r0 = 18446744073709551615 ll
r0 = -9223372036854775808 ll
r0 = 0x8000000000000000 ll
r0 = 5ll
r0 = 5UL
r1 s>>=3
r1 s >>= 3
r1 s > > = 3
r1 > >= 3
r1 + = 3
r1=-r1
r1 = - r1
r1=bswap32 r1
r1 = ( s8 ) r2
w1 = (s16) w2
r1 = *(u64 *)(r2 + 8 + 4)
r1 = *(u64*)(r2+8)
r1 = *(u64 *)(r2 - 8 + 4)
r1 = *(u64 *)(r2 + 0x7fff)
r1 = *(u64 *)(r2 - 0x8000)
r1 = * ( u64 * ) ( r2 + 8 )
w1 = *(u32 *)(r2 + 8)
r1 = *(u32 *)(r2 + 8)
w1 = *(u8 *)(r2 + 8)
*(u8 *)(r1 + 0) = r2
*(u8 *)(r1 + 0) = w2
*(u8 *)(r1 + 0) = 256
*(u64*)(r1+0)=-1
lock *(u32 *)(r1 + 0) += r2
lock *(u32 *)(r1 + 0) += w2
r0 = cmpxchg_64(r1 - 8, r0, r2)
w0 = cmpxchg32_32(r1 - 8, w0, w2)
if r1 == 0 goto 5
if r1 == 0 goto - 5
if r1 == -1 goto +5
if r1 == 0xffffffff goto +5
if r1==r2 goto +5
if r1 s >= r2 goto +5
goto 5
gotol 0x7fff
may_goto 3
call +5
call -5
call 0xffffffff
r0 = *(u8 *) skb [ r6 ]
r0 = *(u8 *)skb[-5]
r1 = addr_space_cast(r2, 0xffff, 0x1234)
r1 = addr_space_cast(r2, -1, 0)
ld_pseudo r1, 1, 5
ld_pseudo r1, 2, -1
ld_pseudo r1, 15, 0xffffffff
ld_pseudo r1 1 5
LD_PSEUDO r1, 1, 5
foo: r0 = 1
"foo two": r0 = 1
bar: baz: r0 = 1
r0 = 1; r1 = 2;; r2 = 3
r0 = 1 # r0 = 2
r0 = 1 // r0 = 2
r0 = 1 /* r0 = 2 */
/* r0 = 2
r0 = 3 */ r0 = 4
; r0 = 1
1: goto 1b
goto 1f
1: if r1 == r2 goto 1b
goto foo
if w1 != 5 goto "foo two"
call foo
.quad 0x95
.byte 0x95, 0, 0, 0
.zero 4
.long 0x95, 0
.p2align 3
.set six, 6
.skip 8, 1
.fill 2, 4, 0x95
.short 0x95
.2byte 0,0,0
`;
      expect(ourText(text)).toBe(llvmText(text));
    });

    it.each([
      "r0 = 5 LL",
      "r1 += w2",
      "w1 = r2",
      "r1 = -r2",
      "r1 = be16 r2",
      "w1 = be16 w1",
      "w1 = (s32)w2",
      "r1 = (u8)r2",
      "r1 = *(u64 *)(r2 + 0x8000)",
      "r1 = *(u64 *)(r2 - 0x8001)",
      "r1 = *(s64 *)(r2 + 8)",
      "w1 = *(u64 *)(r2 + 8)",
      "w1 = *(s8 *)(r2 + 8)",
      "*(s8 *)(r1 + 0) = r2",
      "lock *(u32 *)(r1 + 0) |= r2",
      "lock *(u64 *)(r1 + 0) |= w2",
      "lock *(u64 *)(r1 + 0) -= r2",
      "r3 = cmpxchg_64(r1 + 0, r0, r2)",
      "if r1 == 0 goto +0x8000",
      "if r1 == 0 goto 0xffff",
      "if r1 == w2 goto +5",
      "if r1 = 3 goto +5",
      "goto foo+8",
      "callx w2",
      "exit 5",
      "r1 = *(u8 *)skb[5]",
      "r0 = *(u64 *)skb[5]",
      "r0 = 0x1ffffffffffffffff ll",
      "r0 = 1 2",
      "r0 s*= r1",
      "w0 = 5 ll",
      "r12 = 1",
    ])("refused by both: %s", (line) => {
      expect(() => assemble(line)).toThrow(/^line 1, column \d+: /);
      expect(() => llvmAssemble(line)).toThrow();
    });
  },
);

/** Contents, relocations and symbols of an object, in a form that can be compared. */
function contentsOf(object: Uint8Array) {
  const { headers, littleEndian } = readHeaders(object);
  const symbols = readSymbols(headers, littleEndian);
  const sections = headers.flatMap(({ name, type, flags, size, bytes }, index) => {
    if (size === 0 || (type !== 1 && type !== 8) || name.startsWith(".debug")) return [];
    const relocations = readRelocations(headers, index, symbols, littleEndian)
      .map(({ offset, type: kind, value }) => `${offset} ${kind} ${value}`)
      .sort();
    return [[name, { flags, size, bytes: hex(bytes), relocations }] as const];
  });
  const named = symbols
    .filter(({ type, name }) => type < 3 && name !== "")
    .map(({ name, type, binding, section, value, size }) =>
      [name, type, binding, headers[section]?.name, value, size].join(" "),
    );
  return { sections: new Map(sections), symbols: named.sort() };
}

const TYPES = { notype: 0, object: 1, function: 2 } as const;
const BINDINGS = { local: 0, global: 1, weak: 2 } as const;

function ourContents(text: string, littleEndian: boolean): ReturnType<typeof contentsOf> {
  const { sections, symbols } = assemble(text, { littleEndian, relocatable: true });
  return {
    sections: new Map(
      sections.map(({ name, flags, size, bytes, relocations }) => [
        name,
        {
          flags,
          size,
          bytes: hex(bytes),
          relocations: relocations
            .map(
              ({ offset, type, target }) =>
                `${offset} ${type} ${"symbol" in target ? target.symbol : target.section}`,
            )
            .sort(),
        },
      ]),
    ),
    symbols: symbols
      .map(({ name, type, binding, section, value, size }) =>
        [name, TYPES[type], BINDINGS[binding], section ?? "", value, size].join(" "),
      )
      .sort(),
  };
}

const hasClang = hasLlvm && hasTool("clang-19");

describe.skipIf(!hasClang)(needs("what clang -S writes", hasClang, "clang-19"), () => {
  const sources = ["test/fixtures", "examples"].flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: "utf8" })
      .filter((name) => name.endsWith(".bpf.c"))
      .map((name) => join(folder, name)),
  );
  const arch = { x64: "x86_64", arm64: "aarch64" }[process.arch as "x64" | "arm64"] ?? process.arch;

  const variants = [["-mcpu=v1"], ["-mcpu=v4", "-g"], ["-mcpu=v3", "-target", "bpfeb", "-O0", "-g"]];
  // A compiler run takes its time, so that the variants take turns.
  const cases = sources.map(
    (source, index) => [source, variants[index % variants.length] as string[]] as const,
  );

  it.each(cases)("%s: sections, relocations and symbols are clang -c's", (source, flags) => {
    const include = ["-I", `/usr/include/${arch}-linux-gnu`, "-I", join(ROOT, "test/fixtures")];
    const clang = (args: string[], input: string): Buffer =>
      execFileSync("clang-19", ["-target", "bpf", ...flags, ...args, "-o", "-"], {
        input,
        stdio: ["pipe", "pipe", "ignore"],
        maxBuffer: 1 << 28,
      });
    const compile = (output: string): Buffer => clang(["-O2", ...include, output, join(ROOT, source)], "");
    let text: string;
    try {
      text = compile("-S").toString();
    } catch {
      // A program that this processor cannot have; clang's complaint is not our subject.
      return;
    }
    // Two runs of the compiler may order forward declarations differently; but its assembler cannot read all that it writes (`r1 = w1`).
    let expected: Buffer;
    try {
      expected = clang(["-c", "-x", "assembler", "-"], text);
    } catch {
      expected = compile("-c");
    }
    // Only in text have the blocks names.
    const named = ({ symbols, sections }: ReturnType<typeof contentsOf>) => ({
      sections,
      symbols: symbols.filter((symbol) => !symbol.startsWith("LBB")),
    });
    expect(named(ourContents(text, !flags.includes("bpfeb")))).toEqual(named(contentsOf(expected)));
  });
});

describe.skipIf(!hasLlvm)(
  needs("objdump's text assembles to what it was made of", hasLlvm, "llvm-mc-19"),
  () => {
    it("with symbols, bytes, relocations and jumps", () => {
      const text = `\t.section xdp,"ax",@progbits
\t.globl main
\t.type main,@function
main:
\tr6 = r1
\tr1 = flows ll
\tcall helper
\tif w0 s> 5 goto out
\tr0 = 2
\t*(u32 *)(r10 - 4) = w0
out:
\texit
`;
      const object = llvmAssemble(text);
      for (const args of [["-r"], ["-r", "--no-show-raw-insn"], ["-r", "--mcpu=v4"]]) {
        const listing = `\nx.o:\tfile format elf64-bpf\n${objdump(object, args)}`;
        const { sections, symbols } = assemble(listing, { relocatable: true });
        expect(hex(sections[0]?.bytes ?? new Uint8Array())).toBe(
          hex(codeSections(object)[0]?.bytes ?? new Uint8Array()),
        );
        expect(sections[0]?.relocations).toEqual([
          { offset: 8, type: "R_BPF_64_64", target: { symbol: "flows" } },
          { offset: 24, type: "R_BPF_64_32", target: { symbol: "helper" } },
        ]);
        expect(symbols.map(({ name, value }) => `${name} ${value}`)).toEqual([
          "main 0",
          "out 56",
          "flows 0",
          "helper 0",
        ]);
      }
    });
  },
);
