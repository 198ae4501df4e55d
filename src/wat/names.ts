/** The name section, and identifiers of the text format made from names. */
import { BpfError } from "../errors.ts";
import { type Reader, malformed } from "./reader.ts";

export type NameMap = ReadonlyMap<number, string>;

/** Subsections that name the items of one index space (Core Specification 2.0, section 7.4, and its appendix). */
const SPACES = { 1: "func", 4: "type", 5: "table", 6: "memory", 7: "global", 8: "elem", 9: "data" } as const;

/** Subsections that name things inside functions. Labels count the blocks, loops and ifs in order. */
const INNER_SPACES = { 2: "local", 3: "label" } as const;

export type Space = (typeof SPACES)[keyof typeof SPACES];

export interface Names {
  readonly module: string | undefined;
  readonly spaces: Readonly<Partial<Record<Space, NameMap>>>;
  /** By index of the function. */
  readonly local: ReadonlyMap<number, NameMap>;
  readonly label: ReadonlyMap<number, NameMap>;
  /** Why the rest of the section could not be read. */
  readonly damage: string | undefined;
}

function readNameMap(reader: Reader): NameMap {
  return new Map(reader.list("names", () => [reader.u32("an index"), reader.name("a name")] as const));
}

function readInnerNames(reader: Reader): ReadonlyMap<number, NameMap> {
  return new Map(reader.list("functions", () => [reader.u32("an index"), readNameMap(reader)] as const));
}

/** Reads a name section from after its name. A damaged one leaves the module valid, so it throws nothing. */
export function readNames(section: Reader): Names {
  const spaces: Partial<Record<Space, NameMap>> = {};
  const inner: Record<"local" | "label", ReadonlyMap<number, NameMap>> = {
    local: new Map(),
    label: new Map(),
  };
  let module: string | undefined;
  let damage: string | undefined;
  try {
    while (!section.done) {
      const start = section.offset;
      const id = section.byte("a subsection");
      const part = section.part(section.u32("the size of a subsection"), "a subsection");
      if (id === 0) module = part.name("the module's name");
      else if (id in SPACES) spaces[SPACES[id as keyof typeof SPACES]] = readNameMap(part);
      else if (id in INNER_SPACES)
        inner[INNER_SPACES[id as keyof typeof INNER_SPACES]] = readInnerNames(part);
      else if (id > 11) throw malformed(`name subsection ${id}, which does not exist,`, start);
    }
  } catch (error) {
    if (!(error instanceof BpfError)) throw error;
    damage = error.message;
  }
  return { module, spaces, ...inner, damage };
}

/**
 * An identifier: `$` and what the text format allows after it (Core Specification 2.0, section 6.3.5). Other
 * characters become underscores, since wabt's parser does not read identifiers in quotes.
 */
function identifier(name: string): string {
  return `$${name.replace(/[^\w!#$%&'*+\-./:<=>?@\\^`|~]/gu, "_")}`;
}

/** Hands out identifiers that differ from each other: the second of a name gets its index behind it. */
export class Identifiers {
  readonly #taken: Set<string> = new Set();

  /** None for an empty name, and for one that is taken even with the index behind it. */
  make(name: string | undefined, index: number): string | undefined {
    if (name === undefined || name === "") return undefined;
    const plain = identifier(name);
    for (const text of [plain, `${plain}.${index}`]) {
      if (this.#taken.has(text)) continue;
      this.#taken.add(text);
      return text;
    }
    return undefined;
  }
}

/** How the items of an index space are called: by an identifier where there is a name, else by number. */
export class IndexSpace {
  readonly #names: Map<number, string> = new Map();

  /** Names of the first map win over those of the second. */
  constructor(count: number, given: NameMap = new Map(), derived: NameMap = new Map()) {
    const identifiers = new Identifiers();
    for (const source of [given, derived]) {
      for (const [index, name] of source) {
        const text = index < count && !this.#names.has(index) ? identifiers.make(name, index) : undefined;
        if (text !== undefined) this.#names.set(index, text);
      }
    }
  }

  /** In a reference. */
  of(index: number): string {
    return this.#names.get(index) ?? String(index);
  }

  /** In a definition: the number stands in a comment, so that either can be looked for. */
  definition(index: number): string {
    const name = this.#names.get(index);
    return name === undefined ? `(;${index};)` : `${name} (;${index};)`;
  }

  has(index: number): boolean {
    return this.#names.has(index);
  }
}
