import { readFileSync, readdirSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import {
  type AssembleOptions,
  type DialectName,
  assemble,
  checkAssembly,
  disassemble,
  formatInstruction,
  parseDialect,
} from "../../src/asm/index.ts";
import { BpfError } from "../../src/errors.ts";
import {
  INSTRUCTIONS,
  type Instruction,
  decodeInstructions,
  encodeInstructions,
} from "../../src/isa/index.ts";
import { CORPUS, hasCorpus, needs } from "../helpers.ts";

/** Slots as hexadecimal, little-endian. */
function hex(text: string, options: AssembleOptions = {}): string {
  const bytes = encodeInstructions(assemble(text, options).instructions);
  return Buffer.from(bytes)
    .toString("hex")
    .replaceAll(/.{16}(?=.)/g, "$& ");
}

function failure(text: string, options: AssembleOptions = {}): BpfError {
  try {
    assemble(text, options);
  } catch (error) {
    expect(error).toBeInstanceOf(BpfError);
    return error as BpfError;
  }
  throw new Error(`assembled: ${text}`);
}

describe("the mnemonic dialect", () => {
  /** What bpf_conformance's own assembler makes of these. */
  const cases: readonly [string, string][] = [
    ["mov %r1, -1", "b7010000ffffffff"],
    ["mov %r1 -1", "b7010000ffffffff"],
    ["mov32 %r0, 0xffffffff", "b4000000ffffffff"],
    ["mov %r0, 010", "b70000000a000000"],
    ["lddw %r1, 18446744073709551615", "18010000ffffffff 00000000ffffffff"],
    ["lddw %r1, -1", "18010000ffffffff 00000000ffffffff"],
    ["ldxw %r0, [%r1+4]", "6110040000000000"],
    ["ldxw %r0, [%r1]", "6110000000000000"],
    ["ldxw %r0, [%r1+0xfff8]", "6110f8ff00000000"],
    ["ldxsh %r0, [%r10-2]", "89a0feff00000000"],
    ["stxdw [%r10-8], %r1", "7b1af8ff00000000"],
    ["stw [%r10-8], 0xaa", "620af8ffaa000000"],
    ["be16 %r3", "dc03000010000000"],
    ["swap16 %r3", "d703000010000000"],
    ["bswap64 %r3", "d703000040000000"],
    ["movsx1632 %r0, %r1", "bc10100000000000"],
    ["sdiv32 %r0, %r1", "3c10010000000000"],
    ["neg %r5", "8705000000000000"],
    ["lock add [%r10-8], %r1", "db1af8ff00000000"],
    ["lock fetch add32 [%r10-8], %r1", "c31af8ff01000000"],
    ["lock fetch xchg [%r10-8], %r1", "db1af8ffe1000000"],
    ["lock xchg [%r10-8], %r1", "db1af8ffe1000000"],
    ["lock cmpxchg32 [%r10-8] %r1", "c31af8fff1000000"],
    ["jeq %r1, 5, +2", "1501020005000000"],
    ["jeq %r1 5 +2", "1501020005000000"],
    ["jslt32 %r1, %r2, -3", "ce21fdff00000000"],
    ["ja +2", "0500020000000000"],
    ["ja32 -2", "06000000feffffff"],
    ["call 1", "8500000001000000"],
    ["call helper 1", "8500000001000000"],
    ["call local +3", "8510000003000000"],
    ["call runtime 7", "8520000007000000"],
    ["call %r2", "8d02000000000000"],
    ["call helper %r2", "8d02000000000000"],
    ["exit", "9500000000000000"],
  ];
  it.each(cases)("%s", (text, expected) => expect(hex(text, { dialect: "rfc" })).toBe(expected));

  /** Spellings of rbpf and others, and what only Linux has. */
  const ours: readonly [string, string][] = [
    ["mov64 r1, r2", "bf21000000000000"],
    ["add64 %r1,5", "0701000005000000"],
    ["ldxw %r0, [ %r1 + 4 ]", "6110040000000000"],
    ["lock fetch_add [%r1+0], %r2", "db21000001000000"],
    ["callx %r2", "8d02000000000000"],
    ["call kfunc 7, 1", "8520010007000000"],
    ["lddw %r1, map_fd(5)", "1811000005000000 0000000000000000"],
    ["lddw %r1, map_value(5, 16)", "1821000005000000 0000000010000000"],
    ["load_acquire32 %r1, [%r2+4]", "c321040000010000"],
    ["store_release64 [%r2-8], %r1", "db12f8ff10010000"],
    ["cast_user %r1, %r2", "bf21010000000100"],
    ["ldindw %r6, 4", "4060000004000000"],
    ["may_goto +1", "e500010000000000"],
    ["MOV %r0, 1 ; comment", "b700000001000000"],
    ["mov %r0, 1 # comment\n// comment\n/* a\nb */ mov %r0, 2", "b700000001000000 b700000002000000"],
    [".quad 0x95", "9500000000000000"],
  ];
  it.each(ours)("%s", (text, expected) => expect(hex(text, { dialect: "rfc" })).toBe(expected));

  it("labels, and `exit` for the first exit", () => {
    const text = `
  mov %r0, 0
  jne %r1, 5, exit
again:
  ja32 again
  call local func
  jeq %r0, 1, 7
  exit
7:
func: exit`;
    expect(hex(text, { dialect: "rfc" })).toBe(
      "b700000000000000 5501030005000000 06000000ffffffff 8510000002000000 1500010001000000 9500000000000000 9500000000000000",
    );
    const { labels } = assemble("exit:\nmov %r0, 1\nja exit\nexit", { dialect: "rfc" });
    expect(labels.get("exit")).toBe(0);
  });
});

describe.skipIf(!hasCorpus)(needs("bpf_conformance's cases", hasCorpus, "corpus"), () => {
  const folder = join(CORPUS, "conformance");
  const names = hasCorpus ? readdirSync(folder) : [];
  /** The lines of a section of a case. */
  function part(text: string, name: string): string {
    const [, content = ""] = new RegExp(`^-- ${name}\\s*\\n([^]*?)(?=^--|$(?![^]))`, "m").exec(text) ?? [];
    return content;
  }

  it.each(names)("%s", (name) => {
    const text = readFileSync(join(folder, name), "utf8");
    const asm = part(text, "asm");
    expect(asm).not.toBe("");
    const { instructions } = assemble(asm, { dialect: "rfc" });
    const raw = part(text, "raw").replaceAll(/#.*/g, "").trim();
    if (raw !== "") {
      const slots = raw.split(/\s+/).map((token) => {
        const bytes = new DataView(new ArrayBuffer(8));
        bytes.setBigUint64(0, BigInt(token), true);
        return decodeInstructions(new Uint8Array(bytes.buffer))[0];
      });
      expect(instructions).toEqual(slots);
    }
    for (const dialect of ["rfc", "llvm"] as const) {
      expect(assemble(disassemble(instructions, { dialect }), { dialect }).instructions).toEqual(
        instructions,
      );
    }
  });
});

describe("errors say where and what", () => {
  const cases: readonly [DialectName, string, string][] = [
    ["rfc", "mov %r0, 1\n\n  mvo %r0, 1", "line 3, column 3: unknown instruction 'mvo'; did you mean 'mov'?"],
    ["rfc", "jeq %r0, 1, nowhere", "line 1, column 13: label 'nowhere' is not defined"],
    ["rfc", "done: jeq %r0, 1, doen", "line 1, column 19: label 'doen' is not defined; did you mean 'done'?"],
    ["rfc", "jeq %r0, 1, 2", "line 1, column 13: label '2' is not defined; a distance has a sign: +2"],
    [
      "rfc",
      "mov32 %r0, 2147483648",
      "line 1, column 12: 2147483648 is out of range: 32 bits, -2147483648 to 2147483647",
    ],
    [
      "rfc",
      "mov32 %r0, 0x100000000",
      "line 1, column 12: 4294967296 is out of range: 32 bits, -2147483648 to 4294967295",
    ],
    ["rfc", "ldxb %r0, [%r1+0x10000]", "line 1, column 15: 65536 is out of range: 16 bits, -32768 to 32767"],
    ["rfc", "ldxb %r0, %r1", "line 1, column 11: unexpected 'r1'; expected '['"],
    [
      "rfc",
      "mov %r0",
      "line 1, column 8: the statement ends too early; expected a number or a register or ','",
    ],
    ["rfc", "mov %r0, 1, 2", "line 1, column 11: unexpected ','; expected the end of the statement"],
    ["rfc", "mov %r11, 1", "line 1, column 5: register 'r11' does not exist; r0 to r10 do"],
    ["rfc", "lock foo [%r1], %r2", "line 1, column 6: unexpected 'foo'; did you mean 'or'?"],
    ["rfc", "a:\na:", "line 2, column 1: label 'a' is defined twice, first in line 1"],
    ["rfc", "r0 = 1", "line 1, column 1: unknown instruction 'r0'; this looks like the dialect 'llvm'"],
    ["llvm", "mov r0, 1", "line 1, column 1: unknown instruction 'mov'; this looks like the dialect 'rfc'"],
    ["llvm", "iff r1 == 0 goto +1", "line 1, column 1: unknown instruction 'iff'; did you mean 'if'?"],
    ["llvm", "if r1 == 0 got +1", "line 1, column 12: unexpected 'got'; did you mean 'goto'?"],
    ["llvm", "r0 = *(u33 *)(r1 + 0)", "line 1, column 8: unexpected 'u33'; did you mean 'u32'?"],
    ["llvm", "r1 = -r2", "line 1, column 7: unexpected 'r2'; it must be 'r1', as before"],
    ["llvm", "r1 + 5", "line 1, column 6: unexpected '5'; expected '='"],
    [
      "llvm",
      "r0 = 0x1ffffffff",
      "line 1, column 6: 8589934591 is out of range: 32 bits, -2147483648 to 4294967295",
    ],
    ["llvm", "goto x", "line 1, column 6: label 'x' is not defined"],
    ["llvm", ".globll x", "line 1, column 1: unknown directive '.globll'; did you mean '.globl'?"],
    ["llvm", ".section", "line 1, column 9: expected the name of a section"],
    ["llvm", ".quad x y", "line 1, column 9: unexpected 'y' at the end of the directive"],
    ["llvm", "r0 = 1 /* no end", "line 1, column 8: the comment does not end"],
    ["llvm", '.asciz "abc', "line 1, column 8: the closing quote is missing"],
    ["llvm", "r0 = 0xg", "line 1, column 6: '0xg' is no number"],
    ["llvm", ".long 1/0", "line 1, column 9: division by 0"],
    ["llvm", "r1 = x ll", "line 1, column 6: label 'x' is not defined"],
    [
      "llvm",
      "\t\t...\n",
      "line 1, column 1: '...' stands for zeros that the disassembler left out; let it show them",
    ],
    ["llvm", "       0:\t<unknown>", "line 1, column 11: unknown instruction '<'"],
    [
      "llvm",
      "       0:\texit\n       5:\texit",
      "line 2, column 1: slot 5 does not follow what comes before it in section '.text', 8 bytes",
    ],
    [
      "llvm",
      '.section a,"ax"\nexit\n.section b,"ax"\nexit',
      "the text has code in sections 'a', 'b'; only an object file can hold them",
    ],
    ["llvm", "exit\n.byte 1", "section '.text': 9 bytes are no whole number of instructions"],
    ["llvm", "1: exit\ngoto 2f", "line 2, column 6: label '2' is not defined"],
    ["llvm", "goto 1b\n1: exit", "line 1, column 6: there is no label '1' before this line"],
  ];
  it.each(cases)("%s: %s", (dialect, text, message) => {
    const error = failure(text, { dialect });
    expect(error.message).toBe(message);
    expect(error.code).toBe("asm");
    const [, line, column] = /^line (\d+), column (\d+): /.exec(message) ?? [];
    if (line !== undefined) expect(error.where).toEqual({ line: Number(line), column: Number(column) });
  });

  it("all of them, up to 20", () => {
    const error = failure("r0 = \nexit\nexut\nr1 += w1");
    expect(error.message.split("\n").map((line) => line.slice(0, 17))).toEqual([
      "line 1, column 6:",
      "line 3, column 1:",
      "line 4, column 7:",
    ]);
    expect(error.where).toEqual({ line: 1, column: 6 });
    expect(checkAssembly("bad\n".repeat(50))).toHaveLength(20);
    expect(checkAssembly("exit")).toEqual([]);
    expect(checkAssembly("goto a\ngoto b").map(({ where }) => where.line)).toEqual([1, 2]);
  });

  it("a jump too far", () => {
    const text = `goto end\n${"r0 = 0\n".repeat(32768)}end: exit`;
    expect(failure(text).message).toMatch(/^line 1, column 6: the label is 32768 instructions away/);
    expect(hex(text.replace("goto", "gotol")).slice(0, 16)).toBe("0600000000800000");
  });

  it("unknown dialects", () => {
    expect(parseDialect("rfc")).toBe("rfc");
    expect(() => parseDialect("lvm")).toThrow("dialect 'lvm': known are llvm, rfc; did you mean 'llvm'?");
  });
});

describe("sections, symbols and references", () => {
  const text = `
\t.section xdp,"ax",@progbits
\t.globl prog
\t.type prog,@function
prog:
\tcall local
\tcall extern
\tr1 = table ll
\tr2 = local ll
\texit
local:
\texit
.Lend:
\t.size prog, .Lend-prog
\t.section .maps,"aw",@progbits
table:
\t.zero 8
`;
  it("an object file gets relocations", () => {
    const { sections, symbols } = assemble(text, { relocatable: true });
    expect(sections.map(({ name, flags, size }) => [name, flags, size])).toEqual([
      ["xdp", 6, 64],
      [".maps", 3, 8],
    ]);
    expect(sections[0]?.relocations).toEqual([
      { offset: 8, type: "R_BPF_64_32", target: { symbol: "extern" } },
      { offset: 16, type: "R_BPF_64_64", target: { section: ".maps" } },
      { offset: 32, type: "R_BPF_64_64", target: { section: "xdp" } },
    ]);
    expect(symbols).toMatchObject([
      { name: "local", binding: "local", section: "xdp", value: 56 },
      { name: "table", binding: "local", section: ".maps", value: 0 },
      { name: "prog", binding: "global", type: "function", size: 64 },
      { name: "extern", binding: "global", section: undefined },
    ]);
  });

  it("a flat program cannot refer to other sections", () => {
    expect(checkAssembly(text).map(({ message }) => message)).toEqual([
      "line 7, column 7: label 'extern' is not defined",
      "line 8, column 7: 'table' is in section '.maps'; only an object file can refer to it",
    ]);
  });

  it("a flat program calls, and takes addresses, by distance", () => {
    const flat = "call f\nr1 = f ll\nexit\nf: exit";
    expect(hex(flat)).toBe(
      "8510000003000000 1841000002000000 0000000000000000 9500000000000000 9500000000000000",
    );
    const [, first, second] = assemble(flat).instructions as [Instruction, Instruction, Instruction];
    expect(formatInstruction(first, second)).toBe("ld_pseudo\tr1, 0x4, 0x2");
  });

  it("sections can be left and come back to", () => {
    const nested = `.pushsection .data
.byte 1
.popsection
exit
.data
.byte 2
.previous
exit
.section xyz,"aw",@nobits
.zero 100
.comm shared, 8, 8
.lcomm own, 4`;
    const { sections, symbols } = assemble(nested);
    expect(sections.map(({ name, size, nobits, bytes }) => [name, size, nobits, bytes.length])).toEqual([
      [".text", 16, false, 16],
      [".data", 2, false, 2],
      ["xyz", 100, true, 0],
      [".bss", 12, true, 0],
    ]);
    expect(symbols.map(({ name, binding, value }) => [name, binding, value])).toEqual([
      ["own", "local", 8],
      ["shared", "global", 0],
    ]);
    expect(failure(".popsection").message).toBe("line 1, column 1: no section was pushed");
    expect(failure(".bss\n.long 1").message).toBe("line 2, column 1: section '.bss' takes zeros only");
    expect(failure(".bss\nexit").message).toBe("line 2, column 1: section '.bss' takes no contents");
  });

  it("numbers that are given names", () => {
    expect(hex(".set SIZE, 4 * 2\nr1 += SIZE\nr2 = SIZE + 1 ll\n*(u32 *)(r10 - SIZE) = SIZE")).toBe(
      hex("r1 += 8\nr2 = 9 ll\n*(u32 *)(r10 - 8) = 8"),
    );
  });

  it("debugging information is read over", () => {
    const { sections } = assemble(
      'exit\n\t.loc 0 1 2\n\t.section .debug_line,"",@progbits\n\t.uleb128 .La-.Lb\n\t.text\n\t.cfi_endproc\nexit',
    );
    expect(sections.map(({ name, size }) => [name, size])).toEqual([[".text", 16]]);
  });

  it("contents follow the byte order", () => {
    const data =
      '\t.data\n\t.long 0x01020304\n\t.quad -2\n\t.short 1\n\t.ascii "h\u00e9\\303"\n\t.uleb128 300\n\t.sleb128 -129';
    const bytes = (littleEndian: boolean): string =>
      Buffer.from(assemble(data, { littleEndian }).sections[0]?.bytes ?? []).toString("hex");
    expect(bytes(true)).toBe("04030201feffffffffffffff010068c3a9c3ac02ff7e");
    expect(bytes(false)).toBe("01020304fffffffffffffffe000168c3a9c3ac02ff7e");
  });
});

describe("text of one instruction", () => {
  const slot = { opcode: 0x15, dst: 1, src: 0, offset: 5, imm: 0 };
  it("in each dialect", () => {
    expect(formatInstruction(slot)).toBe("if r1 == 0x0 goto +0x5");
    expect(formatInstruction(slot, undefined, { dialect: "rfc" })).toBe("jeq %r1, 0, +5");
  });

  it("what is no instruction is a number, or what objdump says", () => {
    const broken = { ...slot, src: 3 };
    expect(formatInstruction(broken)).toBe(".quad 0x0000000000053115");
    expect(formatInstruction(broken, undefined, { cpu: "generic" })).toBe("if r1 == 0x0 goto +0x5");
    expect(formatInstruction({ ...slot, dst: 12 }, undefined, { cpu: "generic" })).toBe("<unknown>");
    expect(formatInstruction({ opcode: 0x18, dst: 1, src: 0, offset: 0, imm: 1 })).toMatch(/^\.quad/);
  });

  it("every row has a text of its own in both dialects", () => {
    for (const dialect of ["llvm", "rfc"] as const) {
      const texts = INSTRUCTIONS.map(({ opcode, fields }) => {
        const value = (field: string | number, free: number): number =>
          typeof field === "number" ? field : free;
        const first = {
          opcode,
          dst: value(fields.dst, 1),
          src: value(fields.src, 2),
          offset: value(fields.offset, 3),
          imm: value(fields.imm, 4),
        };
        const second = opcode === 0x18 ? { opcode: 0, dst: 0, src: 0, offset: 0, imm: 0 } : undefined;
        return formatInstruction(first, second, { dialect });
      });
      expect(new Set(texts).size).toBe(INSTRUCTIONS.length);
    }
  });
});
