/**
 * What grows while text is read: sections of instructions and data, symbols, and references between them that wait for
 * the end. A section is a list of chunks, since most are nothing but instructions and stay instructions.
 */
import { type Instruction, SLOT_SIZE, encodeInstructions } from "../isa/index.ts";
import { type Position, asmError } from "./diagnostic.ts";
import type { Encoded, InstructionReference } from "./encode.ts";
import type { Value } from "./expression.ts";

/** ELF section flags (System V ABI, "Sections") that the directives can set. */
export const SECTION_FLAGS = { write: 1, alloc: 2, exec: 4, merge: 0x10, strings: 0x20 } as const;

/** Bytes of one section, at most: more cannot come of text that a person wrote. */
const MAX_SECTION_SIZE = 1 << 28;

/** One piece of a section's contents. */
type Chunk = Instruction | Uint8Array;

/** A place that a symbol's address goes to. */
export interface Fixup {
  readonly chunk: number;
  /** Byte offset in the section. */
  readonly offset: number;
  readonly kind: InstructionReference["kind"] | "data";
  /** Bytes, of data. */
  readonly size: number;
  readonly value: Value;
}

export interface SectionDraft {
  readonly name: string;
  flags: number;
  /** Occupies no space in a file, like .bss. */
  readonly nobits: boolean;
  align: number;
  /** Of sections of constants of one size (flag "M"). */
  entrySize: number;
  size: number;
  readonly chunks: Chunk[];
  readonly fixups: Fixup[];
  /** Relocations that were read from a listing. */
  readonly listed: { readonly offset: number; readonly type: string; readonly symbol: string }[];
  /** Debugging information: what stands in it is not kept, since the line table that it needs is not built. */
  readonly skipped: boolean;
}

export interface SymbolDraft {
  readonly name: string;
  section?: SectionDraft;
  value: number;
  size: number;
  sizeValue?: Value;
  binding: "local" | "global" | "weak";
  /** Whether a directive gave it its binding. */
  isBound: boolean;
  visibility: "default" | "hidden" | "protected" | "internal";
  type: "notype" | "object" | "function";
  /** Where it was defined. */
  at?: Position;
  /** Its place in the order of first mention. */
  readonly order: number;
}

/** Names that begin with `.L` do not reach the symbol table. */
export const isTemporary = (name: string): boolean => name.startsWith(".L");

/** The names that imply flags, as in LLVM: `.text.x` is code, `.rodata.x` is constant. */
const KNOWN_SECTIONS: readonly { readonly prefix: string; readonly flags: number }[] = [
  { prefix: ".text", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.exec },
  { prefix: ".data", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.write },
  { prefix: ".bss", flags: SECTION_FLAGS.alloc | SECTION_FLAGS.write },
  { prefix: ".rodata", flags: SECTION_FLAGS.alloc },
];

export class Unit {
  readonly sections: SectionDraft[] = [];
  readonly symbols = new Map<string, SymbolDraft>();
  /** Names that stand for numbers (`.set`). */
  readonly constants = new Map<string, bigint>();
  /** Places of labels that are numbers, in order. */
  readonly numbered = new Map<string, { readonly section: SectionDraft; readonly value: number }[]>();
  readonly #littleEndian: boolean;
  section: SectionDraft;

  constructor(littleEndian: boolean) {
    this.#littleEndian = littleEndian;
    this.section = this.open(".text");
  }

  get littleEndian(): boolean {
    return this.#littleEndian;
  }

  /** Goes to a section, which begins to exist if it does not. */
  open(name: string, flags?: number, nobits?: boolean): SectionDraft {
    let section = this.sections.find((candidate) => candidate.name === name);
    if (section === undefined) {
      const known = KNOWN_SECTIONS.find(({ prefix }) => name === prefix || name.startsWith(`${prefix}.`));
      section = {
        name,
        flags: flags ?? known?.flags ?? 0,
        nobits: nobits ?? known?.prefix === ".bss",
        align: 1,
        entrySize: 0,
        size: 0,
        chunks: [],
        fixups: [],
        listed: [],
        skipped: name.startsWith(".debug_"),
      };
      this.sections.push(section);
    }
    this.section = section;
    return section;
  }

  symbol(name: string): SymbolDraft {
    let symbol = this.symbols.get(name);
    if (symbol === undefined) {
      symbol = {
        name,
        value: 0,
        size: 0,
        binding: "local",
        isBound: false,
        visibility: "default",
        type: "notype",
        order: this.symbols.size,
      };
      this.symbols.set(name, symbol);
    }
    return symbol;
  }

  /** Defines a label at the present position. */
  label(name: string, at: Position): void {
    if (/^\d+$/.test(name)) {
      const places = this.numbered.get(name) ?? [];
      places.push({ section: this.section, value: this.section.size });
      this.numbered.set(name, places);
      return;
    }
    if (this.constants.has(name)) throw asmError(at, `'${name}' is a number already`);
    const symbol = this.symbol(name);
    if (symbol.at !== undefined) {
      throw asmError(at, `label '${name}' is defined twice, first in line ${symbol.at.line}`);
    }
    symbol.section = this.section;
    symbol.value = this.section.size;
    symbol.at = at;
  }

  /** Adds an instruction at the present position. */
  instruction({ slots, reference }: Encoded, at: Position): void {
    const { section } = this;
    if (section.skipped) return;
    if (section.nobits) throw asmError(at, `section '${section.name}' takes no contents`);
    section.align = Math.max(section.align, SLOT_SIZE);
    // A section's flags are easily forgotten, and code that is not marked as such would not be found.
    section.flags |= SECTION_FLAGS.alloc | SECTION_FLAGS.exec;
    if (reference !== undefined) this.#fixup(reference.kind, SLOT_SIZE, reference.value);
    for (const slot of slots) section.chunks.push(slot);
    this.#grow(slots.length * SLOT_SIZE, at);
  }

  /** Adds bytes at the present position. */
  bytes(bytes: Uint8Array, at: Position): void {
    const { section } = this;
    if (section.skipped || bytes.length === 0) return;
    if (section.nobits && bytes.some((byte) => byte !== 0)) {
      throw asmError(at, `section '${section.name}' takes zeros only`);
    }
    if (!section.nobits) section.chunks.push(bytes);
    this.#grow(bytes.length, at);
  }

  /** Adds zeros, or another byte, without making them where the section has no contents. */
  fill(count: number, byte: number, at: Position): void {
    if (count > MAX_SECTION_SIZE) throw asmError(at, `${count} bytes are more than a section can hold`);
    if (this.section.nobits && byte === 0) this.#grow(count, at);
    else this.bytes(new Uint8Array(count).fill(byte), at);
  }

  /** Adds a number of 1 to 8 bytes, which may refer to symbols. */
  number(value: Value, size: number, at: Position): void {
    if (value.plus !== undefined || value.minus !== undefined) {
      if (!this.section.skipped) this.#fixup("data", size, value);
      this.bytes(new Uint8Array(size), at);
      return;
    }
    const bits = BigInt(size * 8);
    if (value.constant < -(1n << (bits - 1n)) || value.constant >= 1n << bits) {
      throw asmError(value.at, `${value.constant} is out of range: ${bits} bits`);
    }
    this.bytes(this.numberBytes(value.constant, size), at);
  }

  /** The bytes of a number in the program's byte order. */
  numberBytes(value: bigint, size: number): Uint8Array {
    const bytes = new Uint8Array(size);
    for (let index = 0; index < size; index++) {
      const place = this.#littleEndian ? index : size - 1 - index;
      bytes[place] = Number(BigInt.asUintN(8, value >> BigInt(8 * index)));
    }
    return bytes;
  }

  #fixup(kind: Fixup["kind"], size: number, value: Value): void {
    const { section } = this;
    const resolved = { ...value };
    // `1b` and `.` mean a place relative to here, so they are given their names now.
    for (const side of ["plus", "minus"] as const) {
      const name = value[side];
      if (name !== undefined) resolved[side] = this.#anchor(name, value.at);
    }
    section.fixups.push({ chunk: section.chunks.length, offset: section.size, kind, size, value: resolved });
  }

  /** The symbol that a name means at this point: itself, or for `.` and `1b` or `1f` a hidden one. */
  #anchor(name: string, at: Position): string {
    if (name === ".") {
      const hidden = `.L here ${this.symbols.size}`;
      this.label(hidden, at);
      return hidden;
    }
    const [, digits, direction] = /^(\d+)([bf])$/.exec(name) ?? [];
    if (digits === undefined) return name;
    const defined = this.numbered.get(digits)?.length ?? 0;
    if (direction === "b" && defined === 0)
      throw asmError(at, `there is no label '${digits}' before this line`);
    return `${digits} ${direction === "b" ? defined - 1 : defined}`;
  }

  #grow(bytes: number, at: Position): void {
    this.section.size += bytes;
    if (
      this.section.nobits ? this.section.size > Number.MAX_SAFE_INTEGER : this.section.size > MAX_SECTION_SIZE
    ) {
      throw asmError(at, `section '${this.section.name}' grows beyond ${MAX_SECTION_SIZE} bytes`);
    }
  }

  /** A section's contents as instructions, or undefined if something else is among them. */
  instructionsOf(section: SectionDraft): readonly Instruction[] | undefined {
    const isInstruction = (chunk: Chunk): chunk is Instruction => !(chunk instanceof Uint8Array);
    return section.chunks.every(isInstruction) ? (section.chunks as Instruction[]) : undefined;
  }

  /** A section's contents as bytes. */
  bytesOf(section: SectionDraft): Uint8Array {
    const bytes = new Uint8Array(section.nobits ? 0 : section.size);
    let at = 0;
    let run: Instruction[] = [];
    const flush = (): void => {
      bytes.set(encodeInstructions(run, { littleEndian: this.#littleEndian }), at);
      at += run.length * SLOT_SIZE;
      run = [];
    };
    for (const chunk of section.chunks) {
      if (!(chunk instanceof Uint8Array)) {
        run.push(chunk);
        continue;
      }
      flush();
      bytes.set(chunk, at);
      at += chunk.length;
    }
    flush();
    return bytes;
  }
}
