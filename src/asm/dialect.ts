import { type Grammar, buildGrammar } from "./grammar.ts";
import type { LexerRules } from "./lexer.ts";
import { type RowPatterns, cutAll } from "./pattern.ts";
import type { FieldStyle } from "./placeholder.ts";
import { llvmText } from "./text-llvm.ts";
import { rfcText } from "./text-rfc.ts";
import type { InstructionRow } from "../isa/index.ts";

/** A way to write instructions. */
export interface Dialect {
  readonly lexer: LexerRules;
  readonly style: FieldStyle;
  readonly patterns: () => ReadonlyMap<InstructionRow, RowPatterns>;
  readonly grammar: () => Grammar;
}

/** Hexadecimal with the sign in front, as LLVM prints immediates. */
function signedHex(value: number | bigint): string {
  return value < 0 ? `-0x${(-value).toString(16)}` : `0x${value.toString(16)}`;
}

function unsignedHex(value: number | bigint): string {
  return `0x${value.toString(16)}`;
}

/** Small numbers are counts and read best in base 10, large ones are patterns of bits. */
function plain(value: number): string {
  return value > -0x10000 && value < 0x10000 ? String(value) : unsignedHex(value >>> 0);
}

/** Makes a value at first use: whoever only decodes need not pay for both grammars. */
function once<T>(make: () => T): () => T {
  let value: T | undefined;
  return () => (value ??= make());
}

function dialect(
  describe: Parameters<typeof cutAll>[0],
  expressions: boolean,
  lexer: LexerRules,
  style: FieldStyle,
): Dialect {
  const patterns = once(() => cutAll(describe));
  return {
    lexer,
    style,
    patterns,
    grammar: once(() => buildGrammar(patterns().values(), lexer, expressions)),
  };
}

/** The dialects by name: "llvm" for LLVM's and the kernel's, "rfc" for the mnemonics of uBPF and bpf_conformance. */
export const DIALECTS = {
  llvm: dialect(
    llvmText,
    true,
    { semicolon: "separator", percentRegisters: false, octal: true },
    {
      register: (index, wide) => `${wide ? "r" : "w"}${index}`,
      number: signedHex,
      displacement: (value) => (value < 0 ? `- ${unsignedHex(-value)}` : `+ ${unsignedHex(value)}`),
      distance: (value) => (value < 0 ? signedHex(value) : `+${unsignedHex(value)}`),
      unsigned: unsignedHex,
      wide: signedHex,
    },
  ),
  rfc: dialect(
    rfcText,
    false,
    { semicolon: "comment", percentRegisters: true, octal: false },
    {
      register: (index) => `%r${index}`,
      number: plain,
      displacement: (value) => (value === 0 ? "" : value < 0 ? String(value) : `+${value}`),
      distance: (value) => (value < 0 ? String(value) : `+${value}`),
      unsigned: unsignedHex,
      wide: (value) => unsignedHex(BigInt.asUintN(64, value)),
    },
  ),
} as const satisfies Record<string, Dialect>;

/** The name of a dialect. */
export type DialectName = keyof typeof DIALECTS;

export function dialectOf(name: DialectName): Dialect {
  return DIALECTS[name];
}
