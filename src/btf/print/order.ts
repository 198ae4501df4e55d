import type { Btf } from "../btf.ts";
import { BpfError } from "../../errors.ts";

/** Deeper than any header; a stack of our own would only hide a hostile file. */
const MAX_ORDER_DEPTH = 1000;

const ORDERING = 1;
const ORDERED = 2;

/**
 * Which types must be defined before a type can be, in the order in which libbpf writes them.
 *
 * C wants a type complete where it is embedded, and only declared where it is pointed at. So a structure comes after
 * those that it holds (a *strong* link) and needs no more than a declaration of those that it points to (*weak*), unless they have no
 * name and are therefore written out in place. A typedef is as strong as what it names. Types are visited depth first,
 * by id, and a definition is queued when all that it needs has been.
 */
export class DefinitionOrder {
  readonly #btf: Btf;
  readonly #state: Uint8Array;
  readonly #referenced: Uint8Array;

  constructor(btf: Btf) {
    this.#btf = btf;
    this.#state = new Uint8Array(btf.count);
    this.#state[0] = ORDERED;
    this.#referenced = markReferenced(btf);
  }

  /** The definitions that this type needs and that were not queued before, itself included. */
  visit(id: number): number[] {
    const queue: number[] = [];
    this.#visit(id, false, queue, 0);
    return queue;
  }

  /** True if the link is strong. */
  #visit(id: number, throughPointer: boolean, queue: number[], depth: number): boolean {
    const state = this.#state[id];
    if (state === ORDERED) return true;
    const type = this.#btf.type(id);
    if (state === ORDERING) {
      const composite = type.kind === "struct" || type.kind === "union";
      if (composite && throughPointer && type.name !== "") return false;
      throw new BpfError("btf", `${this.#btf.name}: type ${id} (${type.kind} ${type.name}) contains itself`);
    }
    if (depth > MAX_ORDER_DEPTH) {
      throw new BpfError("btf", `${this.#btf.name}: type ${id} nests deeper than ${MAX_ORDER_DEPTH} levels`);
    }
    const done = (strong: boolean): boolean => {
      this.#state[id] = ORDERED;
      return strong;
    };
    switch (type.kind) {
      case "int":
      case "float":
      case "func":
      case "var":
      case "datasec":
      case "decl_tag":
        return done(false);
      case "ptr":
        return done(this.#visit(type.type, true, queue, depth + 1));
      case "array":
        return this.#visit(type.type, false, queue, depth + 1);
      case "struct":
      case "union":
        if (throughPointer && type.name !== "") return false;
        this.#state[id] = ORDERING;
        for (const member of type.members) this.#visit(member.type, false, queue, depth + 1);
        if (type.name !== "") queue.push(id);
        return done(true);
      case "enum":
      case "enum64":
      case "fwd":
        // Without a name it is written where it is used, if it is used.
        if (type.name !== "" || this.#referenced[id] === 0) queue.push(id);
        return done(true);
      case "typedef": {
        const strong = this.#visit(type.type, throughPointer, queue, depth + 1);
        if (throughPointer && !strong) return false;
        queue.push(id);
        return done(true);
      }
      case "volatile":
      case "const":
      case "restrict":
      case "type_tag":
        return this.#visit(type.type, throughPointer, queue, depth + 1);
      case "func_proto": {
        let strong = this.#visit(type.type, throughPointer, queue, depth + 1);
        for (const parameter of type.parameters) {
          if (this.#visit(parameter.type, throughPointer, queue, depth + 1)) strong = true;
        }
        return strong;
      }
      default:
        return true;
    }
  }
}

function markReferenced(btf: Btf): Uint8Array {
  const referenced = new Uint8Array(btf.count);
  for (const type of btf.types()) {
    switch (type.kind) {
      case "array":
        referenced[type.indexType] = 1;
        referenced[type.type] = 1;
        break;
      case "struct":
      case "union":
        for (const member of type.members) referenced[member.type] = 1;
        break;
      case "func_proto":
        for (const parameter of type.parameters) referenced[parameter.type] = 1;
        break;
      case "datasec":
        for (const variable of type.variables) referenced[variable.type] = 1;
        break;
      default:
        if ("type" in type) referenced[type.type] = 1;
    }
  }
  return referenced;
}
