/** Filters as text, with the names of what they read, compare with and return. */
import {
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  cbpfRow,
  formatCbpfInstruction,
} from "../cbpf/index.ts";
import { SECCOMP_ARCHES, type SeccompArch, argumentName, seccompArch, syscallName } from "./arch.ts";
import { SECCOMP_DATA, describeAction, wordAt } from "./data.ts";

/** What is known before an instruction, whatever way led there. */
interface Facts {
  /** Offset of the word in A, perhaps masked; -1 if it is none. */
  readonly word: number;
  /** The value of `arch`; undefined if it can be several. */
  readonly audit: number | undefined;
  /** The call's number, likewise. */
  readonly number: number | undefined;
}

const NOTHING: Facts = { word: -1, audit: undefined, number: undefined };

function meet(one: Facts | undefined, other: Facts): Facts {
  if (one === undefined) return other;
  return {
    word: one.word === other.word ? one.word : -1,
    audit: one.audit === other.audit ? one.audit : undefined,
    number: one.number === other.number ? one.number : undefined,
  };
}

/** Facts for each instruction; jumps go forward, so that one walk finds them. */
function factsOf(program: CbpfProgram): (Facts | undefined)[] {
  const facts = Array.from<Facts | undefined>({ length: program.length });
  facts[0] = NOTHING;
  program.forEach(({ code, jt, jf, k }, index) => {
    const before = facts[index];
    const semantics = cbpfRow(code)?.semantics;
    if (before === undefined || semantics === undefined) return;
    const flow = (target: number, after: Facts): void => {
      if (target < program.length) facts[target] = meet(facts[target], after);
    };
    if (semantics.kind === "return") return;
    if (semantics.kind === "goto") flow(index + 1 + k, before);
    else if (semantics.kind === "branch") {
      const equal = semantics.test === "jeq" && semantics.operand === "k";
      const yes =
        equal && before.word === SECCOMP_DATA.arch
          ? { ...before, audit: k }
          : equal && before.word === SECCOMP_DATA.nr
            ? { ...before, number: k }
            : before;
      flow(index + 1 + jt, yes);
      flow(index + 1 + jf, before);
    } else {
      const loads = semantics.kind === "packet";
      const masks = semantics.kind === "alu" && semantics.op === "and";
      const changes = semantics.kind === "alu" || ("to" in semantics && semantics.to === "a");
      flow(index + 1, loads ? { ...before, word: k } : changes && !masks ? { ...before, word: -1 } : before);
    }
  });
  return facts;
}

/**
 * The listing of a filter, in the form of `tcpdump -d`, with a comment behind each line that has something to say.
 *
 * @param arch the architecture whose names are used where the filter has not asked for one; default "x86_64"
 * @example
 * disassembleSeccomp(cbpf); // "(000) ld       [4]  ; arch\n(001) jeq      #0xc000003e ..."
 */
export function disassembleSeccomp(program: CbpfProgram, arch = "x86_64"): string {
  const fallback = seccompArch(arch);
  const facts = factsOf(program);
  const lines = program.map((instruction, index) => ({
    text: formatCbpfInstruction(instruction, index).replace("\t", " ").trimEnd(),
    comment: comment(instruction, facts[index], fallback),
  }));
  const width = Math.max(...lines.map(({ text }) => text.length));
  return lines
    .map(({ text, comment }) => (comment === "" ? text : `${text.padEnd(width)}  ; ${comment}`))
    .join("\n");
}

const SIGNS = { jeq: "==", jgt: ">", jge: ">=", jset: "&" } as const;

function comment(instruction: CbpfInstruction, facts: Facts | undefined, fallback: SeccompArch): string {
  const semantics = (cbpfRow(instruction.code) as CbpfRow | undefined)?.semantics;
  const { k } = instruction;
  if (semantics === undefined) return "no such instruction";
  if (facts === undefined) return "never reached";
  const arch = SECCOMP_ARCHES.find(({ audit }) => audit === facts.audit) ?? fallback;
  if (semantics.kind === "return") return semantics.value === "k" ? describeAction(k) : "";
  if (semantics.kind === "packet") return wordName(k, facts, arch);
  if (semantics.kind !== "branch" || semantics.operand === "x" || facts.word < 0) return "";
  const sign = SIGNS[semantics.test];
  const name = wordName(facts.word, facts, arch);
  if (facts.word === SECCOMP_DATA.arch) {
    const constant = SECCOMP_ARCHES.find(({ audit }) => audit === k)?.constant;
    return `${name} ${sign} ${constant ?? `0x${k.toString(16)}`}`;
  }
  if (facts.word === SECCOMP_DATA.nr) return `${name} ${sign} ${syscallName(arch.name, k) ?? k}`;
  return `${name} ${sign} ${k < 10 ? k : `0x${k.toString(16)}`}`;
}

function wordName(offset: number, { number }: Facts, arch: SeccompArch): string {
  const word = wordAt(offset, arch.bigEndian);
  if (word === undefined) return "outside struct seccomp_data";
  if (!("high" in word)) return word.kind;
  const half = word.high ? "upper half" : "lower half";
  if (word.kind === "ip") return `instruction_pointer, ${half}`;
  const syscall = number === undefined ? undefined : syscallName(arch.name, number);
  return `${syscall === undefined ? "" : `${syscall} `}${argumentName(arch.name, syscall, word.index)}, ${half}`;
}
