/**
 * Random programs of what modern BPF has: callbacks, global functions, iterators, dynptrs, locks, regions, lists and trees of objects,
 * kernel pointers, timers, exceptions, arenas. Statements that mostly make sense stand one inside or after the other; in about half of the programs
 * something is damaged: a call left out, an offset or a register changed, two instructions swapped.
 *
 * Types and maps are those of test/fixtures/constructs.bpf.c; only the functions' instructions are new, so a program is an object like any
 * other and takes the whole way.
 */
import { readFileSync } from "node:fs";
import type { Instruction } from "../../../src/isa/index.ts";
import {
  type FunctionSpec,
  type ObjectSpec,
  type Reference,
  parseObject,
} from "../../../src/object/index.ts";
import { Random } from "../../random/prng.ts";
import { FunctionBuilder, type Shared } from "./function.ts";
import * as objects from "./objects.ts";
import * as statements from "./statements.ts";
import type { Statement } from "./statements.ts";

const FIXTURE = "test/fixtures/constructs.bpf.o";

/** How often each kind of statement is chosen, relative to the others. */
const STATEMENTS: readonly (readonly [name: string, weight: number, write: Statement])[] = [
  ["arithmetic", 4, (f) => statements.arithmetic(f)],
  ["branch", 4, statements.branch],
  ["element", 2, statements.element],
  ["packet", 2, statements.packet],
  ["callbacks", 4, statements.callbacks],
  ["iterator", 4, statements.iterator],
  ["may_goto", 2, statements.mayGoto],
  ["record", 3, statements.record],
  ["rcu", 2, statements.rcu],
  ["preempt", 2, statements.preempt],
  ["interrupts", 2, statements.interrupts],
  ["lock", 3, statements.lock],
  ["exception", 1, statements.exception],
  ["arena", 2, statements.arena],
  ["call", 5, statements.call],
  ["object", 3, objects.object],
  ["exchange", 3, objects.exchange],
  ["peek", 2, objects.peek],
  ["list", 3, objects.list],
  ["tree", 3, objects.tree],
  ["timer", 2, objects.timer],
  ["work", 1, objects.work],
  ["dynptr", 5, objects.dynptr],
];
const LOTTERY = STATEMENTS.flatMap((row) => Array.from({ length: row[1] }, () => row));

/** What a function has in its registers, by what it is called with; and what it may return. */
interface Shape {
  /** Writes r6 to r8. */
  begin(f: FunctionBuilder): void;
  /** Statements at most. */
  readonly statements: number;
  /** Of r0; any number if absent. */
  readonly returns?: readonly number[];
}

const keep = (f: FunctionBuilder, context: number, first: number | undefined, second?: number): void => {
  f.move(6, context);
  if (first === undefined) f.set(7, f.below(4));
  else f.move(7, first);
  if (second === undefined) f.set(8, f.below(100));
  else f.move(8, second);
};

const SHAPES: Readonly<Record<string, Shape>> = {
  each: {
    begin(f) {
      keep(f, 2, 1);
      onContext(f, 6, 24);
    },
    statements: 2,
    returns: [0, 0, 1],
  },
  each_element: {
    begin(f) {
      keep(f, 4, undefined);
      f.move(9, 3);
      f.emit(0x61, 7, 2);
      if (f.once(2)) statements.touch(f, 9, 32);
      onContext(f, 6, 24);
    },
    statements: 2,
    returns: [0, 0, 1],
  },
  on_timer: {
    begin(f) {
      keep(f, 3, undefined);
      statements.touch(f, 6, 32);
    },
    statements: 2,
    returns: [0],
  },
  on_work: {
    begin(f) {
      keep(f, 3, undefined);
      statements.touch(f, 6, 32);
    },
    statements: 2,
    returns: [0],
  },
  less: {
    begin(f) {
      keep(f, 1, undefined);
      // The keys of both nodes, from the tree's fields.
      f.emit(0x79, 7, 1, 40);
      f.emit(0x79, 8, 2, 40);
    },
    statements: 0,
    returns: [0, 1],
  },
  of_numbers: { begin: (f) => keep(f, 2, 1, 2), statements: 2 },
  of_memory: {
    begin(f) {
      keep(f, 1, undefined);
      f.ifNotNull(6, () => statements.touch(f, 6, 24));
    },
    statements: 2,
  },
  of_nonnull: {
    begin(f) {
      keep(f, 1, undefined);
      statements.touch(f, 6, 24);
    },
    statements: 2,
  },
  of_xdp: { begin: (f) => keep(f, 1, undefined), statements: 2 },
  of_tc: { begin: (f) => keep(f, 1, undefined), statements: 2 },
  of_dynptr: {
    begin(f) {
      keep(f, 1, undefined);
      f.kfunc("bpf_dynptr_size");
      f.move(7, 0);
    },
    statements: 1,
  },
  of_arena: {
    begin(f) {
      keep(f, 1, undefined);
      statements.touch(f, 6, 4096);
    },
    statements: 1,
  },
  of_task: { begin: (f) => keep(f, 1, undefined), statements: 1 },
  on_throw: { begin: (f) => keep(f, 1, 1), statements: 1, returns: [0, 2] },
  local: {
    begin(f) {
      keep(f, 1, 2, 3);
      f.move(9, 4);
      statements.touch(f, 9, 24);
    },
    statements: 3,
  },
};

/** What a callback of a loop does with the caller's bytes, which may be missing. */
function onContext(f: FunctionBuilder, reg: number, bytes: number): void {
  if (f.once(6)) return;
  f.ifNotNull(reg, () => {
    statements.touch(f, reg, bytes);
    if (f.once(2)) statements.touch(f, reg, bytes);
  });
}

/** The object whose types and maps programs have. */
export function constructs(path = FIXTURE): ObjectSpec {
  return parseObject(readFileSync(path), { name: "constructs.bpf.o" });
}

const MOST_FUNCTIONS = 7;
const MOST_INSTRUCTIONS = 500;

/**
 * An object with one program, by seed.
 *
 * Never give the kernel a program with an exception callback in which a function can be unreachable (`callbackOfExceptions`): Linux 6.18
 * takes the dead function out, keeps the number of the callback, and reads beyond its array of functions (jit_subprogs): an oops.
 */
export function generateConstructs(
  spec: ObjectSpec,
  seed: number,
  { callbackOfExceptions = true }: { readonly callbackOfExceptions?: boolean } = {},
): ObjectSpec {
  const random = new Random(seed);
  const type = random.chance(0.35) ? "xdp" : "sched_cls";
  const wanted = new Set<string>();
  const shared: Shared = {
    random,
    type,
    wanted,
    typeId: (name) => spec.btf?.find(name, "struct")[0]?.id ?? 0,
  };
  const entry =
    type === "xdp" ? "xdp_main" : callbackOfExceptions && random.chance(0.3) ? "tc_catching" : "tc_main";
  const main = new FunctionBuilder(entry, shared);
  main.move(6, 1);
  for (const reg of [7, 8]) {
    if (random.chance(0.5)) main.set(reg, main.below(8));
    else {
      main.helper(7);
      main.move(reg, 0);
    }
  }
  write(main, 2 + main.below(5), 2);
  finish(main, [0, 0, 0, 1, 2]);
  const functions = [main];
  if (entry === "tc_catching") wanted.add("on_throw");
  for (const name of wanted) {
    const f = new FunctionBuilder(name, shared);
    const shape = SHAPES[name] as Shape;
    shape.begin(f);
    if (functions.length < MOST_FUNCTIONS) write(f, f.below(shape.statements + 1), 1);
    if (name === "less") {
      // The usual comparison.
      f.set(0, 0);
      f.unless(f.pick([0x3d, 0x7d]), 7, 8, 0, () => f.set(0, 1));
      f.emit(0x95);
    } else finish(f, shape.returns);
    functions.push(f);
  }
  if (random.chance(0.4)) {
    for (let count = random.between(1, 2); count > 0; count--) damage(random.pick(functions));
  }
  return assemble(spec, type, functions);
}

function write(f: FunctionBuilder, count: number, depth: number): void {
  for (let index = 0; index < count && f.code.length < MOST_INSTRUCTIONS; index++) {
    const [name, , statement] = f.pick(LOTTERY);
    // Inside of itself a statement rarely makes sense.
    if (f.open.has(name) && !f.once(6)) continue;
    const fresh = !f.open.has(name);
    f.open.add(name);
    statement(f, () => {
      if (depth > 0) write(f, 1 + f.below(2), depth - 1);
    });
    if (fresh) f.open.delete(name);
  }
}

function finish(f: FunctionBuilder, returns: readonly number[] | undefined): void {
  if (returns === undefined) f.move(0, f.number());
  else f.set(0, f.once(40) ? 7 : f.pick(returns));
  f.emit(0x95);
}

/** Changes one instruction, but none that names something else than a kernel function. */
function damage(f: FunctionBuilder): void {
  const { code, mentions } = f;
  const at = f.below(code.length - 1);
  const free = (slot: number): boolean => {
    const { opcode, src } = code[slot] as Instruction;
    return opcode !== 0x18 && opcode !== 0 && !(opcode === 0x85 && src === 1);
  };
  const calls = code.flatMap(({ opcode, src }, slot) => (opcode === 0x85 && src !== 1 ? [slot] : []));
  if (!free(at)) return;
  const row = code[at] as Instruction;
  const change = (fields: Partial<Instruction>): void => {
    code[at] = { ...row, ...fields };
  };
  switch (f.below(7)) {
    case 0: {
      // A call less.
      const call = calls.length === 0 ? at : f.pick(calls);
      mentions.delete(call);
      code[call] = { opcode: 0xb7, dst: f.pick([0, 0, 9]), src: 0, offset: 0, imm: f.below(2) };
      return;
    }
    case 1:
      if ((row.opcode & 7) === 7 || (row.opcode & 7) === 5)
        change({ imm: row.opcode === 0x85 ? row.imm : row.imm + f.pick([1, -1, 8, -8]) });
      return;
    case 2:
      if ((row.opcode & 7) < 4) change({ offset: row.offset + f.pick([1, 4, 8, -8, -1]) });
      return;
    case 3:
      if (row.opcode !== 0x85 && row.opcode !== 0x95) change({ dst: f.below(10) });
      return;
    case 4:
      if ((row.opcode & 8) !== 0 || (row.opcode & 7) === 1) change({ src: f.below(11) });
      return;
    case 5:
      if (row.opcode !== 0x85) change({ opcode: 0xbf, dst: 9, src: 8, offset: 0, imm: 0 });
      return;
    default: {
      const other = f.below(code.length - 1);
      const swapped = code[other] as Instruction;
      const movable = (slot: number): boolean => free(slot) && ((code[slot] as Instruction).opcode & 7) !== 5;
      if (!movable(at) || !movable(other)) return;
      code[at] = swapped;
      code[other] = row;
    }
  }
}

function assemble(
  spec: ObjectSpec,
  type: "xdp" | "sched_cls",
  functions: readonly FunctionBuilder[],
): ObjectSpec {
  const known = new Map(spec.functions.map((row) => [row.name, row]));
  const index = new Map(functions.map(({ name }, place) => [name, place]));
  const made = functions.map(({ name, code, mentions }, place): FunctionSpec => {
    const own = known.get(name);
    if (own === undefined) throw new Error(`${spec.name} has no function ${name}`);
    const references = [...mentions]
      .sort(([a], [b]) => a - b)
      .map(([slot, mention]): Reference => {
        switch (mention.kind) {
          case "map":
            return { slot, kind: "map", map: mention.name };
          case "map_value":
            return { slot, kind: "map_value", map: sectionOf(spec, mention.name), offset: mention.offset };
          case "kfunc":
            return { slot, kind: "extern", extern: mention.name };
          default:
            return { slot, kind: mention.kind, function: index.get(mention.name) as number };
        }
      });
    return { ...own, index: place, start: 0, instructions: code, references, lines: [], coreRelocations: [] };
  });
  const main = made[0] as FunctionSpec;
  const origin = Object.values(spec.programs).find(({ name }) => name === main.name);
  if (origin === undefined) throw new Error(`${spec.name} has no program ${main.name}`);
  return {
    ...spec,
    functions: made,
    programs: {
      [main.name]: { ...origin, type, function: main, instructions: main.instructions },
    },
  };
}

/** The map behind a section of variables. */
function sectionOf(spec: ObjectSpec, name: string): string {
  return Object.keys(spec.maps).find((map) => map === name || map.endsWith(`.data.${name}`)) ?? name;
}
