/**
 * Fills in what refers to symbols, once all of them are known.
 *
 * For an object file (`relocatable`) the rules are LLVM's: a jump is always resolved; a call of a local function in the
 * same section too; all else becomes a relocation, against the symbol if it is global, or else against its section,
 * with the distance in the instruction. For a flat program there is nobody to apply relocations, so every reference from
 * code must be to its own section: calls become distances, addresses of functions `lddw` of the kind that means them.
 */
import type { BpfError } from "../errors.ts";
import { LDDW_KINDS, SLOT_SIZE } from "../isa/index.ts";
import { MAX_FAULTS, asmError, didYouMean } from "./diagnostic.ts";
import type { Value } from "./expression.ts";
import { type Fixup, SECTION_FLAGS, type SectionDraft, overwrite, patch } from "./section.ts";
import { type SymbolDraft, type Unit, isTemporary } from "./unit.ts";

/** A place that the linker or loader must fill in. REL form: the addend lies in the place itself. */
export interface AssembledRelocation {
  /** Byte offset in the section. */
  readonly offset: number;
  /** The ABI's name ("R_BPF_64_64"). */
  readonly type: string;
  /** A symbol of the table, or a section of the list. */
  readonly target: { readonly symbol: string } | { readonly section: string };
}

/** Where a name leads. */
interface Place {
  readonly section: SectionDraft;
  readonly value: number;
  readonly symbol?: SymbolDraft;
}

/** The source register of an `lddw` that holds the address of a function. */
const SRC_FUNC = LDDW_KINDS.find(({ name }) => name === "func")?.src ?? 0;
/** The source register of a call by distance. */
const SRC_LOCAL_CALL = 1;

export class Resolver {
  readonly #unit: Unit;
  readonly #relocatable: boolean;
  readonly #faults: BpfError[];

  constructor(unit: Unit, relocatable: boolean, faults: BpfError[]) {
    this.#unit = unit;
    this.#relocatable = relocatable;
    this.#faults = faults;
  }

  /** Resolves what can be, in place, and returns the relocations that remain. */
  section(section: SectionDraft): AssembledRelocation[] {
    const relocations: AssembledRelocation[] = [];
    for (const fixup of section.fixups) {
      if (this.#faults.length >= MAX_FAULTS) break;
      const relocation = this.#collect(() => this.#fixup(section, fixup));
      if (relocation !== undefined) relocations.push(relocation);
    }
    for (const { offset, type, symbol } of section.listed) {
      const isSection = !this.#unit.symbols.has(symbol) && this.#unit.hasSection(symbol);
      relocations.push({ offset, type, target: isSection ? { section: symbol } : this.#mention(symbol) });
    }
    return relocations.sort((a, b) => a.offset - b.offset);
  }

  #collect<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.#faults.push(error as BpfError);
      return undefined;
    }
  }

  /** Sizes that were given as distances of labels. */
  sizes(): void {
    for (const symbol of this.#unit.symbols.values()) {
      if (this.#faults.length >= MAX_FAULTS) break;
      const { sizeValue } = symbol;
      if (sizeValue !== undefined) symbol.size = this.#collect(() => Number(this.#distance(sizeValue))) ?? 0;
    }
  }

  #fixup(section: SectionDraft, fixup: Fixup): AssembledRelocation | undefined {
    switch (fixup.kind) {
      case "offset":
      case "imm":
        this.#branch(section, fixup);
        return undefined;
      case "call":
        return this.#call(section, fixup);
      case "address":
        return this.#address(section, fixup);
      case "data":
        return this.#data(section, fixup);
    }
  }

  #place(name: string): Place | undefined {
    const [, digits, index = 0] = /^(\d+)(?: (\d+))?$/.exec(name) ?? [];
    if (digits !== undefined) return this.#unit.numbered.get(digits)?.[Number(index)];
    const symbol = this.#unit.symbols.get(name);
    if (symbol?.section === undefined) return undefined;
    return { section: symbol.section, value: symbol.value, symbol };
  }

  /** The place of a name that must be defined in this section. */
  #placeHere({ plus, at }: Value, section: SectionDraft, what: string): Place {
    const name = plus ?? "";
    const place = this.#place(name);
    const shown = name.replace(/ .*/, "");
    if (place === undefined) {
      const labels = [...this.#unit.symbols.values()].filter((symbol) => symbol.section !== undefined);
      const known = labels.map((symbol) => symbol.name);
      const hint = /^\d+$/.test(name) ? `; a distance has a sign: +${name}` : didYouMean(name, known);
      throw asmError(at, `label '${shown}' is not defined${hint}`);
    }
    if (place.section !== section) {
      throw asmError(at, `'${shown}' is in section '${place.section.name}'; ${what}`);
    }
    return place;
  }

  #branch(section: SectionDraft, fixup: Fixup): void {
    const place = this.#placeHere(fixup.value, section, `a jump cannot leave '${section.name}'`);
    const distance = this.#slots(fixup, place);
    if (fixup.kind === "imm") return patch(section, fixup, { imm: distance });
    if (distance < -32768 || distance > 32767) {
      throw asmError(fixup.value.at, `the label is ${distance} instructions away, more than 16 bits reach`);
    }
    patch(section, fixup, { offset: distance });
  }

  #slots({ offset, value }: Fixup, place: Place): number {
    const bytes = place.value - offset;
    if (bytes % SLOT_SIZE !== 0) throw asmError(value.at, "the label lies inside an instruction");
    return bytes / SLOT_SIZE - 1;
  }

  #call(section: SectionDraft, fixup: Fixup): AssembledRelocation | undefined {
    if (!this.#relocatable) {
      const place = this.#placeHere(fixup.value, section, "only an object file can call there");
      patch(section, fixup, { imm: this.#slots(fixup, place) });
      return undefined;
    }
    const name = fixup.value.plus ?? "";
    const place = this.#place(name);
    if (place === undefined || (place.symbol !== undefined && place.symbol.binding !== "local")) {
      patch(section, fixup, { imm: -1 });
      return { offset: fixup.offset, type: "R_BPF_64_32", target: this.#external(name, fixup.value) };
    }
    if (place.section === section) {
      patch(section, fixup, { imm: this.#slots(fixup, place) });
      return undefined;
    }
    patch(section, fixup, { imm: place.value / SLOT_SIZE - 1 });
    return { offset: fixup.offset, type: "R_BPF_64_32", target: { section: place.section.name } };
  }

  #external(name: string, { at }: Value): { readonly symbol: string } {
    if (isTemporary(name) || name.includes(" ")) {
      const labels = [...this.#unit.symbols.values()].filter((symbol) => symbol.section !== undefined);
      const known = labels.map((symbol) => symbol.name);
      throw asmError(at, `label '${name.replace(/ .*/, "")}' is not defined${didYouMean(name, known)}`);
    }
    return this.#mention(name);
  }

  /** A symbol that a relocation names; one that is not defined here must be somewhere else. */
  #mention(name: string): { readonly symbol: string } {
    const symbol = this.#unit.symbol(name);
    if (symbol.section === undefined && symbol.binding === "local") symbol.binding = "global";
    return { symbol: name };
  }

  #address(section: SectionDraft, fixup: Fixup): AssembledRelocation | undefined {
    const { value, offset } = fixup;
    const meaning = value.plus === undefined ? undefined : this.#unit.constants.get(value.plus);
    if (value.minus !== undefined || meaning !== undefined || value.plus === undefined) {
      const number = value.minus === undefined ? (meaning ?? 0n) + value.constant : this.#distance(value);
      patch(section, fixup, { imm: Number(BigInt.asIntN(32, number)) });
      const second = { ...fixup, chunk: fixup.chunk + 1 };
      return void patch(section, second, { imm: Number(BigInt.asIntN(32, number >> 32n)) });
    }
    if (!this.#relocatable) {
      const place = this.#placeHere(value, section, "only an object file can refer to it");
      const distance = this.#slots(fixup, place) + Number(value.constant) / SLOT_SIZE;
      return void patch(section, fixup, { src: SRC_FUNC, imm: distance });
    }
    const type = "R_BPF_64_64";
    const place = this.#place(value.plus);
    if (place === undefined || (place.symbol !== undefined && place.symbol.binding !== "local")) {
      patch(section, fixup, { imm: this.#addend(value, 0) });
      return { offset, type, target: this.#external(value.plus, value) };
    }
    patch(section, fixup, { imm: this.#addend(value, place.value) });
    return { offset, type, target: { section: place.section.name } };
  }

  #addend({ constant, at }: Value, base: number): number {
    const sum = constant + BigInt(base);
    if (sum < -(1n << 31n) || sum >= 1n << 32n)
      throw asmError(at, `${sum} is too far from its symbol: 32 bits`);
    return Number(BigInt.asIntN(32, sum));
  }

  /** A constant, or the distance of two symbols in one section. */
  #distance({ constant, plus, minus, at }: Value): bigint {
    if (plus === undefined && minus === undefined) return constant;
    const known = plus === undefined ? undefined : this.#unit.constants.get(plus);
    if (known !== undefined && minus === undefined) return known + constant;
    const [to, from] = [plus, minus].map((name) => (name === undefined ? undefined : this.#place(name)));
    if (to === undefined || from === undefined || to.section !== from.section) {
      throw asmError(at, "the expression needs two labels of one section");
    }
    return BigInt(to.value - from.value) + constant;
  }

  /**
   * Numbers that refer to symbols. LLVM has a relocation of its own, NODYLD32, for what a loader need not apply: places
   * in code that debugging information names (through labels that are not in the symbol table), and variables.
   */
  #data(section: SectionDraft, fixup: Fixup): AssembledRelocation | undefined {
    const { value, offset, size } = fixup;
    if (value.minus !== undefined || this.#unit.constants.has(value.plus ?? "")) {
      this.#write(section, fixup, this.#distance(value));
      return undefined;
    }
    if (size !== 4 && size !== 8)
      throw asmError(value.at, `a symbol's address takes 4 or 8 bytes, not ${size}`);
    const name = value.plus ?? "";
    const place = this.#place(name);
    const flags = place?.section.flags ?? 0;
    const isCode = (flags & SECTION_FLAGS.exec) !== 0;
    const isHidden = place?.symbol === undefined || isTemporary(name);
    const unapplied = place !== undefined && (isCode ? isHidden : (flags & SECTION_FLAGS.write) !== 0);
    const type = size === 8 ? "R_BPF_64_ABS64" : unapplied ? "R_BPF_64_NODYLD32" : "R_BPF_64_ABS32";
    if (place === undefined || (place.symbol !== undefined && place.symbol.binding !== "local")) {
      this.#write(section, fixup, value.constant);
      return { offset, type, target: this.#external(name, value) };
    }
    this.#write(section, fixup, value.constant + BigInt(place.value));
    return { offset, type, target: { section: place.section.name } };
  }

  #write(section: SectionDraft, fixup: Fixup, value: bigint): void {
    overwrite(section, fixup, this.#unit.numberBytes(value, fixup.size));
  }
}

/** Marks the last instruction as a call that a relocation completes: listings do not show it. */
export function markCall(section: SectionDraft, offset: number): void {
  if (offset !== section.size - SLOT_SIZE) return;
  patch(section, { chunk: section.chunks.length - 1 }, { src: SRC_LOCAL_CALL });
}
