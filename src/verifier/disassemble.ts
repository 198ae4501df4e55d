/** Instructions as the kernel's log writes them (print_bpf_insn of kernel/bpf/disasm.c). */
import { CLASSES, type Instruction } from "../isa/index.ts";
import { HELPERS } from "../uapi/index.ts";

/** What the text of an instruction is made of: {@link instructionText} takes an environment, or less. */
export interface DisassemblyInput {
  readonly instructions: readonly Instruction[];
  kfuncName(id: number): string;
  /** The address that a wide constant stands for, where it is known. */
  addressAt?(index: number): bigint | undefined;
}

/** Upper half of the opcode, shifted: the operator. */
export const ALU_OPERATORS = [
  "+=",
  "-=",
  "*=",
  "/=",
  "|=",
  "&=",
  "<<=",
  ">>=",
  "neg",
  "%=",
  "^=",
  "=",
  "s>>=",
  "endian",
] as const;

const JUMP_OPERATORS = [
  "jmp",
  "==",
  ">",
  ">=",
  "&",
  "!=",
  "s>",
  "s>=",
  "call",
  "exit",
  "<",
  "<=",
  "s<",
  "s<=",
] as const;

const SIZES = ["u32", "u16", "u8", "u64"] as const;
const SIGNED_SIZES = ["s32", "s16", "s8"] as const;
const ATOMICS: Readonly<Record<number, string>> = { 0x00: "add", 0x40: "or", 0x50: "and", 0xa0: "xor" };
const CLASS_NAMES = ["ld", "ldx", "st", "stx", "alu", "jmp", "jmp32", "alu64"] as const;

function signed(value: number): string {
  return value < 0 ? String(value) : `+${value}`;
}

function code(opcode: number): string {
  return `(${opcode.toString(16).padStart(2, "0")})`;
}

const helperNames = new Map<number, string>([
  [0, "bpf_unspec"],
  ...HELPERS.map(({ id, name }): [number, string] => [id, `bpf_${name}`]),
]);

/** "bpf_map_lookup_elem", or "unknown". */
export function helperName(id: number): string {
  return helperNames.get(id) ?? "unknown";
}

/** One instruction, without the line's end. */
export function instructionText(env: DisassemblyInput, index: number): string {
  const instruction = env.instructions[index] as Instruction;
  const { opcode } = instruction;
  const cls = opcode & 7;
  if (cls === CLASSES.alu || cls === CLASSES.alu64) return aluText(instruction);
  if (cls === CLASSES.stx) return storeText(instruction);
  if (cls === CLASSES.st) {
    const { dst, offset, imm } = instruction;
    if ((opcode & 0xe0) === 0x60) {
      return `${code(opcode)} *(${sizeOf(opcode)} *)(r${dst} ${signed(offset)}) = ${imm}`;
    }
    if ((opcode & 0xe0) === 0xc0) return `${code(opcode)} nospec`;
    return `BUG_st_${opcode.toString(16).padStart(2, "0")}`;
  }
  if (cls === CLASSES.ldx) {
    const { dst, src, offset } = instruction;
    const mode = opcode & 0xe0;
    if (mode !== 0x60 && mode !== 0x80) return `BUG_ldx_${opcode.toString(16).padStart(2, "0")}`;
    const size = mode === 0x60 ? sizeOf(opcode) : (SIGNED_SIZES[(opcode & 0x18) >> 3] ?? "(null)");
    return `${code(opcode)} r${dst} = *(${size} *)(r${src} ${signed(offset)})`;
  }
  if (cls === CLASSES.ld) return loadText(env, index, instruction);
  if (cls === CLASSES.jmp || cls === CLASSES.jmp32) return jumpText(env, instruction);
  return `${code(opcode)} ${CLASS_NAMES[cls]}`;
}

function sizeOf(opcode: number): string {
  return SIZES[(opcode & 0x18) >> 3] as string;
}

function aluText({ opcode, dst, src, offset, imm }: Instruction): string {
  const is32 = (opcode & 7) === CLASSES.alu;
  const letter = is32 ? "w" : "r";
  const op = opcode & 0xf0;
  if (op === 0xd0) {
    if (!is32) return `${code(opcode)} r${dst} = bswap${imm} r${dst}`;
    return `${code(opcode)} r${dst} = ${(opcode & 8) === 0 ? "le" : "be"}${imm} r${dst}`;
  }
  if (op === 0x80) return `${code(opcode)} ${letter}${dst} = -${letter}${dst}`;
  if (opcode === 0xbf && offset === 1) {
    return `${code(opcode)} r${dst} = addr_space_cast(r${src}, ${imm >>> 16}, ${imm & 0xffff})`;
  }
  if (opcode === 0xbf && offset === -1) return `${code(opcode)} r${dst} = &(void __percpu *)(r${src})`;
  const signedDivision = (op === 0x30 || op === 0x90) && offset === 1;
  const operator = signedDivision ? (op === 0x30 ? "s/=" : "s%=") : (ALU_OPERATORS[op >> 4] ?? "(null)");
  if ((opcode & 8) === 0) return `${code(opcode)} ${letter}${dst} ${operator} ${imm}`;
  const extension = op === 0xb0 && (offset === 8 || offset === 16 || offset === 32);
  return `${code(opcode)} ${letter}${dst} ${operator} ${extension ? `(s${offset})` : ""}${letter}${src}`;
}

function storeText({ opcode, dst, src, offset, imm }: Instruction): string {
  const mode = opcode & 0xe0;
  const size = sizeOf(opcode);
  const address = `(${size} *)(r${dst} ${signed(offset)})`;
  if (mode === 0x60) return `${code(opcode)} *${address} = r${src}`;
  const bits = (opcode & 0x18) === 0x18 ? "64" : "";
  if (mode === 0xc0) {
    const operation = ATOMICS[imm & 0xf0];
    if (operation !== undefined && (imm & 0xf0) === imm) {
      return `${code(opcode)} lock *${address} ${ALU_OPERATORS[imm >> 4]} r${src}`;
    }
    if (operation !== undefined && (imm & 0xf0) === imm - 1) {
      return `${code(opcode)} r${src} = atomic${bits}_fetch_${operation}(${address}, r${src})`;
    }
    if (imm === 0xf1) return `${code(opcode)} r0 = atomic${bits}_cmpxchg(${address}, r0, r${src})`;
    if (imm === 0xe1) return `${code(opcode)} r${src} = atomic${bits}_xchg(${address}, r${src})`;
    if (imm === 0x100)
      return `${code(opcode)} r${dst} = load_acquire((${size} *)(r${src} ${signed(offset)}))`;
    if (imm === 0x110) return `${code(opcode)} store_release(${address}, r${src})`;
  }
  return `BUG_${opcode.toString(16).padStart(2, "0")}`;
}

function loadText(env: DisassemblyInput, index: number, { opcode, dst, src, imm }: Instruction): string {
  const mode = opcode & 0xe0;
  if (mode === 0x20) return `${code(opcode)} r0 = *(${sizeOf(opcode)} *)skb[${imm}]`;
  if (mode === 0x40) return `${code(opcode)} r0 = *(${sizeOf(opcode)} *)skb[r${src} + ${imm}]`;
  if (mode === 0 && (opcode & 0x18) === 0x18) {
    if (src === 4) {
      const name = imm + index + 1;
      return `${code(opcode)} r${dst} = func[${name}]`.replace(/func\[.*/, functionAddress(imm));
    }
    const high = env.instructions[index + 1]?.imm ?? 0;
    const value = env.addressAt?.(index) ?? BigInt.asUintN(64, (BigInt(high) << 32n) | BigInt(imm >>> 0));
    return `${code(opcode)} r${dst} = 0x${value.toString(16)}`;
  }
  return `BUG_ld_${opcode.toString(16).padStart(2, "0")}`;
}

function functionAddress(imm: number): string {
  return `0x${BigInt.asUintN(32, BigInt(imm)).toString(16)}`;
}

function jumpText(env: DisassemblyInput, { opcode, dst, src, offset, imm }: Instruction): string {
  const op = opcode & 0xf0;
  if (op === 0x80) {
    if (src === 1) return `${code(opcode)} call pc${signed(imm)}`;
    const name = src === 2 ? env.kfuncName(imm) : helperName(imm);
    return `${code(opcode)} call ${name}#${imm}`;
  }
  if (opcode === 0x05) return `${code(opcode)} goto pc${signed(offset)}`;
  if (opcode === 0xe5 && src === 0) return `${code(opcode)} may_goto pc${signed(offset)}`;
  if (opcode === 0x06) return `${code(opcode)} gotol pc${signed(imm)}`;
  if (opcode === 0x95) return `${code(opcode)} exit`;
  const letter = (opcode & 7) === CLASSES.jmp32 ? "w" : "r";
  const operator = JUMP_OPERATORS[op >> 4] ?? "(null)";
  const right = (opcode & 8) === 0 ? `0x${(imm >>> 0).toString(16)}` : `${letter}${src}`;
  return `${code(opcode)} if ${letter}${dst} ${operator} ${right} goto pc${signed(offset)}`;
}
