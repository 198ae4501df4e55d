/**
 * Classic programs as JavaScript functions, for one packet at a time. A call into WebAssembly needs the packet copied into
 * its memory, which costs more than most filters; a function reads it where it lies.
 *
 * Jumps go forward only, so each target is the end of a labelled block, and all blocks open at the start. A is kept as a
 * signed number, for those are what engines compute with fastest; where its size matters it is taken as unsigned.
 */
import type { CbpfInstruction, CbpfProgram } from "./instruction.ts";
import { runCbpf } from "./run.ts";
import { checkStructure } from "./structure.ts";

/** @param wireLength what `len` reads; the packet's length by default */
export type CbpfFunction = (packet: Uint8Array, wireLength?: number) => number;

/** Blocks nest, and parsers of JavaScript recurse. */
const MAX_LENGTH = 1024;
/** Offsets from here on are no places in the packet. */
const BEYOND = 0x80000000;

const bytes = (at: (offset: number) => string, size: number): string => {
  if (size === 1) return `p[${at(0)}]`;
  if (size === 2) return `p[${at(0)}]<<8|p[${at(1)}]`;
  return `p[${at(0)}]<<24|p[${at(1)}]<<16|p[${at(2)}]<<8|p[${at(3)}]`;
};

/** The body of one instruction that is no jump, or undefined if functions can't do it. */
function statement({ code, k }: CbpfInstruction): string | undefined {
  const operand = (code & 8) === 0 ? `${k | 0}` : "x";
  const size = [4, 2, 1][(code >> 3) & 3] as number;
  const register = (code & 7) === 1 ? "x" : "a";
  switch (code) {
    case 0x20:
    case 0x28:
    case 0x30:
      if (k >= BEYOND) return undefined;
      return `if(n<${k + size})return 0;a=${bytes((offset) => `${k + offset}`, size)};`;
    case 0x40:
    case 0x48:
    case 0x50:
      return `t=(x+${k | 0})>>>0;if(t+${size}>n)return t<${BEYOND}?0:slow(p,w);a=${bytes((offset) => `t+${offset}`, size)};`;
    case 0x00:
    case 0x01:
      return `${register}=${k | 0};`;
    case 0x60:
    case 0x61:
      return `${register}=m${k};`;
    case 0x80:
    case 0x81:
      return `${register}=w|0;`;
    case 0xb1:
      return k >= BEYOND ? undefined : `if(n<=${k})return 0;x=(p[${k}]&15)<<2;`;
    case 0x02:
      return `m${k}=a;`;
    case 0x03:
      return `m${k}=x;`;
    case 0x07:
      return "x=a;";
    case 0x87:
      return "a=x;";
    case 0x84:
      return "a=-a|0;";
    default:
  }
  if ((code & 7) !== 4) return undefined;
  switch (code & 0xf0) {
    case 0x00:
      return `a=a+${operand}|0;`;
    case 0x10:
      return `a=a-(${operand})|0;`;
    case 0x20:
      return `a=Math.imul(a,${operand});`;
    case 0x30:
    case 0x90: {
      const sign = (code & 0xf0) === 0x30 ? "/" : "%";
      if (operand === "0") return "return 0;";
      const guard = operand === "x" ? "if(x===0)return 0;" : "";
      return `${guard}a=(a>>>0)${sign}(${operand}>>>0)|0;`;
    }
    case 0x40:
      return `a|=${operand};`;
    case 0x50:
      return `a&=${operand};`;
    case 0x60:
      return `a<<=${operand};`;
    case 0x70:
      return `a=a>>>${operand}|0;`;
    case 0xa0:
      return `a^=${operand};`;
    default:
      return undefined;
  }
}

function condition({ code, k }: CbpfInstruction): string {
  const onX = (code & 8) !== 0;
  switch (code & 0xf0) {
    case 0x10:
      return onX ? "a===x" : `a===${k | 0}`;
    case 0x20:
      return `a>>>0>${onX ? "x>>>0" : k}`;
    case 0x30:
      return `a>>>0>=${onX ? "x>>>0" : k}`;
    default:
      return `a&${onX ? "x" : k | 0}`;
  }
}

/** The text of the function, or undefined. */
function source(program: CbpfProgram): string | undefined {
  const targets = new Set<number>();
  /** Goes to an instruction, or does at once what is left to do there. */
  const goto = (to: number, from: number): string => {
    const instruction = program[to] as CbpfInstruction;
    if (instruction.code === 0x06) return `return ${instruction.k}`;
    if (instruction.code === 0x16) return "return a>>>0";
    if (to === from + 1) return "";
    targets.add(to);
    return `break L${to}`;
  };
  const lines: string[] = [];
  for (const [index, instruction] of program.entries()) {
    const { code, jt, jf, k } = instruction;
    let line: string | undefined;
    if (code === 0x06) line = `return ${k};`;
    else if (code === 0x16) line = "return a>>>0;";
    else if (code === 0x05) line = `${goto(index + 1 + k, index)};`;
    else if ((code & 7) === 5) {
      const [yes, no] = [goto(index + 1 + jt, index), goto(index + 1 + jf, index)];
      const test = condition(instruction);
      if (yes === no) line = `${yes};`;
      else if (yes === "") line = `if(!(${test}))${no};`;
      else line = `if(${test})${yes};${no === "" ? "" : `else ${no};`}`;
    } else {
      line = statement(instruction);
    }
    if (line === undefined) return undefined;
    lines.push(line);
  }
  const labels = [...targets].sort((a, b) => b - a);
  const cells = Array.from({ length: 16 }, (_, cell) => `m${cell}=0`).join(",");
  const body = lines.map((line, index) => (targets.has(index) ? `}${line}` : line)).join("\n");
  const opened = labels.map((label) => `L${label}:{`).join("");
  return `return function(p,w){const n=p.length;if(w===undefined)w=n;let a=0,x=0,t=0,${cells};\n${opened}\n${body}\n}`;
}

/**
 * Compiles a program to a JavaScript function that gives Linux's reading, as {@link runCbpf} does; undefined for a program
 * that is very long, jumps backwards or reads what lies beside the packet, and where a page's policy forbids new code.
 */
export function compileFunction(program: CbpfProgram): CbpfFunction | undefined {
  if (program.length > MAX_LENGTH || !checkStructure(program)) return undefined;
  const text = source(program);
  if (text === undefined) return undefined;
  const slow = (packet: Uint8Array, wireLength: number): number => runCbpf(program, packet, { wireLength });
  try {
    // The text is made of numbers and of the words above alone.
    // oxlint-disable-next-line no-new-func
    return new Function("slow", text)(slow) as CbpfFunction;
  } catch {
    return undefined;
  }
}
