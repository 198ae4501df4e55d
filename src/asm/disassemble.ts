/**
 * A section of code as text, in the layout of `llvm-objdump -d`. With `cpu`, down to the last character:
 * - Of several symbols at one place the last that is no variable is shown, in the order of type and name; where no symbol
 *   stands at a section's beginning, the section's name does; variables among code are dumped as bytes.
 * - A jump's target is named by the last symbol at or before it, whatever that is; a target before the section wraps.
 * - Runs of 8 zeros and more are left out, in multiples of 4 bytes, so that what follows can be out of step.
 */
import {
  type Instruction,
  SLOT_SIZE,
  decodeInstructions,
  encodeInstructions,
  isWide,
  rowOf,
} from "../isa/index.ts";
import { type FormatOptions, UNKNOWN, formatInstruction, isPair, jumpDistance } from "./format.ts";
import { hasAlu32, llvmRow } from "./objdump.ts";

/** A symbol in a section of code. */
export interface ListingSymbol {
  readonly name: string;
  /** Byte offset in the section. */
  readonly offset: number;
  /** Default "function". */
  readonly type?: "notype" | "object" | "function";
}

/** A relocation, to be shown behind the instruction that it belongs to; those of one place in the given order. */
export interface ListingRelocation {
  /** Byte offset in the section. */
  readonly offset: number;
  /** "R_BPF_64_64", or "CO-RE <byte_off>". */
  readonly type: string;
  /** The symbol's or section's name with the addend if there is one; "[4] struct task_struct::pid (0:3)". */
  readonly value: string;
}

/** Where an instruction comes from. What is missing is not shown. */
export interface SourceLine {
  readonly function?: string;
  readonly file?: string;
  readonly line?: number;
  readonly text?: string;
}

export interface DisassembleOptions extends FormatOptions {
  /** The section's name, for a heading, and for the place where no symbol is. */
  readonly section?: string;
  readonly symbols?: readonly ListingSymbol[];
  /** Shown as `objdump -r` does. */
  readonly relocations?: readonly ListingRelocation[];
  /** The source line of a slot; shown before the instruction where it differs from the last one (`objdump -S -l`). */
  readonly annotate?: (slot: number) => SourceLine | undefined;
  /** Show the bytes. Default false. */
  readonly raw?: boolean;
  /** Number the slots. Default true for "llvm", false for "rfc". Without numbers, symbols are written as labels. */
  readonly slots?: boolean;
  /** Show runs of zeros, which objdump leaves out. Default true without `cpu`, and false with it. */
  readonly zeroes?: boolean;
}

/** A line of a listing. `text` is all of it; the rest is for those who build something else of it. */
export type ListingLine =
  | { readonly kind: "blank" | "section" | "source" | "zeroes" | "data"; readonly text: string }
  | { readonly kind: "symbol"; readonly text: string; readonly name: string; readonly slot: number }
  | { readonly kind: "relocation"; readonly text: string; readonly relocation: ListingRelocation }
  | {
      readonly kind: "instruction";
      readonly text: string;
      readonly slot: number;
      /** The instruction alone. */
      readonly instruction: string;
      readonly target?: JumpTarget;
    };

/** Where a jump leads. */
export interface JumpTarget {
  /** May lie outside the program. */
  readonly slot: number;
  /** "main" or "main+0x38". */
  readonly label?: string;
}

/**
 * A listing of instructions, as text that ends with a newline. Without options one line for each instruction, which
 * assembles back to the same.
 *
 * @example
 * disassemble(assemble("r0 = 2\nexit").instructions); // "       0:\tr0 = 0x2\n       1:\texit\n"
 */
export function disassemble(instructions: readonly Instruction[], options: DisassembleOptions = {}): string {
  let text = "";
  for (const line of disassembleLines(instructions, options)) text += `${line.text}\n`;
  return text;
}

/** The lines of {@link disassemble}, with what they say beside their text. */
export function disassembleLines(
  instructions: readonly Instruction[],
  options: DisassembleOptions = {},
): ListingLine[] {
  return new Listing(instructions, options).write();
}

const TYPE_ORDER = { notype: 0, object: 1, function: 2 } as const;

function symbolsInOrder({ symbols = [], section }: DisassembleOptions): ListingSymbol[] {
  const type = (symbol: ListingSymbol): number => TYPE_ORDER[symbol.type ?? "function"];
  const sorted = [...symbols].sort(
    (a, b) => a.offset - b.offset || type(a) - type(b) || (a.name < b.name ? -1 : Number(a.name > b.name)),
  );
  if (section !== undefined && sorted[0]?.offset !== 0) sorted.unshift({ name: section, offset: 0 });
  return sorted;
}

/** One listing while it is written. */
class Listing {
  readonly #instructions: readonly Instruction[];
  readonly #options: DisassembleOptions;
  readonly #symbols: readonly ListingSymbol[];
  readonly #relocations: readonly ListingRelocation[];
  readonly #size: number;
  readonly #numbered: boolean;
  readonly #lines: ListingLine[] = [];
  #relocation = 0;
  #source: SourceLine = {};
  #bytes: Uint8Array | undefined;

  constructor(instructions: readonly Instruction[], options: DisassembleOptions) {
    this.#instructions = instructions;
    this.#options = options;
    this.#symbols = symbolsInOrder(options);
    this.#relocations = [...(options.relocations ?? [])].sort((a, b) => a.offset - b.offset);
    this.#size = instructions.length * SLOT_SIZE;
    this.#numbered = options.slots ?? options.dialect !== "rfc";
  }

  write(): ListingLine[] {
    const { section } = this.#options;
    if (section !== undefined && this.#size > 0) {
      this.#plain("blank", "");
      const directive = `\t.section\t${section},"ax",@progbits`;
      this.#plain("section", this.#numbered ? `Disassembly of section ${section}:` : directive);
    }
    if (this.#symbols[0]?.offset !== 0)
      this.#code(0, Math.min(this.#symbols[0]?.offset ?? this.#size, this.#size));
    for (let index = 0; index < this.#symbols.length; ) {
      const { offset } = this.#symbols[index] as ListingSymbol;
      let next = index;
      while (this.#symbols[next]?.offset === offset) next++;
      const end = Math.min(this.#symbols[next]?.offset ?? this.#size, this.#size);
      if (offset < end) this.#block(this.#symbols.slice(index, next), offset, end);
      index = next;
    }
    return this.#lines;
  }

  #plain(kind: "blank" | "section" | "source" | "zeroes" | "data", text: string): void {
    this.#lines.push({ kind, text });
  }

  /** What stands between one symbol's place and the next. */
  #block(here: readonly ListingSymbol[], start: number, end: number): void {
    const code = here.filter((symbol) => symbol.type !== "object");
    const { name } = (code.at(-1) ?? here.at(-1)) as ListingSymbol;
    this.#plain("blank", "");
    const address = start.toString(16).padStart(16, "0");
    const text = this.#numbered ? `${address} <${name}>:` : `${labelText(name)}:`;
    this.#lines.push({ kind: "symbol", text, name, slot: start / SLOT_SIZE });
    if (code.length === 0 && this.#options.cpu !== undefined) this.#data(start, end);
    else this.#code(start, end);
  }

  #code(start: number, end: number): void {
    for (let at = start; at < end; ) {
      const zeros = this.#zerosToSkip(at, end);
      if (zeros > 0) {
        this.#plain("zeroes", "\t\t...");
        at += zeros;
        continue;
      }
      const size = this.#instruction(at);
      at += size;
      this.#relocationsBefore(at);
    }
  }

  #relocationsBefore(end: number): void {
    for (;;) {
      const relocation = this.#relocations[this.#relocation];
      if (relocation === undefined || relocation.offset >= end) return;
      this.#relocation++;
      const address = relocation.offset.toString(16).padStart(16, "0");
      const separator = relocation.type.startsWith("CO-RE") ? " " : "\t";
      const text = `\t\t${address}:  ${relocation.type}${separator}${relocation.value}`;
      this.#lines.push({ kind: "relocation", text, relocation });
    }
  }

  #zerosToSkip(at: number, end: number): number {
    const { cpu, zeroes = cpu === undefined } = this.#options;
    if (zeroes) return 0;
    if (at % SLOT_SIZE === 0 && this.#instructions[at / SLOT_SIZE]?.opcode !== 0) return 0;
    const limit = Math.min(end, this.#relocations[this.#relocation]?.offset ?? end);
    const bytes = this.#allBytes();
    let zeros = 0;
    while (at + zeros < limit && bytes[at + zeros] === 0) zeros++;
    return zeros < 8 ? 0 : zeros - (zeros % 4);
  }

  #allBytes(): Uint8Array {
    this.#bytes ??= encodeInstructions(this.#instructions, this.#options);
    return this.#bytes;
  }

  /** The slot at a byte offset, which skipped zeros can have put out of step. */
  #slotAt(at: number): Instruction | undefined {
    if (at % SLOT_SIZE === 0) return this.#instructions[at / SLOT_SIZE];
    if (at + SLOT_SIZE > this.#size) return undefined;
    return decodeInstructions(this.#allBytes().subarray(at, at + SLOT_SIZE), this.#options)[0];
  }

  /** Writes the instruction at a byte offset and returns its bytes. */
  #instruction(at: number): number {
    const { cpu, raw = false } = this.#options;
    const instruction = this.#slotAt(at);
    const second =
      instruction !== undefined && isWide(instruction) ? this.#slotAt(at + SLOT_SIZE) : undefined;
    let size = SLOT_SIZE;
    let body = UNKNOWN;
    if (instruction === undefined || (cpu !== undefined && isWide(instruction) && second === undefined)) {
      // objdump steps on by a byte where too few are left for an instruction.
      size = 1;
    } else {
      body = formatInstruction(instruction, second, this.#options);
      const isWhole = cpu === undefined ? isPair(instruction, second) : body !== UNKNOWN;
      if (isWide(instruction) && isWhole) size = 2 * SLOT_SIZE;
    }
    const slot = Math.floor(at / SLOT_SIZE);
    this.#sourceOf(slot);
    const target = instruction === undefined || size === 1 ? undefined : this.#target(instruction, at);
    const named = target?.label === undefined || !this.#numbered ? "" : ` <${target.label}>`;
    const prefix = this.#numbered ? `${String(slot).padStart(8)}:\t` : this.#symbols.length > 0 ? "\t" : "";
    const bytes = raw && this.#numbered ? `${hexBytes(this.#allBytes().subarray(at, at + size))}\t` : "";
    const text = `${prefix}${bytes}${body}${named}`;
    this.#lines.push({
      kind: "instruction",
      text,
      slot,
      instruction: body,
      ...(target === undefined ? {} : { target }),
    });
    return size;
  }

  #target(instruction: Instruction, at: number): JumpTarget | undefined {
    const { cpu } = this.#options;
    const row = cpu === undefined ? rowOf(instruction) : llvmRow(instruction, hasAlu32(cpu));
    const distance = row === undefined ? undefined : jumpDistance(instruction, row);
    if (distance === undefined) return undefined;
    const target = at + SLOT_SIZE + distance * SLOT_SIZE;
    const slot = Math.floor(target / SLOT_SIZE);
    // As an address, a place before the section is beyond all symbols.
    const symbol = target < 0 ? this.#symbols.at(-1) : this.#lastSymbolUpTo(target);
    if (symbol === undefined) return { slot };
    const displacement = BigInt.asUintN(64, BigInt(target - symbol.offset));
    return {
      slot,
      label: displacement === 0n ? symbol.name : `${symbol.name}+0x${displacement.toString(16)}`,
    };
  }

  #lastSymbolUpTo(offset: number): ListingSymbol | undefined {
    let low = 0;
    let high = this.#symbols.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.#symbols[middle] as ListingSymbol).offset <= offset) low = middle + 1;
      else high = middle;
    }
    return this.#symbols[low - 1];
  }

  #sourceOf(slot: number): void {
    const source = this.#options.annotate?.(slot);
    if (source === undefined) return;
    const last = this.#source;
    this.#source = source;
    const mark = this.#numbered ? ";" : "#";
    const entered = source.function !== undefined && source.function !== last.function;
    const moved = source.line !== last.line || source.file !== last.file || source.text !== last.text;
    if (entered) this.#plain("source", `${mark} ${source.function}():`);
    // Line 0 is what compilers call code that belongs to no line.
    if (source.file !== undefined && (source.line ?? 0) > 0 && (entered || moved)) {
      this.#plain("source", `${mark} ${source.file}:${source.line}`);
    }
    if (source.text !== undefined && moved) this.#plain("source", `${mark} ${source.text}`);
  }

  /** Bytes that a variable holds, eight to a line. */
  #data(start: number, end: number): void {
    const bytes = this.#allBytes();
    for (let at = start; at < end; at += 8) {
      const row = bytes.subarray(at, Math.min(at + 8, end));
      const characters = Array.from(row, (byte) =>
        byte >= 32 && byte < 127 ? String.fromCharCode(byte) : ".",
      );
      const address = at.toString(16).padStart(8);
      this.#plain("data", `${address}: ${hexBytes(row).padEnd(23)}         ${characters.join("")}`);
    }
    while ((this.#relocations[this.#relocation]?.offset ?? end) < end) this.#relocation++;
  }
}

const HEX = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

function hexBytes(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += text === "" ? HEX[byte] : ` ${HEX[byte]}`;
  return text;
}

/** A symbol's name as a label; quoted where it is no plain name. */
function labelText(name: string): string {
  return /^[A-Za-z_.$@][\w.$@]*$/.test(name) ? name : JSON.stringify(name);
}
