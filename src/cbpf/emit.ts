/** The instructions of a classic program in WebAssembly; wasm.ts tells how, and puts the loop around them. */
import type { ByteWriter, Opcode } from "../jit/wasm.ts";
import { SKF_LL_OFF, SKF_NET_OFF, ancillaryAt } from "./ancillary.ts";
import type { CbpfAnalysis, CbpfFacts } from "./facts.ts";
import {
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  type CbpfTest,
  cbpfRow,
} from "./instruction.ts";
import { LOCALS, MATCHER_LAYOUT } from "./layout.ts";
import type { CbpfFlavor } from "./run.ts";

/** For each test: the comparison, and the opposite one. */
const TESTS: Readonly<Record<Exclude<CbpfTest, "jset">, readonly [Opcode, Opcode]>> = {
  jeq: ["i32.eq", "i32.ne"],
  jgt: ["i32.gt_u", "i32.le_u"],
  jge: ["i32.ge_u", "i32.lt_u"],
};

const ALU_OPCODES = {
  add: "i32.add",
  sub: "i32.sub",
  mul: "i32.mul",
  div: "i32.div_u",
  mod: "i32.rem_u",
  or: "i32.or",
  and: "i32.and",
  xor: "i32.xor",
  lsh: "i32.shl",
  rsh: "i32.shr_u",
} as const satisfies Record<string, Opcode>;

/** Leaves the packet's value of a column. */
export function loadColumn(out: ByteWriter, column: number): void {
  out.opIndex("local.get", LOCALS.column);
  out.memory("i32.load", 2, column);
}

/** Writes the instructions of the program, inside the block that its end leaves. */
export class Emitter {
  readonly #out: ByteWriter;
  readonly #program: CbpfProgram;
  readonly #analysis: CbpfAnalysis;
  readonly #flavor: CbpfFlavor;
  /** Targets that are still ahead, the nearest first, are the open blocks; so many are behind. */
  #passed = 0;

  constructor(out: ByteWriter, program: CbpfProgram, analysis: CbpfAnalysis, flavor: CbpfFlavor) {
    this.#out = out;
    this.#program = program;
    this.#analysis = analysis;
    this.#flavor = flavor;
  }

  write(): void {
    const out = this.#out;
    this.#resetRegisters();
    const { targets } = this.#analysis;
    for (let index = 0; index < targets.length; index++) out.open("block");
    this.#program.forEach((instruction, index) => {
      if (targets[this.#passed] === index) {
        out.op("end");
        this.#passed++;
      }
      const facts = this.#analysis.facts[index] as CbpfFacts;
      if (facts.reachable) this.#instruction(instruction, index, facts);
    });
  }

  /** Locals keep their values from packet to packet; programs start with zeros. */
  #resetRegisters(): void {
    const rows = this.#program.map(({ code, k }) => ({ semantics: (cbpfRow(code) as CbpfRow).semantics, k }));
    const cells = new Set(
      rows
        .filter(({ semantics }) => semantics.kind === "load" && semantics.from === "scratch")
        .map(({ k }) => LOCALS.cells + k),
    );
    for (const local of [LOCALS.a, LOCALS.x, ...cells]) {
      this.#out.i32Const(0);
      this.#out.opIndex("local.set", local);
    }
  }

  /** Label of the block that ends at a target. */
  #label(target: number): number {
    const { targets } = this.#analysis;
    let [low, high] = [this.#passed, targets.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((targets[middle] as number) < target) low = middle + 1;
      else high = middle;
    }
    return low - this.#passed;
  }

  /** Label of the block around the whole program. */
  get #done(): number {
    return this.#analysis.targets.length - this.#passed;
  }

  #instruction(instruction: CbpfInstruction, index: number, facts: CbpfFacts): void {
    const out = this.#out;
    const { code, jt, jf, k } = instruction;
    const { semantics } = cbpfRow(code) as CbpfRow;
    const next = index + 1;
    switch (semantics.kind) {
      case "packet":
        this.#packetLoad(k, semantics.bytes, semantics.indexed, this.#analysis.rawLoads[index] !== 0, facts);
        break;
      case "header-length":
        this.#address(k, 1, facts);
        this.#bytes(this.#constantOffset(k), 1, false);
        out.i32Const(0xf);
        out.op("i32.and");
        out.i32Const(2);
        out.op("i32.shl");
        out.opIndex("local.set", LOCALS.x);
        break;
      case "load":
        if (semantics.from === "k") out.i32Const(k);
        else if (semantics.from === "scratch") out.opIndex("local.get", LOCALS.cells + k);
        else loadColumn(out, MATCHER_LAYOUT.wireLengths);
        out.opIndex("local.set", semantics.to === "a" ? LOCALS.a : LOCALS.x);
        break;
      case "store":
        out.opIndex("local.get", semantics.from === "a" ? LOCALS.a : LOCALS.x);
        out.opIndex("local.set", LOCALS.cells + k);
        break;
      case "move":
        out.opIndex("local.get", semantics.to === "x" ? LOCALS.a : LOCALS.x);
        out.opIndex("local.set", semantics.to === "x" ? LOCALS.x : LOCALS.a);
        break;
      case "alu":
        this.#arithmetic(semantics, k, facts);
        break;
      case "goto":
        if (k > 0) out.opIndex("br", this.#label(next + k));
        break;
      case "branch":
        this.#branch(semantics, k, next + jt, next + jf, next, facts);
        break;
      case "return":
        if (semantics.value === "a" || k !== 0) {
          if (semantics.value === "a") out.opIndex("local.get", LOCALS.a);
          else out.i32Const(k);
          out.opIndex("local.set", LOCALS.value);
        }
        out.opIndex("br", this.#done);
        break;
    }
  }

  #branch(
    { test, operand }: { readonly test: CbpfTest; readonly operand: "k" | "x" },
    k: number,
    yes: number,
    no: number,
    next: number,
    { rawA }: CbpfFacts,
  ): void {
    const out = this.#out;
    if (yes === no) {
      if (yes !== next) out.opIndex("br", this.#label(yes));
      return;
    }
    const inverted = yes === next;
    out.opIndex("local.get", LOCALS.a);
    if (operand === "x") out.opIndex("local.get", LOCALS.x);
    else if (test === "jset") out.i32Const(swap(k, rawA));
    else if (k !== 0 || test !== "jeq") out.i32Const(comparable(k, rawA));
    if (test === "jset") {
      out.op("i32.and");
      if (inverted) out.op("i32.eqz");
    } else if (test === "jeq" && operand === "k" && k === 0) {
      if (!inverted) out.op("i32.eqz");
    } else out.op(TESTS[test][inverted ? 1 : 0]);
    out.opIndex("br_if", this.#label(inverted ? no : yes));
    if (!inverted && no !== next) out.opIndex("br", this.#label(no));
  }

  #arithmetic(
    { op, operand }: { readonly op: string; readonly operand: "k" | "x" | "none" },
    k: number,
    { rawA }: CbpfFacts,
  ): void {
    const out = this.#out;
    if (op === "neg") {
      out.i32Const(0);
      out.opIndex("local.get", LOCALS.a);
      out.op("i32.sub");
      out.opIndex("local.set", LOCALS.a);
      return;
    }
    const opcode = ALU_OPCODES[op as keyof typeof ALU_OPCODES];
    const divides = op === "div" || op === "mod";
    const shifts = op === "lsh" || op === "rsh";
    if (divides && operand === "x") {
      out.opIndex("local.get", LOCALS.x);
      out.op("i32.eqz");
      out.opIndex("br_if", this.#done);
    }
    if (divides && operand === "k" && k === 0) {
      out.opIndex("br", this.#done);
      return;
    }
    out.opIndex("local.get", LOCALS.a);
    if (operand === "x") out.opIndex("local.get", LOCALS.x);
    else out.i32Const(swap(k, rawA));
    out.op(opcode);
    if (shifts && operand === "x" && this.#flavor === "libpcap") {
      out.i32Const(0);
      out.opIndex("local.get", LOCALS.x);
      out.i32Const(32);
      out.op("i32.lt_u");
      out.op("select");
    }
    out.opIndex("local.set", LOCALS.a);
  }

  #packetLoad(k: number, bytes: 1 | 2 | 4, indexed: boolean, raw: boolean, facts: CbpfFacts): void {
    const out = this.#out;
    if (indexed) {
      this.#indexedAddress(k, bytes, facts);
    } else {
      const ancillary = this.#flavor === "linux" ? ancillaryAt(k) : undefined;
      if (ancillary !== undefined) {
        if (ancillary.name === "xor_x") {
          out.opIndex("local.get", LOCALS.a);
          out.opIndex("local.get", LOCALS.x);
          out.op("i32.xor");
        } else {
          out.i32Const(0);
          out.memory("i32.load", 2, MATCHER_LAYOUT.ancillary + ancillary.offset);
        }
        out.opIndex("local.set", LOCALS.a);
        return;
      }
      this.#address(k, bytes, facts);
    }
    this.#bytes(indexed && !this.#wraps(k, facts) ? k : this.#constantOffset(k, indexed), bytes, raw);
    out.opIndex("local.set", LOCALS.a);
  }

  /** What a load's immediate offset is; loads that compute the whole address have none. */
  #constantOffset(k: number, indexed = false): number {
    return indexed || (this.#flavor === "linux" && k >= SKF_LL_OFF) ? 0 : k;
  }

  /** Whether x + k may leave 32 bits, or reach the offsets that count from headers. */
  #wraps(k: number, { x }: CbpfFacts): boolean {
    return this.#flavor === "linux" && x + k >= SKF_LL_OFF;
  }

  /** Leaves the address that a constant offset counts from, after the test that the bytes are there. */
  #address(k: number, bytes: number, facts: CbpfFacts): void {
    const out = this.#out;
    if (this.#flavor === "linux" && k >= SKF_LL_OFF) {
      out.i32Const(k >= SKF_NET_OFF ? k - SKF_NET_OFF : k - SKF_LL_OFF);
      if (k >= SKF_NET_OFF) {
        out.i32Const(0);
        out.memory("i32.load", 2, MATCHER_LAYOUT.networkOffset);
        out.op("i32.add");
      }
      out.opIndex("local.set", LOCALS.offset);
      this.#testOffset(bytes);
      return;
    }
    const end = k + bytes;
    if (facts.length < end) {
      if (end > 0xffffffff) out.opIndex("br", this.#done);
      else {
        out.opIndex("local.get", LOCALS.length);
        out.i32Const(end);
        out.op("i32.lt_u");
        out.opIndex("br_if", this.#done);
      }
    }
    out.opIndex("local.get", LOCALS.packet);
  }

  /** The same for x + k. */
  #indexedAddress(k: number, bytes: number, facts: CbpfFacts): void {
    const out = this.#out;
    const end = k + bytes;
    if (this.#wraps(k, facts)) {
      out.opIndex("local.get", LOCALS.x);
      out.i32Const(k);
      out.op("i32.add");
      out.opIndex("local.tee", LOCALS.offset);
      out.i32Const(SKF_LL_OFF);
      out.op("i32.ge_u");
      out.open("if");
      // From the network header if the offset is SKF_NET_OFF or more, else from the link header.
      out.opIndex("local.get", LOCALS.offset);
      out.i32Const(-SKF_NET_OFF);
      out.op("i32.add");
      out.i32Const(0);
      out.memory("i32.load", 2, MATCHER_LAYOUT.networkOffset);
      out.op("i32.add");
      out.opIndex("local.get", LOCALS.offset);
      out.i32Const(-SKF_LL_OFF);
      out.op("i32.add");
      out.opIndex("local.get", LOCALS.offset);
      out.i32Const(SKF_NET_OFF);
      out.op("i32.ge_u");
      out.op("select");
      out.opIndex("local.set", LOCALS.offset);
      out.op("end");
      this.#testOffset(bytes);
      return;
    }
    const known = Math.max(facts.lengthAfterX, facts.length - facts.x);
    if (known < end) {
      if (end > 0xffffffff) out.opIndex("br", this.#done);
      else if (facts.x + end <= 0xffffffff) {
        out.opIndex("local.get", LOCALS.x);
        out.i32Const(end);
        out.op("i32.add");
        out.opIndex("local.get", LOCALS.length);
        out.op("i32.gt_u");
        out.opIndex("br_if", this.#done);
      } else {
        // x + end may overflow: length >= end and x <= length - end.
        if (facts.length < end) {
          out.opIndex("local.get", LOCALS.length);
          out.i32Const(end);
          out.op("i32.lt_u");
          out.opIndex("br_if", this.#done);
        }
        out.opIndex("local.get", LOCALS.x);
        out.opIndex("local.get", LOCALS.length);
        out.i32Const(end);
        out.op("i32.sub");
        out.op("i32.gt_u");
        out.opIndex("br_if", this.#done);
      }
    }
    out.opIndex("local.get", LOCALS.packet);
    out.opIndex("local.get", LOCALS.x);
    out.op("i32.add");
  }

  /** Tests the offset in its local, which may be anything, and leaves the address. */
  #testOffset(bytes: number): void {
    const out = this.#out;
    out.opIndex("local.get", LOCALS.length);
    out.i32Const(bytes);
    out.op("i32.lt_u");
    out.opIndex("local.get", LOCALS.offset);
    out.opIndex("local.get", LOCALS.length);
    out.i32Const(bytes);
    out.op("i32.sub");
    out.op("i32.gt_u");
    out.op("i32.or");
    out.opIndex("br_if", this.#done);
    out.opIndex("local.get", LOCALS.packet);
    out.opIndex("local.get", LOCALS.offset);
    out.op("i32.add");
  }

  /** Takes an address, leaves the bytes at it and a constant offset: as they are, or as a big-endian number. */
  #bytes(offset: number, bytes: 1 | 2 | 4, raw: boolean): void {
    const out = this.#out;
    if (bytes === 1) {
      out.memory("i32.load8_u", 0, offset);
    } else if (bytes === 2 && raw) {
      out.memory("i32.load16_u", 0, offset);
    } else if (bytes === 2) {
      // Two loads of a byte take fewer steps than one and a swap.
      out.opIndex("local.tee", LOCALS.offset);
      out.memory("i32.load8_u", 0, offset);
      out.i32Const(8);
      out.op("i32.shl");
      out.opIndex("local.get", LOCALS.offset);
      out.memory("i32.load8_u", 0, offset + 1);
      out.op("i32.or");
    } else {
      out.memory("i32.load", 0, offset);
      if (raw) return;
      out.opIndex("local.tee", LOCALS.offset);
      out.i32Const(8);
      out.op("i32.rotl");
      out.i32Const(0x00ff00ff);
      out.op("i32.and");
      out.opIndex("local.get", LOCALS.offset);
      out.i32Const(24);
      out.op("i32.rotl");
      out.i32Const(0xff00ff00 | 0);
      out.op("i32.and");
      out.op("i32.or");
    }
  }
}

/** A mask or value for bytes in network order. */
function swap(k: number, width: 0 | 2 | 4): number {
  if (width === 0) return k;
  if (width === 2) return ((k & 0xff) << 8) | ((k >>> 8) & 0xff);
  return ((k & 0xff) << 24) | ((k & 0xff00) << 8) | ((k >>> 8) & 0xff00) | (k >>> 24);
}

/** The same for a comparison: what two bytes can't be equal to stays such. */
function comparable(k: number, width: 0 | 2 | 4): number {
  return width === 2 && k > 0xffff ? k : swap(k, width);
}
