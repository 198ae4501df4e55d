/**
 * The assembly language of the kernel's tools/bpf/bpf_asm (Documentation/networking/filter.rst), to programs. Beyond it:
 * labels of one letter, `[x+1]` without spaces, tcpdump's `#pktlen`, and errors that name line, column and what is
 * wrong; operands that don't fit are errors, where bpf_asm cuts them off.
 *
 *     start:   ldh [12]            ; comment
 *              jne #0x800, drop    /* comment *\/
 *              ldb [23]
 *              jneq #6, drop
 *              ret #-1
 *     drop:    ret #0
 */
import { BpfError } from "../errors.ts";
import { CBPF_ANCILLARY, SKF_AD_OFF } from "./ancillary.ts";
import {
  CBPF_CLASSES,
  CBPF_INSTRUCTIONS,
  CBPF_JUMP_OPS,
  CBPF_SCRATCH_CELLS,
  CBPF_SOURCES,
  type CbpfInstruction,
  type CbpfRow,
  type CbpfShape,
  type CbpfTest,
} from "./instruction.ts";

interface Token {
  readonly kind: "word" | "number" | "sign";
  readonly text: string;
  readonly line: number;
  readonly column: number;
}

const MAX_SOURCE_INSTRUCTIONS = 1_000_000;

/** Other names of instructions, and jumps that are written the other way round. */
const ALIASES: Readonly<Record<string, string>> = { jmp: "ja", ldi: "ld", ldxi: "ldx" };
const INVERTED: Readonly<Record<string, CbpfTest>> = { jneq: "jeq", jne: "jeq", jlt: "jge", jle: "jgt" };
const MNEMONICS: ReadonlySet<string> = new Set([
  ...CBPF_INSTRUCTIONS.map(({ mnemonic }) => mnemonic),
  ...Object.keys(ALIASES),
  ...Object.keys(INVERTED),
]);

const TOKEN =
  /(0[xX][0-9a-fA-F]+|0[bB][01]+|[0-9]+)(?![A-Za-z0-9_])|([A-Za-z_][A-Za-z0-9_]*)|([[\]()#,:*&+%-])/y;
const SPACE = /(?:[ \t\r]|;[^\n]*)+/y;

function fail(
  message: string,
  { line, column }: { readonly line: number; readonly column: number },
): BpfError {
  return new BpfError("asm", `line ${line}, column ${column}: ${message}`, { where: { line, column } });
}

/** Tokens of each line that has any; comments may span lines. */
function tokenize(source: string): Token[][] {
  const rows: Token[][] = [];
  let row: Token[] = [];
  let at = 0;
  let line = 1;
  let lineStart = 0;
  const newline = (): void => {
    line++;
    lineStart = at;
  };
  while (at < source.length) {
    const place = { line, column: at - lineStart + 1 };
    if (source[at] === "\n") {
      at++;
      newline();
      if (row.length > 0) rows.push(row);
      row = [];
      continue;
    }
    if (source.startsWith("/*", at)) {
      const end = source.indexOf("*/", at + 2);
      if (end < 0) throw fail("this comment does not end", place);
      const last = end + 2;
      for (; at < last; ) if (source[at++] === "\n") newline();
      continue;
    }
    SPACE.lastIndex = at;
    const space = SPACE.exec(source);
    if (space !== null) {
      at += space[0].length;
      continue;
    }
    TOKEN.lastIndex = at;
    const match = TOKEN.exec(source);
    if (match === null)
      throw fail(`unexpected ${JSON.stringify(source.slice(at, at + 12).split("\n")[0])}`, place);
    const [text, number, word] = match;
    row.push({
      kind: number !== undefined ? "number" : word !== undefined ? "word" : "sign",
      text,
      ...place,
    });
    at += text.length;
  }
  if (row.length > 0) rows.push(row);
  return rows;
}

/** What an instruction's operand says. */
interface Operand {
  readonly shape: CbpfShape;
  readonly k: number;
  readonly place: Token;
}

/** A jump's target: a label, to be resolved at the end. */
interface Draft {
  readonly row: CbpfRow;
  readonly k: number;
  readonly yes: Token | undefined;
  readonly no: Token | undefined;
}

/** Reads one line's tokens in order. */
class Cursor {
  readonly #tokens: readonly Token[];
  #next = 0;

  constructor(tokens: readonly Token[]) {
    this.#tokens = tokens;
  }

  peek(ahead = 0): Token | undefined {
    return this.#tokens[this.#next + ahead];
  }

  /** Where the next token stands, or the end of the line. */
  get place(): Token {
    const next = this.peek();
    if (next !== undefined) return next;
    const last = this.#tokens.at(-1) as Token;
    return {
      kind: "sign",
      text: "the end of the line",
      line: last.line,
      column: last.column + last.text.length,
    };
  }

  take(): Token | undefined {
    return this.#tokens[this.#next++];
  }

  accept(text: string): boolean {
    if (this.peek()?.text.toLowerCase() !== text) return false;
    this.#next++;
    return true;
  }

  expect(text: string): void {
    if (!this.accept(text)) throw fail(`expected "${text}", not ${quoted(this.place)}`, this.place);
  }

  /** A whole number, signed or not, that 32 bits can hold. */
  number(): number {
    const { place } = this;
    const negative = this.accept("-");
    if (!negative) this.accept("+");
    const token = this.take();
    if (token?.kind !== "number")
      throw fail(`expected a number, not ${quoted(token ?? place)}`, token ?? place);
    const octal = /^0[0-9]+$/.test(token.text);
    if (octal && /[89]/.test(token.text)) throw fail(`${token.text} is no octal number`, token);
    const value = octal ? Number.parseInt(token.text, 8) : Number(token.text);
    if (negative ? value > 2 ** 31 : value >= 2 ** 32) {
      throw fail(`${negative ? "-" : ""}${token.text} doesn't fit 32 bits`, place);
    }
    return (negative ? -value : value) >>> 0;
  }
}

function quoted({ kind, text }: Token): string {
  return kind === "sign" && text.length > 1 ? text : `"${text}"`;
}

/**
 * Assembles a program in the dialect of bpf_asm.
 *
 * @throws BpfError code "asm" with `where.line` and `where.column`
 * @example
 * assembleCbpf("ldh [12]\njne #0x800, no\nret #-1\nno: ret #0");
 */
export function assembleCbpf(source: string): CbpfInstruction[] {
  const drafts: Draft[] = [];
  const labels = new Map<string, number>();
  for (const tokens of tokenize(source)) {
    const cursor = new Cursor(tokens);
    while (cursor.peek()?.kind === "word" && cursor.peek(1)?.text === ":") {
      const label = cursor.take() as Token;
      cursor.take();
      if (labels.has(label.text)) throw fail(`label "${label.text}" is defined twice`, label);
      labels.set(label.text, drafts.length);
    }
    if (cursor.peek() === undefined) continue;
    drafts.push(parseInstruction(cursor));
    if (cursor.peek() !== undefined)
      throw fail(`nothing may follow here, but ${quoted(cursor.place)} does`, cursor.place);
    if (drafts.length > MAX_SOURCE_INSTRUCTIONS) {
      throw fail(`more than ${MAX_SOURCE_INSTRUCTIONS} instructions`, tokens[0] as Token);
    }
  }
  return drafts.map((draft, index) => resolve(draft, index, labels, drafts.length));
}

function parseInstruction(cursor: Cursor): Draft {
  const first = cursor.take() as Token;
  const written = first.text.toLowerCase();
  if (first.kind !== "word" || !MNEMONICS.has(written)) {
    const near = nearest(written);
    throw fail(
      `there is no instruction "${first.text}"${near === undefined ? "" : `; did you mean ${near}?`}`,
      first,
    );
  }
  const inverted = INVERTED[written];
  if (inverted !== undefined || written in CBPF_JUMP_OPS || written === "jmp") {
    return written === "ja" || written === "jmp" ? parseGoto(cursor) : parseBranch(cursor, written, inverted);
  }
  const mnemonic = ALIASES[written] ?? written;
  const bare = written === "ldi" || written === "ldxi";
  const operand = parseOperand(cursor, bare);
  // bpf_asm also writes the header's length as `ldx 4*([k]&0xf)`, and a word of ancillary data as any size.
  const named = mnemonic === "ldx" && operand.shape === "msh" ? "ldxb" : mnemonic;
  const rows = CBPF_INSTRUCTIONS.filter((row) => row.mnemonic === named);
  const row = rows.find(({ shape }) => shape === operand.shape);
  if (row === undefined) {
    const forms = rows.map(({ shape }) => FORMS[shape]).join(", ");
    throw fail(`${first.text} takes ${forms}, not ${FORMS[operand.shape]}`, operand.place);
  }
  checkRange(row, operand);
  return { row, k: operand.k, yes: undefined, no: undefined };
}

const FORMS: Readonly<Record<CbpfShape, string>> = {
  imm: "#k",
  abs: "[k] or an extension",
  ind: "[x + k]",
  mem: "M[k]",
  msh: "4*([k]&0xf)",
  x: "x",
  a: "a",
  len: "len",
  target: "a label",
  none: "no operand",
};

function checkRange({ mnemonic, semantics, shape }: CbpfRow, { k, place }: Operand): void {
  if (shape === "mem" && k >= CBPF_SCRATCH_CELLS)
    throw fail(`there is no cell M[${k | 0}]: they are 0 to 15`, place);
  if (semantics.kind !== "alu" || semantics.operand !== "k") return;
  if ((mnemonic === "lsh" || mnemonic === "rsh") && k > 31) throw fail("a shift must be 0 to 31", place);
  if ((mnemonic === "div" || mnemonic === "mod") && k === 0) throw fail("division by zero", place);
}

function parseOperand(cursor: Cursor, bare: boolean): Operand {
  const { place } = cursor;
  const of = (shape: CbpfShape, k = 0): Operand => ({ shape, k, place });
  if (cursor.peek() === undefined) return of("none");
  if (cursor.accept("%")) {
    if (cursor.accept("x")) return of("x");
    if (cursor.accept("a")) return of("a");
    throw fail(`expected x or a after %, not ${quoted(cursor.place)}`, cursor.place);
  }
  if (cursor.accept("x")) return of("x");
  if (cursor.accept("a")) return of("a");
  if (cursor.accept("m")) {
    cursor.expect("[");
    const k = cursor.number();
    cursor.expect("]");
    return of("mem", k);
  }
  if (cursor.accept("[")) {
    const percent = cursor.accept("%");
    if (cursor.accept("x")) {
      let k = 0;
      // "[x + -4]" as tcpdump prints it, "[x+4]", "[x-4]", "[x]".
      if (cursor.peek()?.text === "+" || cursor.peek()?.text === "-") {
        if (cursor.peek()?.text === "+") cursor.accept("+");
        k = cursor.number();
      }
      cursor.expect("]");
      return of("ind", k);
    }
    if (percent) throw fail(`expected x after %, not ${quoted(cursor.place)}`, cursor.place);
    const k = cursor.number();
    cursor.expect("]");
    return of("abs", k);
  }
  if (cursor.peek()?.text === "4" && cursor.peek(1)?.text === "*")
    return of("msh", parseHeaderLength(cursor));
  const hash = cursor.accept("#");
  const word = cursor.peek();
  if (word?.kind === "word") return extension(cursor, word, place);
  if (hash || bare || word?.kind === "number" || word?.text === "-" || word?.text === "+") {
    if (!hash && !bare) throw fail(`a constant is written with #: #${word?.text ?? ""}`, place);
    return of("imm", cursor.number());
  }
  throw fail(`there is no operand ${quoted(cursor.place)}`, cursor.place);
}

/** 4*([k]&0xf), the 4 being next. */
function parseHeaderLength(cursor: Cursor): number {
  for (const text of ["4", "*", "(", "["]) cursor.expect(text);
  const k = cursor.number();
  for (const text of ["]", "&"]) cursor.expect(text);
  const { place } = cursor;
  if (cursor.number() !== 0xf) throw fail("expected 0xf", place);
  cursor.expect(")");
  return k;
}

function extension(cursor: Cursor, word: Token, place: Token): Operand {
  cursor.take();
  const name = word.text.toLowerCase();
  if (name === "len" || name === "pktlen") return { shape: "len", k: 0, place };
  const row = CBPF_ANCILLARY.find((candidate) => candidate.name === name);
  if (row === undefined) {
    const names = ["len", ...CBPF_ANCILLARY.map((candidate) => candidate.name)].join(", ");
    throw fail(`there is no extension "${word.text}": they are ${names}`, word);
  }
  return { shape: "abs", k: SKF_AD_OFF + row.offset, place };
}

const rowOf = (code: number): CbpfRow => CBPF_INSTRUCTIONS.find((row) => row.code === code) as CbpfRow;

function parseLabel(cursor: Cursor): Token {
  const token = cursor.take();
  if (token?.kind !== "word")
    throw fail(`expected a label, not ${quoted(token ?? cursor.place)}`, token ?? cursor.place);
  return token;
}

function parseGoto(cursor: Cursor): Draft {
  return { row: rowOf(CBPF_CLASSES.jmp), k: 0, yes: parseLabel(cursor), no: undefined };
}

function parseBranch(cursor: Cursor, written: string, inverted: CbpfTest | undefined): Draft {
  const { place } = cursor;
  let k = 0;
  let source: "k" | "x" = "x";
  if (cursor.accept("#")) {
    source = "k";
    k = cursor.number();
  } else {
    cursor.accept("%");
    if (!cursor.accept("x")) throw fail(`${written} compares with #k or x, not with ${quoted(place)}`, place);
  }
  const test = inverted ?? (written as CbpfTest);
  const row = rowOf(CBPF_CLASSES.jmp | CBPF_JUMP_OPS[test] | CBPF_SOURCES[source]);
  cursor.expect(",");
  const yes = parseLabel(cursor);
  const again = cursor.peek();
  if (!cursor.accept(","))
    return inverted === undefined ? { row, k, yes, no: undefined } : { row, k, yes: undefined, no: yes };
  if (inverted !== undefined) throw fail(`${written} takes one label`, again as Token);
  return { row, k, yes, no: parseLabel(cursor) };
}

function resolve(
  { row, k, yes, no }: Draft,
  index: number,
  labels: ReadonlyMap<string, number>,
  count: number,
): CbpfInstruction {
  const skip = (label: Token | undefined, furthest: number): number => {
    if (label === undefined) return 0;
    const target = labels.get(label.text);
    if (target === undefined) throw fail(`there is no label "${label.text}"`, label);
    const distance = target - index - 1;
    if (distance < 0)
      throw fail(`label "${label.text}" stands before the jump: jumps go forward only`, label);
    if (target >= count) throw fail(`no instruction follows label "${label.text}"`, label);
    if (distance > furthest) {
      throw fail(
        `label "${label.text}" is ${distance} instructions away: this jump skips at most ${furthest}`,
        label,
      );
    }
    return distance;
  };
  if (row.semantics.kind === "goto") return { code: row.code, jt: 0, jf: 0, k: skip(yes, 0xffffffff) };
  return { code: row.code, jt: skip(yes, 255), jf: skip(no, 255), k };
}

/** The mnemonic that is one letter away. */
function nearest(written: string): string | undefined {
  const close = (one: string, other: string): boolean => {
    if (one.length < other.length) return close(other, one);
    if (one.length - other.length > 1) return false;
    let at = 0;
    while (at < other.length && one[at] === other[at]) at++;
    return one.slice(at + 1) === other.slice(one.length === other.length ? at + 1 : at);
  };
  return [...MNEMONICS].find((mnemonic) => close(written, mnemonic));
}
