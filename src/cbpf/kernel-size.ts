/**
 * How long a classic program gets when Linux translates it to eBPF (net/core/filter.c, bpf_convert_filter). Two of the
 * kernel's refusals depend on it: a jump that 16 bits can't express, and the socket's memory charge. Lengths are those
 * of Linux 6.18 on a machine with efficient unaligned access (x86-64, arm64).
 */
import { ancillaryAt } from "./ancillary.ts";
import type { CbpfInstruction, CbpfProgram, CbpfRow } from "./instruction.ts";
import { cbpfRow } from "./instruction.ts";

/** A jump of the translation. */
export interface KernelJump {
  /** The classic instruction it belongs to. */
  readonly index: number;
  /** The classic instruction it goes to. */
  readonly target: number;
  /** The eBPF instruction that jumps. */
  readonly slot: number;
}

const PROLOGUE = 3;
/** Caching the packet's address and length, when the program reads packet bytes. */
const PACKET_PROLOGUE = 4;
/** Setting up the helper's arguments, calling it, and leaving if it failed. */
const SLOW_LOAD = 8;

const ANCILLARY_LENGTHS: Readonly<Record<string, number>> = {
  proto: 2,
  type: 2,
  ifidx: 4,
  hatype: 4,
  mark: 1,
  rxhash: 1,
  queue: 1,
  vlan_tci: 1,
  vlan_avail: 3,
  vlan_tpid: 2,
  poff: 4,
  nla: 4,
  nlan: 4,
  cpu: 4,
  rand: 4,
  xor_x: 1,
};

/** Length of an absolute load: a bounds check and a load in line, then the slow path. */
function absoluteLoad(bytes: 1 | 2 | 4, k: number): number {
  if (k >= 2 ** 31) return SLOW_LOAD;
  const far = k > 0x7fff ? 2 : 0;
  return 4 + (k === 0 ? 0 : 1) + far + (bytes === 1 ? 0 : 1) + SLOW_LOAD;
}

function lengthOf(
  { semantics }: CbpfRow,
  { jt, jf, k }: CbpfInstruction,
  variant: "linux" | "seccomp",
): number {
  switch (semantics.kind) {
    case "packet": {
      if (variant === "seccomp") return 1;
      if (semantics.indexed) return SLOW_LOAD + (k === 0 ? 0 : 1);
      const ancillary = ancillaryAt(k);
      if (ancillary !== undefined) return ANCILLARY_LENGTHS[ancillary.name] as number;
      return absoluteLoad(semantics.bytes, k);
    }
    case "header-length":
      return 6 + absoluteLoad(1, k);
    case "alu":
      return semantics.operand === "x" && (semantics.op === "div" || semantics.op === "mod") ? 5 : 1;
    case "branch": {
      const wide = semantics.operand === "k" && k >= 2 ** 31 ? 1 : 0;
      return wide + (jf === 0 || (jt === 0 && semantics.test !== "jset") ? 1 : 2);
    }
    case "return":
      return semantics.value === "k" ? 2 : 1;
    default:
      return 1;
  }
}

/**
 * Where each instruction begins in the kernel's translation (the last entry is the length), and its jumps.
 *
 * @example
 * kernelLengths([{ code: 0x06, jt: 0, jf: 0, k: 0 }]).starts; // [3, 5]: three of prologue, mov, exit
 */
export function kernelLengths(
  program: CbpfProgram,
  variant: "linux" | "seccomp" = "linux",
): { readonly starts: readonly number[]; readonly jumps: readonly KernelJump[] } {
  const rows = program.map(({ code }) => cbpfRow(code) as CbpfRow);
  const readsPacket =
    variant === "linux" &&
    rows.some(
      ({ semantics }, index) =>
        semantics.kind === "header-length" ||
        (semantics.kind === "packet" &&
          (semantics.indexed || ancillaryAt((program[index] as CbpfInstruction).k) === undefined)),
    );
  let slot = PROLOGUE + (readsPacket ? PACKET_PROLOGUE : 0);
  const starts: number[] = [];
  const jumps: KernelJump[] = [];
  program.forEach((instruction, index) => {
    const row = rows[index] as CbpfRow;
    const { jt, jf, k } = instruction;
    starts.push(slot);
    const length = lengthOf(row, instruction, variant);
    const next = index + 1;
    if (row.semantics.kind === "goto") jumps.push({ index, target: next + k, slot });
    if (row.semantics.kind === "branch") {
      const first = slot + (row.semantics.operand === "k" && k >= 2 ** 31 ? 1 : 0);
      if (jf === 0) jumps.push({ index, target: next + jt, slot: first });
      else if (jt === 0 && row.semantics.test !== "jset")
        jumps.push({ index, target: next + jf, slot: first });
      else
        jumps.push({ index, target: next + jt, slot: first }, { index, target: next + jf, slot: first + 1 });
    }
    slot += length;
  });
  starts.push(slot);
  return { starts, jumps };
}
