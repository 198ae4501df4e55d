/** Emission of one function: the structured walk over its blocks, and the steps within them. */
import { MAY_GOTO_LIMIT, RIGHT_READ } from "../core/layout.ts";
import { emitArgumentCheck, mapIn } from "./arguments.ts";
import { emitAlu, emitByteOrder, emitCondition, emitSelect } from "./arithmetic.ts";
import {
  type Linkage,
  emitArrayLookup,
  emitCoreCall,
  emitCpu,
  emitFuelUse,
  emitHostCall,
  emitLocalCall,
  emitRegisterCall,
  saveFuel,
} from "./calls.ts";
import { emitBulk, findBulkLoop } from "./bulk.ts";
import type { Block } from "./cfg.ts";
import { type Demand, type DemandResult, UNKNOWN_CALL } from "./demand.ts";
import type { Shape } from "./dominators.ts";
import { ANY, type FactsContext, type FactsResult, entryFacts, transfer } from "./facts.ts";
import { emitAtomic, emitLoad, emitStore, pushAddress, pushFetched } from "./memory.ts";
import { type Placement, placeBlocks } from "./placement.ts";
import { Registers } from "./registers.ts";
import { type SandboxMap, Windows, emitPacketCheck } from "./sandbox.ts";
import { type Step, clobbersArguments, definedRegister, isKfunc } from "./steps.ts";
import { ByteWriter } from "./wasm.ts";

// uapi/linux/bpf.h: the helper whose result is a value of the map in r1.
const MAP_LOOKUP_ELEM = 1;

/** A function after its analyses. */
export interface PreparedFunction {
  readonly steps: readonly Step[];
  readonly shape: Shape;
  readonly facts: FactsResult;
  readonly demand: DemandResult;
  /** First slot. */
  readonly start: number;
}

export interface EmitContext {
  readonly facts: FactsContext;
  readonly link: Linkage;
  argumentsOf(functionIndex: number): Demand;
  /** Entering the function takes fuel: it may be called. */
  readonly countsEntry: boolean;
}

/** On the stack of tasks: the end of a block that branches to the node below it, or of an `if` or `loop`. */
const END = -1;

/** Writes the function's body with its length: declarations of locals, then code. `scratch` is for what it is made from. */
export function emitFunction(
  target: ByteWriter,
  scratch: ByteWriter,
  prepared: PreparedFunction,
  context: EmitContext,
): void {
  scratch.clear();
  const emitter = new FunctionEmitter(scratch, prepared, context);
  emitter.run();
  emitter.writeTo(target);
}

class FunctionEmitter {
  readonly #prepared: PreparedFunction;
  readonly #context: EmitContext;
  readonly #code: ByteWriter;
  readonly #registers: Registers;
  readonly #placement: Placement;
  /** What remains to be written, nodes and ends, on a stack: recursion would overflow on deeply nested code. */
  readonly #tasks: number[] = [];
  #depth = 0;
  /** How many constructs were open when the one that branches to a block was opened; for loops, that of the loop. */
  readonly #forwardLabel: Int32Array;
  readonly #loopLabel: Int32Array;

  constructor(code: ByteWriter, prepared: PreparedFunction, context: EmitContext) {
    const { facts, demand, shape } = prepared;
    this.#code = code;
    this.#prepared = prepared;
    this.#context = context;
    this.#registers = new Registers(code, facts.entries, demand);
    this.#placement = placeBlocks(shape);
    this.#forwardLabel = new Int32Array(shape.blocks.length).fill(-1);
    this.#loopLabel = new Int32Array(shape.blocks.length).fill(-1);
  }

  run(): void {
    const registers = this.#registers;
    const { link, countsEntry } = this.#context;
    const { shape, start } = this.#prepared;
    if (link.fuel) {
      if (shape.isHeader.includes(1)) {
        this.#code.opIndex("global.get", link.fuelGlobal);
        this.#code.opIndex("local.set", registers.locals.scratch("fuel"));
      }
      if (countsEntry) emitFuelUse(registers, link, start);
    }
    if (link.sandbox !== undefined) registers.windows = new Windows(this.#prepared.steps, registers);
    registers.beginFunction(entryFacts(this.#context.facts.optimize));
    registers.settle(0);
    this.#tasks.push(0);
    for (let task = this.#tasks.pop(); task !== undefined; task = this.#tasks.pop()) {
      if (task === END) {
        this.#code.op("end");
        this.#depth--;
      } else {
        this.#emitNode(task);
      }
    }
    this.#code.op("unreachable");
    this.#code.op("end");
  }

  writeTo(target: ByteWriter): void {
    const { locals } = this.#registers;
    const start = new ByteWriter(128);
    if (locals.uses("base")) this.#registers.writeFrameStart(start);
    this.#registers.windows?.forget(start);
    if (locals.uses("mayGoto")) {
      start.i32Const(MAY_GOTO_LIMIT);
      start.opIndex("local.set", locals.scratch("mayGoto"));
    }
    const { types } = locals;
    const runs: { type: number; count: number }[] = [];
    for (const type of types) {
      const last = runs.at(-1);
      if (last?.type === type) last.count++;
      else runs.push({ type, count: 1 });
    }
    const head = new ByteWriter(128);
    head.unsigned(runs.length);
    for (const { type, count } of runs) {
      head.unsigned(count);
      head.byte(type);
    }
    target.unsigned(head.length + start.length + this.#code.length);
    target.bytes(head.view());
    target.bytes(start.view());
    target.bytes(this.#code.view());
  }

  #emitNode(node: number): void {
    const { shape, steps } = this.#prepared;
    const { firstFollow, firstMerge } = this.#placement;
    const isHeader = shape.isHeader[node] === 1;
    this.#openLabels(firstFollow[node] as number);
    if (isHeader) {
      this.#emitBulk(node, shape.blocks[node] as Block);
      this.#code.open("loop");
      this.#loopLabel[node] = this.#depth++;
      this.#tasks.push(END);
    }
    this.#openLabels(firstMerge[node] as number);
    const block = shape.blocks[node] as Block;
    const registers = this.#registers;
    registers.beginBlock(node);
    if (isHeader && this.#context.link.fuel) {
      emitFuelUse(
        registers,
        this.#context.link,
        (steps[block.first]?.slot ?? this.#prepared.start) as number,
      );
    }
    const { first, end } = block;
    for (let index = first; index < end; index++) this.#emitStep(steps[index] as Step);
    this.#emitTransfer(node, block, end > first ? (steps[end - 1] as Step) : undefined);
  }

  /** Before a loop that copies or fills. */
  #emitBulk(node: number, block: Block): void {
    const { steps, demand } = this.#prepared;
    const { facts, link } = this.#context;
    if (!facts.optimize) return;
    const registers = this.#registers;
    registers.beginBlock(node);
    const loop = findBulkLoop(node, block, steps, demand.live[node] as number, registers.facts);
    if (loop !== undefined)
      emitBulk(registers, loop, link.fuel ? registers.locals.scratch("fuel") : undefined, link);
  }

  /** Opens a block for each of a list of nodes, the last outermost, and has them closed and followed by the nodes. */
  #openLabels(list: number): void {
    const tasks = this.#tasks;
    const { next } = this.#placement;
    for (let node = list; node !== -1; node = next[node] as number) {
      this.#code.open("block");
      this.#depth++;
      tasks.push(END, END);
    }
    // The first comes off the stack first, and its block is the innermost.
    let at = tasks.length;
    let label = this.#depth;
    for (let node = list; node !== -1; node = next[node] as number) {
      this.#forwardLabel[node] = --label;
      at -= 2;
      tasks[at] = node;
    }
  }

  /** How control leaves a block. */
  #emitTransfer(node: number, block: Block, last: Step | undefined): void {
    const registers = this.#registers;
    const { successors } = block;
    // Where one side is left by `br_if`, the other settles behind it: what a loop hands on is moved when it ends.
    if (successors.length === 2 && !block.dispatches && this.#leavesByBranch(node, successors)) {
      this.#emitBranch(node, successors as [number, number], last as Step);
      return;
    }
    for (const next of successors) registers.settle(next);
    if (block.choice !== -1) {
      this.#code.i32Const(block.choice);
      this.#code.opIndex("local.set", registers.locals.scratch("choice"));
    }
    if (block.dispatches) {
      this.#emitDispatch(node, successors);
    } else if (successors.length === 2) {
      this.#emitBranch(node, successors as [number, number], last as Step);
    } else if (successors.length === 1) {
      this.#goTo(node, successors[0] as number);
    }
  }

  #leavesByBranch(node: number, successors: readonly number[]): boolean {
    return successors.some((next) => this.#isBranch(node, next));
  }

  /** The local holds an index into the successors; the last also takes what lies beyond, which never happens. */
  #emitDispatch(node: number, successors: readonly number[]): void {
    const code = this.#code;
    code.opIndex("local.get", this.#registers.locals.scratch("choice"));
    code.op("br_table");
    code.unsigned(successors.length - 1);
    for (const next of successors) code.unsigned(this.#labelOf(node, next));
  }

  /** Number of constructs between here and the one that a branch to a node leaves or repeats. */
  #labelOf(from: number, to: number): number {
    const label = (to <= from ? this.#loopLabel[to] : this.#forwardLabel[to]) as number;
    return this.#depth - 1 - label;
  }

  #isBranch(from: number, to: number): boolean {
    return to <= from || this.#placement.labelled[to] === 1;
  }

  /** Whether a node comes next anyway: its block ends here. */
  #isNext(to: number): boolean {
    return this.#tasks.at(-1) === END && this.#tasks.at(-2) === to;
  }

  #goTo(from: number, to: number): void {
    if (!this.#isBranch(from, to)) {
      this.#tasks.push(to);
    } else if (to <= from || !this.#isNext(to)) {
      this.#code.opIndex("br", this.#labelOf(from, to));
    }
  }

  /**
   * Of two blocks that can both stand here the smaller one goes into the `if`: whatever it holds, it does not come
   * back, so the larger follows without nesting. A chain of any length then stays flat, and nothing gets nested
   * deeper than the logarithm of the function's size.
   */
  #emitBranch(node: number, [taken, otherwise]: [number, number], step: Step): void {
    const code = this.#code;
    const registers = this.#registers;
    if (this.#isBranch(node, taken)) {
      if (taken > node && this.#isNext(taken) && this.#isBranch(node, otherwise)) {
        registers.settle(otherwise);
        this.#emitJumpCondition(step, true);
        code.opIndex("br_if", this.#labelOf(node, otherwise));
        registers.settle(taken);
        return;
      }
      registers.settle(taken);
      this.#emitJumpCondition(step, false);
      code.opIndex("br_if", this.#labelOf(node, taken));
      registers.settle(otherwise);
      this.#goTo(node, otherwise);
      return;
    }
    if (this.#isBranch(node, otherwise)) {
      registers.settle(otherwise);
      this.#emitJumpCondition(step, true);
      code.opIndex("br_if", this.#labelOf(node, otherwise));
      registers.settle(taken);
      this.#tasks.push(taken);
      return;
    }
    const { size } = this.#placement;
    const takenIsSmaller = (size[taken] as number) <= (size[otherwise] as number);
    this.#emitJumpCondition(step, !takenIsSmaller);
    code.open("if");
    this.#depth++;
    this.#tasks.push(takenIsSmaller ? otherwise : taken, END, takenIsSmaller ? taken : otherwise);
  }

  #emitJumpCondition(step: Step, negate: boolean): void {
    if (step.kind === "jump") {
      emitCondition(this.#registers, step, negate);
      return;
    }
    // may_goto: taken when the rounds are used up, else one round less; at zero the counter stays.
    const code = this.#code;
    const counter = this.#registers.locals.scratch("mayGoto");
    const exhausted = this.#registers.locals.scratch("old32");
    code.opIndex("local.get", counter);
    code.op("i32.eqz");
    code.opIndex("local.set", exhausted);
    code.opIndex("local.get", counter);
    code.i32Const(1);
    code.op("i32.sub");
    code.opIndex("local.get", exhausted);
    code.op("i32.add");
    code.opIndex("local.set", counter);
    code.opIndex("local.get", exhausted);
    if (negate) code.op("i32.eqz");
  }

  #emitStep(step: Step): void {
    const registers = this.#registers;
    const code = this.#code;
    if (step.identity) return;
    if (step.dead) {
      this.#finish(step, "none");
      return;
    }
    switch (step.kind) {
      case "alu":
        emitAlu(registers, step);
        this.#finish(step, step.narrow ? "low" : "whole");
        if (step.op === "mov" && step.register) registers.windows?.copy(code, step.dst, step.src);
        return;
      case "constant":
        // Of code that is not optimised; the facts imply it otherwise.
        code.i64Const(step.imm, step.high);
        this.#finish(step, "whole");
        return;
      case "select":
        emitSelect(registers, step);
        this.#finish(step, step.narrow ? "low" : "whole");
        return;
      case "endian":
        emitByteOrder(registers, step);
        this.#finish(step, step.bytes === 8 ? "whole" : "low");
        return;
      case "load":
        this.#finish(step, emitLoad(registers, step, this.#context.link) ? "low" : "whole");
        return;
      case "store":
        emitStore(registers, step, this.#context.link);
        return;
      case "atomic":
        emitAtomic(registers, step, this.#context.link);
        if (definedRegister(step) < 0) return;
        pushFetched(registers, step.wide);
        this.#finish(step, step.wide ? "whole" : "low");
        return;
      case "packet":
        this.#emitPacketLoad(step);
        return;
      case "local": {
        emitLocalCall(registers, step, this.#context.link, this.#context.argumentsOf(step.target));
        this.#finish(step, "whole");
        return;
      }
      case "register":
        emitRegisterCall(registers, step, this.#context.link, UNKNOWN_CALL);
        this.#finish(step, "whole");
        return;
      case "helper":
        this.#emitHelper(step);
        return;
      case "exit":
        if (this.#context.link.fuel) saveFuel(registers, this.#context.link);
        registers.pushWhole(0);
        code.op("return");
        return;
      default:
    }
  }

  /** Takes the facts past the step, and its result from the stack. */
  #finish(step: Step, result: "low" | "whole" | "none"): void {
    const registers = this.#registers;
    const { facts } = registers;
    transfer(facts, step, this.#context.facts);
    if (clobbersArguments(step)) {
      for (let register = 1; register <= 5; register++) registers.forget(register);
    }
    if (registers.windows !== undefined && clobbersArguments(step) && !this.#keepsWindows(step))
      registers.windows.forget(this.#code);
    const defined = definedRegister(step);
    if (result === "none") {
      registers.forget(defined);
    } else if (result === "low" && !this.#context.facts.optimize) {
      this.#code.op("i64.extend_i32_u");
      registers.popWhole(defined);
    } else if (result === "low") {
      registers.popLow(defined);
    } else if (facts.kind[defined] === ANY && (facts.bits[defined] as number) <= 32) {
      this.#code.op("i32.wrap_i64");
      registers.popLow(defined);
    } else {
      registers.popWhole(defined);
    }
  }

  /** Whether memory that the program could touch before a call lies there after it. */
  #keepsWindows(step: Step): boolean {
    if (step.kind === "packet") return true;
    if (step.kind !== "helper" || isKfunc(step)) return false;
    const { lowering } = step;
    return (
      lowering?.kind === "array" ||
      lowering?.kind === "cpu" ||
      this.#context.link.sandbox?.keeps(step.imm) === true
    );
  }

  #emitHelper(step: Step): void {
    const registers = this.#registers;
    const { link } = this.#context;
    const { lowering } = step;
    // Kernel functions are checked by who calls them; their numbers are no helpers' ids.
    const sandbox = isKfunc(step) ? undefined : link.sandbox;
    if (sandbox !== undefined && (lowering?.kind === "core" || lowering?.kind === "host")) {
      const count = lowering.kind === "core" ? lowering.args.length : lowering.args;
      emitArgumentCheck(registers, step.imm, count, step.slot, link, sandbox);
    }
    let found: SandboxMap | undefined;
    // What a mock answers need not be a value.
    if (sandbox !== undefined && step.imm === MAP_LOOKUP_ELEM && lowering?.kind !== "host")
      found = mapIn(registers, 1, sandbox);
    this.#emitLowered(step, lowering);
    if (found !== undefined) registers.windows?.fill(registers, found);
  }

  #emitLowered(step: Step, lowering: Step["lowering"]): void {
    const registers = this.#registers;
    const { link } = this.#context;
    switch (lowering?.kind) {
      case "core":
        this.#finish(step, emitCoreCall(registers, step, lowering, link) ? "low" : "whole");
        return;
      case "host":
        emitHostCall(registers, step, lowering, link);
        this.#finish(step, "whole");
        return;
      case "array":
        emitArrayLookup(registers, lowering.map, link, () => {
          const access = { bytes: 4, right: RIGHT_READ, slot: step.slot, argument: 2 };
          const offset = pushAddress(registers, 2, 0, access, link);
          this.#code.memory("i32.load", 2, offset);
        });
        this.#finish(step, "low");
        return;
      case "cpu":
        emitCpu(registers, link);
        this.#finish(step, "low");
        return;
      default:
    }
  }

  /** `ld_abs` and `ld_ind`: outside the packet the function ends with 0 (uapi/linux/bpf.h, BPF_ABS). */
  #emitPacketLoad(step: Step): void {
    const registers = this.#registers;
    const code = this.#code;
    const { link } = this.#context;
    const value = registers.locals.scratch("old64");
    if (link.sandbox !== undefined) emitPacketCheck(registers, step.slot, link);
    registers.pushLow(6);
    if (step.op === "ind") {
      registers.pushLow(step.src);
      code.i32Const(step.imm);
      code.op("i32.add");
    } else {
      code.i32Const(step.imm);
    }
    code.i32Const(step.bytes);
    code.opIndex("call", link.coreFunction("ld_abs"));
    code.opIndex("local.tee", value);
    code.i64Const(0, 0);
    code.op("i64.lt_s");
    code.open("if");
    if (link.fuel) saveFuel(registers, link);
    code.i64Const(0, 0);
    code.op("return");
    code.op("end");
    code.opIndex("local.get", value);
    this.#finish(step, "whole");
  }
}
