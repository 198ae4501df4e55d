/**
 * What is known before each instruction of a program whose jumps go forward. One walk in program order suffices, since
 * every predecessor of an instruction stands before it; where paths meet, only what holds on all of them is kept.
 *
 * Three kinds of facts make compiled filters fast:
 *
 * - Lengths. A load at a constant offset proves the packet to be that long, so that later loads below it need no test.
 * - Bounds of A and X. After `ldxb 4*([14]&0xf)` X is at most 60, so that x + k can't overflow.
 * - Byte order. A word that is only compared with constants needs no conversion from network order: the constants are
 *   swapped at compile time. The values of A form webs: all loads that reach a common use. A web stays "raw" if all its
 *   loads have one width and all its uses can do with the swapped value.
 */
import { SKF_LL_OFF, ancillaryAt } from "./ancillary.ts";
import type { CbpfFlavor } from "./run.ts";
import { type CbpfInstruction, type CbpfProgram, type CbpfRow, cbpfRow } from "./instruction.ts";

const ANYTHING = 0xffffffff;
/** Bytes between two ranges that are cheaper to copy than to skip. */
const NEAR = 4;
/** No packet is that long: what unreachable instructions start with. */
const UNREACHED = 2 ** 53;

/** What holds before an instruction runs. */
export interface CbpfFacts {
  readonly reachable: boolean;
  /** The packet has at least so many bytes. */
  readonly length: number;
  /** The packet has at least X plus so many bytes; negative if nothing is known. */
  readonly lengthAfterX: number;
  /** Upper bounds. */
  readonly a: number;
  readonly x: number;
  /** How many bytes of A are in network order, because nothing minds: 0, 2 or 4. */
  readonly rawA: 0 | 2 | 4;
}

/** The facts of a program, and what follows from them for all of it. */
export interface CbpfAnalysis {
  readonly facts: readonly CbpfFacts[];
  /** Instructions that a jump reaches, in order. */
  readonly targets: readonly number[];
  /** How a load leaves A: 0 for host order. Indexed by instruction. */
  readonly rawLoads: readonly (0 | 2 | 4)[];
  /** The bytes of the packet that are ever read: from and to, in order, apart. One of them is Infinity if X decides. */
  readonly reads: readonly (readonly [number, number])[];
  readonly usesLength: boolean;
}

interface State {
  length: number;
  lengthAfterX: number;
  a: number;
  x: number;
  /** Number of A's web. */
  web: number;
}

/** Disjoint sets of the values of A, each with the widths of its loads. */
class Webs {
  readonly #parent: number[] = [];
  readonly #widths: number[] = [];

  /** `width`: 2 or 4 for what a load leaves, 0 for a value in host order, -1 for zero, which is the same in every order. */
  make(width: number): number {
    const web = this.#parent.length;
    this.#parent.push(web);
    this.#widths.push(width);
    return web;
  }

  find(web: number): number {
    let root = web;
    while (this.#parent[root] !== root) root = this.#parent[root] as number;
    let step = web;
    while (step !== root) {
      const next = this.#parent[step] as number;
      this.#parent[step] = root;
      step = next;
    }
    return root;
  }

  join(one: number, other: number): number {
    const [to, from] = [this.find(one), this.find(other)];
    if (to === from) return to;
    this.#parent[from] = to;
    this.#require(to, this.#widths[from] as number);
    return to;
  }

  #require(root: number, width: number): void {
    const known = this.#widths[root] as number;
    if (width === -1 || width === known) return;
    this.#widths[root] = known === -1 ? width : 0;
  }

  /** A use that needs the value in host order. */
  needHost(web: number): void {
    this.#widths[this.find(web)] = 0;
  }

  rawBytes(web: number): 0 | 2 | 4 {
    const width = this.#widths[this.find(web)];
    return width === 2 || width === 4 ? width : 0;
  }
}

/** Whether an operation with a constant may be done on the bytes as they came: it must look at each bit by itself. */
function bitwise({ semantics }: CbpfRow, k: number, width: number): boolean {
  if (semantics.kind === "branch")
    return semantics.operand === "k" && (semantics.test === "jeq" || semantics.test === "jset");
  if (semantics.kind !== "alu" || semantics.operand !== "k") return false;
  if (semantics.op === "and") return true;
  return (semantics.op === "or" || semantics.op === "xor") && (width === 4 || k <= 0xffff);
}

/**
 * Walks a program whose structure has been checked and whose jumps go forward.
 */
export function analyseCbpf(program: CbpfProgram, flavor: CbpfFlavor): CbpfAnalysis {
  const count = program.length;
  const webs = new Webs();
  const incoming = Array.from<State | undefined>({ length: count });
  const before = Array.from<State | undefined>({ length: count });
  const defined = Array.from({ length: count }, () => -1);
  const targets = new Set<number>();
  const reads: [number, number][] = [];
  let usesLength = false;

  const flow = (target: number, state: State): void => {
    const known = incoming[target];
    if (known === undefined) {
      incoming[target] = { ...state };
      return;
    }
    known.length = Math.min(known.length, state.length);
    known.lengthAfterX = Math.min(known.lengthAfterX, state.lengthAfterX);
    known.a = Math.max(known.a, state.a);
    known.x = Math.max(known.x, state.x);
    known.web = webs.join(known.web, state.web);
  };

  flow(0, { length: 0, lengthAfterX: 0, a: 0, x: 0, web: webs.make(-1) });
  program.forEach((instruction, index) => {
    const state = incoming[index];
    if (state === undefined) return;
    before[index] = { ...state };
    const row = cbpfRow(instruction.code) as CbpfRow;
    const { semantics } = row;
    const { jt, jf, k } = instruction;
    const setA = (bound: number, width: number): void => {
      state.a = bound;
      state.web = webs.make(width);
      defined[index] = state.web;
    };
    const setX = (bound: number, lengthAfterX = -1): void => {
      state.x = bound;
      state.lengthAfterX = lengthAfterX;
    };
    switch (semantics.kind) {
      case "packet": {
        const { bytes, indexed } = semantics;
        const width = bytes === 1 ? 0 : bytes;
        if (!indexed && flavor === "linux" && k >= SKF_LL_OFF) {
          if (ancillaryAt(k)?.name === "xor_x") webs.needHost(state.web);
          else if (ancillaryAt(k) === undefined) reads.push([0, Infinity]);
          setA(ANYTHING, ancillaryAt(k) === undefined ? width : 0);
          break;
        }
        if (indexed) {
          const wraps = flavor === "linux" && state.x + k >= SKF_LL_OFF;
          reads.push(wraps || state.x === ANYTHING ? [0, Infinity] : [k, state.x + k + bytes]);
          // With wrap-around or counting from headers, success tells nothing of X.
          if (flavor === "libpcap" || state.x + k < SKF_LL_OFF) {
            state.length = Math.max(state.length, k + bytes);
            state.lengthAfterX = Math.max(state.lengthAfterX, k + bytes);
          }
        } else {
          reads.push([k, k + bytes]);
          state.length = Math.max(state.length, k + bytes);
        }
        setA(2 ** (8 * bytes) - 1, width);
        break;
      }
      case "header-length":
        if (flavor === "linux" && k >= SKF_LL_OFF) reads.push([0, Infinity]);
        else {
          reads.push([k, k + 1]);
          state.length = Math.max(state.length, k + 1);
        }
        setX(60, state.length - 60);
        break;
      case "load": {
        usesLength ||= semantics.from === "length";
        const bound = semantics.from === "k" ? k : ANYTHING;
        if (semantics.to === "a") setA(bound, semantics.from === "k" && k === 0 ? -1 : 0);
        else setX(bound, semantics.from === "k" ? state.length - k : -1);
        break;
      }
      case "store":
        if (semantics.from === "a") webs.needHost(state.web);
        break;
      case "alu":
        if (bitwise(row, k, webs.rawBytes(state.web))) {
          // A's web goes on.
          state.a = semantics.op === "and" ? Math.min(state.a, k) : ANYTHING;
        } else {
          webs.needHost(state.web);
          setA(boundAfter(semantics.op, semantics.operand === "k" ? k : undefined, state.a), 0);
        }
        break;
      case "move":
        if (semantics.to === "x") {
          webs.needHost(state.web);
          setX(state.a, state.length - state.a);
        } else {
          setA(state.x, 0);
        }
        break;
      case "branch":
        if (!bitwise(row, k, 0)) webs.needHost(state.web);
        break;
      case "return":
        if (semantics.value === "a") webs.needHost(state.web);
        break;
      case "goto":
        break;
    }
    for (const target of successors(semantics.kind, index, jt, jf, k)) {
      if (semantics.kind === "goto" || semantics.kind === "branch") targets.add(target);
      flow(target, state);
    }
  });
  return {
    facts: before.map(
      (state): CbpfFacts =>
        state === undefined
          ? { reachable: false, length: UNREACHED, lengthAfterX: -1, a: 0, x: 0, rawA: 0 }
          : {
              reachable: true,
              length: state.length,
              lengthAfterX: state.lengthAfterX,
              a: state.a,
              x: state.x,
              rawA: webs.rawBytes(state.web),
            },
    ),
    targets: [...targets].sort((one, other) => one - other),
    rawLoads: defined.map((web) => (web < 0 ? 0 : webs.rawBytes(web))),
    reads: merge(reads),
    usesLength,
  };
}

/** Ranges in order; those that touch, or nearly so, become one. */
function merge(ranges: [number, number][]): [number, number][] {
  const merged: [number, number][] = [];
  for (const [from, to] of ranges.sort(([one], [other]) => one - other)) {
    const last = merged.at(-1);
    if (last !== undefined && from <= last[1] + NEAR) last[1] = Math.max(last[1], to);
    else merged.push([from, to]);
  }
  return merged;
}

function boundAfter(op: string, k: number | undefined, bound: number): number {
  if (k === undefined) return op === "and" || op === "rsh" || op === "div" ? bound : ANYTHING;
  const by = k & 31;
  switch (op) {
    case "add":
      return Math.min(bound + k, ANYTHING);
    case "mul":
      return Math.min(bound * k, ANYTHING);
    case "lsh":
      return Math.min(bound * 2 ** by, ANYTHING);
    case "rsh":
      return Math.floor(bound / 2 ** by);
    case "div":
      return k === 0 ? ANYTHING : Math.floor(bound / k);
    case "mod":
      return k === 0 ? ANYTHING : k - 1;
    default:
      return ANYTHING;
  }
}

function successors(
  kind: CbpfRow["semantics"]["kind"],
  index: number,
  jt: number,
  jf: number,
  k: CbpfInstruction["k"],
): readonly number[] {
  if (kind === "return") return [];
  if (kind === "goto") return [index + 1 + k];
  if (kind === "branch") return jt === jf ? [index + 1 + jt] : [index + 1 + jt, index + 1 + jf];
  return [index + 1];
}
