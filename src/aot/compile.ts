/** From an object to one WebAssembly module that runs without skep. */
import { coreModule } from "../core/index.ts";
import { FUNC_CODE, FUNC_SIZE, FUNC_TABLE, PROG_CODE, PROG_FUNCS_END, PROG_SIZE } from "../core/layout.ts";
import { BpfError } from "../errors.ts";
import { takesPackets } from "../hooks/index.ts";
import {
  ByteWriter,
  EXTERNALS,
  SECTIONS,
  TYPE_FUNCREF,
  TYPE_I32,
  type WasmType,
  writeImport,
} from "../jit/wasm.ts";
import { type BpfMap, type LoadOptions, Machine, type Program } from "../machine/index.ts";
import type { ObjectSpec } from "../object/index.ts";
import { HOST_MODULE, helperGlue, helperSignature, kfuncSignature, trap } from "./helpers.ts";
import { type Callee, type GlueFunction, Linked, Part } from "./link.ts";
import { place } from "./place.ts";
import { dataSection, piecesOf } from "./snapshot.ts";

export interface StandaloneOptions
  extends Pick<LoadOptions, "programs" | "btf" | "kconfig" | "ksyms" | "unverified"> {
  /** Rounds of loops and calls that one run may take; see MachineOptions.fuel. Default 2 * 10^8. */
  readonly fuel?: number;
  /** Of bpf_get_prandom_u32 and of the hashes of maps. Default 1. */
  readonly seed?: number;
}

/** What a module holds, as its custom section `skep` says it. Indices are positions in the lists. */
export interface Manifest {
  /** Grows when something changes its meaning. */
  readonly abi: 1;
  readonly programs: readonly {
    readonly name: string;
    readonly type: string;
    /** Whether `run` and `run_batch` take it; `call` takes every program. */
    readonly packets: boolean;
    readonly context: { readonly struct: string; readonly size: number };
  }[];
  readonly maps: readonly {
    readonly name: string;
    readonly type: string;
    readonly keySize: number;
    readonly valueSize: number;
    readonly maxEntries: number;
    readonly flags: number;
  }[];
  /** Functions of module `host`, with their parameters and results. */
  readonly imports: readonly {
    readonly name: string;
    readonly params: readonly string[];
    readonly results: readonly string[];
  }[];
}

export interface Standalone {
  readonly bytes: Uint8Array;
  readonly manifest: Manifest;
}

/** The section that describes the module. */
export const MANIFEST_SECTION = "skep";

/** What the host may call, by the names of the core's functions behind them. */
const EXPORTS = {
  packet_buffer: "embed_packet_buffer",
  run: "embed_run",
  result: "embed_result",
  run_batch: "embed_batch",
  batch_done: "embed_done",
  call: "embed_call",
  context: "embed_context",
  fault: "embed_fault",
  seed: "embed_seed",
  map_lookup: "embed_map_lookup",
  map_update: "embed_map_update",
  map_delete: "embed_map_delete",
  map_next_key: "embed_map_next_key",
  ring_peek: "embed_ring_peek",
  ring_consume: "embed_ring_consume",
  alloc: "embed_alloc",
  free: "free",
  manifest: "embed_manifest",
  manifest_size: "embed_manifest_size",
} as const;

/** Entries of the interpreter, which a module of compiled programs does not need. */
const UNUSED = ["interpret_slice", "sandbox_slice"] as const;

const DEFAULT_FUEL = 2e8;
const PAGE = 0x10000;
const MAX_PAGES = 0x10000;

/**
 * Compiles the programs of an object with their maps into one WebAssembly module. Deterministic: the same object gives
 * the same bytes. `docs/aot.md` describes the module.
 *
 * @throws BpfError if a program cannot be loaded; code "unsupported" if it needs what a module by itself cannot have.
 * @example
 * const { bytes } = await compileStandalone(parseObject(file, { name: "firewall.bpf.o" }));
 * const { instance } = await WebAssembly.instantiate(bytes, { host: { ktime_get_ns: () => 0n } });
 */
export async function compileStandalone(
  object: ObjectSpec,
  { fuel = DEFAULT_FUEL, seed = 1, ...options }: StandaloneOptions = {},
): Promise<Standalone> {
  const machine = await Machine.create({ fuel, seed, clock: "virtual" });
  const loaded = await machine.load(object, options);
  const programs = Object.values(loaded.programs);
  if (programs.length === 0) throw new BpfError("usage", `${object.name}: it has no programs to compile`);
  const maps = Object.values(loaded.maps);

  const calls = new Map(Object.entries(HOST_CALLS).map(([name, type]) => [name, trap(`no_${name}`, type)]));
  const core = new Part(coreModule(), ({ name }) => calls.get(name) as GlueFunction);
  for (const name of UNUSED) core.replace(name, trap(`no_${name}`, exportedType(core, name)));
  const table = new Map<number, Callee>();
  const glue = new Map<string, GlueFunction>();
  for (const program of programs) enter(machine, program, core, glue, table);

  const roots = new Map<string, Callee>(
    Object.entries(EXPORTS).map(([name, from]) => [name, core.exportedFunction(from)]),
  );
  const start = core.exportedFunction("embed_start");
  const entries = [...table.values()];
  const manifest = manifestOf(programs, maps, new Linked([...roots.values(), start, ...entries]));
  const text = new TextEncoder().encode(JSON.stringify(manifest));
  const block = place(machine, {
    programs,
    maps,
    manifest: text,
    fuel: fuel === Infinity ? 2n ** 63n - 1n : BigInt(fuel),
  });
  const starts: GlueFunction = {
    kind: "glue",
    name: "start",
    type: { params: [], results: [] },
    calls: [start],
    write(body, [target = 0]) {
      body.unsigned(0);
      body.i32Const(block);
      body.opIndex("call", target);
      body.op("end");
    },
  };
  const linked = new Linked([...roots.values(), starts, ...entries]);
  return { bytes: write(linked, { roots, starts, table, memory: machine.memory.u8, text }), manifest };
}

const TRAP: WasmType = { params: [TYPE_I32], results: [] };
/** The host's functions that the core imports for the interpreter and for helpers in TypeScript. */
const HOST_CALLS: Readonly<Record<string, WasmType>> = {
  call_helper: { params: [TYPE_I32, TYPE_I32], results: [] },
  call_kfunc: { params: [TYPE_I32, TYPE_I32], results: [] },
  compile_program: TRAP,
};

function exportedType(part: Part, name: string): WasmType {
  const callee = part.exportedFunction(name);
  return callee.kind === "code" ? part.typeOf(callee) : callee.type;
}

/** Compiles a program; its functions get the places in the table that its descriptors name. */
function enter(
  machine: Machine,
  program: Program,
  core: Part,
  glue: Map<string, GlueFunction>,
  table: Map<number, Callee>,
): void {
  const helper = (name: string): GlueFunction => {
    let found = glue.get(name);
    if (found === undefined) {
      if (name === "call_helper") {
        throw new BpfError(
          "unsupported",
          `program '${program.name}': it calls helpers by a register, which only a machine can do`,
          { where: { program: program.name } },
        );
      }
      found = name.startsWith("poison_") ? trap(name) : imported(machine, name, program);
      glue.set(name, found);
    }
    return found;
  };
  const part = new Part(
    program.compile().module,
    ({ module, name }) => (module === "core" ? core.exportedFunction(name) : helper(name)),
    ({ name }) => core.exportedGlobal(name),
  );
  const { memory } = machine;
  const { descriptor, image } = program;
  const code = memory.u32(descriptor + PROG_CODE);
  const end = memory.u32(descriptor + PROG_FUNCS_END);
  const add = (address: number): void => {
    const slot = (memory.u32(address + FUNC_CODE) - code) / 8;
    const index = image.functions.findIndex((range) => range.start === slot);
    table.set(memory.u32(address + FUNC_TABLE), part.exportedFunction(`f${index}`));
  };
  add(descriptor);
  for (let address = descriptor + PROG_SIZE; address < end; address += FUNC_SIZE) add(address);
}

function imported(machine: Machine, name: string, { type }: Program): GlueFunction {
  const kfunc = /^kfunc_(\d+)$/.exec(name)?.[1];
  if (kfunc === undefined) return helperGlue(name, helperSignature(name, type));
  const known = machine.kfuncName(Number(kfunc)) ?? name;
  return helperGlue(known, kfuncSignature(known));
}

const typeNames = (types: readonly number[]): string[] =>
  types.map((type) => (type === TYPE_I32 ? "i32" : "i64"));

function manifestOf(programs: readonly Program[], maps: readonly BpfMap[], { outside }: Linked): Manifest {
  return {
    abi: 1,
    programs: programs.map(({ name, hook }) => ({
      name,
      type: hook.type,
      packets: takesPackets(hook),
      context: { struct: hook.context.struct, size: hook.context.size },
    })),
    maps: maps.map(({ name, type, keySize, valueSize, maxEntries, flags }) => ({
      name,
      type,
      keySize,
      valueSize,
      maxEntries,
      flags,
    })),
    imports: outside.map(({ name, type }) => ({
      name,
      params: typeNames(type.params),
      results: typeNames(type.results),
    })),
  };
}

interface Contents {
  readonly roots: ReadonlyMap<string, Callee>;
  readonly starts: Callee;
  readonly table: ReadonlyMap<number, Callee>;
  readonly memory: Uint8Array;
  readonly text: Uint8Array;
}

function write(linked: Linked, { roots, starts, table, memory, text }: Contents): Uint8Array {
  const section = (count: number, fill: (writer: ByteWriter) => void): ByteWriter => {
    const writer = new ByteWriter(1024);
    writer.unsigned(count);
    fill(writer);
    return writer;
  };
  const { outside, functions } = linked;
  const imports = section(outside.length, (writer) => {
    for (const one of outside) {
      writeImport(writer, { kind: "func", module: HOST_MODULE, name: one.name, type: linked.typeOf(one) });
    }
  });
  const types = section(functions.length, (writer) => {
    for (const one of functions) writer.unsigned(linked.typeOf(one));
  });
  // Bodies before the types are written: they name types too.
  const code = section(functions.length, (writer) => {
    for (const one of functions) writer.sized(linked.body(one));
  });
  const size = Math.max(0, ...table.keys()) + 1;
  const globals = linked.globals();
  const module = new ByteWriter(code.length + memory.length / 8);
  // "\0asm", version 1.
  module.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  module.section(SECTIONS.type, linked.types.section());
  module.section(SECTIONS.import, imports);
  module.section(SECTIONS.function, types);
  module.section(
    SECTIONS.table,
    section(1, (writer) => {
      writer.byte(TYPE_FUNCREF);
      // With a maximum.
      writer.byte(1);
      writer.unsigned(size);
      writer.unsigned(size);
    }),
  );
  module.section(
    SECTIONS.memory,
    section(1, (writer) => {
      writer.byte(1);
      writer.unsigned(memory.length / PAGE);
      writer.unsigned(MAX_PAGES);
    }),
  );
  module.section(
    SECTIONS.global,
    section(globals.length, (writer) => {
      for (const one of globals) linked.writeGlobal(writer, one);
    }),
  );
  module.section(
    SECTIONS.export,
    section(roots.size + 1, (writer) => {
      writer.name("memory");
      writer.byte(EXTERNALS.memory);
      writer.unsigned(0);
      for (const [name, callee] of roots) {
        writer.name(name);
        writer.byte(EXTERNALS.func);
        writer.unsigned(linked.number(callee));
      }
    }),
  );
  const start = new ByteWriter();
  start.unsigned(linked.number(starts));
  module.section(SECTIONS.start, start);
  module.section(
    SECTIONS.element,
    section(table.size, (writer) => {
      for (const [index, callee] of table) {
        writer.unsigned(0);
        writer.i32Const(index);
        writer.op("end");
        writer.unsigned(1);
        writer.unsigned(linked.number(callee));
      }
    }),
  );
  module.section(SECTIONS.code, code);
  module.section(SECTIONS.data, dataSection(piecesOf(memory)));
  const manifest = new ByteWriter(text.length + 16);
  manifest.name(MANIFEST_SECTION);
  manifest.bytes(text);
  module.section(SECTIONS.custom, manifest);
  module.section(SECTIONS.custom, nameSection(linked));
  return module.view().slice();
}

function nameSection(linked: Linked): ByteWriter {
  const names: [index: number, name: string][] = [];
  for (const one of linked.functions) {
    const name = one.kind === "glue" ? one.name : one.part.nameOf(one);
    if (name !== undefined) names.push([linked.number(one), name]);
  }
  const map = new ByteWriter(1024);
  map.unsigned(names.length);
  for (const [index, name] of names) {
    map.unsigned(index);
    map.name(name);
  }
  const section = new ByteWriter(map.length + 16);
  section.name("name");
  // Subsection 1: function names.
  section.byte(1);
  section.sized(map);
  return section;
}
