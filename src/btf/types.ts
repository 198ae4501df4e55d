/**
 * The kinds of BTF (Documentation/bpf/btf.rst, uapi/linux/btf.h) and how a decoded type looks. Types refer to each other
 * by id; id 0 is `void`.
 */

/**
 * What follows the 12 bytes that all types begin with: `tail` bytes once, `each` bytes for every element (member,
 * enumerator, parameter, variable) that the type counts.
 */
export const BTF_KINDS = [
  { id: 1, name: "int", tail: 4, each: 0 },
  { id: 2, name: "ptr", tail: 0, each: 0 },
  { id: 3, name: "array", tail: 12, each: 0 },
  { id: 4, name: "struct", tail: 0, each: 12 },
  { id: 5, name: "union", tail: 0, each: 12 },
  { id: 6, name: "enum", tail: 0, each: 8 },
  { id: 7, name: "fwd", tail: 0, each: 0 },
  { id: 8, name: "typedef", tail: 0, each: 0 },
  { id: 9, name: "volatile", tail: 0, each: 0 },
  { id: 10, name: "const", tail: 0, each: 0 },
  { id: 11, name: "restrict", tail: 0, each: 0 },
  { id: 12, name: "func", tail: 0, each: 0 },
  { id: 13, name: "func_proto", tail: 0, each: 8 },
  { id: 14, name: "var", tail: 4, each: 0 },
  { id: 15, name: "datasec", tail: 0, each: 12 },
  { id: 16, name: "float", tail: 0, each: 0 },
  { id: 17, name: "decl_tag", tail: 4, each: 0 },
  { id: 18, name: "type_tag", tail: 0, each: 0 },
  { id: 19, name: "enum64", tail: 0, each: 12 },
] as const;

/** "struct", "typedef", ... as bpftool writes them, and "void" for id 0. */
export type BtfKind = (typeof BTF_KINDS)[number]["name"] | "void";

interface Named<K extends BtfKind> {
  readonly id: number;
  readonly kind: K;
  /** "" if anonymous. */
  readonly name: string;
}

export interface BtfVoid extends Named<"void"> {}

export interface BtfInt extends Named<"int"> {
  readonly size: number;
  readonly bits: number;
  /** Where the bits begin in the value; 0 from every compiler of today. */
  readonly bitOffset: number;
  readonly signed: boolean;
  readonly char: boolean;
  readonly bool: boolean;
}

/** A pointer (8 bytes in BPF), or a modifier: the same type in other clothes. */
export interface BtfReference
  extends Named<"ptr" | "typedef" | "volatile" | "const" | "restrict" | "type_tag"> {
  /** Id of the type it refers to. */
  readonly type: number;
  /** Of a type tag: it stands for an attribute of that name, not for `btf_type_tag("name")`. */
  readonly attribute?: boolean;
}

export interface BtfArray extends Named<"array"> {
  /** Id of the element's type. */
  readonly type: number;
  readonly indexType: number;
  readonly length: number;
}

export interface BtfMember {
  readonly name: string;
  readonly type: number;
  /** From the start of the structure. */
  readonly bitOffset: number;
  /** 0 if it is no bit field. */
  readonly bitSize: number;
}

/** A structure or union. */
export interface BtfComposite extends Named<"struct" | "union"> {
  readonly size: number;
  readonly members: readonly BtfMember[];
}

export interface BtfEnumerator {
  readonly name: string;
  readonly value: bigint;
}

export interface BtfEnum extends Named<"enum" | "enum64"> {
  readonly size: number;
  readonly signed: boolean;
  readonly values: readonly BtfEnumerator[];
}

/** A structure or union of which only the name is known. */
export interface BtfForward extends Named<"fwd"> {
  readonly union: boolean;
}

export interface BtfFunction extends Named<"func"> {
  /** Id of its func_proto. */
  readonly type: number;
  readonly linkage: "static" | "global" | "extern";
}

export interface BtfParameter {
  readonly name: string;
  /** 0 with an empty name: a variable number of arguments. */
  readonly type: number;
}

export interface BtfPrototype extends Named<"func_proto"> {
  /** Id of what it returns. */
  readonly type: number;
  readonly parameters: readonly BtfParameter[];
}

export interface BtfVariable extends Named<"var"> {
  readonly type: number;
  readonly linkage: "static" | "global" | "extern";
}

export interface BtfSectionVariable {
  /** Id of a var (or of a func, in `.ksyms`). */
  readonly type: number;
  readonly offset: number;
  readonly size: number;
}

/** A section of an object file and the variables in it. */
export interface BtfSection extends Named<"datasec"> {
  readonly size: number;
  readonly variables: readonly BtfSectionVariable[];
}

export interface BtfFloat extends Named<"float"> {
  readonly size: number;
}

export interface BtfDeclarationTag extends Named<"decl_tag"> {
  /** Id of what is tagged. */
  readonly type: number;
  /** The member or parameter that is tagged; -1 for the whole. */
  readonly component: number;
  /** It stands for an attribute of that name, not for `btf_decl_tag("name")`. */
  readonly attribute: boolean;
}

/** Any type. */
export type BtfType =
  | BtfVoid
  | BtfInt
  | BtfReference
  | BtfArray
  | BtfComposite
  | BtfEnum
  | BtfForward
  | BtfFunction
  | BtfPrototype
  | BtfVariable
  | BtfSection
  | BtfFloat
  | BtfDeclarationTag;

/** Linkages of functions and variables, by their number. */
export const LINKAGES = ["static", "global", "extern"] as const;

/** Nothing that resolves types goes deeper: the kernel stops at 32 as well (MAX_RESOLVE_DEPTH). */
export const MAX_DEPTH = 32;

/** The bytes that every type begins with: name, info, size or type. */
export const TYPE_HEADER = 12;

// The kernel gives 5 bits to the kind and 16 to the length and leaves their neighbours zero; newer headers widen both
// to 7 and 24 bits. Reading the wide form reads both.

/** The number of a type's kind, from its info word. */
export function kindOf(info: number): number {
  return (info >>> 24) & 0x7f;
}

/** How many members, enumerators, parameters or variables a type counts, from its info word. */
export function lengthOf(info: number): number {
  return info & 0xffffff;
}
