/** wabt as the independent reader and writer of both formats, and the modules that several tests use. */
import wabt from "wabt";
import { coreWasm } from "../../src/core/core.wasm.ts";
import { compileProgram } from "../../src/jit/index.ts";
import { OPERATIONS, type Operation, type Shape } from "../../src/wat/index.ts";
import { buildProgram } from "../jit/generate.ts";
import { rangesOf } from "../jit/harness.ts";
import { Random } from "../random/prng.ts";

const { parseWat, readWasm } = await wabt();

/** Beyond wabt's defaults. */
const FEATURES = { threads: true, tail_call: true, simd: true, extended_const: true } as const;

/** wabt's declarations leave out that validation, too, is told the features. */
function validateModule(module: object): void {
  (module as { validate(features: typeof FEATURES): void }).validate(FEATURES);
}

/** Text to bytes, with a name section if it has names. */
export function assemble(text: string, { names = true, validate = false } = {}): Uint8Array {
  const module = parseWat("module.wat", text, FEATURES);
  try {
    module.resolveNames();
    if (validate) validateModule(module);
    return new Uint8Array(module.toBinary({ write_debug_names: names }).buffer);
  } finally {
    module.destroy();
  }
}

/** What wabt prints for the bytes, without names; undefined if it finds them malformed (or invalid, if asked). */
export function wabtText(bytes: Uint8Array, { check = false, names = false } = {}): string | undefined {
  let module: ReturnType<typeof readWasm>;
  try {
    module = readWasm(bytes, { ...FEATURES, check, readDebugNames: names });
  } catch {
    return undefined;
  }
  try {
    if (check) validateModule(module);
    if (names) module.applyNames();
    return module.toText({ foldExprs: false, inlineExport: false });
  } catch {
    return undefined;
  } finally {
    module.destroy();
  }
}

/** A module that holds something of everything that an instruction can refer to. */
export function moduleAround(body: string): string {
  return `(module
    (type $t (func (param i32) (result i64)))
    (type $pair (func (param i32) (result i32 i64)))
    (import "env" "get" (func $get (type $t)))
    (import "env" "shared" (global $shared (mut i64)))
    (table $table 4 8 funcref)
    (table $other 2 externref)
    (table $third 2 funcref)
    (memory $memory 1 2 shared)
    (global $g (mut i32) (i32.const -1))
    (elem $passive func $f $get)
    (data $bytes "some bytes")
    (func $f (type $t) (param $p i32) (result i64)
      (local $x i64) (local f32)
      ${body}
      unreachable))`;
}

/** How each shape of immediates is written in the text format. */
const IMMEDIATES: Readonly<Record<Shape, readonly string[]>> = {
  none: [""],
  block: [],
  else: [],
  end: [],
  label: ["0"],
  labels: ["0", "0 0 0"],
  func: ["$get", "1"],
  call_indirect: ["(type $t)", "$third (type $t)"],
  types: ["(result i64)", "(result externref)"],
  local: ["$p", "$x", "2"],
  global: ["$g", "$shared"],
  table: ["$table", "2"],
  access: ["", "offset=4294967295", "offset=8 align=1"],
  memory: [""],
  i32: ["0", "-1", "0x7fffffff", "-0x80000000"],
  i64: ["0", "-1", "64", "0x7fffffffffffffff", "-0x8000000000000000"],
  f32: ["0", "-0x1.8p-3", "nan:0x1", "-nan", "inf", "0x1p-149"],
  f64: ["0", "0.1", "nan:0xfffffffffffff", "-inf", "0x1p-1074", "0x1.fffffffffffffp+1023"],
  reftype: ["func", "extern"],
  v128: ["i32x4 0x00000000 0x00000001 0x00000002 0xffffffff"],
  memory_init: ["$bytes"],
  memory_copy: [""],
  data: ["$bytes"],
  elem: ["$passive"],
  table_init: ["$passive", "$third $passive"],
  table_copy: ["", "$third $table", "$table $third"],
  fence: [""],
};

/** Instructions as text, one for each way to write the row's immediates. After `unreachable` any of them is valid. */
export function linesOf({ name, shape, align }: Operation): string[] {
  switch (name) {
    case "block":
    case "loop":
      return ["", "(result i64)", "(type $pair)"].map(
        (type) => `unreachable ${name} $here ${type} unreachable br $here end`,
      );
    case "if":
    case "end":
      return ["unreachable if $here (param i32) (result i32 i64) unreachable br $here else unreachable end"];
    case "else":
      return ["unreachable if (result i32) i32.const 1 else i32.const 2 end"];
    default: {
      const atomic = shape === "access" && name.includes("atomic");
      // Atomic accesses must be aligned.
      const ways = IMMEDIATES[shape].map((each) =>
        atomic ? each.replace("align=1", `align=${2 ** align}`) : each,
      );
      return ways.map((each) => `unreachable ${name} ${each}`);
    }
  }
}

/** What the compiler emits for random programs. */
export function jitModules(count: number, names: boolean): Uint8Array[] {
  const random = new Random(7);
  return Array.from({ length: count }, (_, index) => {
    const genes = Array.from({ length: 20 + index * 4 }, () => random.below(0x10000));
    const { instructions, functions } = buildProgram(genes, 1 + (index % 3));
    return compileProgram({
      instructions,
      functions: rangesOf(instructions, functions),
      helper: (id) => ({ kind: "host", name: `helper_${id}`, args: 5 }),
      fuel: index % 2 === 0,
      names,
    }).bytes;
  });
}

export const coreModule: Uint8Array = coreWasm();

/** One module with every row of the table. */
export function everyRow(): Uint8Array {
  return assemble(moduleAround(OPERATIONS.flatMap(linesOf).join("\n")));
}
