/**
 * Directives of LLVM's text, as `clang -S` writes them: sections, symbols and data. Those that describe debugging
 * information are read over; one that nobody knows is an error.
 */
import { CLASSES, type Instruction, SLOT_SIZE } from "../isa/index.ts";
import { type Position, asmError, didYouMean } from "./diagnostic.ts";
import { type Constants, type Value, parseExpression, symbolName } from "./expression.ts";
import type { Token } from "./lexer.ts";
import { SECTION_FLAGS, type SectionDraft } from "./section.ts";
import type { Unit } from "./unit.ts";

/** A position in a directive's arguments. */
export class Arguments {
  readonly #tokens: readonly Token[];
  readonly #constants: Constants;
  #index: number;

  constructor(tokens: readonly Token[], index: number, constants: Constants) {
    this.#tokens = tokens;
    this.#constants = constants;
    this.#index = index;
  }

  get token(): Token {
    return this.#tokens[this.#index] as Token;
  }

  get atEnd(): boolean {
    return this.token.kind === "end";
  }

  /** Whether the next token is this punctuation, which is then passed. */
  skip(text: string): boolean {
    if (this.token.kind !== "punctuation" || this.token.text !== text) return false;
    this.#index++;
    return true;
  }

  comma(): void {
    if (!this.skip(",")) throw asmError(this.token, `expected a comma, not ${describe(this.token)}`);
  }

  name(what: string): string {
    const { token } = this;
    if (token.kind !== "name" && token.kind !== "string") {
      throw asmError(token, `expected ${what}, not ${describe(token)}`);
    }
    this.#index++;
    return symbolName(token);
  }

  /** A section's name: everything up to the comma, since such names hold slashes and the like. */
  sectionName(): string {
    if (this.token.kind === "string") return this.name("a section");
    let text = "";
    while (!this.atEnd && this.token.text !== "," && (text === "" || !this.token.spaced)) {
      text += this.token.text;
      this.#index++;
    }
    if (text === "") throw asmError(this.token, "expected the name of a section");
    return text;
  }

  string(): string {
    const { token } = this;
    if (token.kind !== "string") throw asmError(token, `expected a string, not ${describe(token)}`);
    this.#index++;
    return token.text;
  }

  value(): Value {
    const parsed = parseExpression(this.#tokens, this.#index, this.#constants);
    if (parsed === undefined) throw asmError(this.token, `expected a number, not ${describe(this.token)}`);
    this.#index = parsed.next;
    return parsed.value;
  }

  /** A number that must be known at once, within bounds. */
  count(what: string, highest: number): number {
    const at = this.token;
    const { constant, plus, minus } = this.value();
    if (plus !== undefined || minus !== undefined) throw asmError(at, `${what} must be a number`);
    if (constant < 0n || constant > BigInt(highest)) {
      throw asmError(at, `${what} is ${constant}, not within 0 to ${highest}`);
    }
    return Number(constant);
  }

  end(): void {
    if (!this.atEnd)
      throw asmError(this.token, `unexpected ${describe(this.token)} at the end of the directive`);
  }
}

function describe(token: Token): string {
  return token.kind === "end" ? "the end of the statement" : `'${token.text}'`;
}

type Handler = (unit: Unit, args: Arguments, at: Position) => void;

const data =
  (size: number): Handler =>
  (unit, args, at) => {
    if (args.atEnd) return;
    do unit.number(args.value(), size, at);
    while (args.skip(","));
  };

const text =
  (terminator: string): Handler =>
  (unit, args, at) => {
    if (args.atEnd) return;
    do {
      const content = args.string() + terminator;
      unit.bytes(
        Uint8Array.from(content, (character) => character.charCodeAt(0)),
        at,
      );
    } while (args.skip(","));
  };

const MAX_FILL = 1 << 30;

const zeros: Handler = (unit, args, at) => {
  const count = args.count("the number of bytes", MAX_FILL);
  unit.fill(count, args.skip(",") ? args.count("the byte", 255) : 0, at);
};

/** `.fill repeat, size, value`. */
const fill: Handler = (unit, args, at) => {
  const repeat = args.count("the number of repeats", MAX_FILL);
  const size = args.skip(",") ? args.count("the size", 8) : 1;
  const { constant } = args.skip(",") ? args.value() : { constant: 0n };
  if (constant === 0n) return unit.fill(repeat * size, 0, at);
  const pattern = unit.numberBytes(constant, size);
  if (repeat * size > 1 << 24) throw asmError(at, `${repeat * size} bytes are more than a section can hold`);
  const bytes = new Uint8Array(repeat * size);
  for (let index = 0; index < repeat; index++) bytes.set(pattern, index * size);
  unit.bytes(bytes, at);
};

/** `goto +0`, which fills gaps in code. */
const NOTHING: Instruction = { opcode: CLASSES.jmp, dst: 0, src: 0, offset: 0, imm: 0 };

const align =
  (asPower: boolean): Handler =>
  (unit, args, at) => {
    const limit = asPower ? 20 : 1 << 20;
    const number = args.count("the alignment", limit);
    const alignment = asPower ? 2 ** number : Math.max(number, 1);
    if ((alignment & (alignment - 1)) !== 0) throw asmError(at, `alignment ${alignment} is no power of 2`);
    let byte: number | undefined;
    if (args.skip(",") && !args.atEnd && args.token.text !== ",") byte = args.count("the byte", 255);
    const most = args.skip(",") ? args.count("the most bytes to skip", MAX_FILL) : alignment;
    const { section } = unit;
    section.align = Math.max(section.align, alignment);
    const missing = (alignment - (section.size % alignment)) % alignment;
    if (missing > most) return;
    const isCode = (section.flags & SECTION_FLAGS.exec) !== 0 && section.size % SLOT_SIZE === 0;
    if (byte !== undefined || !isCode) return unit.fill(missing, byte ?? 0, at);
    for (let slots = missing / SLOT_SIZE; slots > 0; slots--) unit.instruction({ slots: [NOTHING] }, at);
  };

/** LEB128 (DWARF 5, section 7.6), of constants. */
const leb128 =
  (signed: boolean): Handler =>
  (unit, args, at) => {
    do {
      const { constant, plus, minus } = args.value();
      if (unit.section.skipped) continue;
      if (plus !== undefined || minus !== undefined) {
        throw asmError(at, "numbers of variable length that depend on symbols are not supported");
      }
      if (!signed && constant < 0n) throw asmError(at, `${constant} is negative`);
      const bytes: number[] = [];
      let rest = constant;
      for (let more = true; more; ) {
        const low = Number(rest & 0x7fn);
        rest >>= 7n;
        more = signed ? rest !== ((low & 0x40) === 0 ? 0n : -1n) : rest !== 0n;
        bytes.push(more ? low | 0x80 : low);
      }
      unit.bytes(Uint8Array.from(bytes), at);
    } while (args.skip(","));
  };

const open =
  (name: string): Handler =>
  (unit) => {
    unit.open(name);
  };

const FLAG_LETTERS: Readonly<Record<string, number>> = {
  a: SECTION_FLAGS.alloc,
  w: SECTION_FLAGS.write,
  x: SECTION_FLAGS.exec,
  M: SECTION_FLAGS.merge,
  S: SECTION_FLAGS.strings,
};

const section: Handler = (unit, args, at) => {
  const name = args.sectionName();
  let flags: number | undefined;
  let nobits: boolean | undefined;
  let entrySize = 0;
  if (args.skip(",")) {
    flags = 0;
    for (const letter of args.string()) {
      const flag = FLAG_LETTERS[letter];
      if (flag === undefined) throw asmError(at, `section '${name}': flag '${letter}' is not supported`);
      flags |= flag;
    }
    if (args.skip(",")) {
      if (!args.skip("%")) args.skip("@");
      const type = args.name("a section type").replace(/^@/, "");
      nobits = type === "nobits";
      if (args.skip(",")) entrySize = args.count("the size of entries", 1 << 16);
    }
  }
  const opened = unit.open(name, flags, nobits);
  if (entrySize !== 0) opened.entrySize = entrySize;
};

const binding =
  (kind: "local" | "global" | "weak"): Handler =>
  (unit, args) => {
    do Object.assign(unit.symbol(args.name("a symbol")), { binding: kind, isBound: true });
    while (args.skip(","));
  };

const visibility =
  (kind: "hidden" | "protected" | "internal"): Handler =>
  (unit, args) => {
    do unit.symbol(args.name("a symbol")).visibility = kind;
    while (args.skip(","));
  };

const SYMBOL_TYPES: Readonly<Record<string, "notype" | "object" | "function">> = {
  function: "function",
  STT_FUNC: "function",
  object: "object",
  STT_OBJECT: "object",
  notype: "notype",
  STT_NOTYPE: "notype",
};

const type: Handler = (unit, args) => {
  const symbol = unit.symbol(args.name("a symbol"));
  args.skip(",");
  if (!args.skip("%")) args.skip("@");
  const at = args.token;
  const name = args.name("a symbol type").replace(/^@/, "");
  const kind = SYMBOL_TYPES[name];
  if (kind === undefined) {
    throw asmError(at, `unknown symbol type '${name}'${didYouMean(name, Object.keys(SYMBOL_TYPES))}`);
  }
  symbol.type = kind;
};

const size: Handler = (unit, args, at) => {
  const symbol = unit.symbol(args.name("a symbol"));
  args.comma();
  const value = args.value();
  const here = `.L size ${unit.symbols.size}`;
  if (value.plus === ".") unit.label(here, at);
  symbol.sizeValue = value.plus === "." ? { ...value, plus: here } : value;
};

const set: Handler = (unit, args, at) => {
  const name = args.name("a name");
  args.comma();
  const { constant, plus, minus } = args.value();
  if (plus !== undefined || minus !== undefined) {
    throw asmError(at, `'${name}' can only be set to a number`);
  }
  unit.setConstant(name, constant, at);
};

/** `.comm name, size, alignment`: zeros that the linker places; here they are placed in .bss. */
const comm =
  (global: boolean): Handler =>
  (unit, args, at) => {
    const name = args.name("a symbol");
    args.comma();
    const bytes = args.count("the size", MAX_FILL);
    const alignment = args.skip(",") ? args.count("the alignment", 1 << 20) : 1;
    unit.push();
    const bss = unit.open(".bss");
    padTo(unit, bss, Math.max(alignment, 1), at);
    const symbol = unit.symbol(name);
    symbol.type = "object";
    symbol.size = bytes;
    if (global && !symbol.isBound) symbol.binding = "global";
    unit.label(name, at);
    unit.fill(bytes, 0, at);
    unit.pop(at);
  };

function padTo(unit: Unit, target: SectionDraft, alignment: number, at: Position): void {
  target.align = Math.max(target.align, alignment);
  unit.fill((alignment - (target.size % alignment)) % alignment, 0, at);
}

/** Directives whose effect is nothing: debugging information and hints for linkers. */
const IGNORED: readonly string[] = [".file", ".loc", ".ident", ".addrsig", ".addrsig_sym"];

const DIRECTIVES: ReadonlyMap<string, Handler> = new Map<string, Handler>([
  [".text", open(".text")],
  [".data", open(".data")],
  [".bss", open(".bss")],
  [".rodata", open(".rodata")],
  [".section", section],
  [
    ".pushsection",
    (unit, args, at) => {
      unit.push();
      section(unit, args, at);
    },
  ],
  [".popsection", (unit, _args, at) => unit.pop(at)],
  [".previous", (unit) => unit.previous()],
  [".globl", binding("global")],
  [".global", binding("global")],
  [".weak", binding("weak")],
  [".local", binding("local")],
  [".hidden", visibility("hidden")],
  [".protected", visibility("protected")],
  [".internal", visibility("internal")],
  [".type", type],
  [".size", size],
  [".set", set],
  [".equ", set],
  [".byte", data(1)],
  [".short", data(2)],
  [".2byte", data(2)],
  [".half", data(2)],
  [".hword", data(2)],
  [".value", data(2)],
  [".long", data(4)],
  [".4byte", data(4)],
  [".int", data(4)],
  [".quad", data(8)],
  [".8byte", data(8)],
  [".ascii", text("")],
  [".asciz", text("\0")],
  [".string", text("\0")],
  [".zero", zeros],
  [".skip", zeros],
  [".space", zeros],
  [".fill", fill],
  [".uleb128", leb128(false)],
  [".sleb128", leb128(true)],
  [".p2align", align(true)],
  [".balign", align(false)],
  [".align", align(false)],
  [".comm", comm(true)],
  [".lcomm", comm(false)],
]);

/** Directives may be told from instructions and labels by the dot. */
export function runDirective(unit: Unit, tokens: readonly Token[], index: number): void {
  const token = tokens[index] as Token;
  const handler = DIRECTIVES.get(token.text);
  if (handler === undefined) {
    if (IGNORED.includes(token.text) || token.text.startsWith(".cfi_")) return;
    throw asmError(token, `unknown directive '${token.text}'${didYouMean(token.text, DIRECTIVES.keys())}`);
  }
  const args = new Arguments(tokens, index + 1, unit.constants);
  handler(unit, args, token);
  args.end();
}
