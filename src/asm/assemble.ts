/** Text to instructions: reads statements, hands them to directives or the grammar, and puts the result together. */
import { BpfError } from "../errors.ts";
import { type Instruction, REGISTER_COUNT, SLOT_SIZE } from "../isa/index.ts";
import { MAX_FAULTS, type Position, asmError, didYouMean, joinErrors } from "./diagnostic.ts";
import { DIALECTS, type DialectName, dialectOf } from "./dialect.ts";
import { runDirective } from "./directive.ts";
import { encodeMatch } from "./encode.ts";
import { symbolName } from "./expression.ts";
import { matchInstruction } from "./grammar.ts";
import { Lexer, type Statement, type Token } from "./lexer.ts";
import type { ListingEvent } from "./listing.ts";
import { type AssembledRelocation, Resolver, markCall } from "./resolve.ts";
import { SECTION_FLAGS, type SectionDraft, bytesOf, instructionsOf } from "./section.ts";
import { type SymbolDraft, Unit, isTemporary } from "./unit.ts";

export interface AssembleOptions {
  /** Default "llvm". */
  readonly dialect?: DialectName;
  /** Byte order of data directives and of `bytes`. Default true. */
  readonly littleEndian?: boolean;
  /**
   * The result is meant for an object file: references to other sections and to symbols that are not defined become
   * relocations. Otherwise (the default) they are errors, and calls and jumps are all resolved.
   */
  readonly relocatable?: boolean;
  /** Also take registers r11 to r15, which no valid program has. Default false. */
  readonly unchecked?: boolean;
}

export interface AssembledSection {
  readonly name: string;
  /** ELF flags: 1 write, 2 alloc, 4 exec, 16 merge, 32 strings. */
  readonly flags: number;
  /** Whether it occupies no space in a file; then `bytes` is empty and `size` says how long it is. */
  readonly nobits: boolean;
  readonly align: number;
  readonly entrySize: number;
  readonly size: number;
  readonly bytes: Uint8Array;
  readonly relocations: readonly AssembledRelocation[];
}

export interface AssembledSymbol {
  readonly name: string;
  /** Undefined if the symbol is defined elsewhere. */
  readonly section: string | undefined;
  /** Byte offset in the section. */
  readonly value: number;
  readonly size: number;
  readonly binding: "local" | "global" | "weak";
  readonly visibility: "default" | "hidden" | "protected" | "internal";
  readonly type: "notype" | "object" | "function";
}

/** What a text says. */
export interface Assembly {
  /** The slots of the first section that has code. */
  readonly instructions: readonly Instruction[];
  /** The slots that the labels of that section name, temporary ones included. */
  readonly labels: ReadonlyMap<string, number>;
  /** All sections that have contents, in the order of first mention. */
  readonly sections: readonly AssembledSection[];
  /** The symbol table: local symbols first, as ELF wants them; without temporary ones (`.L…`). */
  readonly symbols: readonly AssembledSymbol[];
}

/**
 * Assembles a text.
 *
 * @throws BpfError code "asm": one line "line 3, column 9: …" for each of the first 20 faults; `where` has line and
 *   column of the first.
 * @example
 * assemble("r0 = 2\nexit").instructions; // [{ opcode: 0xb7, dst: 0, src: 0, offset: 0, imm: 2 }, { opcode: 0x95, … }]
 * assemble("mov %r0, 2\nexit", { dialect: "rfc" }).instructions; // the same
 */
export function assemble(text: string, options: AssembleOptions = {}): Assembly {
  const faults: BpfError[] = [];
  const assembly = run(text, options, faults);
  if (faults.length > 0 || assembly === undefined) throw joinErrors(faults);
  return assembly;
}

/**
 * The first 20 faults of a text, in order; empty if it can be assembled. For editors.
 *
 * @example
 * checkAssembly("r0 = \nexut").map((fault) => fault.message);
 */
export function checkAssembly(text: string, options: AssembleOptions = {}): readonly BpfError[] {
  const faults: BpfError[] = [];
  run(text, options, faults);
  return faults;
}

function run(text: string, options: AssembleOptions, faults: BpfError[]): Assembly | undefined {
  const { dialect = "llvm", littleEndian = true, relocatable = false } = options;
  const reader = new Reader(dialect, littleEndian, options.unchecked ?? false);
  const lexer = new Lexer(text, dialectOf(dialect).lexer);
  while (faults.length < MAX_FAULTS) {
    try {
      const statement = lexer.next();
      if (statement === undefined) break;
      reader.statement(statement);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      faults.push(error);
    }
  }
  // What a faulty line would have defined is missing, so that complaints about references would mislead.
  if (faults.length > 0) return undefined;
  const assembly = finish(reader.unit, relocatable, faults);
  faults.splice(MAX_FAULTS);
  return faults.length > 0 ? undefined : assembly;
}

/** Reads statements into a unit. */
class Reader {
  readonly unit: Unit;
  readonly #dialect: DialectName;
  readonly #registers: number;
  #sawExit = false;

  constructor(dialect: DialectName, littleEndian: boolean, unchecked: boolean) {
    this.unit = new Unit(littleEndian);
    this.#dialect = dialect;
    this.#registers = unchecked ? 16 : REGISTER_COUNT;
  }

  statement(statement: Statement): void {
    if (statement.event !== undefined) return this.#listed(statement.event, statement.position);
    const { tokens } = statement;
    let index = 0;
    for (; isLabel(tokens, index); index += 2) this.#label(tokens[index] as Token);
    const token = tokens[index] as Token;
    if (token.kind === "end") return;
    if (token.text.startsWith(".") && token.kind === "name") return runDirective(this.unit, tokens, index);
    this.#instruction(tokens, index);
  }

  #label(token: Token): void {
    this.unit.label(token.kind === "number" ? token.text : symbolName(token), token);
  }

  #instruction(tokens: readonly Token[], index: number): void {
    const token = tokens[index] as Token;
    const { grammar } = dialectOf(this.#dialect);
    try {
      const context = {
        grammar: grammar(),
        tokens,
        constants: this.unit.constants,
        registers: this.#registers,
      };
      const match = matchInstruction(context, index);
      // bpf_conformance lets the name `exit` stand for the first exit, unless a label of that name comes before.
      if (match.row.semantics.kind === "exit" && this.#dialect === "rfc" && !this.#sawExit) {
        this.#sawExit = true;
        if (this.unit.symbols.get("exit")?.at === undefined) this.unit.label("exit", token);
      }
      this.unit.instruction(encodeMatch(match), token);
    } catch (error) {
      if (!(error instanceof BpfError)) throw error;
      throw this.#withDialectHint(error, tokens, index);
    }
  }

  /** An unknown instruction that another dialect would have known. */
  #withDialectHint(error: BpfError, tokens: readonly Token[], start: number): BpfError {
    if (!error.message.includes("unknown instruction") || error.message.includes("did you mean"))
      return error;
    for (const name of Object.keys(DIALECTS) as DialectName[]) {
      if (name === this.#dialect) continue;
      const { words } = dialectOf(name).grammar().root;
      const operator = tokens[start + 1]?.text;
      const looksLikeIt = name === "rfc" ? words.has(tokens[start]?.text ?? "") : operator === "=";
      if (!looksLikeIt) continue;
      return new BpfError("asm", `${error.message}; this looks like the dialect '${name}'`, {
        where: error.where,
      });
    }
    return error;
  }

  #listed(event: ListingEvent, at: Position): void {
    const { unit } = this;
    switch (event.kind) {
      case "remark":
        return;
      case "section":
        unit.open(event.name, SECTION_FLAGS.alloc | SECTION_FLAGS.exec);
        return;
      case "symbol":
        this.#atOffset(event.offset, `symbol '${event.name}'`, at);
        // objdump names the section itself where no symbol stands at its beginning.
        if (event.name === unit.section.name) return;
        unit.label(event.name, at);
        Object.assign(unit.symbol(event.name), { binding: "global", type: "function" });
        return;
      case "slot":
        this.#atOffset(event.slot * SLOT_SIZE, `slot ${event.slot}`, at);
        return;
      case "relocation":
        unit.section.listed.push(event);
        if (event.type === "R_BPF_64_32") markCall(unit.section, event.offset);
        return;
      case "zeroes":
        throw asmError(at, "'...' stands for zeros that the disassembler left out; let it show them");
    }
  }

  #atOffset(offset: number, what: string, at: Position): void {
    const { size, name } = this.unit.section;
    // A listing of one function in the middle of a section begins with its own number.
    if (offset === size || size === 0) return;
    throw asmError(at, `${what} does not follow what comes before it in section '${name}', ${size} bytes`);
  }
}

function isLabel(tokens: readonly Token[], index: number): boolean {
  const token = tokens[index] as Token;
  return (
    tokens[index + 1]?.text === ":" &&
    tokens[index + 1]?.kind === "punctuation" &&
    token.kind !== "punctuation"
  );
}

function finish(unit: Unit, relocatable: boolean, faults: BpfError[]): Assembly {
  const resolver = new Resolver(unit, relocatable, faults);
  const filled = unit.sections.filter((section) => section.size > 0 && !section.skipped);
  const code = filled.filter(({ flags }) => (flags & SECTION_FLAGS.exec) !== 0);
  resolver.sizes();
  const sections = filled.map((section): AssembledSection => {
    const relocations = resolver.section(section);
    const { name, flags, nobits, align, entrySize, size } = section;
    return {
      name,
      flags,
      nobits,
      align,
      entrySize,
      size,
      bytes: bytesOf(section, unit.littleEndian),
      relocations,
    };
  });
  const [first, second] = code;
  if (!relocatable) {
    if (second !== undefined && first !== undefined) {
      const names = code.map(({ name }) => `'${name}'`).join(", ");
      faults.push(
        new BpfError("asm", `the text has code in sections ${names}; only an object file can hold them`),
      );
    }
    const listed = first?.listed[0];
    if (listed !== undefined) {
      const where = { section: first?.name ?? "", offset: listed.offset };
      const message = `relocation ${listed.type} to '${listed.symbol}': only an object file can leave it to a loader`;
      faults.push(new BpfError("asm", message, { where }));
    }
  }
  return {
    instructions: first === undefined ? [] : slotsOf(unit, first, faults),
    labels: labelsOf(unit, first),
    sections,
    symbols: symbolTable(unit),
  };
}

function slotsOf(unit: Unit, section: SectionDraft, faults: BpfError[]): readonly Instruction[] {
  const instructions = instructionsOf(section, unit.littleEndian);
  if (instructions !== undefined) return instructions;
  const message = `section '${section.name}': ${section.size} bytes are no whole number of instructions`;
  faults.push(new BpfError("asm", message, { where: { section: section.name } }));
  return [];
}

function labelsOf(unit: Unit, section: SectionDraft | undefined): Map<string, number> {
  const labels = new Map<string, number>();
  for (const symbol of unit.symbols.values()) {
    if (symbol.section === section && section !== undefined && !symbol.name.includes(" ")) {
      labels.set(symbol.name, Math.floor(symbol.value / SLOT_SIZE));
    }
  }
  return labels;
}

function symbolTable(unit: Unit): AssembledSymbol[] {
  const isShown = ({ name, section, binding }: SymbolDraft): boolean =>
    !isTemporary(name) && section?.skipped !== true && (section !== undefined || binding !== "local");
  const rank = ({ binding }: SymbolDraft): number => (binding === "local" ? 0 : 1);
  return [...unit.symbols.values()]
    .filter(isShown)
    .sort((a, b) => rank(a) - rank(b) || a.order - b.order)
    .map(({ name, section, value, size, binding, visibility, type }) => ({
      name,
      section: section?.name,
      value,
      size,
      binding,
      visibility,
      type,
    }));
}

/** For messages elsewhere: the dialect that a name means. */
export function parseDialect(name: string): DialectName {
  if (Object.hasOwn(DIALECTS, name)) return name as DialectName;
  const known = Object.keys(DIALECTS);
  throw new BpfError("usage", `dialect '${name}': known are ${known.join(", ")}${didYouMean(name, known)}`);
}
