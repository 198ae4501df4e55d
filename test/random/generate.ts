/**
 * Random programs that a verifier accepts: from a seed, the same on every machine, and with an outcome (r0, packet,
 * context, maps) that depends on nothing but the program and its input. What the parts may write is said in
 * statements/; what is known while writing, in state.ts.
 */
import { type Instruction, rowOf } from "../../src/isa/index.ts";
import { type Argument, FunctionBuilder, type Plan, type ProgramContext } from "./builder.ts";
import { IO_MAP, randomMaps } from "./maps.ts";
import {
  GENERATED_TYPES,
  type GeneratedProgram,
  type GeneratedReference,
  type GeneratedType,
} from "./model.ts";
import { Random } from "./prng.ts";
import { SCALAR } from "./state.ts";
import { alu, endian, wideConstant } from "./statements/alu.ts";
import { callFunction } from "./statements/calls.ts";
import { loadContext, packetAdvance, packetLoad, packetPointer, storeContext } from "./statements/context.ts";
import { branch, countedLoop, exit, goto, join, openLoop } from "./statements/control.ts";
import { csumDiff, redirect, skbLoadBytes, unpredictable, xdpAdjust } from "./statements/helpers.ts";
import { mapDelete, mapLookup, mapUpdate, mapValue } from "./statements/maps.ts";
import {
  atomic,
  copyPointer,
  fillSpilled,
  fillStack,
  load,
  movePointer,
  spill,
  spreadPointer,
  stackPointer,
  store,
} from "./statements/memory.ts";
import { randomImm, randomPacket } from "./values.ts";

type Statement = (b: FunctionBuilder) => boolean;

/** How often each statement is written, before a program's own taste. */
const STATEMENTS: Readonly<Record<string, { readonly weight: number; readonly write: Statement }>> = {
  alu: { weight: 40, write: alu },
  endian: { weight: 4, write: endian },
  wideConstant: { weight: 4, write: wideConstant },
  load: { weight: 16, write: load },
  store: { weight: 14, write: store },
  atomic: { weight: 10, write: atomic },
  fillStack: { weight: 3, write: fillStack },
  spill: { weight: 3, write: spill },
  fillSpilled: { weight: 3, write: fillSpilled },
  copyPointer: { weight: 3, write: copyPointer },
  movePointer: { weight: 3, write: movePointer },
  spreadPointer: { weight: 3, write: spreadPointer },
  stackPointer: { weight: 2, write: stackPointer },
  loadContext: { weight: 4, write: loadContext },
  storeContext: { weight: 3, write: storeContext },
  packetLoad: { weight: 3, write: packetLoad },
  packetPointer: { weight: 5, write: packetPointer },
  packetAdvance: { weight: 3, write: packetAdvance },
  mapLookup: { weight: 5, write: mapLookup },
  mapValue: { weight: 3, write: mapValue },
  mapUpdate: { weight: 3, write: mapUpdate },
  mapDelete: { weight: 2, write: mapDelete },
  unpredictable: { weight: 1, write: unpredictable },
  csumDiff: { weight: 1, write: csumDiff },
  skbLoadBytes: { weight: 2, write: skbLoadBytes },
  redirect: { weight: 1, write: redirect },
  xdpAdjust: { weight: 1, write: xdpAdjust },
  branch: { weight: 12, write: branch },
  join: { weight: 10, write: join },
  goto: { weight: 2, write: goto },
  exit: { weight: 1, write: exit },
  countedLoop: { weight: 3, write: (b) => countedLoop(b, writeStatements) },
  openLoop: { weight: 1, write: (b) => openLoop(b, writePlainly) },
  callFunction: {
    weight: 3,
    write: (b) => callFunction(b, (args, depth) => createFunction(b.program, args, depth)),
  },
};

/** Bytes of stack of the main function and of the others: 512 for a chain of calls, in units of 32. */
const MAIN_FRAME = 192;
const SUB_FRAME = 64;

export interface GenerateOptions {
  /** Default: drawn from the seed. */
  readonly type?: GeneratedType;
  /** Statements, over all functions. Default: drawn from the seed, 5 to 120. */
  readonly size?: number;
  /** Statements that are not to be written, by name. */
  readonly without?: readonly string[];
}

/** The names of all statements, for {@link GenerateOptions.without}. */
export const STATEMENT_NAMES: readonly string[] = Object.keys(STATEMENTS);

/**
 * A program with its maps and input.
 *
 * @example
 * const { instructions, maps, packet } = generate(42);
 */
export function generate(seed: number, options: GenerateOptions = {}): GeneratedProgram {
  const random = new Random(seed);
  const type = options.type ?? random.pick(GENERATED_TYPES);
  const size =
    options.size ?? random.pick([random.between(5, 15), random.between(15, 50), random.between(50, 120)]);
  const maps = randomMaps(random);
  const weights: Record<string, number> = {};
  for (const [name, { weight }] of Object.entries(STATEMENTS)) {
    const taste = random.pick([0, 0.3, 1, 1, 1, 3]);
    weights[name] = options.without?.includes(name) === true ? 0 : Math.round(weight * 10 * taste);
  }
  if (Object.values(weights).every((weight) => weight === 0)) weights["alu"] = 1;
  const program: ProgramContext = { random, type, maps, plans: [], budget: size, weights, nextPacketBase: 1 };
  const main = new FunctionBuilder(program, 0, MAIN_FRAME, ["ctx"]);
  prologue(main);
  while (program.budget > 0) writeStatements(main, 1);
  epilogue(main);
  return {
    seed,
    name: `random_${seed}`,
    type,
    maps,
    packet: randomPacket(random),
    ...assemble(main, program.plans),
  };
}

/** Writes statements, and leaves a place that can be reached. */
function writeStatements(b: FunctionBuilder, count: number): void {
  for (let done = 0; done < count; done++) {
    b.program.budget--;
    for (let tries = 0; tries < 10; tries++) {
      if (STATEMENTS[b.random.weighted(b.program.weights)]?.write(b) === true) break;
    }
  }
}

/** Statements that leave the verifier one state: where it must find a loop's fixed point, each fork costs it dearly. */
const PLAIN = [
  "alu",
  "endian",
  "load",
  "store",
  "atomic",
  "loadContext",
  "mapValue",
  "wideConstant",
] as const;

function writePlainly(b: FunctionBuilder, count: number): void {
  for (let done = 0; done < count; done++) {
    b.program.budget--;
    STATEMENTS[b.random.pick(PLAIN)]?.write(b);
  }
}

function createFunction(program: ProgramContext, args: readonly Argument[], depth: number): Plan {
  const b = new FunctionBuilder(program, depth, SUB_FRAME, args);
  writeStatements(b, program.random.between(2, 10));
  b.bind(true);
  if (b.get(0).kind !== "scalar") b.constant(0, randomImm(b.random));
  foldScalars(b);
  b.emit("exit");
  const called = b.calls.map(({ plan }) => program.plans[plan] as Plan);
  const plan: Plan = {
    index: program.plans.length,
    args,
    depth: 1 + Math.max(0, ...called.map((one) => one.depth)),
    movesPacket: b.movesPacket,
    builder: b,
  };
  program.plans.push(plan);
  return plan;
}

/** Saves the context, and reads some input that the verifier cannot foresee. */
function prologue(b: FunctionBuilder): void {
  const { random } = b;
  if (random.chance(0.8)) {
    b.copy(6, 1);
    if (random.chance(0.8)) b.locked.add(6);
  }
  if (random.chance(0.4)) {
    b.emit("stxdw", { dst: 10, src: 1, offset: -8 });
    b.now.write(-8, 8);
    b.now.spill(-8, { kind: "ctx" });
    if (random.chance(0.5)) b.lockedSlots.add(-8);
  }
  const base = b.target([1, 6]);
  b.loadMap(base, IO_MAP, 0);
  b.set(base, { kind: "value", map: 0, offset: 0, spread: 0, align: 8 });
  for (let count = random.between(1, 4); count > 0; count--) {
    const dst = b.target([base]);
    b.emit("ldxdw", { dst, src: base, offset: random.below(8) * 8 });
    b.set(dst, SCALAR);
  }
  if (random.chance(0.7)) {
    const offset = b.place(32, 8);
    if (offset !== undefined) b.fill(offset, 32);
  }
}

/** Folds what registers hold into r0, so that no result goes unseen. */
function foldScalars(b: FunctionBuilder): void {
  for (const src of b.having(({ kind }) => kind === "scalar")) {
    if (src !== 0) b.emit(b.random.pick(["xor64_reg", "add64_reg", "sub64_reg"]), { dst: 0, src });
  }
}

/** Stores what registers and stack hold to the map that all programs have, and returns a digest of it. */
function epilogue(b: FunctionBuilder): void {
  b.bind(true);
  b.locked.clear();
  const pointers = [1, 2, 3, 4, 5, 6, 7, 8, 9].filter((reg) => b.get(reg).kind !== "scalar");
  const base = pointers.length > 0 ? b.random.pick(pointers) : 1;
  b.loadMap(base, IO_MAP, 64);
  for (const src of b.having(({ kind }) => kind === "scalar")) {
    b.emit("stxdw", { dst: base, src, offset: src * 8 });
  }
  if (b.get(0).kind !== "scalar") b.constant(0, randomImm(b.random));
  foldScalars(b);
  // The stack's words, as far as they fit behind the registers.
  const scratch = base === 1 ? 2 : 1;
  let at = 80;
  for (let slot = -8; slot >= -MAIN_FRAME && 64 + at + 8 <= IO_MAP.valueSize; slot -= 8) {
    if (!b.now.isWritten(slot, 8)) continue;
    b.emit("ldxdw", { dst: scratch, src: 10, offset: slot });
    b.emit("stxdw", { dst: base, src: scratch, offset: at });
    at += 8;
  }
  b.emit("exit");
}

/** Lays the functions out one behind the other and points the calls at them. */
function assemble(
  main: FunctionBuilder,
  plans: readonly Plan[],
): Pick<GeneratedProgram, "instructions" | "references" | "functions"> {
  const called = new Set<number>();
  const visit = ({ calls }: FunctionBuilder): void => {
    for (const { plan } of calls) {
      if (called.has(plan)) continue;
      called.add(plan);
      visit((plans[plan] as Plan).builder);
    }
  };
  // A function that was planned for a call which then was not written would be unreachable.
  visit(main);
  const parts = [main, ...plans.filter(({ index }) => called.has(index)).map(({ builder }) => builder)];
  const starts = new Map<FunctionBuilder, number>();
  let length = 0;
  for (const part of parts) {
    starts.set(part, length);
    length += part.code.length;
  }
  const instructions: Instruction[] = [];
  const references = new Map<number, GeneratedReference>();
  const functions = parts.map((part, index) => {
    const start = starts.get(part) as number;
    instructions.push(...part.code);
    for (const [slot, reference] of part.references) references.set(start + slot, reference);
    for (const { slot, plan } of part.calls) {
      const target = starts.get((plans[plan] as Plan).builder) as number;
      const call = instructions[start + slot] as Instruction;
      instructions[start + slot] = { ...call, imm: target - (start + slot) - 1 };
    }
    return { name: index === 0 ? "main" : `sub_${index}`, start, end: start + part.code.length };
  });
  return { instructions, references, functions };
}

/** How often each row of the instruction table occurs in programs. */
export function countRows(programs: Iterable<Pick<GeneratedProgram, "instructions">>): Map<string, number> {
  const counts = new Map<string, number>();
  for (const { instructions } of programs) {
    for (const instruction of instructions) {
      const row = rowOf(instruction);
      if (row !== undefined) counts.set(row.name, (counts.get(row.name) ?? 0) + 1);
    }
  }
  return counts;
}
