/** Runs a graph of decisions over a packet step by step, so that what decided can be told. */
import {
  CBPF_CLASSES,
  type CbpfRunOptions,
  SKF_AD_OFF,
  ancillaryAt,
  cbpfJump,
  cbpfStatement,
  runCbpf,
} from "../cbpf/index.ts";
import { chainCode } from "./emit-chain.ts";
import type { GraphNode, Test } from "./graph.ts";
import { type Slot, type Value, fold } from "./value.ts";

export interface TraceStep {
  readonly node: Exclude<GraphNode, { kind: "end" }>;
  /** What was compared, where there is one number; undefined if a load failed. */
  readonly value: number | undefined;
  /** Undefined if the evaluation ended here. */
  readonly outcome: boolean | undefined;
}

export interface Trace {
  readonly accepted: boolean;
  readonly steps: readonly TraceStep[];
  /** The value whose evaluation rejected the packet: a load outside of it, or a division by 0. */
  readonly failed: Value | undefined;
}

class Failure {
  readonly value: Value;

  constructor(value: Value) {
    this.value = value;
  }
}

/** Every test that a packet meets on its way. */
export function traceGraph(root: GraphNode, packet: Uint8Array, meta: CbpfRunOptions = {}): Trace {
  const steps: TraceStep[] = [];
  const slots = new Map<Slot, number>();
  const evaluate = (value: Value): number => valueOf(value, packet, meta, slots);
  let node = root;
  while (node.kind !== "end") {
    let value: number | undefined;
    let outcome = true;
    try {
      if (node.kind === "test") {
        const { test } = node;
        const asksNothing = test.kind === "header-chain" || test.kind === "is-set";
        value = asksNothing ? undefined : evaluate(test.kind === "bits" ? test.value : test.left);
        outcome = holds(test, value ?? 0, evaluate, packet);
      } else {
        value = evaluate(node.value);
        if (node.kind === "set") slots.set(node.slot, value);
      }
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      steps.push({ node, value: undefined, outcome: undefined });
      return { accepted: false, steps, failed: error.value };
    }
    steps.push({ node, value, outcome });
    node = node.kind === "test" ? (outcome ? node.yes : node.no) : node.next;
  }
  return { accepted: node.accept, steps, failed: undefined };
}

function holds(test: Test, left: number, evaluate: (value: Value) => number, packet: Uint8Array): boolean {
  if (test.kind === "is-set") return false;
  if (test.kind === "bits") return (left & test.mask) !== 0;
  if (test.kind === "header-chain") {
    const jeq = CBPF_CLASSES.jmp | 0x10;
    const ret = CBPF_CLASSES.ret;
    const code = [
      ...chainCode(test, 0),
      cbpfJump(jeq, test.protocol, 0, 1),
      cbpfStatement(ret, 1),
      cbpfStatement(ret, 0),
    ];
    return runCbpf(code, packet) !== 0;
  }
  const right = evaluate(test.right);
  if (test.op === "eq") return left === right;
  return test.op === "gt" ? left > right : left >= right;
}

function valueOf(
  value: Value,
  packet: Uint8Array,
  meta: CbpfRunOptions,
  slots: ReadonlyMap<Slot, number>,
): number {
  const evaluate = (part: Value): number => valueOf(part, packet, meta, slots);
  switch (value.kind) {
    case "const":
      return value.value;
    case "length":
      return (meta.wireLength ?? packet.length) >>> 0;
    case "slot":
      return slots.get(value.slot) ?? 0;
    case "negate":
      return -evaluate(value.operand) >>> 0;
    case "header-length": {
      const byte = packet[value.offset];
      if (byte === undefined) throw new Failure(value);
      return 4 * (byte & 15);
    }
    case "load": {
      const at = (value.base === undefined ? 0 : evaluate(value.base)) + value.offset;
      if (value.base === undefined && at >= SKF_AD_OFF) {
        const name = ancillaryAt(at)?.name;
        return name === undefined ? 0 : (meta.ancillary?.[name] ?? 0);
      }
      if (at + value.size > packet.length) throw new Failure(value);
      let number = 0;
      for (let i = 0; i < value.size; i++) number = number * 256 + (packet[at + i] as number);
      return number;
    }
    case "alu": {
      const left = evaluate(value.left);
      const right = evaluate(value.right);
      const folded = fold(value.op, left, right);
      if (folded !== undefined) return folded;
      if (value.op === "lsh") return (left << (right & 31)) >>> 0;
      if (value.op === "rsh") return left >>> (right & 31);
      throw new Failure(value);
    }
  }
}
