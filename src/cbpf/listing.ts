/**
 * The three texts of `tcpdump -d`, both ways: a listing for people, C, and numbers. Printed text equals libpcap's
 * (bpf_image), of which some things are worth knowing: operands are signed, `ldx len` is "unimp", and two ancillary
 * loads have names that differ from bpf_asm's.
 */
import { BpfError } from "../errors.ts";
import { CBPF_ANCILLARY, SKF_AD_OFF, ancillaryAt } from "./ancillary.ts";
import {
  CBPF_CLASSES,
  CBPF_INSTRUCTIONS,
  CBPF_JUMP_OPS,
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  cbpfRow,
} from "./instruction.ts";

/** Instructions of a text, at most: more than any tool prints, few enough to keep. */
const MAX_TEXT_INSTRUCTIONS = 1_000_000;
const LDX_LENGTH = 0x81;
/** libpcap's names of ancillary loads, where they are not bpf_asm's. */
const LIBPCAP_NAMES: Readonly<Record<string, string>> = { vlan_avail: "vlanp", rand: "random" };

const hexadecimal = (k: number): string => `#0x${k.toString(16)}`;
const BITWISE: readonly string[] = ["or", "and", "xor"];

function operandText({ mnemonic, shape, semantics }: CbpfRow, k: number, index: number): string {
  const signed = k | 0;
  switch (shape) {
    case "imm":
      return semantics.kind === "return" || (semantics.kind === "alu" && !BITWISE.includes(mnemonic))
        ? `#${signed}`
        : hexadecimal(k);
    case "abs": {
      const ancillary = ancillaryAt(k);
      return ancillary === undefined ? `[${signed}]` : `[${LIBPCAP_NAMES[ancillary.name] ?? ancillary.name}]`;
    }
    case "ind":
      return `[x + ${signed}]`;
    case "mem":
      return `M[${signed}]`;
    case "msh":
      return `4*([${signed}]&0xf)`;
    case "x":
      return "x";
    case "len":
      return "#pktlen";
    case "target":
      return String((index + 1 + signed) | 0);
    case "a":
    case "none":
      return "";
  }
}

/** One line of `tcpdump -d`. */
export function formatCbpfInstruction({ code, jt, jf, k }: CbpfInstruction, index: number): string {
  const row = code === LDX_LENGTH ? undefined : cbpfRow(code);
  const mnemonic = row?.mnemonic ?? "unimp";
  const operand = row === undefined ? `0x${code.toString(16)}` : operandText(row, k, index);
  const start = `(${String(index).padStart(3, "0")}) ${mnemonic.padEnd(8)} `;
  // Also of those codes of the class that don't exist.
  const branches = (code & 7) === CBPF_CLASSES.jmp && (code & 0xf0) !== CBPF_JUMP_OPS.ja;
  return branches
    ? `${start}${operand.padEnd(16)} jt ${index + 1 + jt}\tjf ${index + 1 + jf}`
    : start + operand;
}

/**
 * The listing of `tcpdump -d`, without a line break at the end.
 *
 * @example
 * formatCbpfListing([{ code: 6, jt: 0, jf: 0, k: 262144 }]); // "(000) ret      #262144"
 */
export function formatCbpfListing(program: CbpfProgram): string {
  return program.map(formatCbpfInstruction).join("\n");
}

/** The C initializers of `tcpdump -dd`. */
export function formatCbpfC(program: CbpfProgram): string {
  return program
    .map(
      ({ code, jt, jf, k }) =>
        `{ 0x${code.toString(16)}, ${jt}, ${jf}, 0x${k.toString(16).padStart(8, "0")} },`,
    )
    .join("\n");
}

/** The numbers of `tcpdump -ddd`: how many instructions, then one a line. */
export function formatCbpfNumbers(program: CbpfProgram): string {
  return [String(program.length), ...program.map(({ code, jt, jf, k }) => `${code} ${jt} ${jf} ${k}`)].join(
    "\n",
  );
}

const LISTING_LINE = /^\s*\((\d+)\)\s+([a-z]+)\s*(.*?)(?:\s*jt\s+(\d+)\s+jf\s+(\d+))?\s*$/;

/**
 * Reads a listing of `tcpdump -d`. Empty lines and lines that begin with `;`, `#` or `//` don't count.
 *
 * @throws BpfError code "asm" with `where.line`
 */
export function parseCbpfListing(text: string): CbpfInstruction[] {
  const program: CbpfInstruction[] = [];
  lines(text).forEach(([content, line]) => {
    const match = LISTING_LINE.exec(content);
    if (match === null)
      throw malformed(line, `"${content.trim()}" is no line of a listing, "(000) ldh      [12]"`);
    const [, number = "", mnemonic = "", operand = "", jt, jf] = match;
    const index = program.length;
    if (Number(number) !== index)
      throw malformed(
        line,
        `instruction (${number}) stands where (${String(index).padStart(3, "0")}) is expected`,
      );
    program.push(parseInstruction(mnemonic, operand, jt, jf, index, line));
    checkCount(program.length, line);
  });
  return program;
}

function parseInstruction(
  mnemonic: string,
  operand: string,
  jt: string | undefined,
  jf: string | undefined,
  index: number,
  line: number,
): CbpfInstruction {
  if (mnemonic === "unimp") return { code: number(operand, line, 0xffff), jt: 0, jf: 0, k: 0 };
  for (const row of CBPF_INSTRUCTIONS) {
    if (row.mnemonic !== mnemonic) continue;
    const k = parseOperand(row, operand, index, line);
    if (k === undefined) continue;
    const branches = row.semantics.kind === "branch";
    if (branches !== (jt !== undefined)) {
      throw malformed(line, `${mnemonic} ${branches ? "needs" : "takes no"} jt and jf`);
    }
    const skip = (target: string | undefined): number => {
      if (target === undefined) return 0;
      const distance = Number(target) - index - 1;
      if (distance < 0 || distance > 255) {
        throw malformed(
          line,
          `a jump from ${index} to ${target} is not possible: it skips 0 to 255 instructions`,
        );
      }
      return distance;
    };
    return { code: row.code, jt: skip(jt), jf: skip(jf), k };
  }
  throw malformed(line, `there is no instruction "${`${mnemonic} ${operand}`.trim()}"`);
}

const INTEGER = "(-?(?:0x[0-9a-f]+|[0-9]+))";
const SHAPES: Readonly<Record<CbpfRow["shape"], RegExp>> = {
  imm: new RegExp(`^#${INTEGER}$`, "i"),
  abs: new RegExp(`^\\[(?:${INTEGER}|([a-z_]+))\\]$`, "i"),
  ind: new RegExp(`^\\[x \\+ ${INTEGER}\\]$`, "i"),
  mem: new RegExp(`^M\\[${INTEGER}\\]$`, "i"),
  msh: new RegExp(`^4\\*\\(\\[${INTEGER}\\]&0xf\\)$`, "i"),
  target: new RegExp(`^${INTEGER}$`, "i"),
  x: /^x$/,
  len: /^#pktlen$/,
  a: /^$/,
  none: /^$/,
};

/** The operand of a row, or undefined if the text is of another shape. */
function parseOperand({ shape }: CbpfRow, text: string, index: number, line: number): number | undefined {
  const match = SHAPES[shape].exec(text);
  if (match === null) return undefined;
  const [, value, name] = match;
  if (name !== undefined) {
    const ancillary = CBPF_ANCILLARY.find((row) => (LIBPCAP_NAMES[row.name] ?? row.name) === name);
    if (ancillary === undefined) throw malformed(line, `there is no ancillary load "${name}"`);
    return SKF_AD_OFF + ancillary.offset;
  }
  if (value === undefined) return 0;
  const parsed = number(value, line, 0xffffffff);
  return shape === "target" ? (parsed - index - 1) >>> 0 : parsed;
}

/** A number within 0 to `maximum`, or a negative one that stands for its two's complement. */
function number(text: string, line: number, maximum: number): number {
  const digits = text.startsWith("-") ? text.slice(1) : text;
  const value = /^(?:0x[0-9a-f]+|[0-9]+)$/i.test(digits) ? Number(digits) : Number.NaN;
  const signed = text.startsWith("-") ? -value : value;
  if (!(signed >= -(2 ** 31) && signed <= maximum))
    throw malformed(line, `"${text}" is no number up to ${maximum}`);
  return signed >>> 0;
}

/** Four numbers, as fields of an instruction. */
function instruction(fields: readonly string[], line: number): CbpfInstruction {
  const [code, jt, jf, k] = fields as [string, string, string, string];
  return {
    code: number(code, line, 0xffff),
    jt: number(jt, line, 0xff),
    jf: number(jf, line, 0xff),
    k: number(k, line, 0xffffffff),
  };
}

/**
 * Reads C initializers as `tcpdump -dd` prints them; several may stand on a line, and a surrounding declaration is
 * skipped.
 *
 * @throws BpfError code "asm" with `where.line`
 */
export function parseCbpfC(text: string): CbpfInstruction[] {
  const program: CbpfInstruction[] = [];
  const withoutComments = text.replace(/\/\*[\s\S]*?\*\//g, (comment) => comment.replace(/[^\n]/g, " "));
  withoutComments.split("\n").forEach((content, row) => {
    for (const [, fields = ""] of content.matchAll(/\{([^{}]*)\}/g)) {
      const parts = fields.split(",").map((part) => part.trim());
      if (parts.length !== 4)
        throw malformed(row + 1, `{${fields}} has ${parts.length} fields, not code, jt, jf and k`);
      program.push(instruction(parts, row + 1));
      checkCount(program.length, row + 1);
    }
  });
  if (program.length === 0) throw malformed(1, "there is no { code, jt, jf, k } in it");
  return program;
}

/**
 * Reads numbers as `tcpdump -ddd` prints them; also the form with commas that iptables' xt_bpf and tc take.
 *
 * @throws BpfError code "asm" with `where.line`
 */
export function parseCbpfNumbers(text: string): CbpfInstruction[] {
  const rows = lines(text.replaceAll(",", "\n"));
  const [first, ...others] = rows;
  if (first === undefined) throw malformed(1, "it is empty");
  const count = number(first[0].trim(), first[1], MAX_TEXT_INSTRUCTIONS);
  if (count !== others.length) {
    throw malformed(first[1], `it announces ${count} instructions, but ${others.length} follow`);
  }
  return others.map(([content, line]) => {
    const fields = content.trim().split(/\s+/);
    if (fields.length !== 4) throw malformed(line, `"${content.trim()}" is not code, jt, jf and k`);
    return instruction(fields, line);
  });
}

/** Lines with something in them, with their numbers. */
function lines(text: string): (readonly [string, number])[] {
  return text
    .split("\n")
    .map((content, row) => [content, row + 1] as const)
    .filter(([content]) => !/^\s*(?:$|;|#|\/\/)/.test(content));
}

function checkCount(count: number, line: number): void {
  if (count > MAX_TEXT_INSTRUCTIONS)
    throw malformed(line, `it has more than ${MAX_TEXT_INSTRUCTIONS} instructions`);
}

function malformed(line: number, problem: string): BpfError {
  return new BpfError("asm", `filter listing: line ${line}: ${problem}`, { where: { line } });
}
