/** A module's sections as data (WebAssembly Core Specification 2.0, section 5.5). */
import {
  type Instruction,
  readExpression,
  readMemoryIndex,
  readReferenceType,
  readValueType,
  unknownType,
} from "./instruction.ts";
import { type Names, readNames } from "./names.ts";
import { Reader, malformed, unsupported } from "./reader.ts";

/** What can be imported and exported; the position is the number in the format. */
const EXTERNAL_KINDS = ["func", "table", "memory", "global"] as const;

export type ExternalKind = (typeof EXTERNAL_KINDS)[number];

export interface FunctionType {
  readonly params: readonly string[];
  readonly results: readonly string[];
}

export interface Limits {
  readonly min: number;
  readonly max: number | undefined;
  readonly shared: boolean;
}

export interface TableType extends Limits {
  readonly element: string;
}

export interface GlobalType {
  readonly type: string;
  readonly mutable: boolean;
}

export type External =
  | { readonly kind: "func"; readonly type: number }
  | { readonly kind: "table"; readonly type: TableType }
  | { readonly kind: "memory"; readonly type: Limits }
  | { readonly kind: "global"; readonly type: GlobalType };

export interface Import {
  readonly module: string;
  readonly name: string;
  readonly item: External;
}

export interface Export {
  readonly name: string;
  readonly kind: ExternalKind;
  readonly index: number;
}

export interface Global {
  readonly type: GlobalType;
  readonly value: readonly Instruction[];
}

/** Where an active segment is written to. */
export interface Placement {
  readonly index: number;
  readonly offset: readonly Instruction[];
}

export interface ElementSegment {
  readonly mode: "active" | "passive" | "declare";
  readonly placement: Placement | undefined;
  readonly type: string;
  /** Functions by index, or an expression for each element. */
  readonly functions: readonly number[] | undefined;
  readonly items: readonly (readonly Instruction[])[];
}

export interface DataSegment {
  readonly placement: Placement | undefined;
  readonly bytes: Uint8Array;
}

export interface LocalGroup {
  readonly count: number;
  readonly type: string;
}

export interface Code {
  readonly locals: readonly LocalGroup[];
  /** The instructions, up to and including the last `end`. */
  readonly body: Reader;
}

export interface Module {
  types: readonly FunctionType[];
  imports: readonly Import[];
  /** Type indices of the functions that the module defines. */
  functions: readonly number[];
  tables: readonly TableType[];
  memories: readonly Limits[];
  globals: readonly Global[];
  exports: readonly Export[];
  start: number | undefined;
  elements: readonly ElementSegment[];
  dataCount: number | undefined;
  codes: readonly Code[];
  data: readonly DataSegment[];
  names: Names | undefined;
  readonly customs: { readonly name: string; readonly size: number }[];
}

/** Engines take no more in one function (WebAssembly JavaScript Interface, implementation limitations). */
const MOST_LOCALS = 50_000;

function readFunctionType(reader: Reader): FunctionType {
  const start = reader.offset;
  const form = reader.byte("a type");
  if (form !== 0x60) throw unknownType(form, "a type", start);
  return {
    params: reader.list("parameters", () => readValueType(reader, "a parameter type")),
    results: reader.list("results", () => readValueType(reader, "a result type")),
  };
}

/** Flags: 1 there is a maximum, 2 shared, 4 addresses of 64 bits. */
function readLimits(reader: Reader, what: "memory" | "table"): Limits {
  const start = reader.offset;
  const flags = reader.byte(`the limits of a ${what}`);
  if (flags >= 4 && flags < 8) throw unsupported(`a ${what} with addresses of 64 bits`, start);
  if (flags >= 8 || flags === 2 || (flags === 3 && what === "table")) {
    throw malformed(`the limits of a ${what} have flags ${flags}`, start);
  }
  const min = reader.u32("a minimum");
  const max = (flags & 1) === 0 ? undefined : reader.u32("a maximum");
  return { min, max, shared: (flags & 2) !== 0 };
}

function readTableType(reader: Reader): TableType {
  const element = readReferenceType(reader, "the type of a table");
  return { element, ...readLimits(reader, "table") };
}

function readTable(reader: Reader): TableType {
  // 0x40 0x00 begins a table with an initial value.
  if (reader.peek() === 0x40) throw unsupported("a table of typed function references", reader.offset);
  return readTableType(reader);
}

function readGlobalType(reader: Reader): GlobalType {
  const type = readValueType(reader, "the type of a global");
  const start = reader.offset;
  const flag = reader.byte("the mutability of a global");
  if (flag > 1) throw malformed(`the mutability ${flag} of a global`, start);
  return { type, mutable: flag === 1 };
}

function readKind(reader: Reader): ExternalKind {
  const start = reader.offset;
  const byte = reader.byte("a kind");
  const kind = EXTERNAL_KINDS[byte];
  if (kind !== undefined) return kind;
  if (byte === 4) throw unsupported("a tag of exception handling", start);
  throw malformed(`the kind ${byte} of an import or export`, start);
}

function readExternal(reader: Reader): External {
  const kind = readKind(reader);
  switch (kind) {
    case "func":
      return { kind, type: reader.u32("a type index") };
    case "table":
      return { kind, type: readTableType(reader) };
    case "memory":
      return { kind, type: readLimits(reader, "memory") };
    case "global":
      return { kind, type: readGlobalType(reader) };
    default:
      return kind satisfies never;
  }
}

/**
 * Element segments have eight forms (section 5.5.12). Bit 0: passive or declarative, else active; bit 1: a table index
 * follows for an active one, declarative otherwise; bit 2: expressions instead of function indices. Forms 0 and 4 leave
 * out the table and the type of the elements.
 */
function readElement(reader: Reader): ElementSegment {
  const start = reader.offset;
  const form = reader.u32("the form of an element segment");
  if (form > 7) throw malformed(`the form ${form} of an element segment`, start);
  const active = (form & 1) === 0;
  const index = active && (form & 2) !== 0 ? reader.u32("a table index") : 0;
  const placement = active ? { index, offset: readExpression(reader) } : undefined;
  const byExpression = (form & 4) !== 0;
  let type = "funcref";
  if ((form & 3) !== 0) {
    if (byExpression) {
      type = readReferenceType(reader, "the type of an element segment");
    } else if (reader.byte("the kind of an element segment") !== 0) {
      throw malformed("the kind of an element segment is not that of functions,", reader.offset - 1);
    }
  }
  return {
    mode: active ? "active" : (form & 2) === 0 ? "passive" : "declare",
    placement,
    type,
    functions: byExpression ? undefined : reader.list("elements", () => reader.u32("a function index")),
    items: byExpression ? reader.list("elements", () => readExpression(reader)) : [],
  };
}

function readData(reader: Reader): DataSegment {
  const start = reader.offset;
  const form = reader.u32("the form of a data segment");
  if (form > 2) throw malformed(`the form ${form} of a data segment`, start);
  const index = form === 2 ? readMemoryIndex(reader) : 0;
  const placement = form === 1 ? undefined : { index, offset: readExpression(reader) };
  return { placement, bytes: reader.bytes(reader.u32("the size of a data segment"), "a data segment") };
}

function readCode(reader: Reader): Code {
  const start = reader.offset;
  const part = reader.part(reader.u32("the size of a function body"), "a function body");
  let total = 0;
  const locals = part.list("groups of locals", (): LocalGroup => {
    const count = part.u32("the number of locals");
    total += count;
    return { count, type: readValueType(part, "the type of a local") };
  });
  if (total > MOST_LOCALS) throw unsupported(`a function with ${total} locals`, start);
  return { locals, body: part };
}

/** Sections by their number, in the order in which they must stand; the data count comes before the code. */
const SECTIONS: ReadonlyMap<number, { name: string; rank: number; read: (r: Reader, m: Module) => void }> =
  new Map(
    (
      [
        [1, "type", (r, m) => (m.types = r.list("types", () => readFunctionType(r)))],
        [2, "import", (r, m) => (m.imports = r.list("imports", () => readImport(r)))],
        [3, "function", (r, m) => (m.functions = r.list("functions", () => r.u32("a type index")))],
        [4, "table", (r, m) => (m.tables = r.list("tables", () => readTable(r)))],
        [5, "memory", (r, m) => (m.memories = r.list("memories", () => readLimits(r, "memory")))],
        [6, "global", (r, m) => (m.globals = r.list("globals", () => readGlobal(r)))],
        [7, "export", (r, m) => (m.exports = r.list("exports", () => readExport(r)))],
        [8, "start", (r, m) => (m.start = r.u32("the start function"))],
        [9, "element", (r, m) => (m.elements = r.list("element segments", () => readElement(r)))],
        [12, "data count", (r, m) => (m.dataCount = r.u32("the number of data segments"))],
        [10, "code", (r, m) => (m.codes = r.list("function bodies", () => readCode(r)))],
        [11, "data", (r, m) => (m.data = r.list("data segments", () => readData(r)))],
      ] as const satisfies readonly (readonly [number, string, (r: Reader, m: Module) => unknown])[]
    ).map(([id, name, read], rank) => [id, { name, rank, read }]),
  );

function readImport(reader: Reader): Import {
  const module = reader.name("the module of an import");
  const name = reader.name("the name of an import");
  return { module, name, item: readExternal(reader) };
}

function readExport(reader: Reader): Export {
  const name = reader.name("the name of an export");
  return { name, kind: readKind(reader), index: reader.u32("an index") };
}

function readGlobal(reader: Reader): Global {
  const type = readGlobalType(reader);
  return { type, value: readExpression(reader) };
}

function readCustom(section: Reader, module: Module): void {
  const { offset, end } = section;
  const name = section.name("the name of a custom section");
  // The standard has a name section only after the data; tools that read it earlier are rare, so we take any.
  if (name === "name" && module.names === undefined) module.names = readNames(section);
  else module.customs.push({ name, size: end - offset });
}

/** What must agree between sections for the module to be well formed. */
function checkCounts(module: Module, end: number): void {
  const { functions, codes, dataCount, data } = module;
  if (functions.length !== codes.length) {
    throw malformed(
      `${functions.length} functions, but ${codes.length} function bodies, to the module's end`,
      end,
    );
  }
  if (dataCount !== undefined && dataCount !== data.length) {
    throw malformed(
      `${dataCount} data segments declared, but ${data.length} there, to the module's end`,
      end,
    );
  }
}

export function readModule(bytes: Uint8Array): Module {
  const reader = new Reader(bytes, 0, bytes.length);
  const magic = reader.bytes(Math.min(8, bytes.length), "the header");
  if (magic.length < 4 || String.fromCharCode(...magic.subarray(0, 4)) !== "\0asm") {
    throw malformed("no magic number '\\0asm'", 0);
  }
  const version = magic.length < 8 ? -1 : new DataView(magic.slice().buffer).getUint32(4, true);
  if (version === 0x1000d) throw unsupported("a component, not a module,", 4);
  if (version !== 1)
    throw malformed(version < 0 ? "the version is cut off" : `version ${version}, not 1,`, 4);
  const module: Module = {
    types: [],
    imports: [],
    functions: [],
    tables: [],
    memories: [],
    globals: [],
    exports: [],
    start: undefined,
    elements: [],
    dataCount: undefined,
    codes: [],
    data: [],
    names: undefined,
    customs: [],
  };
  let reached = -1;
  while (!reader.done) {
    const start = reader.offset;
    const id = reader.byte("a section");
    const section = SECTIONS.get(id);
    if (id === 13) throw unsupported("a tag section of exception handling", start);
    if (id !== 0 && section === undefined) throw malformed(`section ${id}, which does not exist,`, start);
    const name = section?.name ?? "custom";
    const part = reader.part(reader.u32(`the size of the ${name} section`), `the ${name} section`);
    if (section === undefined) {
      readCustom(part, module);
      continue;
    }
    if (section.rank <= reached) throw malformed(`the ${name} section repeated or out of order`, start);
    reached = section.rank;
    section.read(part, module);
    part.finish(`the ${name} section`);
  }
  checkCounts(module, reader.offset);
  return module;
}
