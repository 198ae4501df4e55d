/**
 * Emission of calls: functions of the program, helpers of the core, helpers of the host, addresses in registers, and
 * the checks that go with them.
 */
import {
  EXEC_CPU,
  EXEC_PC,
  EXEC_PROG,
  EXEC_REGS,
  EXEC_STACK,
  FAULT_CALL_DEPTH,
  FAULT_CALL_TARGET,
  FAULT_FUEL,
  FIRST_ADDRESS,
  FRAME_SIZE,
  FUNC_PROG,
  FUNC_SIZE,
  FUNC_TABLE,
  PROG_FUNCS_END,
  PROG_SIZE,
} from "../core/layout.ts";
import { SLOT_SIZE } from "../isa/index.ts";
import type { Demand } from "./demand.ts";
import type { Registers } from "./registers.ts";
import { emitStoredCheck } from "./arguments.ts";
import type { Sandbox } from "./sandbox.ts";
import type { Step } from "./steps.ts";
import type { ArrayMap, CoreLowering, HostLowering } from "./types.ts";
import { type ByteWriter, TYPE_I64 } from "./wasm.ts";

/** Indices in the module's index spaces that calls need. */
export interface Linkage {
  functionIndex(functionNumber: number): number;
  coreFunction(name: string): number;
  hostFunction(name: string): number;
  readonly execGlobal: number;
  /** What the core says of the window that it found last. */
  readonly roomGlobal: number;
  readonly sandbox: Sandbox | undefined;
  readonly fuelGlobal: number;
  /** Index of the type that all functions of the program have. */
  readonly functionType: number;
  /** The routine that turns the address of a function descriptor into a table index. */
  readonly resolver: number;
  readonly codeAddress: number;
  readonly programAddress: number;
  /** A function that is called may come back from another program. */
  readonly makesTailCalls: boolean;
  /** Count rounds and calls. */
  readonly fuel: boolean;
  /** Threads share the memory. */
  readonly shared: boolean;
  /** Calls might be nested too deep, so each looks at the stack. */
  readonly checkDepth: boolean;
}

/** Stops the program: `core.fault` does not come back. */
export function emitFault(code: ByteWriter, link: Linkage, fault: number, slot: number): void {
  code.i32Const(fault);
  code.i32Const(link.codeAddress + slot * SLOT_SIZE);
  code.opIndex("call", link.coreFunction("fault"));
  code.op("unreachable");
}

/** Takes one unit of fuel, from the local if the function keeps it there, and stops the program if none is left. */
export function emitFuelUse(registers: Registers, link: Linkage, slot: number): void {
  const { code, locals } = registers;
  if (locals.uses("fuel")) {
    const fuel = locals.scratch("fuel");
    code.opIndex("local.get", fuel);
    code.i64Const(1, 0);
    code.op("i64.sub");
    code.opIndex("local.tee", fuel);
  } else {
    code.opIndex("global.get", link.fuelGlobal);
    code.i64Const(1, 0);
    code.op("i64.sub");
    code.opIndex("global.set", link.fuelGlobal);
    code.opIndex("global.get", link.fuelGlobal);
  }
  code.i64Const(0, 0);
  code.op("i64.lt_s");
  code.open("if");
  emitFault(code, link, FAULT_FUEL, slot);
  code.op("end");
}

/** Functions with loops keep the fuel in a local; others, and the host, find it in the global. */
export function saveFuel({ code, locals }: Registers, link: Linkage): void {
  if (!locals.uses("fuel")) return;
  code.opIndex("local.get", locals.scratch("fuel"));
  code.opIndex("global.set", link.fuelGlobal);
}

function reloadFuel({ code, locals }: Registers, link: Linkage): void {
  if (!locals.uses("fuel")) return;
  code.opIndex("global.get", link.fuelGlobal);
  code.opIndex("local.set", locals.scratch("fuel"));
}

/** The frame of the called function must lie within the stack. */
function emitDepthCheck(registers: Registers, link: Linkage, slot: number): void {
  const { code } = registers;
  registers.pushFrameEnd();
  code.opIndex("global.get", link.execGlobal);
  code.memory("i32.load", 2, EXEC_STACK);
  code.i32Const(2 * FRAME_SIZE);
  code.op("i32.add");
  code.op("i32.lt_u");
  code.open("if");
  emitFault(code, link, FAULT_CALL_DEPTH, slot);
  code.op("end");
}

function pushCallArguments(registers: Registers, { live, upper }: Demand): void {
  const { code } = registers;
  for (let register = 1; register <= 5; register++) {
    const bit = 1 << register;
    if ((live & bit) === 0) code.i64Const(0, 0);
    else if ((upper & bit) === 0) registers.pushLoose(register);
    else registers.pushWhole(register);
  }
  registers.pushFrameEnd();
  code.i32Const(FRAME_SIZE);
  code.op("i32.sub");
}

/**
 * A function that ends in a tail call comes back from another program, while the state names that one and the part of the
 * stack that it could use.
 */
function saveProgram({ code, locals }: Registers, link: Linkage): void {
  if (!link.makesTailCalls) return;
  code.opIndex("global.get", link.execGlobal);
  code.memory("i32.load", 2, EXEC_STACK);
  code.opIndex("local.set", locals.scratch("stack"));
}

function restoreProgram({ code, locals }: Registers, link: Linkage): void {
  if (!link.makesTailCalls) return;
  code.opIndex("global.get", link.execGlobal);
  code.i32Const(link.programAddress);
  code.memory("i32.store", 2, EXEC_PROG);
  code.opIndex("global.get", link.execGlobal);
  code.opIndex("local.get", locals.scratch("stack"));
  code.memory("i32.store", 2, EXEC_STACK);
}

/** A call of a function of the program. Leaves its result, an i64. */
export function emitLocalCall(registers: Registers, step: Step, link: Linkage, demand: Demand): void {
  if (link.checkDepth) emitDepthCheck(registers, link, step.slot);
  saveFuel(registers, link);
  saveProgram(registers, link);
  pushCallArguments(registers, demand);
  registers.code.opIndex("call", link.functionIndex(step.target));
  restoreProgram(registers, link);
  reloadFuel(registers, link);
}

/**
 * On the stack: where in the table the program is that takes the function's place, or an error. It gets r1 and the
 * function's own frame; after an error, which stays on the stack, the function goes on.
 */
function emitTailCall(registers: Registers, link: Linkage): void {
  const { code, locals } = registers;
  const index = locals.scratch("old32");
  code.opIndex("local.tee", index);
  code.i32Const(0);
  code.op("i32.ge_s");
  code.open("if");
  registers.pushWhole(1);
  for (let register = 2; register <= 5; register++) code.i64Const(0, 0);
  registers.pushFrameEnd();
  code.opIndex("local.get", index);
  code.opIndex("return_call_indirect", link.functionType);
  code.unsigned(0);
  code.op("end");
  code.opIndex("local.get", index);
}

/** Leaves the result as an i32 if that is enough, and as an i64 otherwise. True for i32. */
export function emitCoreCall(
  registers: Registers,
  step: Step,
  lowering: CoreLowering,
  link: Linkage,
): boolean {
  const { code } = registers;
  lowering.args.forEach((type, index) => {
    if (type === "u64") registers.pushWhole(index + 1);
    else registers.pushLow(index + 1);
  });
  if (lowering.calls !== undefined) {
    saveFuel(registers, link);
    registers.pushFrameEnd();
    code.i32Const(link.codeAddress + step.slot * SLOT_SIZE);
  }
  code.opIndex("call", link.coreFunction(lowering.name));
  if (lowering.calls === "back") reloadFuel(registers, link);
  else if (lowering.calls === "tail") emitTailCall(registers, link);
  switch (lowering.result) {
    case "u64":
      return false;
    case "int":
      if (step.narrow) return true;
      code.op("i64.extend_i32_s");
      return false;
    default:
      return true;
  }
}

/**
 * Arguments go through the execution state, as i64 stores: passing them to JavaScript would make a BigInt of each.
 * r10 is there for helpers that call back, the instruction's address for those that fail.
 */
function storeArguments(registers: Registers, exec: number, count: number, step: Step, link: Linkage): void {
  const { code } = registers;
  for (let register = 1; register <= count; register++) {
    code.opIndex("local.get", exec);
    registers.pushWhole(register);
    code.memory("i64.store", 3, EXEC_REGS + 8 * register);
  }
  code.opIndex("local.get", exec);
  registers.pushFrameEnd();
  code.op("i64.extend_i32_u");
  code.memory("i64.store", 3, EXEC_REGS + 80);
  code.opIndex("local.get", exec);
  code.i32Const(link.codeAddress + step.slot * SLOT_SIZE);
  code.memory("i32.store", 2, EXEC_PC);
}

/** Leaves the result, an i64. */
export function emitHostCall(
  registers: Registers,
  step: Step,
  { name, args }: HostLowering,
  link: Linkage,
): void {
  const { code, locals } = registers;
  const exec = locals.scratch("exec");
  saveFuel(registers, link);
  code.opIndex("global.get", link.execGlobal);
  code.opIndex("local.set", exec);
  storeArguments(registers, exec, args, step, link);
  code.opIndex("local.get", exec);
  code.opIndex("call", link.hostFunction(name));
  reloadFuel(registers, link);
  code.opIndex("local.get", exec);
  code.memory("i64.load", 3, EXEC_REGS);
}

/** `callx`: small numbers are ids of helpers, others addresses of function descriptors. Leaves an i64. */
export function emitRegisterCall(registers: Registers, step: Step, link: Linkage, demand: Demand): void {
  const { code, locals } = registers;
  const exec = locals.scratch("exec");
  saveFuel(registers, link);
  registers.pushWhole(step.dst);
  code.i64Const(FIRST_ADDRESS, 0);
  code.op("i64.lt_u");
  code.op("if");
  code.byte(TYPE_I64);
  code.opIndex("global.get", link.execGlobal);
  code.opIndex("local.set", exec);
  storeArguments(registers, exec, 5, step, link);
  if (link.sandbox !== undefined) {
    registers.pushLow(step.dst);
    emitStoredCheck(registers, step.slot, link);
  }
  registers.pushLow(step.dst);
  code.opIndex("local.get", exec);
  code.opIndex("call", link.hostFunction("call_helper"));
  code.opIndex("local.get", exec);
  code.memory("i64.load", 3, EXEC_REGS);
  code.op("else");
  emitDepthCheck(registers, link, step.slot);
  saveProgram(registers, link);
  pushCallArguments(registers, demand);
  registers.pushWhole(step.dst);
  code.i32Const(link.codeAddress + step.slot * SLOT_SIZE);
  code.opIndex("call", link.resolver);
  code.opIndex("call_indirect", link.functionType);
  code.unsigned(0);
  restoreProgram(registers, link);
  code.op("end");
  reloadFuel(registers, link);
}

/**
 * The body of the routine (descriptor: i64, instruction: i32) -> i32 that finds a function's index in the table. The
 * value must be the address of a descriptor of the running program, or the program is stopped.
 */
export function writeResolver(code: ByteWriter, link: Linkage): void {
  const fail = (): void => {
    code.open("if");
    code.i32Const(FAULT_CALL_TARGET);
    code.opIndex("local.get", 1);
    code.opIndex("call", link.coreFunction("fault"));
    code.op("unreachable");
    code.op("end");
  };
  code.opIndex("local.get", 0);
  code.op("memory.size");
  code.byte(0);
  code.op("i64.extend_i32_u");
  code.i64Const(16, 0);
  code.op("i64.shl");
  code.i64Const(FUNC_SIZE, 0);
  code.op("i64.sub");
  code.op("i64.gt_u");
  fail();
  if (link.sandbox === undefined) {
    code.opIndex("local.get", 0);
    code.op("i32.wrap_i64");
    code.memory("i32.load", 2, FUNC_PROG);
    code.opIndex("global.get", link.execGlobal);
    code.memory("i32.load", 2, EXEC_PROG);
    code.op("i32.ne");
    fail();
  } else {
    // What lies at the address may be the program's own work: descriptors are where the loader has put them.
    const pushDistance = (): void => {
      code.opIndex("local.get", 0);
      code.op("i32.wrap_i64");
      code.i32Const(link.programAddress);
      code.op("i32.sub");
    };
    pushDistance();
    code.i32Const(FUNC_SIZE - 1);
    code.op("i32.and");
    fail();
    pushDistance();
    code.op("i32.eqz");
    code.op("i32.eqz");
    pushDistance();
    code.i32Const(PROG_SIZE);
    code.op("i32.sub");
    code.i32Const(link.programAddress);
    code.memory("i32.load", 2, PROG_FUNCS_END);
    code.i32Const(link.programAddress + PROG_SIZE);
    code.op("i32.sub");
    code.op("i32.ge_u");
    code.op("i32.and");
    fail();
  }
  code.opIndex("local.get", 0);
  code.op("i32.wrap_i64");
  code.memory("i32.load", 2, FUNC_TABLE);
}

/** bpf_map_lookup_elem in an array, as address arithmetic. Leaves an i32. */
export function emitArrayLookup(
  registers: Registers,
  map: ArrayMap,
  link: Linkage,
  pushKey: () => void,
): void {
  const { code, locals } = registers;
  const index = locals.scratch("old32");
  pushKey();
  code.opIndex("local.tee", index);
  code.i32Const(map.stride);
  code.op("i32.mul");
  code.i32Const(map.values);
  code.op("i32.add");
  if (map.cpuStride !== undefined && map.cpuStride !== 0) {
    emitCpu(registers, link);
    code.i32Const(map.cpuStride);
    code.op("i32.mul");
    code.op("i32.add");
  }
  code.i32Const(0);
  code.opIndex("local.get", index);
  code.i32Const(map.maxEntries);
  code.op("i32.lt_u");
  code.op("select");
}

/** bpf_get_smp_processor_id. Leaves an i32. */
export function emitCpu({ code }: Registers, link: Linkage): void {
  code.opIndex("global.get", link.execGlobal);
  code.memory("i32.load", 2, EXEC_CPU);
}
