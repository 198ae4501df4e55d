/**
 * Walking a chain of headers: the only loop of the language. Its code jumps backwards, which libpcap's interpreter and
 * ours can run and no kernel takes. A holds the protocol number, X the offset from the network header.
 */
import {
  CBPF_ALU_OPS,
  CBPF_CLASSES,
  CBPF_JUMP_OPS,
  CBPF_MISC_OPS,
  CBPF_MODES,
  CBPF_SIZES,
  CBPF_SOURCES,
  type CbpfInstruction,
  cbpfJump,
  cbpfStatement,
} from "../cbpf/index.ts";
import type { Test } from "./graph.ts";

const { ld, ldx, st, alu, jmp, misc } = CBPF_CLASSES;
const { abs, ind, imm, mem, msh } = CBPF_MODES;

/** IANA protocol numbers of the headers that can be stepped over (RFC 8200, 4.1; RFC 4302). */
const NO_NEXT = 59;
const EXTENSIONS = [0, 60, 43, 44];
const AUTHENTICATION = 51;

type Step =
  | CbpfInstruction
  | { readonly code: number; readonly k: number; readonly yes: string; readonly no: string }
  | string;

/** Code that leaves in A the protocol at which the chain ends; strings are labels. */
export function chainCode(
  test: Extract<Test, { kind: "header-chain" }>,
  cell: number,
): readonly CbpfInstruction[] {
  const { version, protocol, offset } = test;
  const byte = CBPF_SIZES.b;
  const at = (n: number): number => (offset + n) >>> 0;
  const branch = (k: number, yes: string, no: string): Step => ({
    code: jmp | CBPF_JUMP_OPS.jeq,
    k,
    yes,
    no,
  });
  const goto = (to: string): Step => ({ code: jmp | CBPF_JUMP_OPS.ja, k: 0, yes: to, no: to });
  const nextHeader: Step[] = [cbpfStatement(ld | byte | ind, at(0)), cbpfStatement(st, cell)];
  /** The length byte of the header at X, in units after an addition, then on to the next header. */
  const advance = (units: number, unit: number): Step[] => [
    ...nextHeader,
    cbpfStatement(ld | byte | ind, at(1)),
    cbpfStatement(alu | CBPF_ALU_OPS.add, units),
    cbpfStatement(alu | CBPF_ALU_OPS.mul, unit),
  ];
  const again: Step[] = [
    cbpfStatement(misc | CBPF_MISC_OPS.tax),
    cbpfStatement(ld | mem, cell),
    goto("again"),
  ];
  const steps: Step[] = [
    ...(version === 4
      ? [cbpfStatement(ld | byte | abs, at(9)), cbpfStatement(ldx | byte | msh, at(0))]
      : [cbpfStatement(ld | byte | abs, at(6)), cbpfStatement(ldx | imm, 40)]),
    "again",
    branch(protocol, "end", "a"),
    "a",
    branch(NO_NEXT, "end", "0"),
    ...(version === 6
      ? [
          ...EXTENSIONS.flatMap((extension, index): Step[] => [
            `${index}`,
            branch(extension, "extension", index === EXTENSIONS.length - 1 ? "ah" : `${index + 1}`),
          ]),
          "extension",
          ...advance(1, 8),
          cbpfStatement(alu | CBPF_ALU_OPS.add | CBPF_SOURCES.x),
          ...again,
        ]
      : ["0"]),
    "ah",
    branch(AUTHENTICATION, "authentication", "end"),
    "authentication",
    ...authentication(at, cell),
    ...again,
    "end",
  ];
  return resolve(steps);
}

/**
 * libpcap takes the header's length from the byte after the next-header byte and moves X to that length alone, not
 * beyond where it was. Verdicts have to be libpcap's, so X moves as it does there.
 */
function authentication(at: (n: number) => number, cell: number): Step[] {
  const byte = CBPF_SIZES.b;
  return [
    cbpfStatement(ld | byte | ind, at(0)),
    cbpfStatement(st, cell),
    cbpfStatement(ld | byte | ind, at(1)),
    cbpfStatement(alu | CBPF_ALU_OPS.add, 2),
    cbpfStatement(alu | CBPF_ALU_OPS.mul, 4),
  ];
}

function resolve(steps: readonly Step[]): readonly CbpfInstruction[] {
  const labels = new Map<string, number>();
  let position = 0;
  for (const step of steps) {
    if (typeof step === "string") labels.set(step, position);
    else position++;
  }
  const out: CbpfInstruction[] = [];
  for (const step of steps) {
    if (typeof step === "string") continue;
    if (!("yes" in step)) {
      out.push(step);
      continue;
    }
    const here = out.length + 1;
    const distance = (label: string): number => (labels.get(label) as number) - here;
    if (step.code === (jmp | CBPF_JUMP_OPS.ja)) out.push(cbpfStatement(step.code, distance(step.yes)));
    else out.push(cbpfJump(step.code, step.k, distance(step.yes), distance(step.no)));
  }
  return out;
}
