/** From a program to the bytes of a module. */
import { BpfError } from "../errors.ts";
import { isWide } from "../isa/index.ts";
import { buildCallGraph } from "./callgraph.ts";
import { type Linkage, writeResolver } from "./calls.ts";
import { buildGraph } from "./cfg.ts";
import { type Demand, UNKNOWN_CALL, analyseDemand } from "./demand.ts";
import { type Shape, shapeOf } from "./dominators.ts";
import { type PreparedFunction, emitFunction } from "./emit.ts";
import { type FactsContext, analyseFacts } from "./facts.ts";
import { Imports, ModuleTypes } from "./imports.ts";
import { makeReducible } from "./reduce.ts";
import { PARAMETERS } from "./registers.ts";
import { writeRepeat } from "./repeat.ts";
import { formSelects } from "./selects.ts";
import type { Step } from "./steps.ts";
import type { CompileInput, CompiledProgram, CoreLowering, HelperLowering } from "./types.ts";
import { ByteWriter, SECTIONS, TYPE_I32, TYPE_I64, joined } from "./wasm.ts";

const LDDW_FUNCTION = 4;
const REPEAT = "repeat";
/** Room that is made for the code of a step. Most take less; buffers grow. */
const BYTES_FOR_STEP = 12;
const BYTES_AT_LEAST = 512;

/**
 * Compiles a program to a WebAssembly module. Pure: the same input gives the same bytes.
 *
 * The module imports `env.memory`, and as far as it uses them `env.table`, the globals `core.exec` (i32) and
 * `core.fuel` (i64), the functions `core.fault`, `core.ld_abs` and helpers of module `core`, and functions of module
 * `host`. Each function of the program is exported as `f0`, `f1`, …, of type (r1 to r5: i64, end of the stack frame:
 * i32) -> r0: i64.
 *
 * @throws BpfError code "instruction" or "program" if the program is malformed: an invalid instruction, a jump out of
 * its function, a call of a slot where no function starts.
 * @example
 * const { bytes } = compileProgram({
 *   instructions: decodeInstructions(Uint8Array.of(0xb7, 0, 0, 0, 2, 0, 0, 0, 0x95, 0, 0, 0, 0, 0, 0, 0)),
 *   functions: [{ name: "main", start: 0, end: 2 }],
 *   helper: (id) => ({ kind: "host", name: `helper_${id}`, args: 5 }),
 * });
 * const memory = new WebAssembly.Memory({ initial: 2 });
 * const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), { env: { memory } });
 * exports.f0(0n, 0n, 0n, 0n, 0n, 0x10200); // 2n
 */
export function compileProgram(input: CompileInput): CompiledProgram {
  const functions = prepareFunctions(input);
  const types = new ModuleTypes();
  const functionType = types.index({ params: PARAMETERS, results: [TYPE_I64] });
  const usesRegisterCalls = functions.prepared.some(({ steps }) =>
    steps.some((step) => step.kind === "register"),
  );
  const repeats = input.repeats === true && !functions.makesTailCalls;
  const usesTable = usesRegisterCalls || functions.makesTailCalls;
  const imports = new Imports(types, {
    stepsOf: functions.prepared.map(({ steps }) => steps),
    fuel: input.fuel ?? false,
    checkDepth: functions.checkDepth,
    usesRegisterCalls,
    usesTable,
    sandbox: input.sandbox !== undefined,
    shared: input.shared ?? false,
  });
  const resolverType = usesRegisterCalls
    ? types.index({ params: [TYPE_I64, TYPE_I32], results: [TYPE_I32] })
    : -1;
  const count = functions.prepared.length;
  const link: Linkage = {
    functionIndex: (number) => imports.functionCount + number,
    coreFunction: (name) => imports.functionIndex("core", name),
    hostFunction: (name) => imports.functionIndex("host", name),
    execGlobal: 0,
    fuelGlobal: 1,
    roomGlobal: input.fuel === true ? 2 : 1,
    sandbox: input.sandbox,
    functionType,
    resolver: imports.functionCount + count,
    codeAddress: input.codeAddress ?? 0,
    programAddress: input.programAddress ?? 0,
    makesTailCalls: functions.makesTailCalls,
    fuel: input.fuel ?? false,
    shared: input.shared ?? false,
    checkDepth: functions.checkDepth,
  };

  let sum = 0;
  let largest = 0;
  for (const { steps } of functions.prepared) {
    sum += steps.length;
    largest = Math.max(largest, steps.length);
  }
  const code = new ByteWriter(BYTES_AT_LEAST + BYTES_FOR_STEP * sum);
  const scratch = new ByteWriter(BYTES_AT_LEAST + BYTES_FOR_STEP * largest);
  const all = count + (usesRegisterCalls ? 1 : 0) + (repeats ? 1 : 0);
  code.unsigned(all);
  functions.prepared.forEach((prepared, index) => {
    emitFunction(code, scratch, prepared, {
      facts: functions.context,
      link,
      argumentsOf: functions.argumentsOf,
      countsEntry: index > 0 || functions.mainIsCalled,
    });
  });
  if (usesRegisterCalls) {
    scratch.clear();
    scratch.unsigned(0);
    writeResolver(scratch, link);
    scratch.op("end");
    code.sized(scratch);
  }

  if (repeats) {
    scratch.clear();
    writeRepeat(scratch, link, imports.functionCount);
    code.sized(scratch);
  }

  const functionExports = input.functions.map((_, index) => `f${index}`);
  const module = new ByteWriter(1024);
  // "\0asm", version 1.
  module.bytes(Uint8Array.of(0x00, 0x61, 0x73, 0x6d, 1, 0, 0, 0));
  module.section(SECTIONS.type, types.section());
  module.section(SECTIONS.import, imports.section());
  const functionSection = new ByteWriter();
  functionSection.unsigned(all);
  for (let index = 0; index < count; index++) functionSection.unsigned(functionType);
  if (usesRegisterCalls) functionSection.unsigned(resolverType);
  if (repeats) functionSection.unsigned(functionType);
  module.section(SECTIONS.function, functionSection);
  const exportSection = new ByteWriter();
  exportSection.unsigned(count + (repeats ? 1 : 0));
  functionExports.forEach((name, index) => {
    exportSection.name(name);
    exportSection.byte(0);
    exportSection.unsigned(imports.functionCount + index);
  });
  if (repeats) {
    exportSection.name(REPEAT);
    exportSection.byte(0);
    exportSection.unsigned(imports.functionCount + all - 1);
  }
  module.section(SECTIONS.export, exportSection);
  module.byte(SECTIONS.code);
  module.unsigned(code.length);
  const names = new ByteWriter();
  if (input.names === true) names.section(SECTIONS.custom, nameSection(input, imports.functionCount));
  return {
    bytes: joined([module, code, names]),
    functionExports,
    repeat: repeats ? REPEAT : undefined,
    coreImports: imports.names("core"),
    hostImports: imports.names("host"),
    usesTable,
  };
}

interface PreparedProgram {
  readonly prepared: readonly PreparedFunction[];
  readonly context: FactsContext;
  readonly argumentsOf: (functionIndex: number) => Demand;
  readonly checkDepth: boolean;
  readonly mainIsCalled: boolean;
  readonly makesTailCalls: boolean;
}

/** Everything before emission: graphs, then facts and demands, of called functions before their callers. */
function prepareFunctions(input: CompileInput): PreparedProgram {
  const { instructions, functions, arrayMap } = input;
  if (functions.length === 0) throw new BpfError("program", "program: it has no functions");
  const optimize = input.optimize ?? true;
  const startsAt = new Map(functions.map(({ start }, index) => [start, index]));
  const graphs = functions.map((range) =>
    buildGraph(instructions, range, (slot) => startsAt.get(slot) ?? -1, optimize),
  );
  const { probes } = input;
  if (probes !== undefined && probes.size > 0) {
    for (const { steps } of graphs) {
      for (const step of steps) if (step.kind === "load") step.probe = probes.has(step.slot);
    }
  }
  if (optimize) graphs.forEach(formSelects);
  const calls = buildCallGraph(graphs.map(({ steps }) => steps));

  const lowerings = new Map<number, HelperLowering>();
  const helper = (id: number): HelperLowering => {
    let lowering = lowerings.get(id);
    if (lowering === undefined) {
      lowering = input.helper(id);
      lowerings.set(id, lowering);
    }
    return lowering;
  };
  const results = new Map<number, number>();
  const demands = new Map<number, Demand>();
  const context: FactsContext = {
    helper,
    arrayMap: arrayMap === undefined ? undefined : (address) => arrayMap.call(input, address),
    mapRoutine: (name, address) => input.mapRoutine?.(name, address),
    optimize,
    resultBits: (index) => results.get(index) ?? 64,
  };
  const argumentsOf = (index: number): Demand => demands.get(index) ?? UNKNOWN_CALL;
  const prepared = new Array<PreparedFunction>(functions.length);
  for (const index of calls.order) {
    const { steps, blocks } = graphs[index] as (typeof graphs)[number];
    let shape: Shape = shapeOf(blocks);
    if (!shape.reducible) shape = shapeOf(makeReducible(shape.blocks));
    const facts = analyseFacts(shape, steps, context);
    const demand = analyseDemand(shape, steps, argumentsOf, optimize, input.sandbox !== undefined);
    // Of a function that ends in a tail call the result is another program's.
    const leaves = steps.some(({ lowering }) => lowering?.kind === "core" && lowering.calls === "tail");
    results.set(index, leaves ? 64 : facts.resultBits);
    demands.set(index, { live: demand.live[0] as number, upper: demand.upper[0] as number });
    prepared[index] = { steps, shape, facts, demand, start: (functions[index] as { start: number }).start };
  }

  const callsHelper = (how: CoreLowering["calls"]): boolean =>
    [...lowerings.values()].some((lowering) => lowering.kind === "core" && lowering.calls === how);
  const hasRegisterCalls = graphs.some(({ steps }) => steps.some((step: Step) => step.kind === "register"));
  // A function whose address is taken is called by helpers, from any depth.
  const hasCallbacks =
    instructions.some((one) => isWide(one) && one.src === LDDW_FUNCTION) || callsHelper("back");
  return {
    prepared,
    context,
    argumentsOf,
    checkDepth: calls.mayBeTooDeep || hasRegisterCalls || hasCallbacks,
    makesTailCalls: callsHelper("tail"),
    mainIsCalled: calls.isCalled[0] === true || hasRegisterCalls || hasCallbacks,
  };
}

function nameSection(input: CompileInput, imported: number): ByteWriter {
  const names = new ByteWriter();
  names.unsigned(input.functions.length);
  input.functions.forEach(({ name }, index) => {
    names.unsigned(imported + index);
    names.name(name);
  });
  const section = new ByteWriter();
  section.name("name");
  // Subsection 1: function names.
  section.byte(1);
  section.sized(names);
  return section;
}
