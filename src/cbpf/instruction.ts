/**
 * The instruction set of classic BPF (uapi linux/bpf_common.h and linux/filter.h): one row an instruction, and the
 * numbers that the rows are made of. Checker, assembler, printers, engines and tests are derived from the rows.
 *
 *     bits    0..15       16..23   24..31        32..63
 *           +-----------+--------+--------+--------------------+
 *           |   code    |   jt   |   jf   |         k          |     struct sock_filter
 *           +-----------+--------+--------+--------------------+
 *
 * The machine has an accumulator A, an index register X, 16 scratch cells M[] of 32 bits and a packet.
 */
export interface CbpfInstruction {
  /** Class, size, mode or operation: 0 to 65535, of which the rows below exist. */
  readonly code: number;
  /** How many instructions a conditional jump skips when its test holds: 0 to 255. */
  readonly jt: number;
  /** The same for a test that fails. */
  readonly jf: number;
  /** The operand, unsigned 32 bits. */
  readonly k: number;
}

/** A program; every function here leaves it as it is. */
export type CbpfProgram = readonly CbpfInstruction[];

/** BPF_CLASS: bits 0 to 2 of the code. */
export const CBPF_CLASSES = { ld: 0, ldx: 1, st: 2, stx: 3, alu: 4, jmp: 5, ret: 6, misc: 7 } as const;
/** BPF_SIZE of loads. */
export const CBPF_SIZES = { w: 0x00, h: 0x08, b: 0x10 } as const;
/** BPF_MODE of loads. */
export const CBPF_MODES = { imm: 0x00, abs: 0x20, ind: 0x40, mem: 0x60, len: 0x80, msh: 0xa0 } as const;
/** BPF_SRC of arithmetic and jumps; `a` is BPF_RVAL's third choice. */
export const CBPF_SOURCES = { k: 0x00, x: 0x08, a: 0x10 } as const;
/** BPF_OP of arithmetic. */
export const CBPF_ALU_OPS = {
  add: 0x00,
  sub: 0x10,
  mul: 0x20,
  div: 0x30,
  or: 0x40,
  and: 0x50,
  lsh: 0x60,
  rsh: 0x70,
  neg: 0x80,
  mod: 0x90,
  xor: 0xa0,
} as const;
/** BPF_OP of jumps. */
export const CBPF_JUMP_OPS = { ja: 0x00, jeq: 0x10, jgt: 0x20, jge: 0x30, jset: 0x40 } as const;
/** BPF_MISCOP. */
export const CBPF_MISC_OPS = { tax: 0x00, txa: 0x80 } as const;

export type CbpfAluOp = keyof typeof CBPF_ALU_OPS;
export type CbpfTest = Exclude<keyof typeof CBPF_JUMP_OPS, "ja">;

/** Longest program that Linux takes (BPF_MAXINSNS). */
export const CBPF_MAX_INSTRUCTIONS = 4096;
/** Number of scratch cells (BPF_MEMWORDS). */
export const CBPF_SCRATCH_CELLS = 16;

/** What an instruction does; "k" stands for the operand as it is. */
export type CbpfSemantics =
  | { readonly kind: "packet"; readonly to: "a"; readonly bytes: 1 | 2 | 4; readonly indexed: boolean }
  | { readonly kind: "header-length"; readonly to: "x" }
  | { readonly kind: "load"; readonly to: "a" | "x"; readonly from: "k" | "length" | "scratch" }
  | { readonly kind: "store"; readonly from: "a" | "x" }
  | { readonly kind: "alu"; readonly op: CbpfAluOp; readonly operand: "k" | "x" | "none" }
  | { readonly kind: "goto" }
  | { readonly kind: "branch"; readonly test: CbpfTest; readonly operand: "k" | "x" }
  | { readonly kind: "return"; readonly value: "k" | "a" }
  | { readonly kind: "move"; readonly to: "a" | "x" };

/**
 * How the operand is written: `#k`, `[k]`, `[x + k]`, `M[k]`, `4*([k]&0xf)`, `x`, `a`, the length (`#pktlen` or `len`),
 * a jump's target, or nothing.
 */
export type CbpfShape = "imm" | "abs" | "ind" | "mem" | "msh" | "x" | "a" | "len" | "target" | "none";

/** One instruction of the table. */
export interface CbpfRow {
  readonly code: number;
  /** As tcpdump and bpf_asm call it. */
  readonly mnemonic: string;
  readonly shape: CbpfShape;
  readonly semantics: CbpfSemantics;
  /** Whether a seccomp filter may use it (kernel/seccomp.c, seccomp_check_filter). */
  readonly seccomp: boolean;
}

const { ld, ldx, st, stx, alu, jmp, ret, misc } = CBPF_CLASSES;
const { imm, abs, ind, mem, len, msh } = CBPF_MODES;

const PACKET_SIZES = [
  { mnemonic: "ld", code: CBPF_SIZES.w, bytes: 4 },
  { mnemonic: "ldh", code: CBPF_SIZES.h, bytes: 2 },
  { mnemonic: "ldb", code: CBPF_SIZES.b, bytes: 1 },
] as const;

const packetLoads = (indexed: boolean): CbpfRow[] =>
  PACKET_SIZES.map(({ mnemonic, code, bytes }) => ({
    code: ld | code | (indexed ? ind : abs),
    mnemonic,
    shape: indexed ? "ind" : "abs",
    semantics: { kind: "packet", to: "a", bytes, indexed },
    // Reads a word of struct seccomp_data; narrower and indexed loads are refused.
    seccomp: bytes === 4 && !indexed,
  }));

const loads = (to: "a" | "x"): CbpfRow[] => {
  const base = { mnemonic: to === "a" ? "ld" : "ldx", seccomp: true };
  const code = to === "a" ? ld : ldx;
  return [
    { ...base, code: code | imm, shape: "imm", semantics: { kind: "load", to, from: "k" } },
    { ...base, code: code | mem, shape: "mem", semantics: { kind: "load", to, from: "scratch" } },
    { ...base, code: code | len, shape: "len", semantics: { kind: "load", to, from: "length" } },
  ];
};

const arithmetic: CbpfRow[] = (Object.keys(CBPF_ALU_OPS) as CbpfAluOp[]).flatMap((op): CbpfRow[] => {
  const code = alu | CBPF_ALU_OPS[op];
  if (op === "neg") {
    return [
      { code, mnemonic: op, shape: "none", semantics: { kind: "alu", op, operand: "none" }, seccomp: true },
    ];
  }
  const seccomp = op !== "mod";
  return [
    { code, mnemonic: op, shape: "imm", semantics: { kind: "alu", op, operand: "k" }, seccomp },
    {
      code: code | CBPF_SOURCES.x,
      mnemonic: op,
      shape: "x",
      semantics: { kind: "alu", op, operand: "x" },
      seccomp,
    },
  ];
});

const branches: CbpfRow[] = (["jeq", "jgt", "jge", "jset"] as const).flatMap((test): CbpfRow[] =>
  (["k", "x"] as const).map((operand) => ({
    code: jmp | CBPF_JUMP_OPS[test] | CBPF_SOURCES[operand],
    mnemonic: test,
    shape: operand === "k" ? "imm" : "x",
    semantics: { kind: "branch", test, operand },
    seccomp: true,
  })),
);

/** Every instruction of classic BPF, those that Linux takes (net/core/filter.c, chk_code_allowed). */
export const CBPF_INSTRUCTIONS: readonly CbpfRow[] = [
  ...packetLoads(false),
  ...packetLoads(true),
  ...loads("a"),
  ...loads("x"),
  // The length of an IPv4 header, in bytes, from its first byte.
  {
    code: ldx | CBPF_SIZES.b | msh,
    mnemonic: "ldxb",
    shape: "msh",
    semantics: { kind: "header-length", to: "x" },
    seccomp: false,
  },
  { code: st, mnemonic: "st", shape: "mem", semantics: { kind: "store", from: "a" }, seccomp: true },
  { code: stx, mnemonic: "stx", shape: "mem", semantics: { kind: "store", from: "x" }, seccomp: true },
  ...arithmetic,
  { code: jmp, mnemonic: "ja", shape: "target", semantics: { kind: "goto" }, seccomp: true },
  ...branches,
  { code: ret, mnemonic: "ret", shape: "imm", semantics: { kind: "return", value: "k" }, seccomp: true },
  {
    code: ret | CBPF_SOURCES.a,
    mnemonic: "ret",
    shape: "a",
    semantics: { kind: "return", value: "a" },
    seccomp: true,
  },
  { code: misc, mnemonic: "tax", shape: "none", semantics: { kind: "move", to: "x" }, seccomp: true },
  {
    code: misc | CBPF_MISC_OPS.txa,
    mnemonic: "txa",
    shape: "none",
    semantics: { kind: "move", to: "a" },
    seccomp: true,
  },
];

const BY_CODE: ReadonlyMap<number, CbpfRow> = new Map(CBPF_INSTRUCTIONS.map((row) => [row.code, row]));

/** The row of a code, or undefined if there is no such instruction. */
export function cbpfRow(code: number): CbpfRow | undefined {
  return BY_CODE.get(code);
}

/** An instruction that is no jump. */
export function cbpfStatement(code: number, k = 0): CbpfInstruction {
  return { code, jt: 0, jf: 0, k: k >>> 0 };
}

/** A conditional jump. */
export function cbpfJump(code: number, k: number, jt: number, jf: number): CbpfInstruction {
  return { code, jt, jf, k: k >>> 0 };
}
