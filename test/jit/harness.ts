/**
 * Runs compiled programs without core.wasm: a plain memory, and a core and host made of JavaScript closures.
 * Memory: the execution state at STATE, the program stack at STACK, free space from DATA on.
 */
import { CORE_HELPERS, type CoreHelper } from "../../src/core/helpers.ts";
import {
  EXEC_CPU,
  EXEC_PROG,
  EXEC_REGS,
  EXEC_STACK,
  FUNC_PROG,
  FUNC_SIZE,
  FUNC_TABLE,
  STACK_SIZE,
} from "../../src/core/layout.ts";
import type { Instruction } from "../../src/isa/index.ts";
import {
  type CompileInput,
  type CompiledProgram,
  type FunctionRange,
  type HelperLowering,
  compileProgram,
} from "../../src/jit/index.ts";

export const STATE = 0x10000;
export const STACK = 0x11000;
export const STACK_END: number = STACK + STACK_SIZE;
/** Function descriptors, 16 bytes each: the address of function n is FUNCTIONS + 16 n. */
export const FUNCTIONS = 0x12800;
export const DATA = 0x13000;
export const MEMORY_BYTES = 0x20000;

export type HostFunction = (args: bigint[], memory: DataView) => bigint | number;

export interface HarnessOptions {
  readonly instructions: readonly Instruction[];
  /** Starts of the functions after the main one. */
  readonly functions?: readonly number[];
  /** Helpers by id: host functions called `helper_ID`. */
  readonly helpers?: Readonly<Record<number, HostFunction>>;
  /** Helpers of the core by id: name, and what it does with its wasm arguments. */
  readonly core?: Readonly<Record<number, { name: string; run: (...args: never[]) => number | bigint }>>;
  readonly kfuncs?: Readonly<Record<number, HostFunction>>;
  readonly packet?: (context: number, offset: number, bytes: number) => bigint;
  readonly fuel?: bigint;
  readonly arrayMap?: CompileInput["arrayMap"];
  readonly names?: boolean;
  readonly optimize?: boolean;
  readonly codeAddress?: number;
}

/** What `core.fault` was told. */
export class Faulted extends Error {
  readonly code: number;
  readonly address: number;
  constructor(code: number, address: number) {
    super(`fault ${code} at ${address}`);
    this.code = code;
    this.address = address;
  }
}

export interface Harness {
  readonly compiled: CompiledProgram;
  readonly memory: Uint8Array;
  readonly view: DataView;
  readonly fuel: WebAssembly.Global<"i64">;
  /** r0, as unsigned. */
  run(...args: (bigint | number)[]): bigint;
  /** Calls another function, with the end of its frame. */
  call(index: number, args: readonly bigint[], frameEnd: number): bigint;
}

export function rangesOf(
  instructions: readonly Instruction[],
  starts: readonly number[] = [],
): FunctionRange[] {
  const all = [0, ...starts];
  return all.map((start, index) => ({
    name: index === 0 ? "main" : `function_${index}`,
    start,
    end: all[index + 1] ?? instructions.length,
  }));
}

export function coreRow(name: string): CoreHelper {
  const row = CORE_HELPERS.find((candidate) => candidate.name === name);
  if (row === undefined) throw new Error(`no core helper ${name}`);
  return row;
}

function lowering(options: HarnessOptions, id: number): HelperLowering {
  const core = options.core?.[id];
  if (core !== undefined) return { kind: "core", ...coreRow(core.name) };
  return { kind: "host", name: `helper_${id}`, args: 5 };
}

/** Compiles and instantiates a program. */
export function load(options: HarnessOptions): Harness {
  const compiled = compileProgram({
    instructions: options.instructions,
    functions: rangesOf(options.instructions, options.functions),
    helper: (id) => lowering(options, id),
    fuel: options.fuel !== undefined,
    names: options.names ?? false,
    optimize: options.optimize ?? true,
    ...(options.codeAddress === undefined ? {} : { codeAddress: options.codeAddress }),
    ...(options.arrayMap === undefined ? {} : { arrayMap: options.arrayMap }),
  });
  return instantiate(options, compiled);
}

function instantiate(options: HarnessOptions, compiled: CompiledProgram): Harness {
  const memory = new WebAssembly.Memory({ initial: MEMORY_BYTES / 0x10000 });
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  const fuel = new WebAssembly.Global({ value: "i64", mutable: true }, options.fuel ?? 0n);
  const exec = new WebAssembly.Global({ value: "i32", mutable: true }, STATE);
  const table = new WebAssembly.Table({ element: "anyfunc", initial: 64 });

  const throughState =
    (run: HostFunction) =>
    (state: number): void => {
      const args = [1, 2, 3, 4, 5].map((register) =>
        view.getBigUint64(state + EXEC_REGS + 8 * register, true),
      );
      view.setBigUint64(state + EXEC_REGS, BigInt.asUintN(64, BigInt(run(args, view))), true);
    };
  const host: Record<string, WebAssembly.ImportValue> = {
    call_helper: (id: number, state: number) => {
      const run = options.helpers?.[id];
      if (run === undefined) throw new Error(`callx: no helper ${id}`);
      throughState(run)(state);
    },
  };
  for (const [id, run] of Object.entries(options.helpers ?? {})) host[`helper_${id}`] = throughState(run);
  for (const [id, run] of Object.entries(options.kfuncs ?? {})) host[`kfunc_${id}`] = throughState(run);
  const core: Record<string, WebAssembly.ImportValue> = {
    exec,
    fuel,
    fault: (code: number, address: number) => {
      throw new Faulted(code, address);
    },
    ld_abs: (context: number, offset: number, size: number) =>
      options.packet === undefined ? -1n : options.packet(context >>> 0, offset, size),
  };
  for (const { name, run } of Object.values(options.core ?? {})) core[name] = run as () => number;

  view.setUint32(STATE + EXEC_STACK, STACK, true);
  view.setUint32(STATE + EXEC_PROG, FUNCTIONS, true);
  view.setUint32(STATE + EXEC_CPU, 3, true);
  const instance = new WebAssembly.Instance(new WebAssembly.Module(compiled.bytes), {
    env: { memory, table },
    core,
    host,
  });
  const functions = compiled.functionExports.map(
    (name) => instance.exports[name] as (...all: unknown[]) => bigint,
  );
  functions.forEach((one, index) => {
    table.set(index, one);
    view.setUint32(FUNCTIONS + FUNC_SIZE * index + FUNC_TABLE, index, true);
    view.setUint32(FUNCTIONS + FUNC_SIZE * index + FUNC_PROG, FUNCTIONS, true);
  });

  const call = (index: number, args: readonly bigint[], frameEnd: number): bigint => {
    const all = [0, 1, 2, 3, 4].map((at) => args[at] ?? 0n);
    return BigInt.asUintN(64, (functions[index] as (typeof functions)[number])(...all, frameEnd));
  };
  return {
    compiled,
    memory: bytes,
    view,
    fuel,
    run: (...args) => call(0, args.map(BigInt), STACK_END),
    call,
  };
}

/** An instruction by its fields. */
export function ins(opcode: number, dst = 0, src = 0, offset = 0, imm = 0): Instruction {
  return { opcode, dst, src, offset, imm };
}

/** `lddw` as its two slots. */
export function lddw(dst: number, value: bigint, src = 0): Instruction[] {
  return [
    ins(0x18, dst, src, 0, Number(BigInt.asIntN(32, value))),
    ins(0, 0, 0, 0, Number(BigInt.asIntN(32, value >> 32n))),
  ];
}

export const EXIT: Instruction = ins(0x95);

/** The slots of several instructions or groups of them. */
export function program(...parts: (Instruction | readonly Instruction[])[]): Instruction[] {
  return parts.flat();
}
