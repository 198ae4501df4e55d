import type { Btf } from "./btf.ts";
import { tooDeep } from "./resolve.ts";
import { type BtfPrototype, MAX_DEPTH } from "./types.ts";

/**
 * The C name of a type: "struct flow_key", "const char *", "int (*)[4]".
 *
 * @example
 * typeName(btf, map.key); // "struct flow_key"
 */
export function typeName(btf: Btf, id: number): string {
  return declaration(btf, id, "");
}

/**
 * A C declaration of a name with a type: `int (*names)[4]`.
 *
 * C writes a type around the name, from the inside out: each step of the BTF chain adds to the left (`*`) or to the right
 * (`[4]`, parameters) of what is there, and a `*` that meets an array or a function next needs parentheses.
 *
 * @throws BpfError code "btf" if the type nests deeper than 32 levels.
 */
export function declaration(btf: Btf, id: number, name: string): string {
  return declare(btf, id, name, 0, { left: MAX_LENGTH });
}

/** Functions that take functions that take functions have names without end; nobody reads more than this. */
const MAX_LENGTH = 10_000;

interface Budget {
  left: number;
}

function declare(btf: Btf, id: number, name: string, depth: number, budget: Budget): string {
  if (depth > MAX_DEPTH) throw tooDeep(btf, id);
  let inner = name;
  let pointed = false;
  /** Modifiers that wait for what they modify: the pointer or the base type that comes next. */
  let modifiers = "";
  let at = id;
  for (let steps = 0; steps <= 4 * MAX_DEPTH; steps++) {
    const type = btf.type(at);
    switch (type.kind) {
      case "const":
      case "volatile":
      case "restrict":
        modifiers += `${type.kind} `;
        at = type.type;
        continue;
      case "type_tag":
      case "decl_tag":
        at = type.type;
        continue;
      case "ptr": {
        const gap = modifiers !== "" && inner === "" ? modifiers.trimEnd() : modifiers;
        inner = `*${gap}${inner}`;
        modifiers = "";
        pointed = true;
        at = type.type;
        continue;
      }
      case "array":
        inner = `${pointed ? `(${inner})` : inner}[${type.length === 0 ? "" : type.length}]`;
        pointed = false;
        at = type.type;
        continue;
      case "func_proto":
        inner = `${pointed ? `(${inner})` : inner}(${parameters(btf, type, depth, budget)})`;
        pointed = false;
        at = type.type;
        continue;
      case "func":
        inner = inner === "" ? type.name : inner;
        at = type.type;
        continue;
      case "var":
        inner = inner === "" ? type.name : inner;
        at = type.type;
        continue;
      default: {
        const base = `${modifiers}${baseName(type)}`;
        if (inner === "") return base;
        return inner.startsWith("[") ? `${base}${inner}` : `${base} ${inner}`;
      }
    }
  }
  throw tooDeep(btf, id);
}

function baseName(type: { readonly kind: string; readonly name: string; readonly union?: boolean }): string {
  const name = type.name === "" ? "(anonymous)" : type.name;
  switch (type.kind) {
    case "struct":
    case "union":
      return `${type.kind} ${name}`;
    case "enum":
    case "enum64":
      return `enum ${name}`;
    case "fwd":
      return `${type.union ? "union" : "struct"} ${name}`;
    case "void":
      return "void";
    default:
      return name;
  }
}

function parameters(btf: Btf, prototype: BtfPrototype, depth: number, budget: Budget): string {
  if (prototype.parameters.length === 0) return "void";
  const texts: string[] = [];
  for (const { name, type } of prototype.parameters) {
    budget.left -= name.length + 8;
    if (budget.left < 0 || (type === 0 && name === "")) {
      texts.push("...");
      break;
    }
    texts.push(declare(btf, type, name, depth + 1, budget));
  }
  return texts.join(", ");
}
