/** A module as text, in the order of its sections. */
import { type Scope, immediates, printFunction, signature } from "./function.ts";
import type { Instruction } from "./instruction.ts";
import type {
  DataSegment,
  ElementSegment,
  External,
  ExternalKind,
  GlobalType,
  Limits,
  Module,
  TableType,
} from "./module.ts";
import { IndexSpace, type NameMap } from "./names.ts";
import { malformed } from "./reader.ts";
import { TextWriter, quote } from "./text.ts";

/** Bytes of a data segment in one string. */
const DATA_CHUNK = 32;

function limitsText({ min, max, shared }: Limits): string {
  return `${min}${max === undefined ? "" : ` ${max}`}${shared ? " shared" : ""}`;
}

function tableText(type: TableType): string {
  return `${limitsText(type)} ${type.element}`;
}

function globalText({ type, mutable }: GlobalType): string {
  return mutable ? `(mut ${type})` : type;
}

/** How many of a kind are imported; those that the module defines are counted after them. */
function importedCount(module: Module, kind: ExternalKind): number {
  return module.imports.filter(({ item }) => item.kind === kind).length;
}

/** Names for what the name section leaves without: `module.name` of an import, the name of an export. */
function derivedNames(module: Module, kind: ExternalKind): NameMap {
  const names = new Map<number, string>();
  for (const { module: from, name, item } of module.imports) {
    if (item.kind === kind) names.set(names.size, `${from}.${name}`);
  }
  for (const { name, kind: exported, index } of module.exports) {
    if (exported === kind && !names.has(index)) names.set(index, name);
  }
  return names;
}

function scopeOf(module: Module): Scope {
  const given = module.names?.spaces ?? {};
  const space = (kind: ExternalKind, defined: number): IndexSpace =>
    new IndexSpace(importedCount(module, kind) + defined, given[kind], derivedNames(module, kind));
  return {
    types: module.types,
    spaces: {
      func: space("func", module.functions.length),
      table: space("table", module.tables.length),
      memory: space("memory", module.memories.length),
      global: space("global", module.globals.length),
      type: new IndexSpace(module.types.length, given.type),
      elem: new IndexSpace(module.elements.length, given.elem),
      data: new IndexSpace(module.data.length, given.data),
    },
  };
}

/** Prints one module. */
class ModulePrinter {
  readonly #writer: TextWriter;
  readonly #module: Module;
  readonly #scope: Scope;

  constructor(module: Module, size: number) {
    this.#writer = new TextWriter(size);
    this.#module = module;
    this.#scope = scopeOf(module);
  }

  print(): string {
    const writer = this.#writer;
    const module = this.#module;
    const { spaces } = this.#scope;
    const name = new IndexSpace(1, new Map([[0, module.names?.module ?? ""]]));
    writer.line(name.has(0) ? `(module ${name.of(0)}` : "(module");
    writer.indent();
    this.#types();
    this.#imports();
    const { tables, memories, globals } = module;
    for (const [index, type] of this.#defined("table", tables)) {
      writer.line(`(table ${spaces.table.definition(index)} ${tableText(type)})`);
    }
    for (const [index, limits] of this.#defined("memory", memories)) {
      writer.line(`(memory ${spaces.memory.definition(index)} ${limitsText(limits)})`);
    }
    for (const [index, { type, value }] of this.#defined("global", globals)) {
      writer.line(`(global ${spaces.global.definition(index)} ${globalText(type)}`);
      this.#expression(value, "");
      writer.put(")");
    }
    for (const { name, kind, index } of module.exports) {
      writer.line(`(export ${quote(name)} (${kind} ${spaces[kind].of(index)}))`);
    }
    if (module.start !== undefined) writer.line(`(start ${spaces.func.of(module.start)})`);
    for (const [index, segment] of module.elements.entries()) this.#element(index, segment);
    this.#functions();
    for (const [index, segment] of module.data.entries()) this.#data(index, segment);
    for (const { name, size } of module.customs) {
      writer.line(`;; custom section ${quote(name)}, ${size} bytes`);
    }
    if (module.names?.damage !== undefined) writer.line(`;; names incomplete: ${module.names.damage}`);
    writer.outdent();
    writer.line(")\n");
    return writer.text;
  }

  /** What the module defines, with the indices that count the imported ones first. */
  #defined<Item>(kind: ExternalKind, items: readonly Item[]): (readonly [number, Item])[] {
    const first = importedCount(this.#module, kind);
    return items.map((item, index) => [first + index, item] as const);
  }

  #types(): void {
    for (const [index, type] of this.#module.types.entries()) {
      this.#writer.line(`(type ${this.#scope.spaces.type.definition(index)} (func${signature(type)}))`);
    }
  }

  #imports(): void {
    const counts: Record<ExternalKind, number> = { func: 0, table: 0, memory: 0, global: 0 };
    for (const { module, name, item } of this.#module.imports) {
      const { kind } = item;
      const definition = this.#scope.spaces[kind].definition(counts[kind]++);
      this.#writer.line(`(import ${quote(module)} ${quote(name)}`);
      this.#writer.put(` (${kind} ${definition} ${this.#external(item)}))`);
    }
  }

  #external(item: External): string {
    switch (item.kind) {
      case "func": {
        const type = this.#scope.types[item.type];
        return `(type ${this.#scope.spaces.type.of(item.type)})${type === undefined ? "" : signature(type)}`;
      }
      case "table":
        return tableText(item.type);
      case "memory":
        return limitsText(item.type);
      case "global":
        return globalText(item.type);
      default:
        return item satisfies never;
    }
  }

  /** A constant expression: one instruction in parentheses, several behind a word that the place asks for. */
  #expression(instructions: readonly Instruction[], word: "" | "offset" | "item"): void {
    const texts = instructions.map((each) => each.operation.name + immediates(each, this.#scope));
    const [first, ...rest] = texts;
    if (first !== undefined && rest.length === 0) {
      this.#writer.item(`(${first})`);
      return;
    }
    if (word !== "") this.#writer.item(`(${word}`);
    for (const text of texts) this.#writer.item(text);
    if (word !== "") this.#writer.put(")");
  }

  #element(index: number, { mode, placement, type, functions, items }: ElementSegment): void {
    const writer = this.#writer;
    const { spaces } = this.#scope;
    writer.line(`(elem ${spaces.elem.definition(index)}`);
    if (mode === "declare") writer.put(" declare");
    if (placement !== undefined) {
      if (placement.index !== 0) writer.put(` (table ${spaces.table.of(placement.index)})`);
      this.#expression(placement.offset, "offset");
    }
    writer.put(functions === undefined ? ` ${type}` : " func");
    for (const each of functions ?? []) writer.item(spaces.func.of(each));
    for (const item of items) this.#expression(item, "item");
    writer.put(")");
  }

  #functions(): void {
    const { codes, functions, names } = this.#module;
    const imported = importedCount(this.#module, "func");
    for (const [index, type] of this.#defined("func", functions)) {
      const code = codes[index - imported];
      if (code === undefined) throw malformed(`function ${index} without body`, 0);
      const localNames = names?.local.get(index) ?? new Map();
      const labelNames = names?.label.get(index) ?? new Map();
      printFunction(this.#writer, { index, type, code, localNames, labelNames }, this.#scope);
    }
  }

  #data(index: number, { placement, bytes }: DataSegment): void {
    const writer = this.#writer;
    writer.line(`(data ${this.#scope.spaces.data.definition(index)}`);
    if (placement !== undefined) this.#expression(placement.offset, "offset");
    for (let start = 0; start < bytes.length; start += DATA_CHUNK) {
      writer.item(quote(bytes.subarray(start, start + DATA_CHUNK)));
    }
    writer.put(")");
  }
}

/** The text of a module of so many bytes. */
export function printModule(module: Module, size: number): string {
  return new ModulePrinter(module, size).print();
}
