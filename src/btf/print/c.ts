import type { Btf } from "../btf.ts";
import { BpfError } from "../../errors.ts";
import { alignmentIn, sizeOf } from "../resolve.ts";
import type { BtfArray, BtfComposite, BtfEnum, BtfPrototype, BtfReference, BtfType } from "../types.ts";
import { DefinitionOrder } from "./order.ts";
import { padding } from "./padding.ts";

/** What {@link formatC} prints. */
export interface FormatCOptions {
  /** Ids of types; these and what they need are printed. Default: all. */
  readonly roots?: readonly number[];
  /** Include guard and pragmas of `vmlinux.h` around it. Default true. */
  readonly guards?: boolean;
  /**
   * Say of enumerations of 1 and 8 bytes that they are (`mode(byte)`, `mode(word)`), as bpftool does since 7.2. Without it
   * compilers make them 4 bytes large. Default false.
   */
  readonly enumSizes?: boolean;
}

/**
 * Types as C declarations that compile to the same layout, in bpftool's words (`bpftool btf dump format c`): ordered by what
 * they need, with forward declarations, padding, bit fields and attributes.
 *
 * @throws BpfError code "btf" for damaged types and such as C cannot express (a structure that contains itself).
 * @example
 * writeFileSync("vmlinux.h", formatC(parseBtf(readFileSync("/sys/kernel/btf/vmlinux"))));
 */
export function formatC(btf: Btf, { roots, guards = true, enumSizes = false }: FormatCOptions = {}): string {
  const printer = new CPrinter(btf, enumSizes);
  if (roots === undefined) for (let id = btf.firstId; id < btf.count; id++) printer.define(id);
  else for (const id of roots) printer.define(id);
  const text = printer.text();
  return guards ? PROLOGUE + text + EPILOGUE : text;
}

const PROLOGUE = `#ifndef __VMLINUX_H__
#define __VMLINUX_H__

#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute push (__attribute__((preserve_access_index)), apply_to = record)
#endif

`;
const EPILOGUE = `#ifndef BPF_NO_PRESERVE_ACCESS_INDEX
#pragma clang attribute pop
#endif

#endif /* __VMLINUX_H__ */
`;

/** Types of gcc that clang does not have. */
const ALIASES: Readonly<Record<string, string>> = {
  __Poly8_t: "unsigned char",
  __Poly16_t: "unsigned short",
  __Poly64_t: "unsigned long long",
  __Poly128_t: "unsigned __int128",
};

const EMITTING = 1;
const EMITTED = 2;
const MAX_DEPTH = 400;

/** One run of {@link formatC}: what is written already, and which names are taken. */
class CPrinter {
  readonly #btf: Btf;
  readonly #enumSizes: boolean;
  readonly #order: DefinitionOrder;
  readonly #parts: string[] = [];
  readonly #state: Uint8Array;
  readonly #declared: Uint8Array;
  /** By id; "" names a type without name. */
  readonly #names = new Map<number, string>();
  /** C has one name space for structures, unions and enumerations, and one for typedefs and enumerators. */
  readonly #tags = new Map<string, number>();
  readonly #identifiers = new Map<string, number>();
  readonly #alignments = new Map<number, number>();
  /** Types without a name are written wherever they are used, so a small file could ask for text without end. */
  #budget: number;

  constructor(btf: Btf, enumSizes: boolean) {
    this.#btf = btf;
    this.#enumSizes = enumSizes;
    this.#order = new DefinitionOrder(btf);
    this.#state = new Uint8Array(btf.count);
    this.#state[0] = EMITTED;
    this.#declared = new Uint8Array(btf.count);
    this.#budget = 2_000_000 + 400 * btf.count;
  }

  define(id: number): void {
    for (const needed of this.#order.visit(id)) this.#emit(needed, 0, 0);
  }

  text(): string {
    return this.#parts.join("");
  }

  #write(text: string): void {
    this.#spend(text.length >>> 4);
    this.#parts.push(text);
  }

  #spend(steps: number): void {
    this.#budget -= 1 + steps;
    if (this.#budget < 0) throw new BpfError("btf", `${this.#btf.name}: as C it would be text without end`);
  }

  /** Writes what must stand before a use of this type; `owner` is what is being written, 0 for a definition of its own. */
  #emit(id: number, owner: number, depth: number): void {
    const state = this.#state[id];
    if (state === EMITTED) return;
    this.#spend(0);
    if (depth > MAX_DEPTH) {
      throw new BpfError("btf", `${this.#btf.name}: type ${id} nests deeper than ${MAX_DEPTH} levels`);
    }
    const type = this.#btf.type(id);
    if (state === EMITTING) return this.#declare(type, owner);
    switch (type.kind) {
      case "int": {
        const alias = Object.hasOwn(ALIASES, type.name) ? ALIASES[type.name] : undefined;
        if (alias !== undefined) this.#write(`typedef ${alias} ${type.name};\n\n`);
        this.#state[id] = EMITTED;
        return;
      }
      case "enum":
      case "enum64":
        if (owner === 0) this.#write(`${this.#enumDefinition(type, 0)};\n\n`);
        this.#state[id] = EMITTED;
        return;
      case "ptr":
      case "volatile":
      case "const":
      case "restrict":
      case "type_tag":
      case "array":
        return this.#emit(type.type, owner, depth + 1);
      case "fwd":
        this.#write(`${this.#forward(type)};\n\n`);
        this.#state[id] = EMITTED;
        return;
      case "typedef":
        this.#state[id] = EMITTING;
        this.#emit(type.type, id, depth + 1);
        if (this.#declared[id] === 0 && type.name !== BUILTIN_VA_LIST) {
          this.#write(`${this.#typedefDefinition(type)};\n\n`);
        }
        this.#state[id] = EMITTED;
        return;
      case "struct":
      case "union":
        this.#state[id] = EMITTING;
        if (owner === 0 || type.name === "") {
          const inner = type.name === "" ? owner : id;
          for (const member of type.members) this.#emit(member.type, inner, depth + 1);
        } else if (this.#declared[id] === 0 && id !== owner) {
          this.#write(`${this.#tag(type)};\n\n`);
          this.#declared[id] = 1;
        }
        if (owner === 0) {
          this.#write(`${this.#structDefinition(type, 0, 0)};\n\n`);
          this.#state[id] = EMITTED;
        } else this.#state[id] = 0;
        return;
      case "func_proto":
        this.#emit(type.type, owner, depth + 1);
        for (const parameter of type.parameters) this.#emit(parameter.type, owner, depth + 1);
        return;
      default:
        return;
    }
  }

  /** Something that is being written needs a type that is being written around it. */
  #declare(type: BtfType, owner: number): void {
    if (this.#declared[type.id] === 1) return;
    if (type.kind === "struct" || type.kind === "union") {
      if (type.id === owner || type.name === "") return;
      this.#write(`${this.#tag(type)};\n\n`);
      this.#declared[type.id] = 1;
    } else if (type.kind === "typedef") {
      if (type.name !== BUILTIN_VA_LIST) this.#write(`${this.#typedefDefinition(type)};\n\n`);
      this.#declared[type.id] = 1;
    }
  }

  #unique(id: number, name: string, taken: Map<string, number>): string {
    if (name === "") return "";
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const count = (taken.get(name) ?? 0) + 1;
    taken.set(name, count);
    const unique = count > 1 ? `${name}___${count}` : name;
    this.#names.set(id, unique);
    return unique;
  }

  /** "struct name", "union", "enum name". */
  #tag(type: BtfType): string {
    const word = type.kind === "enum64" ? "enum" : type.kind;
    return `${word} ${this.#unique(type.id, type.name, this.#tags)}`;
  }

  #forward(type: BtfType): string {
    const word = type.kind === "fwd" && type.union ? "union" : "struct";
    return `${word} ${this.#unique(type.id, type.name, this.#tags)}`;
  }

  #typedefDefinition(type: BtfReference): string {
    const name = this.#unique(type.id, type.name, this.#identifiers);
    // Old versions of gcc let it stand for void, which no compiler takes.
    if (type.type === 0 && name === "__gnuc_va_list") return `typedef ${BUILTIN_VA_LIST} __gnuc_va_list`;
    return `typedef ${this.#declaration(type.type, name, 0, 0)}`;
  }

  #enumDefinition(type: BtfEnum, level: number): string {
    const name = this.#unique(type.id, type.name, this.#tags);
    let text = name === "" ? "enum" : `enum ${name}`;
    if (type.values.length === 0) return text;
    text += " {";
    const suffix = type.kind === "enum" ? "" : type.signed ? "LL" : "ULL";
    for (const { name: own, value } of type.values) {
      const count = (this.#identifiers.get(own) ?? 0) + 1;
      this.#identifiers.set(own, count);
      text += `\n${indent(level + 1)}${own}${count > 1 ? `___${count}` : ""} = ${value}${suffix},`;
      this.#spend(0);
    }
    text += `\n${indent(level)}}`;
    if (!this.#enumSizes) return text;
    if (type.size === 1) return `${text} __attribute__((mode(byte)))`;
    const wide =
      type.kind === "enum64" && type.values.some(({ value }) => BigInt.asUintN(64, value) >> 32n !== 0n);
    return type.size === 8 && !wide ? `${text} __attribute__((mode(word)))` : text;
  }

  #structDefinition(type: BtfComposite, level: number, depth: number): string {
    const isStruct = type.kind === "struct";
    const alignment = this.#alignmentOf(type.id);
    const packed = isStruct && this.#isPacked(type);
    const name = this.#unique(type.id, type.name, this.#tags);
    let text = `${type.kind}${name === "" ? "" : ` ${name}`} {`;
    const pad = indent(level + 1);
    let at = 0;
    let afterBitfield = false;
    const fill = (to: number, next: number, inBitfield: boolean): void => {
      for (const field of padding({ from: at, to, alignment: next, inBitfield })) {
        this.#spend(1);
        text += `\n${pad}${field};`;
      }
    };
    for (const member of type.members) {
      const { bitOffset, bitSize } = member;
      fill(bitOffset, packed ? 1 : this.#alignmentOf(member.type), afterBitfield && bitSize !== 0);
      text += `\n${pad}${this.#declaration(member.type, member.name, level + 1, depth)}`;
      if (bitSize > 0) {
        text += `: ${bitSize}`;
        at = bitOffset + bitSize;
      } else at = bitOffset + this.#sizeOf(member.type) * 8;
      afterBitfield = bitSize > 0;
      text += ";";
      this.#spend(text.length >>> 20);
    }
    if (isStruct) fill(type.size * 8, alignment, false);
    text += type.members.length > 0 || type.size > 0 ? `\n${indent(level)}}` : "}";
    return packed ? `${text} __attribute__((packed))` : text;
  }

  #isPacked(type: BtfComposite): boolean {
    if (type.size % this.#alignmentOf(type.id) !== 0) return true;
    let largest = 1;
    for (const { type: id, bitOffset, bitSize } of type.members) {
      const alignment = this.#alignmentOf(id);
      if (bitSize === 0 && bitOffset % (8 * alignment) !== 0) return true;
      largest = Math.max(largest, alignment);
    }
    return type.size % largest !== 0;
  }

  #alignmentOf(id: number): number {
    try {
      return alignmentIn(this.#btf, id, this.#alignments);
    } catch (error) {
      if (error instanceof BpfError) return 1;
      throw error;
    }
  }

  #sizeOf(id: number): number {
    try {
      return sizeOf(this.#btf, id);
    } catch (error) {
      if (error instanceof BpfError) return 0;
      throw error;
    }
  }

  /** `int (*name)[4]`: the chain of types from the name outwards, then written from its far end back to the name. */
  #declaration(id: number, name: string, level: number, depth: number): string {
    if (depth > MAX_DEPTH) {
      throw new BpfError("btf", `${this.#btf.name}: type ${id} nests deeper than ${MAX_DEPTH} levels`);
    }
    this.#spend(1);
    const chain: BtfType[] = [];
    for (let at = id; ; ) {
      const type = this.#btf.type(at);
      chain.push(type);
      if (chain.length > MAX_DEPTH) {
        throw new BpfError(
          "btf",
          `${this.#btf.name}: type ${id} refers through more than ${MAX_DEPTH} types`,
        );
      }
      if (!CHAINED.has(type.kind) || !("type" in type)) break;
      at = type.type;
    }
    return this.#chain(chain, name, level, depth + 1);
  }

  #chain(chain: BtfType[], name: string, level: number, depth: number): string {
    let text = "";
    let afterPointer = true;
    for (let type = chain.pop(); type !== undefined; type = chain.pop()) {
      switch (type.kind) {
        case "ptr":
          text += afterPointer ? "*" : " *";
          break;
        case "volatile":
        case "const":
        case "restrict":
          text += ` ${type.kind}`;
          break;
        case "type_tag":
          text += modifiers(chain);
          text +=
            type.attribute === true
              ? ` __attribute__((${type.name}))`
              : ` __attribute__((btf_type_tag("${type.name}")))`;
          break;
        case "array":
          return text + this.#array(type, chain, { name, level, depth, afterPointer });
        case "func_proto":
          return text + this.#function(type, chain, { name, level, depth, afterPointer });
        default:
          text += modifiers(chain) + this.#base(type, level, depth);
      }
      afterPointer = type.kind === "ptr";
    }
    return text + named(name, afterPointer);
  }

  #base(type: BtfType, level: number, depth: number): string {
    switch (type.kind) {
      case "void":
        return "void";
      case "struct":
      case "union":
        return type.name === "" ? this.#structDefinition(type, level, depth) : this.#tag(type);
      case "enum":
      case "enum64":
        return type.name === "" ? this.#enumDefinition(type, level) : this.#tag(type);
      case "fwd":
        return this.#forward(type);
      case "typedef":
        return this.#unique(type.id, type.name, this.#identifiers);
      default:
        return type.name;
    }
  }

  #array(type: BtfArray, chain: BtfType[], at: Place): string {
    dropModifiers(chain);
    const next = chain.at(-1);
    if (next === undefined) return `${named(at.name, at.afterPointer)}[${type.length}]`;
    const space = at.name !== "" && !at.afterPointer ? " " : "";
    const inner = this.#chain(chain, at.name, at.level, at.depth + 1);
    return `${space}${next.kind === "array" ? inner : `(${inner})`}[${type.length}]`;
  }

  #function({ parameters }: BtfPrototype, chain: BtfType[], at: Place): string {
    dropModifiers(chain);
    const head =
      chain.length > 0
        ? ` (${this.#chain(chain, at.name, at.level, at.depth + 1)})`
        : named(at.name, at.afterPointer);
    if (parameters.length === 0 || (parameters.length === 1 && parameters[0]?.type === 0))
      return `${head}(void)`;
    const list = parameters.map(({ name, type }, index) =>
      index === parameters.length - 1 && type === 0
        ? "..."
        : this.#declaration(type, name, at.level, at.depth),
    );
    return `${head}(${list.join(", ")})`;
  }
}

const BUILTIN_VA_LIST = "__builtin_va_list";

/** Kinds behind which a declaration goes on. */
const CHAINED: ReadonlySet<string> = new Set([
  "ptr",
  "volatile",
  "const",
  "restrict",
  "type_tag",
  "array",
  "func_proto",
]);

/** Where a declarator is being written. */
interface Place {
  readonly name: string;
  readonly level: number;
  readonly depth: number;
  /** Nothing but pointers stands before it. */
  readonly afterPointer: boolean;
}

/** Qualifiers that belong to the type that comes next are written before it. */
function modifiers(chain: BtfType[]): string {
  let text = "";
  for (let next = chain.at(-1); next !== undefined; next = chain.at(-1)) {
    if (next.kind !== "volatile" && next.kind !== "const" && next.kind !== "restrict") break;
    text += `${next.kind} `;
    chain.pop();
  }
  return text;
}

/** Arrays and functions have no qualifiers in C; gcc writes some into BTF all the same. */
function dropModifiers(chain: BtfType[]): void {
  for (let next = chain.at(-1); next !== undefined; next = chain.at(-1)) {
    const { kind } = next;
    if (kind !== "volatile" && kind !== "const" && kind !== "restrict" && kind !== "type_tag") return;
    chain.pop();
  }
}

function named(name: string, afterPointer: boolean): string {
  return name !== "" && !afterPointer ? ` ${name}` : name;
}

function indent(level: number): string {
  return "\t".repeat(level);
}
