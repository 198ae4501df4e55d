import {
  type Btf,
  type BtfComposite,
  type BtfEnum,
  type BtfMember,
  MAX_DEPTH,
  resolve,
  typeName,
} from "../../btf/index.ts";
import { BpfError } from "../../errors.ts";

/** An enumeration with more names is a string, so that a header of constants does not fill the file. */
const MAX_NAMES = 64;

/** TypeScript declarations for BTF types, as `decodeValue` returns values of them. Named types are declared once. */
export class TypeDeclarations {
  readonly #btf: Btf;
  readonly #names = new Map<number, string>();
  readonly #taken: Set<string>;
  readonly #declarations: string[] = [];

  /** `taken` are names that mean something else in the file. */
  constructor(btf: Btf, taken: Iterable<string>) {
    this.#btf = btf;
    this.#taken = new Set(taken);
  }

  /** All declarations that were needed so far, in the order in which they were completed. */
  text(): string {
    return this.#declarations.join("\n");
  }

  /** The TypeScript type of values of a BTF type. */
  of(id: number, depth = 0): string {
    if (depth > MAX_DEPTH) {
      throw new BpfError("btf", `${this.#btf.name}: type ${id} nests deeper than ${MAX_DEPTH} levels`);
    }
    const type = resolve(this.#btf, id);
    switch (type.kind) {
      case "int":
        if (type.bool) return "boolean";
        return type.size > 4 ? "bigint" : "number";
      case "ptr":
        return "bigint";
      case "float":
        return type.size <= 8 ? "number" : "Uint8Array";
      case "enum":
      case "enum64":
        return type.name === "" ? enumNames(type) : this.#named(type.id, type.name, () => this.#enum(type));
      case "struct":
      case "union":
        return type.name === ""
          ? `{ ${this.#members(type, depth).join(" ")} }`
          : this.#named(type.id, type.name, (name) => this.#interface(name, type, depth));
      case "array": {
        const element = resolve(this.#btf, type.type);
        const text =
          element.kind === "int" && element.size === 1 && (element.char || element.name === "char");
        const items = this.of(type.type, depth + 1);
        const list = /^\w+$/.test(items) ? `readonly ${items}[]` : `ReadonlyArray<${items}>`;
        return text ? `string | ${list}` : list;
      }
      default:
        return "Uint8Array";
    }
  }

  #named(id: number, own: string, declare: (name: string) => string): string {
    const known = this.#names.get(id);
    if (known !== undefined) return known;
    const name = this.#unique(pascal(own));
    this.#names.set(id, name);
    const text = declare(name);
    this.#declarations.push(`/** \`${comment(typeName(this.#btf, id))}\` */\n${text}\n`);
    return name;
  }

  #unique(name: string): string {
    let unique = name;
    for (let number = 2; this.#taken.has(unique); number++) unique = `${name}${number}`;
    this.#taken.add(unique);
    return unique;
  }

  #enum(type: BtfEnum): string {
    return `export type ${this.#names.get(type.id)} = ${enumNames(type)};`;
  }

  #interface(name: string, type: BtfComposite, depth: number): string {
    const lines = this.#members(type, depth).map((line) => `  ${line}`);
    return `export interface ${name} {\n${lines.join("\n")}\n}`;
  }

  /** Members of anonymous structures and unions belong to the outer one; of a union giving one is enough. */
  #members(type: BtfComposite, depth: number, optional = type.kind === "union"): string[] {
    if (depth > MAX_DEPTH) {
      throw new BpfError("btf", `${this.#btf.name}: type ${type.id} nests deeper than ${MAX_DEPTH} levels`);
    }
    return type.members.flatMap((member) => {
      if (member.name !== "") {
        return [`readonly ${property(member.name)}${optional ? "?" : ""}: ${this.#member(member, depth)};`];
      }
      const inner = resolve(this.#btf, member.type);
      if (inner.kind !== "struct" && inner.kind !== "union") return [];
      return this.#members(inner, depth + 1, optional || inner.kind === "union");
    });
  }

  #member({ type, bitSize }: BtfMember, depth: number): string {
    const kind = resolve(this.#btf, type).kind;
    if (bitSize > 0 && kind === "int") {
      const text = this.of(type, depth + 1);
      return text === "boolean" ? text : bitSize > 32 ? "bigint" : "number";
    }
    return this.of(type, depth + 1);
  }
}

function enumNames({ kind, values }: BtfEnum): string {
  const number = kind === "enum64" ? "bigint" : "number";
  if (values.length > MAX_NAMES) return `string | ${number}`;
  return [...values.map(({ name }) => JSON.stringify(name)), number].join(" | ");
}

/** Text of a file that may come from anywhere, such that it cannot end the comment it is put into. */
export function comment(text: string): string {
  return text.replace(/[^ -~]|\*\//g, "?");
}

/** A name as a key of an object type. */
export function property(name: string): string {
  return /^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name);
}

/** flow_key -> FlowKey; what no identifier can hold is left out. */
export function pascal(name: string): string {
  const text = name
    .split(/[^A-Za-z0-9]+/)
    .map((part) => part.slice(0, 1).toUpperCase() + part.slice(1))
    .join("");
  return /^[A-Za-z]/.test(text) ? text : `T${text}`;
}
