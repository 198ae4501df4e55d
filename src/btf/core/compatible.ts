/**
 * Whether a type of the target can stand for one of the program: the rules of libbpf and the kernel
 * (tools/lib/bpf/relo_core.c describes them; Documentation/bpf/llvm_reloc.rst lists the relocations). There are three
 * relations, from loose to strict:
 *
 * - *fields*: may a member of this name be the member that is meant? Any two structures or unions; any two pointers; any
 *   two integers, whatever their size and sign (the other relocations ask for those); enumerations of the same name;
 *   arrays of such.
 * - *types*: does a type exist? The same kind at every level that is not behind a name; what a structure holds does not count.
 * - *matching* (see match.ts): is the program's type contained in the target's, member for member?
 */
import type { Btf } from "../btf.ts";
import { resolve } from "../resolve.ts";
import { type BtfType, MAX_DEPTH } from "../types.ts";
import { isComposite, isEnum } from "./access.ts";
import { essentialName } from "./names.ts";

/** Of the same kind; enumerations of 32 and 64 bits are one kind. */
export function sameKind(a: BtfType, b: BtfType): boolean {
  return a.kind === b.kind || (isEnum(a) && isEnum(b));
}

/** Whether a member of the one type can stand for a member of the other. */
export function fieldsCompatible(local: Btf, localId: number, target: Btf, targetId: number): boolean {
  let mine = resolve(local, localId);
  let theirs = resolve(target, targetId);
  for (let depth = 0; depth <= MAX_DEPTH; depth++) {
    if (isComposite(mine) && isComposite(theirs)) return true;
    if (!sameKind(mine, theirs)) return false;
    switch (mine.kind) {
      case "ptr":
      case "float":
        return true;
      case "fwd":
      case "enum":
      case "enum64": {
        const [a, b] = [essentialName(mine.name), essentialName(theirs.name)];
        return a === "" || b === "" || a === b;
      }
      case "int":
        return mine.bitOffset === 0 && theirs.kind === "int" && theirs.bitOffset === 0;
      case "array":
        if (theirs.kind !== "array") return false;
        mine = resolve(local, mine.type);
        theirs = resolve(target, theirs.type);
        break;
      default:
        return false;
    }
  }
  return false;
}

/** Whether the target's type is what the program's type means. */
export function typesCompatible(
  local: Btf,
  localId: number,
  target: Btf,
  targetId: number,
  budget: Budget,
  depth: number = MAX_DEPTH,
): boolean {
  let mine = local.type(localId);
  let theirs = target.type(targetId);
  if (!sameKind(mine, theirs)) return false;
  for (let left = depth; left > 0; left--) {
    budget.spend();
    mine = resolve(local, mine.id);
    theirs = resolve(target, theirs.id);
    if (!sameKind(mine, theirs)) return false;
    switch (mine.kind) {
      case "void":
      case "struct":
      case "union":
      case "enum":
      case "enum64":
      case "fwd":
        return true;
      case "int":
        return mine.bitOffset === 0 && theirs.kind === "int" && theirs.bitOffset === 0;
      case "ptr":
      case "array":
        if (theirs.kind !== mine.kind) return false;
        mine = local.type(mine.type);
        theirs = target.type(theirs.type);
        break;
      case "func_proto": {
        if (theirs.kind !== "func_proto" || mine.parameters.length !== theirs.parameters.length) return false;
        const others = theirs.parameters;
        for (const [index, { type }] of mine.parameters.entries()) {
          const ours = resolve(local, type).id;
          const other = resolve(target, others[index]?.type ?? 0).id;
          if (!typesCompatible(local, ours, target, other, budget, left - 1)) return false;
        }
        mine = local.type(mine.type);
        theirs = target.type(theirs.type);
        break;
      }
      default:
        return false;
    }
  }
  return false;
}

/** Steps that one question may take: types that refer to themselves in several places have no end otherwise. */
export interface Budget {
  /** @throws BpfError when none is left. */
  spend(): void;
}
