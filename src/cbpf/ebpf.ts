/**
 * From classic to extended BPF, by the kernel's scheme (net/core/filter.c, bpf_convert_filter): A is r0, X is r7, the
 * context is r6, where LD_ABS and LD_IND want it, scratch cells lie on the stack, r2 is for the moment. A packet load
 * that fails ends the program with 0, as classic BPF wants it, by the definition of LD_ABS; where the kernel writes the
 * load out in its internal instructions, the translation keeps these two, so that it is an ordinary program of type
 * socket_filter, which every verifier and engine takes.
 *
 * Ancillary loads read the fields of struct __sk_buff where it has them, and call a helper for `cpu` and `rand`. Four have
 * no counterpart that a program may use: `hatype`, `poff`, `nla` and `nlan`.
 */
import { BpfError } from "../errors.ts";
import { CLASSES, type Instruction, MODES, SIZES, SOURCE_REG } from "../isa/index.ts";
import { type AncillaryName, ancillaryAt } from "./ancillary.ts";
import {
  CBPF_ALU_OPS,
  type CbpfAluOp,
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  type CbpfTest,
  cbpfRow,
} from "./instruction.ts";
import { checkStructure } from "./structure.ts";

const [A, TMP, CTX, X, FP] = [0, 2, 6, 7, 10] as const;
const ARG1 = 1;

const SIZE_CODES: Readonly<Record<1 | 2 | 4, number>> = {
  1: SIZES[2].code,
  2: SIZES[1].code,
  4: SIZES[0].code,
};
const MOV = 0xb0;
/** Converts between host and big-endian order: BPF_ALU | BPF_END | BPF_TO_BE. */
const TO_BE = 0xdc;
const CALL = 0x85;
const EXIT = 0x95;

const JUMPS = {
  ja: 0x00,
  jeq: 0x10,
  jgt: 0x20,
  jge: 0x30,
  jset: 0x40,
  jne: 0x50,
  jlt: 0xa0,
  jle: 0xb0,
} as const;
/** Tests that have an opposite; `jset` has none. */
const OPPOSITES: Readonly<Partial<Record<CbpfTest, keyof typeof JUMPS>>> = {
  jeq: "jne",
  jgt: "jle",
  jge: "jlt",
};

/** Where struct __sk_buff (uapi linux/bpf.h) has an ancillary value, or which helper gives it. */
const SK_BUFF_VALUES: Readonly<
  Partial<Record<AncillaryName, { offset: number; bigEndian?: true } | { helper: number }>>
> = {
  proto: { offset: 16, bigEndian: true },
  type: { offset: 4 },
  ifidx: { offset: 40 },
  mark: { offset: 8 },
  queue: { offset: 12 },
  rxhash: { offset: 68 },
  vlan_tci: { offset: 24 },
  vlan_avail: { offset: 20 },
  vlan_tpid: { offset: 28, bigEndian: true },
  cpu: { helper: 8 },
  rand: { helper: 7 },
};

/** An instruction whose offset leads to a classic instruction, to be filled in at the end. */
interface Draft extends Instruction {
  readonly target?: number;
}

const make = (opcode: number, dst: number, src: number, offset: number, imm: number): Draft => ({
  opcode,
  dst,
  src,
  offset,
  imm: imm | 0,
});

const move = (dst: number, src: number): Draft => make(CLASSES.alu64 | MOV | SOURCE_REG, dst, src, 0, 0);
const moveImm = (dst: number, imm: number): Draft => make(CLASSES.alu | MOV, dst, 0, 0, imm);
const alu = (op: CbpfAluOp, dst: number, imm: number): Draft =>
  make(CLASSES.alu | CBPF_ALU_OPS[op], dst, 0, 0, imm);
const aluReg = (op: CbpfAluOp, dst: number, src: number): Draft =>
  make(CLASSES.alu | CBPF_ALU_OPS[op] | SOURCE_REG, dst, src, 0, 0);
const loadWord = (dst: number, src: number, offset: number): Draft =>
  make(CLASSES.ldx | MODES.mem, dst, src, offset, 0);
const storeWord = (src: number, offset: number): Draft => make(CLASSES.stx | MODES.mem, FP, src, offset, 0);
const exit: Draft = make(EXIT, 0, 0, 0, 0);

/** Cells grow downwards from the top of the stack. */
const cellOffset = (k: number): number => -4 * k - 4;

/**
 * Translates a classic program to a program of type socket_filter whose data begins where the classic program's does: run it
 * with `layer: "link"` if that is the link header.
 *
 * Programs that Linux refuses are translated as far as they mean something: jumps backwards stay such, and scratch cells
 * that are read before they are stored begin as 0.
 *
 * @throws BpfError code "program" if the structure is wrong or a jump too long, "unsupported" for an ancillary load that
 * extended BPF does not have
 * @example
 * const machine = await Machine.create();
 * const filter = machine.loadInstructions(toEbpf(program), { type: "socket_filter" });
 * filter.run({ packet, layer: "link" }).returnValue;
 */
export function toEbpf(program: CbpfProgram): Instruction[] {
  checkStructure(program);
  const drafts: Draft[] = [
    // The kernel's `r0 ^= r0` would read a register that nobody has set.
    moveImm(A, 0),
    moveImm(X, 0),
    move(CTX, ARG1),
    ...cellsReadEarly(program).map((k) => storeWord(A, cellOffset(k))),
  ];
  const starts: number[] = [];
  // Verifiers of eBPF refuse instructions that nothing reaches; classic programs may have them.
  const reached = reachable(program);
  program.forEach((instruction, index) => {
    starts.push(drafts.length);
    if (reached[index] === 1) drafts.push(...translate(instruction, index));
  });
  return drafts.map(({ target, ...instruction }, slot) => {
    if (target === undefined) return instruction;
    const offset = (starts[target] as number) - slot - 1;
    if (offset < -0x8000 || offset > 0x7fff) {
      throw new BpfError(
        "program",
        `filter program: a jump to instruction ${target} spans ${offset} eBPF instructions`,
        {
          where: { instruction: target },
        },
      );
    }
    return { ...instruction, offset };
  });
}

/** 1 for each instruction that some path leads to. */
function reachable(program: CbpfProgram): Uint8Array {
  const reached = new Uint8Array(program.length);
  const open = [0];
  for (let index = open.pop(); index !== undefined; index = open.pop()) {
    if (reached[index] === 1) continue;
    reached[index] = 1;
    const { code, jt, jf, k } = program[index] as CbpfInstruction;
    const { semantics } = cbpfRow(code) as CbpfRow;
    if (semantics.kind === "goto") open.push(index + 1 + (k | 0));
    else if (semantics.kind === "branch") open.push(index + 1 + jt, index + 1 + jf);
    else if (semantics.kind !== "return" && !endsByZero(semantics, k)) open.push(index + 1);
  }
  return reached;
}

/** Division by the constant 0, which Linux refuses, ends the program with 0 as that by X does. */
function endsByZero(semantics: CbpfRow["semantics"], k: number): boolean {
  return (
    semantics.kind === "alu" &&
    (semantics.op === "div" || semantics.op === "mod") &&
    semantics.operand === "k" &&
    k === 0
  );
}

/** Cells that some path, perhaps, reads before it stores them; any, if jumps go backwards. */
function cellsReadEarly(program: CbpfProgram): number[] {
  const stored = new Array<number>(program.length).fill(0xffff);
  const early = new Set<number>();
  stored[0] = 0;
  const join = (target: number, cells: number): void => {
    if (target < program.length) stored[target] = (stored[target] as number) & cells;
  };
  let backwards = false;
  program.forEach(({ code, jt, jf, k }, index) => {
    const { semantics } = cbpfRow(code) as CbpfRow;
    let cells = stored[index] as number;
    if (semantics.kind === "load" && semantics.from === "scratch" && (cells & (1 << k)) === 0) early.add(k);
    if (semantics.kind === "store") cells |= 1 << k;
    if (semantics.kind === "goto") {
      backwards ||= (k | 0) < 0;
      join(index + 1 + (k | 0), cells);
    } else if (semantics.kind === "branch") {
      join(index + 1 + jt, cells);
      join(index + 1 + jf, cells);
    } else if (semantics.kind !== "return") join(index + 1, cells);
  });
  // A loop could bring paths that this one walk has not seen.
  if (backwards) {
    for (const { code, k } of program) {
      const semantics = cbpfRow(code)?.semantics;
      if (semantics?.kind === "load" && semantics.from === "scratch") early.add(k);
    }
  }
  return [...early].sort((one, other) => one - other);
}

function translate({ code, jt, jf, k }: CbpfInstruction, index: number): Draft[] {
  const { semantics } = cbpfRow(code) as CbpfRow;
  const next = index + 1;
  switch (semantics.kind) {
    case "packet": {
      const size = SIZE_CODES[semantics.bytes];
      if (semantics.indexed) return [make(CLASSES.ld | MODES.ind | size, 0, X, 0, k)];
      const ancillary = ancillaryAt(k);
      if (ancillary !== undefined) return ancillaryLoad(ancillary.name, index);
      return [make(CLASSES.ld | MODES.abs | size, 0, 0, 0, k)];
    }
    case "header-length":
      // X keeps A during the load.
      return [
        move(X, A),
        make(CLASSES.ld | MODES.abs | SIZE_CODES[1], 0, 0, 0, k),
        alu("and", A, 0xf),
        alu("lsh", A, 2),
        move(TMP, X),
        move(X, A),
        move(A, TMP),
      ];
    case "load": {
      const to = semantics.to === "a" ? A : X;
      if (semantics.from === "k") return [moveImm(to, k)];
      return [semantics.from === "length" ? loadWord(to, CTX, 0) : loadWord(to, FP, cellOffset(k))];
    }
    case "store":
      return [storeWord(semantics.from === "a" ? A : X, cellOffset(k))];
    case "move":
      return [semantics.to === "x" ? move(X, A) : move(A, X)];
    case "alu":
      return arithmetic(semantics.op, semantics.operand, k);
    case "goto":
      return [{ ...make(CLASSES.jmp, 0, 0, 0, 0), target: next + (k | 0) }];
    case "branch":
      return branch(semantics, k, next + jt, next + jf, next);
    case "return":
      return semantics.value === "k" ? [moveImm(A, k), exit] : [exit];
  }
}

function ancillaryLoad(name: AncillaryName, index: number): Draft[] {
  if (name === "xor_x") return [aluReg("xor", A, X)];
  const value = SK_BUFF_VALUES[name];
  if (value === undefined) {
    throw new BpfError(
      "unsupported",
      `filter program: instruction ${index}: extended BPF can't load ${name}`,
      {
        where: { instruction: index },
      },
    );
  }
  if ("helper" in value) return [make(CALL, 0, 0, 0, value.helper)];
  const load = loadWord(A, CTX, value.offset);
  return value.bigEndian === true ? [load, make(TO_BE, A, 0, 0, 16)] : [load];
}

function arithmetic(op: CbpfAluOp, operand: "k" | "x" | "none", k: number): Draft[] {
  if (operand === "none") return [alu(op, A, 0)];
  const divides = op === "div" || op === "mod";
  if (operand === "x") {
    // Division by 0 ends a classic program with 0; in eBPF it has a value.
    const guard = [make(CLASSES.jmp | JUMPS.jne, X, 0, 2, 0), aluReg("xor", A, A), exit];
    return divides ? [...guard, aluReg(op, A, X)] : [aluReg(op, A, X)];
  }
  if (divides && k === 0) return [moveImm(A, 0), exit];
  return [alu(op, A, op === "lsh" || op === "rsh" ? k & 31 : k)];
}

function branch(
  { test, operand }: { readonly test: CbpfTest; readonly operand: "k" | "x" },
  k: number,
  yes: number,
  no: number,
  next: number,
): Draft[] {
  // Immediates are sign-extended to 64 bits, A never has more than 32.
  const wide = operand === "k" && k >= 2 ** 31;
  const source = wide ? TMP : X;
  const before = wide ? [moveImm(TMP, k)] : [];
  const jump = (name: keyof typeof JUMPS, target: number): Draft =>
    operand === "x" || wide
      ? { ...make(CLASSES.jmp | JUMPS[name] | SOURCE_REG, A, source, 0, 0), target }
      : { ...make(CLASSES.jmp | JUMPS[name], A, 0, 0, k), target };
  if (no === next) return [...before, jump(test, yes)];
  const opposite = OPPOSITES[test];
  if (yes === next && opposite !== undefined) return [...before, jump(opposite, no)];
  return [...before, jump(test, yes), { ...make(CLASSES.jmp, 0, 0, 0, 0), target: no }];
}
