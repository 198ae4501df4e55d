/**
 * From a classic program to a WebAssembly module that runs it over many packets, without a call for each.
 *
 * A, X and the scratch cells are locals, packet bytes are loaded straight from memory, and a load is tested against
 * the packet's length only where nothing before it has proved it (facts.ts). Jumps go forward only, so that each target
 * is the end of one `block`: all blocks open at the top, in the reverse order of their ends, and a jump is a `br` to
 * the block that ends at its target. No relooping is needed.
 *
 * Measured on programs that tcpdump prints, a dedicated compiler is several times as fast as the way over eBPF: there
 * each packet load is a call, since LD_ABS must be able to reach the parts of a packet that the kernel keeps elsewhere.
 */
import { ByteWriter, type Opcode, SECTIONS, TYPE_I32, writeImport, writeType } from "../jit/wasm.ts";
import { CBPF_ANCILLARY, SKF_LL_OFF, SKF_NET_OFF, ancillaryAt } from "./ancillary.ts";
import { type CbpfAnalysis, type CbpfFacts, analyseCbpf } from "./facts.ts";
import {
  CBPF_SCRATCH_CELLS,
  type CbpfInstruction,
  type CbpfProgram,
  type CbpfRow,
  type CbpfTest,
  cbpfRow,
} from "./instruction.ts";
import type { CbpfFlavor } from "./run.ts";

/** Where the module finds its input, as byte offsets in the memory. */
export const MATCHER_LAYOUT = {
  /** One 32-bit value for each row of CBPF_ANCILLARY. */
  ancillary: 0,
  /** Where the network header begins. */
  networkOffset: 4 * CBPF_ANCILLARY.length,
  /** Columns of 32-bit values, one for each packet. */
  offsets: 0x1000,
  lengths: 0x1000 + 4 * 4096,
  wireLengths: 0x1000 + 8 * 4096,
  values: 0x1000 + 12 * 4096,
  /** Where packet bytes can begin. */
  data: 0x20000,
} as const;

/** Packets that one call of the module can take. */
export const MATCHER_BATCH = 4096;

// Parameters: how many packets, where the data is, and how long. Then locals.
const COUNT = 0;
const BASE = 1;
const DATA_LENGTH = 2;
const COLUMN = 3;
const END = 4;
const PACKET = 5;
const LENGTH = 6;
const VALUE = 7;
const A = 8;
const X = 9;
const OFFSET = 10;
const MATCHED = 11;
const CELLS = 12;

const BATCH_PARAMETERS = 3;

/** A compiled program. */
export interface CbpfModule {
  /**
   * A module that imports `env.memory` and exports `run(count, base, dataLength)`: how many packets matched, or -1 minus
   * the index of the first packet whose bytes don't lie inside the data.
   */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** No byte of a packet from here on is read. */
  readonly extent: number;
  /** Whether the length on the wire matters. */
  readonly usesLength: boolean;
}

/**
 * Compiles a program whose structure has been checked and whose jumps go forward; pure.
 */
export function compileCbpf(program: CbpfProgram, flavor: CbpfFlavor): CbpfModule {
  const analysis = analyseCbpf(program, flavor);
  const types = new ByteWriter();
  types.unsigned(1);
  writeType(types, { params: [TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I32] });
  const imports = new ByteWriter();
  imports.unsigned(1);
  writeImport(imports, { kind: "memory", module: "env", name: "memory" });
  const functions = new ByteWriter();
  functions.unsigned(1);
  functions.unsigned(0);
  const exports = new ByteWriter();
  exports.unsigned(1);
  exports.name("run");
  exports.byte(0);
  exports.unsigned(0);
  const body = new ByteWriter(1024);
  writeBatch(body, program, analysis, flavor);
  const code = new ByteWriter(body.length + 16);
  code.unsigned(1);
  code.sized(body);

  const module = new ByteWriter(body.length + 256);
  module.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  module.section(SECTIONS.type, types);
  module.section(SECTIONS.import, imports);
  module.section(SECTIONS.function, functions);
  module.section(SECTIONS.export, exports);
  module.section(SECTIONS.code, code);
  return { bytes: module.view().slice(), extent: analysis.extent, usesLength: analysis.usesLength };
}

/** The loop over packets, around the program. */
function writeBatch(out: ByteWriter, program: CbpfProgram, analysis: CbpfAnalysis, flavor: CbpfFlavor): void {
  out.unsigned(1);
  out.unsigned(CELLS + CBPF_SCRATCH_CELLS - BATCH_PARAMETERS);
  out.byte(TYPE_I32);
  out.open("block");
  out.opIndex("local.get", COUNT);
  out.op("i32.eqz");
  out.opIndex("br_if", 0);
  out.opIndex("local.get", COUNT);
  out.i32Const(2);
  out.op("i32.shl");
  out.opIndex("local.set", END);
  out.open("loop");
  // The packet must lie inside the data: offset <= dataLength and length <= dataLength - offset.
  loadColumn(out, MATCHER_LAYOUT.lengths);
  out.opIndex("local.set", LENGTH);
  loadColumn(out, MATCHER_LAYOUT.offsets);
  out.opIndex("local.tee", PACKET);
  out.opIndex("local.get", DATA_LENGTH);
  out.op("i32.gt_u");
  out.opIndex("local.get", LENGTH);
  out.opIndex("local.get", DATA_LENGTH);
  out.opIndex("local.get", PACKET);
  out.op("i32.sub");
  out.op("i32.gt_u");
  out.op("i32.or");
  out.open("if");
  out.i32Const(-1);
  out.opIndex("local.get", COLUMN);
  out.i32Const(2);
  out.op("i32.shr_u");
  out.op("i32.sub");
  out.op("return");
  out.op("end");
  out.opIndex("local.get", PACKET);
  out.opIndex("local.get", BASE);
  out.op("i32.add");
  out.opIndex("local.set", PACKET);
  out.i32Const(0);
  out.opIndex("local.set", VALUE);
  out.open("block");
  new Emitter(out, program, analysis, flavor).write();
  out.op("end");
  out.opIndex("local.get", COLUMN);
  out.opIndex("local.get", VALUE);
  out.memory("i32.store", 2, MATCHER_LAYOUT.values);
  out.opIndex("local.get", MATCHED);
  out.opIndex("local.get", VALUE);
  out.i32Const(0);
  out.op("i32.ne");
  out.op("i32.add");
  out.opIndex("local.set", MATCHED);
  out.opIndex("local.get", COLUMN);
  out.i32Const(4);
  out.op("i32.add");
  out.opIndex("local.tee", COLUMN);
  out.opIndex("local.get", END);
  out.op("i32.lt_u");
  out.opIndex("br_if", 0);
  out.op("end");
  out.op("end");
  out.opIndex("local.get", MATCHED);
  out.op("end");
}

function loadColumn(out: ByteWriter, column: number): void {
  out.opIndex("local.get", COLUMN);
  out.memory("i32.load", 2, column);
}

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

/** Writes the instructions of the program, inside the block that its end leaves. */
class Emitter {
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
        .map(({ k }) => CELLS + k),
    );
    for (const local of [A, X, ...cells]) {
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
        out.opIndex("local.set", X);
        break;
      case "load":
        if (semantics.from === "k") out.i32Const(k);
        else if (semantics.from === "scratch") out.opIndex("local.get", CELLS + k);
        else loadColumn(out, MATCHER_LAYOUT.wireLengths);
        out.opIndex("local.set", semantics.to === "a" ? A : X);
        break;
      case "store":
        out.opIndex("local.get", semantics.from === "a" ? A : X);
        out.opIndex("local.set", CELLS + k);
        break;
      case "move":
        out.opIndex("local.get", semantics.to === "x" ? A : X);
        out.opIndex("local.set", semantics.to === "x" ? X : A);
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
          if (semantics.value === "a") out.opIndex("local.get", A);
          else out.i32Const(k);
          out.opIndex("local.set", VALUE);
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
    out.opIndex("local.get", A);
    if (operand === "x") out.opIndex("local.get", X);
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
      out.opIndex("local.get", A);
      out.op("i32.sub");
      out.opIndex("local.set", A);
      return;
    }
    const opcode = ALU_OPCODES[op as keyof typeof ALU_OPCODES];
    const divides = op === "div" || op === "mod";
    const shifts = op === "lsh" || op === "rsh";
    if (divides && operand === "x") {
      out.opIndex("local.get", X);
      out.op("i32.eqz");
      out.opIndex("br_if", this.#done);
    }
    if (divides && operand === "k" && k === 0) {
      out.opIndex("br", this.#done);
      return;
    }
    if (shifts && operand === "k" && k > 31 && this.#flavor === "libpcap") {
      out.i32Const(0);
      out.opIndex("local.set", A);
      return;
    }
    out.opIndex("local.get", A);
    if (operand === "x") out.opIndex("local.get", X);
    else out.i32Const(swap(k, rawA));
    out.op(opcode);
    if (shifts && operand === "x" && this.#flavor === "libpcap") {
      out.i32Const(0);
      out.opIndex("local.get", X);
      out.i32Const(32);
      out.op("i32.lt_u");
      out.op("select");
    }
    out.opIndex("local.set", A);
  }

  #packetLoad(k: number, bytes: 1 | 2 | 4, indexed: boolean, raw: boolean, facts: CbpfFacts): void {
    const out = this.#out;
    if (indexed) {
      this.#indexedAddress(k, bytes, facts);
    } else {
      const ancillary = this.#flavor === "linux" ? ancillaryAt(k) : undefined;
      if (ancillary !== undefined) {
        if (ancillary.name === "xor_x") {
          out.opIndex("local.get", A);
          out.opIndex("local.get", X);
          out.op("i32.xor");
        } else {
          out.i32Const(0);
          out.memory("i32.load", 2, MATCHER_LAYOUT.ancillary + ancillary.offset);
        }
        out.opIndex("local.set", A);
        return;
      }
      this.#address(k, bytes, facts);
    }
    this.#bytes(indexed && !this.#wraps(k, facts) ? k : this.#constantOffset(k, indexed), bytes, raw);
    out.opIndex("local.set", A);
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
      out.opIndex("local.set", OFFSET);
      this.#testOffset(bytes);
      return;
    }
    const end = k + bytes;
    if (facts.length < end) {
      if (end > 0xffffffff) out.opIndex("br", this.#done);
      else {
        out.opIndex("local.get", LENGTH);
        out.i32Const(end);
        out.op("i32.lt_u");
        out.opIndex("br_if", this.#done);
      }
    }
    out.opIndex("local.get", PACKET);
  }

  /** The same for x + k. */
  #indexedAddress(k: number, bytes: number, facts: CbpfFacts): void {
    const out = this.#out;
    const end = k + bytes;
    if (this.#wraps(k, facts)) {
      out.opIndex("local.get", X);
      out.i32Const(k);
      out.op("i32.add");
      out.opIndex("local.tee", OFFSET);
      out.i32Const(SKF_LL_OFF);
      out.op("i32.ge_u");
      out.open("if");
      // From the network header if the offset is SKF_NET_OFF or more, else from the link header.
      out.opIndex("local.get", OFFSET);
      out.i32Const(-SKF_NET_OFF);
      out.op("i32.add");
      out.i32Const(0);
      out.memory("i32.load", 2, MATCHER_LAYOUT.networkOffset);
      out.op("i32.add");
      out.opIndex("local.get", OFFSET);
      out.i32Const(-SKF_LL_OFF);
      out.op("i32.add");
      out.opIndex("local.get", OFFSET);
      out.i32Const(SKF_NET_OFF);
      out.op("i32.ge_u");
      out.op("select");
      out.opIndex("local.set", OFFSET);
      out.op("end");
      this.#testOffset(bytes);
      return;
    }
    const known = Math.max(facts.lengthAfterX, facts.length - facts.x);
    if (known < end) {
      if (end > 0xffffffff) out.opIndex("br", this.#done);
      else if (facts.x + end <= 0xffffffff) {
        out.opIndex("local.get", X);
        out.i32Const(end);
        out.op("i32.add");
        out.opIndex("local.get", LENGTH);
        out.op("i32.gt_u");
        out.opIndex("br_if", this.#done);
      } else {
        // x + end may overflow: length >= end and x <= length - end.
        if (facts.length < end) {
          out.opIndex("local.get", LENGTH);
          out.i32Const(end);
          out.op("i32.lt_u");
          out.opIndex("br_if", this.#done);
        }
        out.opIndex("local.get", X);
        out.opIndex("local.get", LENGTH);
        out.i32Const(end);
        out.op("i32.sub");
        out.op("i32.gt_u");
        out.opIndex("br_if", this.#done);
      }
    }
    out.opIndex("local.get", PACKET);
    out.opIndex("local.get", X);
    out.op("i32.add");
  }

  /** Tests the offset in its local, which may be anything, and leaves the address. */
  #testOffset(bytes: number): void {
    const out = this.#out;
    out.opIndex("local.get", LENGTH);
    out.i32Const(bytes);
    out.op("i32.lt_u");
    out.opIndex("local.get", OFFSET);
    out.opIndex("local.get", LENGTH);
    out.i32Const(bytes);
    out.op("i32.sub");
    out.op("i32.gt_u");
    out.op("i32.or");
    out.opIndex("br_if", this.#done);
    out.opIndex("local.get", PACKET);
    out.opIndex("local.get", OFFSET);
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
      out.opIndex("local.tee", OFFSET);
      out.memory("i32.load8_u", 0, offset);
      out.i32Const(8);
      out.op("i32.shl");
      out.opIndex("local.get", OFFSET);
      out.memory("i32.load8_u", 0, offset + 1);
      out.op("i32.or");
    } else {
      out.memory("i32.load", 0, offset);
      if (raw) return;
      out.opIndex("local.tee", OFFSET);
      out.i32Const(8);
      out.op("i32.rotl");
      out.i32Const(0x00ff00ff);
      out.op("i32.and");
      out.opIndex("local.get", OFFSET);
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
