/**
 * What grows while text is read: sections, symbols, and references between them that wait for the end.
 */
import { SLOT_SIZE } from "../isa/index.ts";
import { type Position, asmError } from "./diagnostic.ts";
import type { Encoded } from "./encode.ts";
import type { Constants, Value } from "./expression.ts";
import {
  type Fixup,
  SECTION_FLAGS,
  type SectionDraft,
  appendBytes,
  newSection,
  nextPlace,
} from "./section.ts";

/** Bytes of all sections together, at most: more cannot come of text that a person wrote. */
const MAX_SIZE = 1 << 26;

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

export class Unit {
  readonly symbols = new Map<string, SymbolDraft>();
  /** Places of labels that are numbers, in order. */
  readonly numbered = new Map<string, { readonly section: SectionDraft; readonly value: number }[]>();
  readonly littleEndian: boolean;
  readonly #sections = new Map<string, SectionDraft>();
  readonly #constants = new Map<string, bigint>();
  readonly #stack: SectionDraft[] = [];
  #section: SectionDraft;
  #previous: SectionDraft;
  #size = 0;

  constructor(littleEndian: boolean) {
    this.littleEndian = littleEndian;
    this.#section = newSection(".text");
    this.#previous = this.#section;
    this.#sections.set(".text", this.#section);
  }

  /** The section that grows. */
  get section(): SectionDraft {
    return this.#section;
  }

  get sections(): SectionDraft[] {
    return [...this.#sections.values()];
  }

  /** Names that stand for numbers (`.set`). */
  get constants(): Constants {
    return this.#constants;
  }

  /** Whether a section of this name exists. */
  hasSection(name: string): boolean {
    return this.#sections.has(name);
  }

  /** Goes to a section, which begins to exist if it does not. */
  open(name: string, flags?: number, nobits?: boolean): SectionDraft {
    let section = this.#sections.get(name);
    if (section === undefined) this.#sections.set(name, (section = newSection(name, flags, nobits)));
    this.#goTo(section);
    return section;
  }

  #goTo(section: SectionDraft): void {
    [this.#previous, this.#section] = [this.#section, section];
  }

  /** Goes back to where it was before the last change. */
  previous(): void {
    this.#goTo(this.#previous);
  }

  /** Remembers the present section for {@link pop}. */
  push(): void {
    this.#stack.push(this.#section);
  }

  pop(at: Position): void {
    const section = this.#stack.pop();
    if (section === undefined) throw asmError(at, "no section was pushed");
    this.#goTo(section);
  }

  /** Gives a number a name. */
  setConstant(name: string, value: bigint, at: Position): void {
    if (this.symbols.get(name)?.at !== undefined) throw asmError(at, `'${name}' is a label already`);
    this.#constants.set(name, value);
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
    if (this.#constants.has(name)) throw asmError(at, `'${name}' is a number already`);
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
    this.#grow(bytes.length, at);
    if (!section.nobits) appendBytes(section, bytes);
  }

  /** Adds zeros, or another byte, without making them where the section has no contents. */
  fill(count: number, byte: number, at: Position): void {
    if (this.section.skipped) return;
    if (this.section.nobits && byte === 0) return this.#grow(count, at);
    if (count > MAX_SIZE) throw tooLarge(at);
    this.bytes(new Uint8Array(count).fill(byte), at);
  }

  /** Adds a number of 1 to 8 bytes, which may refer to symbols. */
  number(value: Value, size: number, at: Position): void {
    if (value.plus !== undefined || value.minus !== undefined) {
      if (this.section.nobits) throw asmError(at, `section '${this.section.name}' takes zeros only`);
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
      const place = this.littleEndian ? index : size - 1 - index;
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
    const place = nextPlace(section, kind === "data");
    section.fixups.push({ ...place, offset: section.size, kind, size, value: resolved });
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
    this.#size += bytes;
    if (this.#size > MAX_SIZE) throw tooLarge(at);
  }
}

function tooLarge(at: Position): Error {
  return asmError(at, `all sections together hold more than ${MAX_SIZE} bytes`);
}
