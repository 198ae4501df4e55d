/**
 * The dialect of LLVM, which the kernel's documentation and verifier share: `r1 += 5`, `if r1 == 0 goto +2`.
 * What llvm-objdump 19 prints and llvm-mc 19 reads was asked of those tools, row by row; the tests still do.
 *
 * Four things LLVM leaves unsaid, so that its text would assemble to another program, or has no text for. They are
 * written here in words of our own, which no LLVM text has:
 * - a call of a function by distance: `call pc+0x5`, after the verifier's log (LLVM prints `call 0x5`, like a helper),
 * - a call of a kernel function: `call kfunc 0x5`, with the index of its BTF after a comma,
 * - the constant part of an indirect packet load: `skb[r6 + 0x4]` (LLVM drops it),
 * - the upper half of an `lddw` that is no constant: `ld_pseudo r1, 0x2, 0x800000003` (LLVM drops it).
 */
import type { AluOp, AtomicOp, InstructionRow, JumpOp } from "../isa/index.ts";
import type { RowText } from "./pattern.ts";

const ALU_OPERATORS: Readonly<Record<Exclude<AluOp, "neg" | "movsx">, string>> = {
  add: "+=",
  sub: "-=",
  mul: "*=",
  div: "/=",
  sdiv: "s/=",
  or: "|=",
  and: "&=",
  lsh: "<<=",
  rsh: ">>=",
  mod: "%=",
  smod: "s%=",
  xor: "^=",
  mov: "=",
  arsh: "s>>=",
};

const JUMP_OPERATORS: Readonly<Record<JumpOp, string>> = {
  jeq: "==",
  jgt: ">",
  jge: ">=",
  jset: "&",
  jne: "!=",
  jsgt: "s>",
  jsge: "s>=",
  jlt: "<",
  jle: "<=",
  jslt: "s<",
  jsle: "s<=",
};

/** Atomic operations that LLVM writes as an operator where the old value is not wanted. */
const ATOMIC_OPERATORS: Readonly<Partial<Record<AtomicOp, string>>> = {
  add: "+=",
  or: "|=",
  and: "&=",
  xor: "^=",
};

/** How LLVM writes a row. */
export function llvmText(row: InstructionRow): RowText {
  const { semantics } = row;
  switch (semantics.kind) {
    case "alu": {
      const { op, width, source, from } = semantics;
      const [dst, src] = width === 64 ? ["{dst}", "{src}"] : ["{dst32}", "{src32}"];
      if (op === "neg") return { text: `${dst} = -${dst}` };
      if (op === "movsx") return { text: `${dst} = (s${from})${src}` };
      const text = `${dst} ${ALU_OPERATORS[op]} ${source === "imm" ? "{imm}" : src}`;
      // clang -S writes a move that clears the upper half like this, and llvm-mc cannot read it.
      const isClearing = op === "mov" && width === 32 && source === "reg";
      return isClearing ? { text, also: ["{dst} = {src32}"] } : { text };
    }
    case "endian": {
      const name = semantics.op === "swap" ? "bswap" : semantics.op;
      return { text: `{dst} = ${name}${semantics.size} {dst}` };
    }
    case "addr_space_cast":
      return { text: "{dst} = addr_space_cast({src}, {to}, {from})" };
    case "load": {
      const address = `*(${semantics.signed ? "s" : "u"}${semantics.bytes * 8} *)({src} {offset})`;
      return semantics.signed || semantics.bytes === 8
        ? { text: `{dst} = ${address}` }
        : narrow(`{dst32} = ${address}`, `{dst} = ${address}`);
    }
    case "store": {
      const address = `*(u${semantics.bytes * 8} *)({dst} {offset})`;
      if (semantics.source === "imm") return { text: `${address} = {imm}` };
      return semantics.bytes === 8
        ? { text: `${address} = {src}` }
        : narrow(`${address} = {src32}`, `${address} = {src}`);
    }
    case "atomic":
      return atomicText(semantics);
    case "lddw":
      return semantics.value === "imm"
        ? { text: "{dst} = {wide} ll" }
        : { text: "ld_pseudo\t{dst}, {pseudo}, {address}" };
    case "packet": {
      const skb = `r0 = *(u${semantics.bytes * 8} *)skb`;
      return semantics.mode === "abs"
        ? { text: `${skb}[{imm}]` }
        : { text: `${skb}[{src}{index}]`, objdump: `${skb}[{src}]` };
    }
    case "goto":
      return { text: semantics.distance === "offset" ? "goto {jump}" : "gotol {jump32}" };
    case "jump": {
      const { op, width, source } = semantics;
      const [dst, src] = width === 64 ? ["{dst}", "{src}"] : ["{dst32}", "{src32}"];
      return { text: `if ${dst} ${JUMP_OPERATORS[op]} ${source === "imm" ? "{imm}" : src} goto {jump}` };
    }
    case "may_goto":
      return { text: "may_goto {jump}" };
    case "call":
      switch (semantics.target) {
        case "helper":
          return { text: "call {imm}" };
        case "local":
          return { text: "call pc{jump32}", also: ["call {function}"], objdump: "call {imm}" };
        case "kfunc":
          return { text: "call kfunc {imm}{btf}", objdump: "call {imm}" };
        case "register":
          return { text: "callx {dst}" };
      }
    case "exit":
      return { text: "exit" };
  }
}

/** With alu32, LLVM names the 32-bit half of a register that a narrow access uses; without, the whole one. */
function narrow(text: string, generic: string): RowText {
  return { text, generic, also: [generic] };
}

function atomicText({ op, fetch, bytes }: { op: AtomicOp; fetch: boolean; bytes: number }): RowText {
  const [letter, src, dst] = bytes === 8 ? ["r", "{src}", "{dst}"] : ["w", "{src32}", "{dst32}"];
  const pointer = `(u${bytes * 8} *)({dst} {offset})`;
  const suffix = bytes === 8 ? "_64" : `32_32`;
  // LLVM 19 knows neither of these two; this is what LLVM 20 prints.
  if (op === "load_acquire") {
    return { text: `${dst} = load_acquire((u${bytes * 8} *)({src} {offset}))`, objdump: null };
  }
  if (op === "store_release") return { text: `store_release(${pointer}, ${src})`, objdump: null };
  // Without alu32 LLVM decodes one 32-bit atomic operation only, addition.
  const generic = bytes === 8 ? {} : { generic: null };
  if (op === "xchg") return { text: `${src} = xchg${suffix}({dst} {offset}, ${src})`, ...generic };
  if (op === "cmpxchg") {
    return { text: `${letter}0 = cmpxchg${suffix}({dst} {offset}, ${letter}0, ${src})`, ...generic };
  }
  if (fetch) return { text: `${src} = atomic_fetch_${op}(${pointer}, ${src})`, ...generic };
  const text = `lock *${pointer} ${ATOMIC_OPERATORS[op]} `;
  return op === "add" && bytes === 4
    ? narrow(`${text}${src}`, `${text}{src}`)
    : { text: `${text}${src}`, ...generic };
}
