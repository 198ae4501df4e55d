import type { Btf } from "./btf.ts";
import { type BtfSource, encodeBtf, mapReferences } from "./build.ts";
import { CORE_SUBJECTS, isComposite } from "./core/access.ts";
import { CoreResolver } from "./core/resolve.ts";
import type { CoreRelocation } from "./ext.ts";
import { MAX_DEPTH } from "./types.ts";

/**
 * The part of a kernel's types that the given programs ask for: to be carried along to machines whose kernels show no BTF
 * (`bpftool gen min_core_btf`). Relocation against it gives what relocation against the whole gives, but for the ids of types.
 *
 * Of a structure only the members on the way are kept, with the structure's size; of what a pointer points to nothing, unless
 * somebody follows it. A type that is asked for as a whole keeps what the question compares.
 *
 * @throws BpfError as relocation does: "relocation" for ambiguous accesses, "btf" for damaged types.
 */
export function minimalBtf(
  target: Btf,
  objects: Iterable<{ readonly btf: Btf; readonly relocations: readonly CoreRelocation[] }>,
): Uint8Array {
  const used = new UsedTypes(target);
  for (const { btf, relocations } of objects) {
    const resolver = new CoreResolver(btf, { target });
    for (const relocation of relocations) {
      const { found } = resolver.resolve(relocation);
      if (found === undefined) continue;
      const { root } = found.access;
      switch (CORE_SUBJECTS[relocation.kind]) {
        case "field":
          used.mark(root, "shallow");
          for (const { type, index } of found.path) used.member(type, index);
          break;
        case "enumerator":
          used.mark(root, "shallow");
          break;
        case "type":
          used.mark(root, relocation.kind === "type_matches" ? "deep" : "pointers");
      }
    }
  }
  return used.encode();
}

/**
 * How much of a type is needed: itself and what it is made of; what its pointers lead to as well; or all members
 * with what they are made of.
 */
type Reach = "shallow" | "pointers" | "deep";
const RANK: Readonly<Record<Reach, number>> = { shallow: 1, pointers: 2, deep: 3 };

class UsedTypes {
  readonly #btf: Btf;
  /** By id: the reach with which it was marked. */
  readonly #marked = new Map<number, number>();
  readonly #members = new Map<number, Set<number>>();

  constructor(btf: Btf) {
    this.#btf = btf;
  }

  member(composite: number, index: number): void {
    let members = this.#members.get(composite);
    if (members === undefined) this.#members.set(composite, (members = new Set()));
    members.add(index);
    this.mark(composite, "shallow");
    const type = this.#btf.type(composite);
    if (isComposite(type)) this.mark(type.members[index]?.type ?? 0, "shallow");
  }

  mark(root: number, how: Reach): void {
    // A list of our own: types lead to types as far as a hostile file likes.
    const work: [id: number, how: Reach, depth: number][] = [[root, how, 0]];
    for (let next = work.pop(); next !== undefined; next = work.pop()) {
      const [id, reach, depth] = next;
      if (id === 0 || (this.#marked.get(id) ?? 0) >= RANK[reach] || depth > 4 * MAX_DEPTH) continue;
      this.#marked.set(id, RANK[reach]);
      const type = this.#btf.type(id);
      const follow = (to: number, as: Reach = reach): void => void work.push([to, as, depth + 1]);
      switch (type.kind) {
        case "ptr":
          // Behind a pointer names are compared, and no members.
          if (reach !== "shallow") follow(type.type, "pointers");
          break;
        case "array":
          follow(type.type);
          follow(type.indexType, "shallow");
          break;
        case "func_proto":
          follow(type.type);
          for (const parameter of type.parameters) follow(parameter.type);
          break;
        case "struct":
        case "union":
          if (reach !== "deep") break;
          type.members.forEach((member, index) => {
            this.#addMember(id, index);
            follow(member.type);
          });
          break;
        case "typedef":
        case "const":
        case "volatile":
        case "restrict":
        case "type_tag":
          follow(type.type);
          break;
      }
    }
  }

  #addMember(composite: number, index: number): void {
    const members = this.#members.get(composite);
    if (members === undefined) this.#members.set(composite, new Set([index]));
    else members.add(index);
  }

  encode(): Uint8Array {
    const ids = [...this.#marked.keys()].sort((a, b) => a - b);
    const numbers = new Map(ids.map((id, index) => [id, index + 1]));
    const types = ids.map((id): BtfSource => {
      const type = this.#btf.type(id) as BtfSource;
      const kept =
        type.kind === "struct" || type.kind === "union"
          ? { ...type, members: type.members.filter((_, index) => this.#members.get(id)?.has(index)) }
          : type;
      return mapReferences(kept, (reference) => numbers.get(reference) ?? 0);
    });
    return encodeBtf(types, { littleEndian: this.#btf.littleEndian }).bytes;
  }
}
