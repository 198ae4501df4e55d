import { BpfError } from "../errors.ts";
import type { Btf } from "./btf.ts";
import { type BtfMember, type BtfType, MAX_DEPTH } from "./types.ts";

/** Bytes of a pointer in BPF. */
export const POINTER_SIZE = 8;

/**
 * The type behind typedefs, `const`, `volatile`, `restrict` and type tags.
 *
 * @throws BpfError code "btf" after 32 steps: a circle, or worse than any compiler does.
 * @example
 * resolve(btf, variable.type).kind; // "int" of `const volatile __u32 rate`
 */
export function resolve(btf: Btf, id: number): BtfType {
  let type = btf.type(id);
  for (let steps = 0; steps <= MAX_DEPTH; steps++) {
    switch (type.kind) {
      case "typedef":
      case "const":
      case "volatile":
      case "restrict":
      case "type_tag":
        type = btf.type(type.type);
        break;
      default:
        return type;
    }
  }
  throw tooDeep(btf, id);
}

/**
 * Bytes that a value of this type takes.
 *
 * @throws BpfError code "btf" for what has no size (void, functions, forward declarations) and for more than 4 GiB.
 */
export function sizeOf(btf: Btf, id: number): number {
  let factor = 1;
  let at = id;
  for (let steps = 0; steps <= MAX_DEPTH; steps++) {
    const type = resolve(btf, at);
    switch (type.kind) {
      case "int":
      case "float":
      case "enum":
      case "enum64":
      case "struct":
      case "union":
      case "datasec":
        return bounded(btf, id, factor * type.size);
      case "ptr":
        return bounded(btf, id, factor * POINTER_SIZE);
      case "array":
        factor = bounded(btf, id, factor * type.length);
        at = type.type;
        break;
      case "var":
      case "decl_tag":
        at = type.type;
        break;
      default:
        throw new BpfError(
          "btf",
          `${btf.name}: type ${id} (${type.kind}${type.name && ` ${type.name}`}) has no size`,
        );
    }
  }
  throw tooDeep(btf, id);
}

function bounded(btf: Btf, id: number, size: number): number {
  if (size > 0xffff_ffff) throw new BpfError("btf", `${btf.name}: type ${id} takes more than 4 GiB`);
  return size;
}

/**
 * The alignment of a type in bytes. BTF does not record `packed`; a structure of which a member or the end is out of
 * line must be packed, and is aligned to 1.
 *
 * @throws BpfError code "btf" for what has no size.
 */
export function alignmentOf(btf: Btf, id: number): number {
  return alignment(btf, id, new Map(), 0);
}

/** @internal The same, with the alignments that are known already: for many questions about one BTF. */
export function alignmentIn(btf: Btf, id: number, known: Map<number, number>): number {
  return alignment(btf, id, known, 0);
}

// A type that occurs often is visited once, so that members which repeat each other cannot make this exponential.
function alignment(btf: Btf, id: number, known: Map<number, number>, depth: number): number {
  if (depth > MAX_DEPTH) throw tooDeep(btf, id);
  const before = known.get(id);
  if (before !== undefined) return before;
  const type = resolve(btf, id);
  let result: number;
  switch (type.kind) {
    case "struct":
    case "union": {
      let largest = 1;
      let packed = false;
      for (const member of type.members) {
        const own = alignment(btf, member.type, known, depth + 1);
        largest = Math.max(largest, own);
        packed ||= member.bitSize === 0 && member.bitOffset % (8 * own) !== 0;
      }
      result = packed || type.size % largest !== 0 ? 1 : largest;
      break;
    }
    case "array":
    case "var":
    case "decl_tag":
      result = alignment(btf, type.type, known, depth + 1);
      break;
    default:
      result = Math.max(1, Math.min(POINTER_SIZE, sizeOf(btf, id)));
  }
  known.set(id, result);
  return result;
}

/** The member of that name, with anonymous structures and unions looked through; its offset is from the outermost. */
export function findMember(btf: Btf, id: number, name: string): BtfMember | undefined {
  return memberIn(btf, id, name, 0, new Set(), 0);
}

function memberIn(
  btf: Btf,
  id: number,
  name: string,
  base: number,
  seen: Set<number>,
  depth: number,
): BtfMember | undefined {
  if (depth > MAX_DEPTH) throw tooDeep(btf, id);
  const type = resolve(btf, id);
  if ((type.kind !== "struct" && type.kind !== "union") || seen.has(type.id)) return undefined;
  seen.add(type.id);
  for (const member of type.members) {
    if (member.name === name) return { ...member, bitOffset: base + member.bitOffset };
    if (member.name !== "") continue;
    const inner = memberIn(btf, member.type, name, base + member.bitOffset, seen, depth + 1);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

/** What a type says when its nesting has no end. */
export function tooDeep(btf: Btf, id: number): BpfError {
  return new BpfError("btf", `${btf.name}: type ${id} nests deeper than ${MAX_DEPTH} levels`);
}
