import fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  type AssembleOptions,
  type DisassembleOptions,
  assemble,
  checkAssembly,
  disassemble,
} from "../../src/asm/index.ts";
import {
  INSTRUCTIONS,
  checkInstructions,
  decodeInstructions,
  encodeInstructions,
} from "../../src/isa/index.ts";
import { arbitraryOf, arbitraryProgram, arbitrarySlot } from "./arbitrary.ts";

const DIALECTS = ["llvm", "rfc"] as const;

/** Texts that must all assemble back: with and without numbers, bytes, headings and annotations. */
const FORMS: readonly [string, DisassembleOptions][] = [
  ["bare", {}],
  ["numbered", { slots: true }],
  ["unnumbered", { slots: false }],
  ["with bytes", { slots: true, raw: true }],
  [
    "with symbols and sources",
    {
      slots: true,
      section: "xdp",
      symbols: [{ name: "main", offset: 0 }],
      annotate: (slot) => ({ file: "a.c", line: slot >> 1, text: "  r0 = 1; // r1 = 2", function: "main" }),
    },
  ],
  [
    "with labels and sources",
    {
      slots: false,
      section: "tc/ingress",
      symbols: [{ name: "odd name+", offset: 0 }],
      annotate: (slot) => ({ file: "a.c", line: slot >> 1, text: "return x;" }),
    },
  ],
];

describe.each(DIALECTS)("assemble(disassemble(p)) = p in %s", (dialect) => {
  it.each(INSTRUCTIONS.map((row) => [row.name, row] as const))("%s", (_, row) => {
    for (const slots of fc.sample(arbitraryOf(row), { seed: 7, numRuns: 60 })) {
      expect(checkInstructions(slots)).toBeUndefined();
      const text = disassemble(slots, { dialect });
      expect(text, "has a text of its own").not.toContain(".quad");
      expect(assemble(text, { dialect }).instructions, text).toEqual(slots);
    }
  });

  it.each(FORMS)("programs, %s", (_, form) => {
    fc.assert(
      fc.property(arbitraryProgram(), fc.boolean(), (slots, littleEndian) => {
        const options = { dialect, littleEndian };
        const text = disassemble(slots, { ...form, ...options });
        const { instructions } = assemble(text, options);
        expect(instructions).toEqual(slots);
        expect(encodeInstructions(instructions, options)).toEqual(encodeInstructions(slots, options));
      }),
      { seed: 11, numRuns: 300 },
    );
  });

  it("slots of any bits, valid or not", () => {
    fc.assert(
      fc.property(fc.array(arbitrarySlot, { maxLength: 20 }), fc.boolean(), (slots, littleEndian) => {
        const options = { dialect, littleEndian };
        const { instructions } = assemble(disassemble(slots, options), options);
        expect(encodeInstructions(instructions, options)).toEqual(encodeInstructions(slots, options));
      }),
      { seed: 12, numRuns: 1000 },
    );
  });

  it("bytes of any length", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 64 }), (bytes) => {
        const slots = decodeInstructions(bytes.subarray(0, bytes.length - (bytes.length % 8)));
        expect(assemble(disassemble(slots, { dialect }), { dialect }).instructions).toEqual(slots);
      }),
      { seed: 13, numRuns: 500 },
    );
  });
});

describe("any text gives a program or a BpfError", () => {
  /** Mutates texts of real programs: characters changed, lost, doubled, lines moved. */
  function mutate(text: string, edits: readonly [number, number, number][]): string {
    let result = text;
    for (const [kind, place, what] of edits) {
      const at = place % (result.length + 1);
      const alphabet = "r0w19 =+-*/<>!&|^%s()[]{},;:.#\"'\\\t\n\u0000é\u{1f41d}xllgotoifpskb@$~?";
      const character = [...alphabet][what % [...alphabet].length] as string;
      if (kind === 0) result = result.slice(0, at) + character + result.slice(at + 1);
      else if (kind === 1) result = result.slice(0, at) + character + result.slice(at);
      else if (kind === 2) result = result.slice(0, at) + result.slice(at + 1 + (what % 5));
      else result = result.slice(0, at) + result.slice(at, at + (what % 40)).repeat(2) + result.slice(at);
    }
    return result;
  }
  const edit = fc.tuple(fc.nat({ max: 3 }), fc.nat({ max: 100_000 }), fc.nat({ max: 1000 }));
  const source = `\t.section xdp,"ax",@progbits
\t.globl main
\t.type main,@function
main:
\tr1 = m ll
\tcall helper
1:\tif w1 s< 5 goto 1b
\t.size main, .-main
\t.section .maps,"aw",@progbits
m:\t.zero 32
\t.quad main+8
\t.long 1,-2,0x10
\t.asciz "a\\"b\\n\\101"
\t.p2align 3, 0, 4
`;
  for (const dialect of DIALECTS) {
    it(`10,000 mutated texts in ${dialect}`, () => {
      const options: AssembleOptions = { dialect, relocatable: true };
      fc.assert(
        fc.property(
          arbitraryProgram({ maxLength: 6 }),
          fc.array(edit, { minLength: 1, maxLength: 6 }),
          fc.nat({ max: 3 }),
          (slots, edits, form) => {
            const text = disassemble(slots, { dialect, ...FORMS[form + 1]?.[1] });
            const mutated = mutate(form === 0 ? source + text : text, edits);
            try {
              assemble(mutated, options);
            } catch (error) {
              if ((error as Error).name !== "BpfError" || (error as { code?: string }).code !== "asm")
                throw error;
              expect((error as Error).message).toMatch(
                /^(line \d+, column \d+: |section |relocation |the text )/,
              );
            }
          },
        ),
        { seed: 14, numRuns: 10_000 },
      );
    });

    it(`noise in ${dialect}`, () => {
      fc.assert(
        fc.property(fc.string({ unit: "binary", maxLength: 200 }), (text) => {
          try {
            assemble(text, { dialect });
          } catch (error) {
            if ((error as { code?: string }).code !== "asm") throw error;
          }
        }),
        { seed: 15, numRuns: 3000 },
      );
    });
  }

  it("deep nesting, long lines and huge sizes are bounded", () => {
    const bad = [
      `r0 = ${"-".repeat(10_000)}5`,
      `r0 = 1 + ${"(".repeat(100_000)}`,
      `.quad ${"(".repeat(100_000)}1${")".repeat(100_000)}`,
      `# ${"x".repeat(2 << 20)}`,
      ".zero 0x7fffffffffffffff",
      ".fill 0xffffffff, 8, 1",
      ".p2align 63",
      `r0 = 0x${"f".repeat(5000)}`,
      `r0 = ${"9".repeat(5000)}`,
      ".data\n.zero 50000000\n.section a\n.zero 50000000",
    ];
    for (const text of bad)
      expect(() => assemble(text), text.slice(0, 40)).toThrow(/^line \d+, column \d+: /);
  });

  // Far above what an idle machine takes (measured: 0.1 s each), far below what a quadratic algorithm would.
  it("time grows with the text", { timeout: 20_000 }, () => {
    const numbers = Array.from({ length: 50_000 }, (_, index) => index);
    const slots = fc.sample(arbitraryProgram({ maxLength: 2000 }), { seed: 16, numRuns: 60 }).flat();
    for (const dialect of DIALECTS) assemble(disassemble(slots, { dialect, slots: true }), { dialect });
    const texts = [
      numbers.map((index) => `l${index}: if r1 == ${index} goto l${index}`),
      numbers.map((index) => `goto missing${index}`),
      numbers.map((index) => `.section s${index}\n.byte 1`),
      numbers.map((index) => `.long ${index}, l${index}\nl${index}:`),
      numbers.map(() => "1: .byte 1, 2, 3, 4, 5, 6, 7, 8"),
    ];
    for (const lines of texts) checkAssembly(lines.join("\n"), { relocatable: true });
  });
});
