/** Programs in a machine's memory: their instructions for the interpreter, their functions in the table for the JIT. */
import type { CoreExports } from "../core/index.ts";
import {
  FUNC_CODE,
  FUNC_PROG,
  FUNC_SIZE,
  FUNC_TABLE,
  PROG_ATTACH,
  PROG_CODE,
  PROG_CODE_END,
  PROG_CONTRACTS,
  PROG_CONTRACTS_COUNT,
  PROG_FUNCS_END,
  ATTACH_FRAGS,
  PROG_ID,
  PROG_REPEAT,
  PROG_SAFETY,
  PROG_SIZE,
  PROG_TYPE,
  PROG_WRITER,
} from "../core/layout.ts";
import { milliseconds } from "../elapsed.ts";
import { BpfError } from "../errors.ts";
import { type Instruction, OPCODE_LDDW, SLOT_SIZE, encodeInstructions, rowOf } from "../isa/index.ts";
import { POISON_HELPER } from "../object/index.ts";
import { compileProgram } from "../jit/index.ts";
import { ATTACH_TYPES, PROGRAM_TYPES, helperId } from "../uapi/index.ts";
import type { HelperSet } from "./helpers/registry.ts";
import { sandboxOf } from "./held.ts";
import { writerNumber } from "./objects/index.ts";
import { helperContracts } from "./helpers/contracts.ts";
import { helperGuards } from "./helpers/handles.ts";
import type { ProgramImage } from "./image.ts";
import { probedSlots } from "./probes.ts";
import { poisonedSlot } from "./poison.ts";
import type { BpfMap } from "./map.ts";
import type { LinearMemory } from "./memory.ts";
import { SAFETY_CODES, type Safety } from "./safety.ts";
import type { Compilation } from "./program.ts";

/** A program as it lies in memory: all that another thread needs to run it too. */
export interface InstalledProgram {
  readonly descriptor: number;
  readonly image: ProgramImage;
  /** With the addresses of maps and functions in place. */
  readonly instructions: readonly Instruction[];
  /** Address of its first instruction. */
  readonly code: number;
  readonly safety: Safety;
  /** Addresses of the maps that its instructions name. */
  readonly held: ReadonlySet<number>;
  /** Descriptors of functions whose address is taken, by first slot; the program's own for slot 0. */
  readonly functions: ReadonlyMap<number, number>;
  /** Slots of loads through pointers that may point anywhere. */
  readonly probes: ReadonlySet<number>;
}

interface Installed extends InstalledProgram {
  compilation?: Compilation;
}

const NOT_COMPILED = 0xffffffff;

export interface CodeHost {
  readonly memory: LinearMemory;
  readonly core: CoreExports;
  readonly table: WebAssembly.Table;
  readonly helpers: HelperSet;
  /** Whether compiled code counts rounds and calls. */
  readonly fuel: boolean;
  readonly optimize: boolean;
  mapAt(address: number): BpfMap | undefined;
}

export class CodeSpace {
  readonly #host: CodeHost;
  readonly #programs = new Map<number, Installed>();
  readonly #contracts = new Map<string, { table: BigUint64Array; address: number }>();
  /** The first free index of the function table. */
  #free = 0;
  #nextId = 1;

  constructor(host: CodeHost) {
    this.#host = host;
  }

  /** Lays a program out in memory, its references resolved; the address of its descriptor. */
  install(image: ProgramImage, maps: Readonly<Record<string, BpfMap>>, safety: Safety): number {
    const { memory, core } = this.#host;
    const what = `program '${image.name}'`;
    // Descriptors of functions follow the program's without gaps, so that pointers to them can be told from others.
    const targets = functionTargets(image);
    const descriptor = memory.alloc(PROG_SIZE + FUNC_SIZE * targets.length, what, FUNC_SIZE);
    memory.setU32(descriptor + PROG_FUNCS_END, descriptor + PROG_SIZE + FUNC_SIZE * targets.length);
    const size = image.instructions.length * SLOT_SIZE;
    const code = memory.alloc(size, what);
    const functions = new Map([[0, descriptor]]);
    targets.forEach((slot, index) => {
      const address = descriptor + PROG_SIZE + FUNC_SIZE * index;
      this.#describe(address, code + slot * SLOT_SIZE, descriptor);
      functions.set(slot, address);
    });
    const instructions = resolve(
      image,
      maps,
      (slot) => functions.get(slot) as number,
      (name) => this.#host.helpers.kfuncId(name),
    );
    const probes = probedSlots(image, safety === "sandbox");
    memory.write(code, encodeInstructions(withProbes(instructions, probes)));
    this.#describe(descriptor, code, descriptor);
    memory.setU32(descriptor + PROG_TYPE, PROGRAM_TYPES.find(({ name }) => name === image.type)?.id ?? 0);
    const attach = ATTACH_TYPES.find(({ name }) => name === image.attachType)?.id ?? 0;
    memory.setU32(descriptor + PROG_ATTACH, attach | (image.frags === true ? ATTACH_FRAGS : 0));
    memory.setU32(descriptor + PROG_CODE, code);
    memory.setU32(descriptor + PROG_CODE_END, code + size);
    memory.setU32(descriptor + PROG_ID, this.#nextId++);
    memory.setU32(descriptor + PROG_WRITER, writerNumber(image.interface));
    memory.setU32(descriptor + PROG_SAFETY, SAFETY_CODES[safety]);
    if (safety === "sandbox") {
      const contracts = this.#contractsOf(image);
      memory.setU32(descriptor + PROG_CONTRACTS, contracts.address);
      memory.setU32(descriptor + PROG_CONTRACTS_COUNT, contracts.table.length);
    }
    const held = new Set<number>();
    for (const reference of image.references.values()) {
      const map = reference.kind === "extern" ? undefined : maps[reference.map];
      if (map === undefined) continue;
      core.grant(descriptor, map.address);
      held.add(map.address);
    }
    this.#programs.set(descriptor, {
      descriptor,
      image,
      instructions,
      probes,
      code,
      functions,
      safety,
      held,
    });
    return descriptor;
  }

  /** What helpers take of programs of a type and attach type, in memory for the core. */
  #contractsOf({ type, attachType }: ProgramImage): { table: BigUint64Array; address: number } {
    const key = `${type ?? ""} ${attachType ?? ""}`;
    let found = this.#contracts.get(key);
    if (found === undefined) {
      const table = helperContracts(type, attachType);
      const address = this.#host.memory.alloc(table.byteLength, "helper contracts");
      table.forEach((contract, id) => this.#host.memory.setU64(address + 8 * id, contract));
      found = { table, address };
      this.#contracts.set(key, found);
    }
    return found;
  }

  /** Takes over a program that another thread has installed in the memory. */
  adopt(program: InstalledProgram): void {
    this.#programs.set(program.descriptor, { ...program });
  }

  /** All programs, for other threads. */
  get installed(): InstalledProgram[] {
    return [...this.#programs.values()].map(
      ({ descriptor, image, instructions, code, safety, held, probes, functions }) => ({
        descriptor,
        image,
        instructions,
        code,
        safety,
        held,
        probes,
        functions,
      }),
    );
  }

  #describe(address: number, code: number, program: number): void {
    const { memory } = this.#host;
    memory.setU32(address + FUNC_CODE, code);
    memory.setU32(address + FUNC_TABLE, NOT_COMPILED);
    memory.setU32(address + FUNC_PROG, program);
  }

  /** The descriptor of the function that a program's bpf_throw calls, if it has one. */
  exceptionCallback(descriptor: number): number | undefined {
    const { image, functions } = this.#programs.get(descriptor) ?? {};
    return image?.exceptionCallback === undefined ? undefined : functions?.get(image.exceptionCallback);
  }

  /** Compiles a program to WebAssembly and enters its functions into the table; once, unless `recompile` asks for more. */
  compile(descriptor: number): Compilation {
    const installed = this.#programs.get(descriptor) as Installed;
    installed.compilation ??= this.#compile(descriptor, installed);
    return installed.compilation;
  }

  /** Compiles those programs anew that have been compiled and call a helper, which is now another function. */
  recompile(helper: number): void {
    for (const [descriptor, installed] of this.#programs) {
      if (installed.compilation === undefined) continue;
      const calls = installed.instructions.some((instruction) => {
        const semantics = rowOf(instruction)?.semantics;
        return semantics?.kind === "call" && semantics.target === "helper" && instruction.imm === helper;
      });
      if (calls) installed.compilation = this.#compile(descriptor, installed);
    }
  }

  #compile(
    descriptor: number,
    { image, instructions, probes, functions, code, safety, held }: Installed,
  ): Compilation {
    const { memory, core, table, helpers } = this.#host;
    const start = milliseconds();
    const compiled = compileProgram({
      instructions,
      functions: image.functions,
      helper: (id) =>
        poisonedSlot(id) === undefined ? helpers.lower(id) : { kind: "host", name: `poison_${id}`, args: 0 },
      // A sandboxed program may name any number: only maps that it holds are looked up in place.
      arrayMap: (address) =>
        safety !== "sandbox" || held.has(address) ? this.#host.mapAt(address)?.arrayLayout : undefined,
      mapRoutine: (name, address) =>
        safety !== "sandbox" || held.has(address) ? this.#host.mapAt(address)?.routine(name) : undefined,
      fuel: safety === "sandbox" || this.#host.fuel,
      ...(safety === "sandbox"
        ? { sandbox: sandboxOf(this.#contractsOf(image).table, this.#held(held)) }
        : {}),
      optimize: this.#host.optimize,
      shared: memory.shared,
      codeAddress: code,
      programAddress: descriptor,
      names: true,
      repeats: safety !== "sandbox" || !instructions.some(needsRunEnds),
      probes,
    });
    const poison: Record<string, () => void> = {};
    for (const slot of image.poisoned.keys()) {
      const id = POISON_HELPER + slot;
      poison[`poison_${id}`] = () => helpers.call(id, 0);
    }
    const host: Record<string, CallableFunction> = {
      ...poison,
      call_helper: (id: number, exec: number) => helpers.call(id, exec),
    };
    for (const name of compiled.hostImports) host[name] ??= helpers.imports[name] as CallableFunction;
    let exports: WebAssembly.Exports;
    try {
      const module = new WebAssembly.Module(compiled.bytes as BufferSource);
      const instance = new WebAssembly.Instance(module, {
        env: { memory: memory.memory, table },
        core: core as unknown as WebAssembly.ModuleImports,
        host: host as unknown as WebAssembly.ModuleImports,
      });
      exports = instance.exports;
    } catch (error) {
      // Limits of the JavaScript engine, such as the size of one function.
      const why = error instanceof Error ? error.message : String(error);
      throw new BpfError(
        "unsupported",
        `program '${image.name}': the WebAssembly engine refuses it: ${why}`,
        {
          where: { program: image.name },
          cause: error,
        },
      );
    }
    for (const [slot, address] of functions) {
      const known = memory.u32(address + FUNC_TABLE);
      const number = image.functions.findIndex((range) => range.start === slot);
      const called = exports[compiled.functionExports[number] as string];
      memory.setU32(address + FUNC_TABLE, this.#enter(known === NOT_COMPILED ? undefined : known, called));
    }
    const { repeat } = compiled;
    const known = memory.u32(descriptor + PROG_REPEAT) || undefined;
    memory.setU32(descriptor + PROG_REPEAT, repeat === undefined ? 0 : this.#enter(known, exports[repeat]));
    return { module: compiled.bytes, ms: milliseconds() - start };
  }

  /** Puts a function into the table, where it was before if it was; its index. */
  #enter(known: number | undefined, called: unknown): number {
    const { table } = this.#host;
    const index = known ?? this.#free++;
    // In another thread's memory the index is given, and may be far from the end.
    if (index >= table.length) table.grow(Math.max(table.length, index + 1 - table.length));
    table.set(index, called as CallableFunction);
    return index;
  }

  #held(addresses: ReadonlySet<number>): BpfMap[] {
    return [...addresses].map((address) => this.#host.mapAt(address)).filter((map) => map !== undefined);
  }

  /** The slot of an address in a program's code. */
  slotAt(descriptor: number, address: number): number | undefined {
    const installed = this.#programs.get(descriptor);
    if (installed === undefined) return undefined;
    const slot = (address - installed.code) / SLOT_SIZE;
    return Number.isInteger(slot) && slot >= 0 && slot < installed.instructions.length ? slot : undefined;
  }
}

/** Whether what a call leaves must be taken from a sandboxed run at its end: runs then end one by one. */
function needsRunEnds(instruction: Instruction): boolean {
  const semantics = rowOf(instruction)?.semantics;
  if (semantics?.kind !== "call") return false;
  if (semantics.target !== "helper") return semantics.target === "kfunc";
  return HELD.has(instruction.imm) || helperGuards(instruction.imm).length > 0;
}

/** Helpers of the core after which it must take something from the run: EXEC_HELD. */
const HELD: ReadonlySet<number | undefined> = new Set([helperId("spin_lock"), helperId("ringbuf_reserve")]);

/** First slots of the functions whose address the program takes, but for the main function's. */
function functionTargets(image: ProgramImage): number[] {
  const slots = new Set<number>();
  image.instructions.forEach((instruction, slot) => {
    const semantics = rowOf(instruction)?.semantics;
    if (semantics?.kind === "lddw" && semantics.value === "func") slots.add(slot + 1 + instruction.imm);
  });
  if (image.exceptionCallback !== undefined) slots.add(image.exceptionCallback);
  slots.delete(0);
  return [...slots];
}

// linux/filter.h: BPF_MEM, BPF_MEMSX and the modes that stand for them where a pointer may point anywhere.
const PROBE_MODES: ReadonlyMap<number, number> = new Map([
  [0x60, 0x20],
  [0x80, 0x40],
]);
const MODE = 0xe0;

/** As the interpreter runs them. */
function withProbes(
  instructions: readonly Instruction[],
  probes: ReadonlySet<number>,
): readonly Instruction[] {
  if (probes.size === 0) return instructions;
  return instructions.map((instruction, slot) => {
    const mode = probes.has(slot) ? PROBE_MODES.get(instruction.opcode & MODE) : undefined;
    return mode === undefined ? instruction : { ...instruction, opcode: (instruction.opcode & ~MODE) | mode };
  });
}

/** The instructions with the addresses of maps, map values and functions in their `lddw` pairs. */
function resolve(
  image: ProgramImage,
  maps: Readonly<Record<string, BpfMap>>,
  functionAt: (slot: number) => number,
  kfuncId: (name: string) => number,
): Instruction[] {
  const instructions = [...image.instructions];
  const setAddress = (slot: number, address: number): void => {
    const first = instructions[slot] as Instruction;
    instructions[slot] = { ...first, src: 0, imm: address | 0 };
    instructions[slot + 1] = { ...(instructions[slot + 1] as Instruction), imm: 0 };
  };
  for (const [slot, reference] of image.references) {
    const where = { program: image.name, instruction: slot };
    const what = `program '${image.name}': instruction ${slot}`;
    if (reference.kind === "extern") {
      const first = instructions[slot] as Instruction;
      if (first.opcode === OPCODE_LDDW) setAddress(slot, kfuncId(reference.extern));
      else instructions[slot] = { ...first, imm: kfuncId(reference.extern) };
      continue;
    }
    const name = reference.map;
    const map = maps[name];
    if (map === undefined) {
      throw new BpfError("relocation", `${what}: no map '${name}'`, { where: { ...where, map: name } });
    }
    if (reference.kind === "map") setAddress(slot, map.address);
    else setAddress(slot, map.valueBase + reference.offset);
  }
  image.instructions.forEach((instruction, slot) => {
    const row = rowOf(instruction);
    if (row?.semantics.kind !== "lddw" || row.semantics.value !== "func") return;
    setAddress(slot, functionAt(slot + 1 + instruction.imm));
  });
  return instructions;
}
