import { type Instruction, rowOf } from "../isa/index.ts";
import { type Btf, type LineInfo, resolve } from "../btf/index.ts";
import { markPoison } from "./poison.ts";
import {
  type LinkedProgram,
  type LinkedReference,
  type MapSpec,
  type ObjectSpec,
  lineAt,
} from "../object/index.ts";
import { ATTACH_TYPES, type AttachType, type ProgramType } from "../uapi/index.ts";
import type { FunctionRange } from "./check.ts";

/** What an instruction waits for, by the name of a map or of a symbol that somebody else defines. */
export type ImageReference =
  | { readonly kind: "map"; readonly map: string }
  /** The address of byte `offset` of the map's first value. */
  | { readonly kind: "map_value"; readonly map: string; readonly offset: number }
  | { readonly kind: "extern"; readonly extern: string };

/** Where a program goes, as far as its section or its struct_ops map say. */
export interface ProgramTarget {
  readonly section?: string;
  readonly attachType?: AttachType;
  /** Of XDP programs: packets in several buffers. */
  readonly frags?: true;
  /** "do_unlinkat" of "kprobe/do_unlinkat". */
  readonly attachTo?: string;
  /** The types of the object that it comes from. */
  readonly ownTypes?: Btf;
  /** Where names in its input are looked up: the types that it is fitted to, then its own. */
  readonly types?: readonly Btf[];
  /** Of a struct_ops program: the name of the structure of methods that it is one of. */
  readonly interface?: string;
  /** Of a struct_ops program: the type of the member that it is for, in `ownTypes`. */
  readonly method?: number;
}

/** A program as a machine takes it: what engines need of a linked one, or bare instructions. */
export interface ProgramImage extends ProgramTarget {
  readonly name: string;
  readonly type: ProgramType | undefined;
  readonly instructions: readonly Instruction[];
  /** The first is the main function. */
  readonly functions: readonly FunctionRange[];
  /** First slot of the function that bpf_throw calls. */
  readonly exceptionCallback?: number;
  /** By slot of the `lddw` that waits for an address. */
  readonly references: ReadonlyMap<number, ImageReference>;
  readonly lines: readonly LineInfo[];
  /** By slot: what an instruction would need of the kernel's types and they have not; it stops the program. */
  readonly poisoned: ReadonlyMap<number, string>;
}

export function linkedImage(linked: LinkedProgram, spec: ObjectSpec, types: Btf | undefined): ProgramImage {
  const { name, program, lines, poisoned } = linked;
  const instructions = markPoison(linked.instructions, poisoned);
  const functions = functionRanges(instructions, linked.functions);
  const references = new Map([...linked.references].map(([slot, reference]) => [slot, byName(reference)]));
  const target = targetOf(spec, name);
  const sources = new Set([types, spec.btf].filter((btf) => btf !== undefined));
  return {
    name,
    type: program?.type,
    instructions,
    functions,
    ...(linked.exceptionCallback === undefined ? {} : { exceptionCallback: linked.exceptionCallback }),
    references,
    lines,
    poisoned,
    ...target,
    types: [...sources],
  };
}

function targetOf({ programs, maps, btf }: ObjectSpec, name: string): ProgramTarget {
  const { section, attachType, attachTo, flags } = programs[name] ?? {};
  const known = ATTACH_TYPES.find((row) => row.name === attachType)?.name;
  const method = methodOf(btf, Object.values(maps), name);
  const struct = interfaceOf(btf, Object.values(maps), name);
  return {
    ...(section === undefined ? {} : { section }),
    ...(known === undefined ? {} : { attachType: known }),
    ...(flags?.frags === true ? { frags: true } : {}),
    ...(attachTo === undefined ? {} : { attachTo }),
    ...(btf === undefined ? {} : { ownTypes: btf }),
    ...(method === undefined ? {} : { method }),
    ...(struct === undefined ? {} : { interface: struct }),
  };
}

/** The name of the structure of methods that a struct_ops program is put into. */
function interfaceOf(btf: Btf | undefined, maps: readonly MapSpec[], name: string): string | undefined {
  const holds = ({ type, values }: MapSpec): boolean =>
    type === "struct_ops" && values.some((row) => row.kind === "program" && row.name === name);
  const value = maps.find(holds)?.value;
  return btf === undefined || value === undefined ? undefined : essentialName(resolve(btf, value).name);
}

/** The type of the member that a program is put into, of the first struct_ops map that holds it. */
function methodOf(btf: Btf | undefined, maps: readonly MapSpec[], name: string): number | undefined {
  if (btf === undefined) return undefined;
  for (const { type, value, values } of maps) {
    if (type !== "struct_ops" || value === undefined) continue;
    const entry = values.find((row) => row.kind === "program" && row.name === name);
    const struct = resolve(btf, value);
    if (entry === undefined || struct.kind !== "struct") continue;
    return struct.members.find(({ bitOffset }) => bitOffset === entry.index * 8)?.type;
  }
  return undefined;
}

/** A name without its flavour, which tells apart what the kernel has under one name. */
export function essentialName(name: string): string {
  const flavour = name.indexOf("___");
  return flavour > 0 ? name.slice(0, flavour) : name;
}

function byName(reference: LinkedReference): ImageReference {
  if (reference.kind === "map") return { kind: "map", map: reference.map.name };
  if (reference.kind === "map_value")
    return { kind: "map_value", map: reference.map.name, offset: reference.offset };
  // As libbpf does it: `bpf_name___flavour` is bpf_name.
  return { kind: "extern", extern: essentialName(reference.extern.name) };
}

/** Instructions without an object file around them. */
export function bareImage(
  name: string,
  type: ProgramType | undefined,
  instructions: readonly Instruction[],
  references: ReadonlyMap<number, ImageReference>,
  target: ProgramTarget = {},
): ProgramImage {
  const functions = functionRanges(instructions, [{ name, start: 0 }]);
  return { name, type, instructions, functions, references, lines: [], poisoned: new Map(), ...target };
}

/**
 * Functions begin where symbols say, and, as in the kernel, wherever something calls or points: hand-written code need
 * not name what it calls.
 */
function functionRanges(
  instructions: readonly Instruction[],
  known: readonly Pick<FunctionRange, "name" | "start">[],
): FunctionRange[] {
  const names = new Map(known.map(({ start, name }) => [start, name]));
  instructions.forEach((instruction, slot) => {
    const semantics = rowOf(instruction)?.semantics;
    const refers =
      (semantics?.kind === "call" && semantics.target === "local") ||
      (semantics?.kind === "lddw" && semantics.value === "func");
    const target = slot + 1 + instruction.imm;
    // A target outside the program is the structural check's to name.
    if (refers && target >= 0 && target < instructions.length && !names.has(target)) {
      names.set(target, `${known[0]?.name ?? "main"}_${target}`);
    }
  });
  const starts = [...names.keys()].sort((a, b) => a - b);
  return starts.map((start, index) => ({
    name: names.get(start) ?? "",
    start,
    end: starts[index + 1] ?? instructions.length,
  }));
}

/** `file:line` of a slot, if the object has line information. */
export function sourceOf({ lines }: Pick<ProgramImage, "lines">, slot: number): string | undefined {
  const line = lineAt(lines, slot);
  return line === undefined ? undefined : `${line.file}:${line.line}`;
}
