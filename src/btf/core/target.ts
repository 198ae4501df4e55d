import type { Btf } from "../btf.ts";
import type { CoreRelocation } from "../ext.ts";
import { typeName } from "../name.ts";
import { resolve, sizeOf } from "../resolve.ts";
import { MAX_DEPTH, type BtfType } from "../types.ts";
import {
  type Access,
  type Accessor,
  CORE_SUBJECTS,
  MAX_ACCESS_LENGTH,
  isComposite,
  isEnum,
  isFlexible,
} from "./access.ts";
import { fieldsCompatible, typesCompatible } from "./compatible.ts";
import { makeBudget, typesMatch } from "./match.ts";
import { essentialName, sameEssentialName } from "./names.ts";

/** Types of the machine that a program is to run on. */
export interface CoreTarget {
  /** The kernel's types. */
  readonly target: Btf;
  /** Those of its modules, split on `target`; asked only for what `target` has not. */
  readonly modules?: readonly Btf[];
}

/** A type of the target that may be the one which the program means. */
export interface Candidate {
  readonly btf: Btf;
  readonly type: BtfType;
}

/** The types of the same kind and essential name. */
export function findCandidates(local: BtfType, { target, modules = [] }: CoreTarget): Candidate[] {
  const found = candidatesIn(target, local, 1);
  if (found.length > 0) return found;
  return modules.flatMap((module) => candidatesIn(module, local, module.firstId));
}

function candidatesIn(btf: Btf, local: BtfType, first: number): Candidate[] {
  const name = essentialName(local.name);
  const found: Candidate[] = [];
  for (const id of btf.candidates(name)) {
    // What a module builds on is the target, which has been asked already.
    if (id < first) continue;
    const kind = btf.kind(id);
    const fits = kind === local.kind || (kind.startsWith("enum") && isEnum(local));
    if (!fits) continue;
    const type = btf.type(id);
    if (type.name !== "" && essentialName(type.name) === name) found.push({ btf, type });
  }
  return found;
}

/** The same access in a type of the target, or why there is none. */
export type Match =
  | { readonly access: Access; readonly path: readonly MemberPlace[] }
  | { readonly why: string };

/** A member on the way, those without a name included. */
export interface MemberPlace {
  /** Id of the structure or union. */
  readonly type: number;
  readonly index: number;
}

/**
 * Follows the program's access through a candidate, by the names of members and the indices of elements.
 *
 * @throws BpfError code "btf" if the target's types are damaged.
 */
export function matchAccess(local: Access, { kind }: CoreRelocation, { btf, type: root }: Candidate): Match {
  switch (CORE_SUBJECTS[kind]) {
    case "type": {
      const budget = makeBudget(local.btf, local.root);
      const compare = kind === "type_matches" ? typesMatch : typesCompatible;
      if (!compare(local.btf, local.root, btf, root.id, budget)) return { why: "another shape" };
      return { access: { btf, root: root.id, steps: [], bitOffset: 0 }, path: [] };
    }
    case "enumerator": {
      const wanted = local.steps[0]?.name ?? "";
      const type = resolve(btf, root.id);
      if (!isEnum(type)) return { why: `it is no enumeration but ${type.kind}` };
      const index = type.values.findIndex(({ name }) => sameEssentialName(name, wanted));
      const found = type.values[index];
      if (found === undefined) return { why: `no enumerator '${essentialName(wanted)}'` };
      const step = { type: type.id, index, name: found.name };
      return { access: { btf, root: root.id, steps: [step], bitOffset: 0 }, path: [] };
    }
    case "field":
      return matchField(local, btf, root.id);
  }
}

function matchField(local: Access, btf: Btf, root: number): Match {
  const steps: Accessor[] = [];
  const path: MemberPlace[] = [];
  let bitOffset = 0;
  let at = root;
  for (const [number, step] of local.steps.entries()) {
    if (step.name !== undefined) {
      const found = findField(local.btf, step, btf, at, MAX_DEPTH);
      if (found === undefined) return { why: `no member '${step.name}' in ${typeName(btf, at)}` };
      if ("why" in found) return found;
      steps.push(found.step);
      path.push(...found.path);
      bitOffset += found.bitOffset;
      at = found.next;
      continue;
    }
    if (number > 0) {
      const array = resolve(btf, at);
      if (array.kind !== "array") return { why: `${typeName(btf, at)} is no array` };
      if (step.index >= array.length && !isFlexible(btf, steps.at(-1), array)) {
        return { why: `${typeName(btf, at)} has no element ${step.index}` };
      }
      at = array.type;
    }
    const element = resolve(btf, at);
    steps.push({ type: element.id, index: step.index, name: undefined });
    if (step.index > 0) bitOffset += step.index * sizeOf(btf, element.id) * 8;
    at = element.id;
  }
  if (steps.length > MAX_ACCESS_LENGTH) return { why: "the access is too long" };
  return { access: { btf, root, steps, bitOffset }, path };
}

interface FoundField {
  readonly step: Accessor;
  readonly path: readonly MemberPlace[];
  /** From the structure in which the search began. */
  readonly bitOffset: number;
  /** Id of the member's type. */
  readonly next: number;
}

/** The first member of that name, anonymous members looked through; a first that does not fit ends the search. */
function findField(
  local: Btf,
  wanted: Accessor,
  btf: Btf,
  id: number,
  depth: number,
): FoundField | { readonly why: string } | undefined {
  const type = resolve(btf, id);
  if (!isComposite(type)) return undefined;
  if (depth === 0) return { why: `${typeName(btf, id)} nests deeper than ${MAX_DEPTH} levels` };
  for (const [index, member] of type.members.entries()) {
    if (member.name === "") {
      const inner = findField(local, wanted, btf, member.type, depth - 1);
      if (inner === undefined || "why" in inner) {
        if (inner !== undefined) return inner;
        continue;
      }
      const path = [{ type: type.id, index }, ...inner.path];
      return { ...inner, path, bitOffset: inner.bitOffset + member.bitOffset };
    }
    if (member.name !== wanted.name) continue;
    const owner = local.type(wanted.type);
    const mine = isComposite(owner) ? (owner.members[wanted.index]?.type ?? 0) : 0;
    if (!fieldsCompatible(local, mine, btf, member.type)) {
      return {
        why: `member '${member.name}' is ${typeName(btf, member.type)}, not ${typeName(local, mine)}`,
      };
    }
    return {
      step: { type: type.id, index, name: member.name },
      path: [{ type: type.id, index }],
      bitOffset: member.bitOffset,
      next: member.type,
    };
  }
  return undefined;
}
