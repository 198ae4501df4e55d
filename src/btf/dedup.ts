import { BpfError } from "../errors.ts";
import type { BtfSource } from "./build.ts";
import { mapReferences } from "./build.ts";

/** Types without repetition. */
export interface Deduplicated {
  /** The first has id 1. */
  readonly types: readonly BtfSource[];
  /** The new id of each old one; the index is the old id. */
  readonly ids: Uint32Array;
}

/**
 * Merges types that are the same, such as those of several objects that included the same header.
 *
 * Two types are the same if they have the same shape (kind, name, size, names and places of members, ...) and refer to types
 * that are the same. As types refer to each other in circles, this is found from the other end: all of one shape are taken
 * for the same, then classes whose members refer to different classes are split, until no class splits any more.
 *
 * A forward declaration counts as the structure of that name if there is only one such class, and an enumeration without
 * enumerators as the enumeration. So two structures are the same of which one was compiled where a third was only declared.
 * libbpf's algorithm walks pairs of graphs instead and comes to the same types. Variables and sections are never merged.
 *
 * @throws BpfError code "btf" if a type refers to none.
 */
export function deduplicateTypes(types: readonly BtfSource[]): Deduplicated {
  const count = types.length + 1;
  const references = types.map((type) => referencesOf(type, count));
  const shapes = types.map(shapeOf);
  let classes = numbered(["void", ...shapes.map((shape, index) => shape ?? `#${index}`)]);
  const declarations = findDeclarations(types);
  for (let size = 0; size !== classes.size; ) {
    size = classes.size;
    resolveDeclarations(declarations, classes.of);
    const { of } = classes;
    classes = numbered([
      "void",
      ...references.map((list, index) => {
        let key = `${of[index + 1]}`;
        for (const id of list) key += `,${of[id]}`;
        return key;
      }),
    ]);
  }
  resolveDeclarations(declarations, classes.of);
  return collect(types, classes.of, declarations);
}

interface Classes {
  /** By id. */
  readonly of: Uint32Array;
  readonly size: number;
}

function numbered(keys: readonly string[]): Classes {
  const numbers = new Map<string, number>();
  const of = new Uint32Array(keys.length);
  keys.forEach((key, id) => {
    let number = numbers.get(key);
    if (number === undefined) numbers.set(key, (number = numbers.size));
    of[id] = number;
  });
  return { of, size: numbers.size };
}

/** The ids of what is declared under a name, and of what is defined. */
interface Declaration {
  readonly declared: number[];
  readonly defined: number[];
}

function findDeclarations(types: readonly BtfSource[]): Declaration[] {
  const found = new Map<string, Declaration>();
  const entry = (key: string): Declaration => {
    let row = found.get(key);
    if (row === undefined) found.set(key, (row = { declared: [], defined: [] }));
    return row;
  };
  types.forEach((type, index) => {
    const id = index + 1;
    if (type.name === "") return;
    if (type.kind === "fwd") entry(`${type.union ? "union" : "struct"} ${type.name}`).declared.push(id);
    else if (type.kind === "struct" || type.kind === "union")
      entry(`${type.kind} ${type.name}`).defined.push(id);
    else if (type.kind === "enum" || type.kind === "enum64") {
      const row = entry(`enum ${type.name}`);
      (type.values.length === 0 ? row.declared : row.defined).push(id);
    }
  });
  return [...found.values()].filter(({ declared, defined }) => declared.length > 0 && defined.length > 0);
}

/** Gives declarations the class of what they declare, as long as there is one. */
function resolveDeclarations(declarations: readonly Declaration[], of: Uint32Array): void {
  for (const { declared, defined } of declarations) {
    const [first, ...rest] = defined.map((id) => of[id]);
    if (first === undefined || rest.some((other) => other !== first)) continue;
    for (const id of declared) of[id] = first;
  }
}

function collect(
  types: readonly BtfSource[],
  of: Uint32Array,
  declarations: readonly Declaration[],
): Deduplicated {
  const declared = new Set(declarations.flatMap((row) => row.declared));
  const ids = new Uint32Array(types.length + 1);
  const first = new Map<number, number>();
  const kept: BtfSource[] = [];
  // What is defined speaks for a class before what is declared.
  types.forEach((type, index) => {
    const id = index + 1;
    const number = of[id] as number;
    if (declared.has(id) && definedElsewhere(number, id, of, declarations)) return;
    if (first.has(number)) return;
    kept.push(type);
    first.set(number, kept.length);
  });
  for (let id = 1; id < of.length; id++) ids[id] = first.get(of[id] as number) ?? 0;
  return { types: kept.map((type) => mapReferences(type, (id) => ids[id] ?? 0)), ids };
}

function definedElsewhere(
  number: number,
  id: number,
  of: Uint32Array,
  declarations: readonly Declaration[],
): boolean {
  return declarations.some(
    ({ declared, defined }) => declared.includes(id) && defined.some((other) => of[other] === number),
  );
}

function referencesOf(type: BtfSource, count: number): number[] {
  const found: number[] = [];
  mapReferences(type, (id) => {
    if (id >= count)
      throw new BpfError("btf", `type '${type.name}' refers to type ${id}, which does not exist`);
    found.push(id);
    return id;
  });
  return found;
}

/** All of a type but what it refers to; undefined for what is never merged. */
function shapeOf(type: BtfSource): string | undefined {
  switch (type.kind) {
    case "var":
    case "datasec":
      return undefined;
    case "struct":
    case "union":
      return `${type.kind} ${type.name}/${type.size}/${type.members
        .map(({ name, bitOffset, bitSize }) => `${name}@${bitOffset}:${bitSize}`)
        .join()}`;
    case "enum":
    case "enum64":
      return `${type.kind} ${type.name}/${type.size}/${type.signed}/${type.values
        .map(({ name, value }) => `${name}=${value}`)
        .join()}`;
    case "func_proto":
      return `func_proto ${type.parameters.map(({ name }) => name).join()}`;
    default: {
      const {
        kind,
        name,
        type: _,
        indexType: __,
        ...rest
      } = type as BtfSource & { type?: number; indexType?: number; id?: number };
      delete rest.id;
      return `${kind} ${name}/${JSON.stringify(rest)}`;
    }
  }
}
