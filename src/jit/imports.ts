/** The types and imports of a module: only what its code uses. */
import type { CoreLowering } from "./types.ts";
import type { Step } from "./steps.ts";
import {
  ByteWriter,
  TYPE_I32,
  TYPE_I64,
  type WasmImport,
  type WasmType,
  writeImport,
  writeType,
} from "./wasm.ts";

/** Function types, each once. */
export class ModuleTypes {
  readonly #types: WasmType[] = [];
  readonly #indices = new Map<string, number>();

  index(type: WasmType): number {
    const key = `${type.params.join()}>${type.results.join()}`;
    let index = this.#indices.get(key);
    if (index === undefined) {
      index = this.#types.push(type) - 1;
      this.#indices.set(key, index);
    }
    return index;
  }

  section(): ByteWriter {
    const writer = new ByteWriter();
    writer.unsigned(this.#types.length);
    for (const type of this.#types) writeType(writer, type);
    return writer;
  }
}

const FAULT: WasmType = { params: [TYPE_I32, TYPE_I32], results: [] };
const LD_ABS: WasmType = { params: [TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I64] };
const HOST_HELPER: WasmType = { params: [TYPE_I32], results: [] };
const CALL_HELPER: WasmType = { params: [TYPE_I32, TYPE_I32], results: [] };

const CHECK_ACCESS: WasmType = { params: [TYPE_I32, TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I32] };
const MAY_ACCESS: WasmType = { params: [TYPE_I32, TYPE_I32, TYPE_I32, TYPE_I32], results: [TYPE_I32] };
const CHECK_CALL: WasmType = { params: [TYPE_I32, TYPE_I32, TYPE_I32], results: [] };
const MAY_READ: WasmType = { params: [TYPE_I64, TYPE_I32, TYPE_I32], results: [TYPE_I32] };
const CHECK_PACKET_CONTEXT: WasmType = { params: [TYPE_I64, TYPE_I32], results: [] };

export interface ImportNeeds {
  readonly stepsOf: readonly (readonly Step[])[];
  readonly fuel: boolean;
  readonly checkDepth: boolean;
  readonly usesRegisterCalls: boolean;
  readonly usesTable: boolean;
  readonly sandbox: boolean;
  /** Threads share the memory. */
  readonly shared: boolean;
}

/** Imports in a fixed order: memory, table, globals `exec` and `fuel`, then functions as the code first needs them. */
export class Imports {
  readonly #items: WasmImport[] = [];
  readonly #functions = new Map<string, number>();
  readonly #types: ModuleTypes;

  constructor(
    types: ModuleTypes,
    { stepsOf, fuel, checkDepth, usesRegisterCalls, usesTable, sandbox, shared }: ImportNeeds,
  ) {
    this.#types = types;
    this.#items.push({ kind: "memory", module: "env", name: "memory", shared });
    if (usesTable) this.#items.push({ kind: "table", module: "env", name: "table" });
    this.#items.push({ kind: "global", module: "core", name: "exec", valueType: TYPE_I32 });
    if (fuel) this.#items.push({ kind: "global", module: "core", name: "fuel", valueType: TYPE_I64 });
    if (sandbox) {
      this.#items.push({ kind: "global", module: "core", name: "window_room", valueType: TYPE_I32 });
      this.#add("core", "check_access", CHECK_ACCESS);
      this.#add("core", "may_access", MAY_ACCESS);
      this.#add("core", "check_call", CHECK_CALL);
      this.#add("core", "check_packet_context", CHECK_PACKET_CONTEXT);
      if (stepsOf.some((steps) => steps.some(({ probe }) => probe))) this.#add("core", "may_read", MAY_READ);
    }
    if (fuel || checkDepth || usesRegisterCalls) this.#add("core", "fault", FAULT);
    if (usesRegisterCalls) this.#add("host", "call_helper", CALL_HELPER);
    for (const steps of stepsOf) {
      for (const step of steps) this.#addFor(step);
    }
  }

  #addFor(step: Step): void {
    if (step.kind === "packet") {
      this.#add("core", "ld_abs", LD_ABS);
    } else if (step.kind === "helper" && step.lowering?.kind === "core") {
      this.#add("core", step.lowering.name, typeOfCoreHelper(step.lowering));
    } else if (step.kind === "helper" && step.lowering?.kind === "host") {
      this.#add("host", step.lowering.name, HOST_HELPER);
    }
  }

  #add(module: "core" | "host", name: string, type: WasmType): void {
    const key = `${module}.${name}`;
    if (this.#functions.has(key)) return;
    this.#functions.set(key, this.#functions.size);
    this.#items.push({ kind: "func", module, name, type: this.#types.index(type) });
  }

  /** How many functions are imported: those of the module are numbered from there. */
  get functionCount(): number {
    return this.#functions.size;
  }

  functionIndex(module: "core" | "host", name: string): number {
    return this.#functions.get(`${module}.${name}`) as number;
  }

  names(module: "core" | "host"): string[] {
    return this.#items.filter((item) => item.module === module).map(({ name }) => name);
  }

  section(): ByteWriter {
    const writer = new ByteWriter();
    writer.unsigned(this.#items.length);
    for (const item of this.#items) writeImport(writer, item);
    return writer;
  }
}

function typeOfCoreHelper({ args, result, calls }: CoreLowering): WasmType {
  const params = args.map((type) => (type === "u64" ? TYPE_I64 : TYPE_I32));
  if (calls !== undefined) params.push(TYPE_I32, TYPE_I32);
  return {
    params,
    results: [result === "u64" ? TYPE_I64 : TYPE_I32],
  };
}
