import { BpfError } from "../../errors.ts";
import type { Btf } from "../btf.ts";
import { resolve } from "../resolve.ts";
import { type BtfComposite, type BtfEnum, MAX_DEPTH } from "../types.ts";
import { isEnum } from "./access.ts";
import type { Budget } from "./compatible.ts";
import { sameEssentialName } from "./names.ts";

/** A real question takes some hundred steps. */
const STEPS = 200_000;

export function makeBudget(local: Btf, id: number): Budget {
  let left = STEPS;
  return {
    spend(): void {
      if (--left < 0)
        throw new BpfError("btf", `${local.name}: type ${id}: comparing it with the target has no end`);
    },
  };
}

/**
 * Whether the target's type contains the program's: the same name, and for
 *
 * - structures and unions: each member has one of the same name there, whose type matches. Behind a pointer the kind is
 *   enough, and a forward declaration stands for what it declares;
 * - enumerations: the same size, and each enumerator has one of the same name there; values do not count;
 * - integers: the same size and sign;
 * - arrays: the same length, and matching elements;
 * - pointers and functions: matching types behind them.
 *
 * Names are compared without flavours, those of typedefs not at all below the root.
 */
export function typesMatch(
  local: Btf,
  localId: number,
  target: Btf,
  targetId: number,
  budget: Budget,
  pointed = false,
  depth: number = MAX_DEPTH,
): boolean {
  let behindPointer = pointed;
  let mineId = localId;
  let theirsId = targetId;
  for (let left = depth; left > 0; left--) {
    budget.spend();
    const mine = resolve(local, mineId);
    const theirs = resolve(target, theirsId);
    if (!sameEssentialName(mine.name, theirs.name)) return false;
    switch (mine.kind) {
      case "void":
        return theirs.kind === "void";
      case "fwd":
        if (theirs.kind === "fwd") return mine.union === theirs.union;
        return behindPointer && theirs.kind === (mine.union ? "union" : "struct");
      case "enum":
      case "enum64":
        return isEnum(theirs) && enumsMatch(mine, theirs);
      case "struct":
      case "union":
        if (behindPointer) {
          if (theirs.kind === "fwd") return (mine.kind === "union") === theirs.union;
          return theirs.kind === mine.kind;
        }
        return (
          theirs.kind === mine.kind &&
          membersMatch(local, mine as BtfComposite, target, theirs as BtfComposite, budget, left - 1)
        );
      case "int":
        return theirs.kind === "int" && mine.size === theirs.size && mine.signed === theirs.signed;
      case "ptr":
        if (theirs.kind !== "ptr") return false;
        behindPointer = true;
        break;
      case "array":
        if (theirs.kind !== "array" || theirs.length !== mine.length) return false;
        break;
      case "func_proto": {
        if (theirs.kind !== "func_proto" || theirs.parameters.length !== mine.parameters.length) return false;
        for (const [index, { type }] of mine.parameters.entries()) {
          const other = theirs.parameters[index]?.type ?? 0;
          if (!typesMatch(local, type, target, other, budget, behindPointer, left - 1)) return false;
        }
        break;
      }
      default:
        return false;
    }
    mineId = mine.type;
    theirsId = theirs.type;
  }
  return false;
}

function enumsMatch(mine: BtfEnum, theirs: BtfEnum): boolean {
  if (mine.size !== theirs.size || mine.values.length > theirs.values.length) return false;
  return mine.values.every(({ name }) => theirs.values.some((other) => sameEssentialName(name, other.name)));
}

function membersMatch(
  local: Btf,
  mine: BtfComposite,
  target: Btf,
  theirs: BtfComposite,
  budget: Budget,
  depth: number,
): boolean {
  if (mine.members.length > theirs.members.length) return false;
  return mine.members.every((member) =>
    theirs.members.some((other) => {
      budget.spend();
      return (
        sameEssentialName(member.name, other.name) &&
        typesMatch(local, member.type, target, other.type, budget, false, depth)
      );
    }),
  );
}
