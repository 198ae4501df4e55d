/** A core with its memory, and what tests need to put programs, packets and keys there. */
import {
  type CoreExports,
  type CoreHost,
  createMemory,
  instantiateCore,
  loadSharedCore,
} from "../../src/core/index.ts";
import * as layout from "../../src/core/layout.ts";
import { type Instruction, encodeInstructions } from "../../src/isa/index.ts";

await loadSharedCore();

export class Bench {
  readonly memory: WebAssembly.Memory;
  readonly table: WebAssembly.Table = new WebAssembly.Table({ initial: 1, element: "anyfunc" });
  readonly core: CoreExports;
  readonly exec: number;

  constructor({
    cpus = 1,
    seed = 1,
    shared = false,
    host,
  }: { cpus?: number; seed?: number; shared?: boolean; host?: Partial<CoreHost> } = {}) {
    this.memory = createMemory({ shared });
    const none = (): void => {
      throw new Error("no such helper");
    };
    this.core = instantiateCore({
      memory: this.memory,
      table: this.table,
      host: { call_helper: none, call_kfunc: none, compile_program: none, ...host },
    });
    this.core.init(cpus, seed);
    this.exec = this.core.exec_of(0) >>> 0;
  }

  get view(): DataView {
    return new DataView(this.memory.buffer);
  }

  alloc(size: number, align = 8): number {
    const address = this.core.alloc(size, align) >>> 0;
    if (address === 0) throw new Error(`no memory for ${size} bytes`);
    return address;
  }

  bytes(address: number, length: number): Uint8Array {
    return new Uint8Array(this.memory.buffer, address, length);
  }

  /** Puts bytes somewhere and says where. */
  place(bytes: Uint8Array, align = 8): number {
    const address = this.alloc(Math.max(bytes.length, 1), align);
    this.bytes(address, bytes.length).set(bytes);
    return address;
  }

  /** A program of one function; address of its descriptor. */
  program(instructions: readonly Instruction[], type = 0): number {
    const code = this.place(encodeInstructions(instructions));
    const prog = this.alloc(layout.PROG_SIZE);
    const { view } = this;
    view.setUint32(prog + layout.FUNC_CODE, code, true);
    view.setInt32(prog + layout.FUNC_TABLE, -1, true);
    view.setUint32(prog + layout.FUNC_PROG, prog, true);
    view.setUint32(prog + layout.PROG_TYPE, type, true);
    view.setUint32(prog + layout.PROG_CODE, code, true);
    view.setUint32(prog + layout.PROG_CODE_END, code + instructions.length * 8, true);
    return prog;
  }

  get registers(): bigint[] {
    const { view, exec } = this;
    return Array.from({ length: 11 }, (_, index) =>
      view.getBigUint64(exec + layout.EXEC_REGS + index * 8, true),
    );
  }

  setRegister(index: number, value: bigint): void {
    this.view.setBigUint64(this.exec + layout.EXEC_REGS + index * 8, BigInt.asUintN(64, value), true);
  }

  field(offset: number): number {
    return this.view.getUint32(this.exec + offset, true);
  }

  /** Interprets from the start; registers given here overwrite what `begin` set. */
  interpret(
    prog: number,
    { r1 = 0, r2 = 0, budget = 1_000_000n, registers = {} }: RunOptions = {},
  ): { status: number; r0: bigint; fault: number; count: bigint } {
    this.core.begin(this.exec, prog, r1, r2);
    for (const [index, value] of Object.entries(registers)) this.setRegister(Number(index), value);
    const status = this.core.interpret(this.exec, budget);
    return {
      status,
      r0: this.registers[0] as bigint,
      fault: this.field(layout.EXEC_FAULT),
      count: this.view.getBigUint64(this.exec + layout.EXEC_COUNT, true),
    };
  }
}

export interface RunOptions {
  readonly r1?: number;
  readonly r2?: number;
  readonly budget?: bigint;
  readonly registers?: Readonly<Record<number, bigint>>;
}

/** An instruction, with 0 for what is left out. */
export const ins = (
  opcode: number,
  { dst = 0, src = 0, offset = 0, imm = 0 }: Partial<Instruction> = {},
): Instruction => ({ opcode, dst, src, offset, imm });

export const EXIT: Instruction = ins(0x95);

/** `lddw` of a constant: two slots. */
export const lddw = (dst: number, value: bigint): Instruction[] => [
  ins(0x18, { dst, imm: Number(BigInt.asIntN(32, value)) }),
  ins(0, { imm: Number(BigInt.asIntN(32, value >> 32n)) }),
];

export const mov = (dst: number, imm: number): Instruction => ins(0xb7, { dst, imm });
export const movReg = (dst: number, src: number): Instruction => ins(0xbf, { dst, src });
export const call = (imm: number): Instruction => ins(0x85, { imm });
export const callLocal = (imm: number): Instruction => ins(0x85, { src: 1, imm });

/** What a batch is asked to do; see the RUN_ fields. */
export interface BatchOptions {
  readonly kind?: number;
  readonly engine?: number;
  readonly repeat?: number;
  readonly keep?: number;
  readonly fuel?: bigint;
  readonly bufferSize?: number;
  readonly outSize?: number;
  readonly ifindex?: number;
  readonly template?: Uint8Array;
}

/** An order for `run_batch` over packets. */
export class Batch {
  readonly bench: Bench;
  readonly run: number;
  readonly context: number;
  readonly buffer: number;
  readonly out: number;
  readonly records: number;

  constructor(bench: Bench, prog: number, packets: readonly Uint8Array[], options: BatchOptions = {}) {
    const { kind = layout.KIND_XDP, engine = layout.ENGINE_INTERPRETER, repeat = 1, keep = 0 } = options;
    const { fuel = 100_000n, bufferSize = 4096, outSize = 0, ifindex = 0 } = options;
    const contextSize = kind === layout.KIND_XDP ? layout.XDP_MD_SIZE : layout.SKB_SIZE;
    this.bench = bench;
    this.run = bench.alloc(layout.RUN_SIZE);
    this.context = bench.alloc(layout.CTX_HEADER + contextSize) + layout.CTX_HEADER;
    this.buffer = bench.alloc(bufferSize);
    this.out = bench.alloc(Math.max(outSize, 8));
    this.records = bench.alloc(packets.length * layout.RECORD_SIZE + 8);
    const template = bench.place(options.template ?? new Uint8Array(contextSize));
    const fields: [number, number][] = [
      [layout.RUN_PROG, prog],
      [layout.RUN_ENGINE, engine],
      [layout.RUN_KIND, kind],
      [layout.RUN_CTX, this.context],
      [layout.RUN_CTX_SIZE, contextSize],
      [layout.RUN_TEMPLATE, template],
      [layout.RUN_BUFFER, this.buffer],
      [layout.RUN_BUFFER_SIZE, bufferSize],
      [layout.RUN_HEADROOM, layout.XDP_HEADROOM],
      [layout.RUN_RECORDS, this.records],
      [layout.RUN_OFFSETS, this.records + layout.RECORD_ORIGIN],
      [layout.RUN_LENGTHS, this.records + layout.RECORD_LENGTH],
      [layout.RUN_RESULTS, this.records + layout.RECORD_RESULT],
      [layout.RUN_STRIDE, layout.RECORD_SIZE],
      [layout.RUN_INPUT_SIZE, 0xffffffff],
      [layout.RUN_COUNT, packets.length],
      [layout.RUN_REPEAT, repeat],
      [layout.RUN_OUT, this.out],
      [layout.RUN_OUT_END, this.out + outSize],
      [layout.RUN_KEEP, keep],
    ];
    for (const [offset, value] of fields) bench.view.setUint32(this.run + offset, value, true);
    bench.view.setBigUint64(this.run + layout.RUN_FUEL, fuel, true);
    for (const [index, packet] of packets.entries()) {
      this.set(index, layout.RECORD_ORIGIN, bench.place(packet));
      this.set(index, layout.RECORD_LENGTH, packet.length);
      this.set(index, layout.RECORD_IFINDEX, ifindex);
    }
  }

  set(index: number, offset: number, value: number): void {
    this.bench.view.setUint32(this.records + index * layout.RECORD_SIZE + offset, value, true);
  }

  record(index: number, offset: number): number {
    return this.bench.view.getUint32(this.records + index * layout.RECORD_SIZE + offset, true);
  }

  field(offset: number): number {
    return this.bench.view.getUint32(this.run + offset, true);
  }

  go(): number {
    return this.bench.core.run_batch(this.bench.exec, this.run);
  }

  /** The packet that was kept for a record, or undefined. */
  kept(index: number): Uint8Array | undefined {
    const at = this.record(index, layout.RECORD_OUT);
    return at === 0 ? undefined : this.bench.bytes(at, this.record(index, layout.RECORD_OUT_LENGTH)).slice();
  }
}
