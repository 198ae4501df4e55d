/**
 * Joins WebAssembly modules into one: functions and globals of several parts, those that are reached and no others, with
 * their indices renumbered. Imports of a part become functions of another part, glue, or imports of the result.
 */
import { BpfError } from "../errors.ts";
import { ModuleTypes } from "../jit/imports.ts";
import { ByteWriter, type WasmType } from "../jit/wasm.ts";
import { type Instruction, readInstruction } from "../wat/instruction.ts";
import { type Import, type Module, readModule } from "../wat/module.ts";
import { VALUE_TYPES } from "../wat/table.ts";

const TYPE_BYTES: ReadonlyMap<string, number> = new Map([...VALUE_TYPES].map(([byte, name]) => [name, byte]));

const bytesOf = (names: readonly string[]): number[] => names.map((name) => TYPE_BYTES.get(name) as number);

/** Where calls go: numbered when the functions that are reached are known. */
export type Callee = CodeFunction | GlueFunction | OutsideFunction;

/** A function of a part. */
export interface CodeFunction {
  readonly kind: "code";
  readonly part: Part;
  /** Of its body, in the part. */
  readonly index: number;
}

/** A function that the linker writes. */
export interface GlueFunction {
  readonly kind: "glue";
  readonly name: string;
  readonly type: WasmType;
  readonly calls: readonly Callee[];
  /** Locals and instructions, the last `end` included; given the indices of `calls`. */
  write(body: ByteWriter, calls: readonly number[]): void;
}

/** A function of the host. */
export interface OutsideFunction {
  readonly kind: "outside";
  readonly module: string;
  readonly name: string;
  readonly type: WasmType;
}

export interface PartGlobal {
  readonly part: Part;
  /** In the part, of those that it defines. */
  readonly index: number;
}

/** One of the modules. */
export class Part {
  readonly bytes: Uint8Array;
  readonly module: Module;
  readonly functions: readonly CodeFunction[];
  readonly #globals: readonly PartGlobal[];
  readonly #imported: readonly Import[];
  readonly #importedGlobals: readonly Import[];
  readonly #replaced = new Map<number, Callee>();
  readonly #names: ReadonlyMap<number, string>;
  #resolve: (item: Import) => Callee;
  #globalOf: (item: Import) => PartGlobal;

  constructor(
    bytes: Uint8Array,
    resolve: (item: Import) => Callee,
    globalOf: (item: Import) => PartGlobal = (item) => {
      throw notLinked(`global ${item.module}.${item.name}`);
    },
  ) {
    this.bytes = bytes;
    this.module = readModule(bytes);
    this.functions = this.module.codes.map((_, index) => ({ kind: "code", part: this, index }));
    this.#globals = this.module.globals.map((_, index) => ({ part: this, index }));
    this.#imported = this.module.imports.filter(({ item }) => item.kind === "func");
    this.#importedGlobals = this.module.imports.filter(({ item }) => item.kind === "global");
    this.#resolve = resolve;
    this.#globalOf = globalOf;
    const exported = this.module.exports.filter(({ kind }) => kind === "func");
    this.#names = new Map([
      ...exported.map(({ index, name }) => [index, name] as const),
      ...(this.module.names?.spaces.func ?? []),
    ]);
  }

  /** The function that an index of the part means. */
  callee(index: number): Callee {
    const item = this.#imported[index];
    if (item !== undefined) return this.#resolve(item);
    const defined = index - this.#imported.length;
    const callee = this.#replaced.get(defined) ?? this.functions[defined];
    if (callee === undefined) throw notLinked(`function ${index}`);
    return callee;
  }

  global(index: number): PartGlobal {
    const item = this.#importedGlobals[index];
    if (item !== undefined) return this.#globalOf(item);
    const own = this.#globals[index - this.#importedGlobals.length];
    if (own === undefined) throw notLinked(`global ${index}`);
    return own;
  }

  exportedFunction(name: string): Callee {
    return this.callee(this.#exported(name, "func"));
  }

  exportedGlobal(name: string): PartGlobal {
    return this.global(this.#exported(name, "global"));
  }

  #exported(name: string, kind: "func" | "global"): number {
    const found = this.module.exports.find((row) => row.name === name && row.kind === kind);
    if (found === undefined) throw notLinked(`export '${name}'`);
    return found.index;
  }

  /** Whoever calls an exported function calls this one. */
  replace(name: string, by: Callee): void {
    this.#replaced.set(this.#exported(name, "func") - this.#imported.length, by);
  }

  type(index: number): WasmType {
    const { params, results } = this.module.types[index] as { params: string[]; results: string[] };
    return { params: bytesOf(params), results: bytesOf(results) };
  }

  typeOf({ index }: CodeFunction): WasmType {
    return this.type(this.module.functions[index] as number);
  }

  nameOf({ index }: CodeFunction): string | undefined {
    return this.#names.get(index + this.#imported.length);
  }

  *instructions({ index }: CodeFunction): Generator<Instruction & { readonly end: number }> {
    const reader = (this.module.codes[index] as Module["codes"][number]).body.fork();
    while (!reader.done) {
      const instruction = readInstruction(reader);
      yield { ...instruction, end: reader.offset };
    }
  }
}

function notLinked(what: string): BpfError {
  return new BpfError("unsupported", `WebAssembly module: ${what} cannot be linked`);
}

/** What the roots reach, numbered: functions of the host first, then the others as they are found. */
export class Linked {
  readonly types: ModuleTypes = new ModuleTypes();
  readonly outside: readonly OutsideFunction[];
  readonly functions: readonly (CodeFunction | GlueFunction)[];
  readonly #numbers = new Map<Callee, number>();
  readonly #globals = new Map<PartGlobal, number>();

  constructor(roots: readonly Callee[]) {
    const found = new Set<Callee>(roots);
    // The set grows while it is walked.
    for (const callee of found) for (const next of this.#callees(callee)) found.add(next);
    const all = [...found];
    this.outside = all.filter((one) => one.kind === "outside").sort((a, b) => (a.name < b.name ? -1 : 1));
    this.functions = all.filter((one) => one.kind !== "outside");
    for (const callee of [...this.outside, ...this.functions]) this.#numbers.set(callee, this.#numbers.size);
  }

  *#callees(callee: Callee): Generator<Callee> {
    if (callee.kind === "outside") return;
    if (callee.kind === "glue") {
      yield* callee.calls;
      return;
    }
    const { part } = callee;
    for (const { operation, operands } of part.instructions(callee)) {
      if (operation.shape === "func") yield part.callee(operands[0] as number);
      if (operation.shape !== "global") continue;
      const global = part.global(operands[0] as number);
      if (!this.#globals.has(global)) this.#globals.set(global, this.#globals.size);
    }
  }

  number(callee: Callee): number {
    const number = this.#numbers.get(callee);
    if (number === undefined) throw notLinked(`a function that nothing reaches`);
    return number;
  }

  globals(): readonly PartGlobal[] {
    return [...this.#globals.keys()];
  }

  typeOf(callee: Callee): number {
    return this.types.index(callee.kind === "code" ? callee.part.typeOf(callee) : callee.type);
  }

  /** Locals and instructions of a function, as they stand in the code section. */
  body(callee: CodeFunction | GlueFunction): ByteWriter {
    const body = new ByteWriter();
    if (callee.kind === "glue") {
      callee.write(
        body,
        callee.calls.map((one) => this.number(one)),
      );
      return body;
    }
    const { part } = callee;
    const { locals } = part.module.codes[callee.index] as Module["codes"][number];
    body.unsigned(locals.length);
    for (const { count, type } of locals) {
      body.unsigned(count);
      body.byte(TYPE_BYTES.get(type) as number);
    }
    for (const instruction of part.instructions(callee)) this.#write(body, part, instruction);
    return body;
  }

  #write(body: ByteWriter, part: Part, instruction: Instruction & { readonly end: number }): void {
    const { operation, operands, offset, end } = instruction;
    const [first = 0] = operands;
    switch (operation.shape) {
      case "func":
        body.byte(operation.code);
        body.unsigned(this.number(part.callee(first)));
        break;
      case "global":
        body.byte(operation.code);
        body.unsigned(this.#globals.get(part.global(first)) as number);
        break;
      case "call_indirect":
        body.byte(operation.code);
        body.unsigned(this.types.index(part.type(first)));
        // The one table.
        body.unsigned(0);
        break;
      case "block":
        body.byte(operation.code);
        // A type by its index is a positive signed number.
        if (operands.length > 0) body.signed(this.types.index(part.type(first)), 0);
        else body.bytes(part.bytes.subarray(offset + 1, end));
        break;
      case "memory_init":
      case "data":
      case "elem":
      case "table_init":
      case "table_copy":
      case "table":
        throw notLinked(`instruction '${operation.name}'`);
      default:
        body.bytes(part.bytes.subarray(offset, end));
    }
  }

  /** The type and the value that a global has at first. */
  writeGlobal(writer: ByteWriter, { part, index }: PartGlobal): void {
    const { type, value } = part.module.globals[index] as Module["globals"][number];
    const [constant, ...more] = value;
    const number = constant?.value ?? 0n;
    if (more.length > 0 || (type.type !== "i32" && type.type !== "i64")) throw notLinked(`global ${index}`);
    writer.byte(TYPE_BYTES.get(type.type) as number);
    writer.byte(type.mutable ? 1 : 0);
    const low = Number(BigInt.asIntN(32, number));
    if (type.type === "i32") writer.i32Const(low);
    else writer.i64Const(low, Number(BigInt.asIntN(32, number >> 32n)));
    writer.op("end");
  }
}
